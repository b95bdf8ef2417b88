"""What `doctor` makes of measured values, what it shows, and what it measures here."""

import asyncio
import json
import os
import socket
import stat
from collections.abc import Awaitable
from pathlib import Path

import pytest

from mosaik_actors import EdDsaSigningKey, Jwt, Network, RelayConfig, SecretKey, TransportConfig
from mosaik_actors.actors.rendezvous import check_user_folder
from mosaik_actors.cli import joining
from mosaik_actors.cli.doctor import finding, machine, network, network_probes
from mosaik_actors.cli.doctor.finding import Finding, Judgement
from mosaik_actors.cli.doctor.machine import (
    Buffers,
    Echo,
    Interface,
    NameLookup,
    Package,
    Storage,
)
from mosaik_actors.cli.doctor.machine_probes import (
    check_machine,
    echo,
    measure_buffers,
    measure_storage,
    read_packages,
)
from mosaik_actors.cli.doctor.network import (
    ClockReading,
    DhtReached,
    GatewayAsked,
    Met,
    Observed,
    RelayReached,
)
from mosaik_actors.cli.doctor.network_probes import ask_gateway, check_network, check_reach
from mosaik_actors.cli.main import main
from mosaik_actors.discovery.entry import EntryVersion, PeerEntry
from mosaik_actors.discovery.info import PeerInfo
from mosaik_actors.discovery.view import CatalogSnapshot
from mosaik_actors.environment import Machine
from mosaik_actors.handles.relaying import start_relay
from mosaik_actors.testing.local_dht import LocalDht
from tests.unit.transport.mapping.gateways import OUTSIDE, Gateway, serving
from tests.waiting import until

SKIP, OK, WARN, FAIL = Judgement.SKIP, Judgement.OK, Judgement.WARN, Judgement.FAIL
SECRET = b"sixteen bytes or more"
GB = 1_000_000_000
SENT = [Echo("127.0.0.1", True, ""), Echo("10.0.0.7", False, "")]
AT, NEAR = ("198.51.100.9", 4433), ("10.0.0.7", 4433)


def stored(mode: int = 0o700, free: int = 5 * GB, sync_s: float = 0.002) -> Storage:
    return Storage("logs", mode=mode, free_bytes=free, sync_s=(sync_s,) * 3)


def packages(**versions: str | None) -> list[Package]:
    given = {"msgpack": "1.1", "zeroconf": "1", "dnspython": "2.7", "qh3": "2.1"} | versions
    extras = {"zeroconf": "mdns", "dnspython": "dht", "qh3": "quic-native"}
    return [Package(name, extras.get(name, ""), version) for name, version in given.items()]


def lost(relay: str, carrier: str) -> RelayReached:
    return RelayReached(relay, carrier, error="timeout")


def reading(ahead_s: float, error_s: float = 0.25, peer: str = "p") -> ClockReading:
    return ClockReading(peer, ahead_s, error_s)


paths_of_two = [network.DatagramPath("p", 1472), network.DatagramPath("q", error="no answer")]

JUDGED: list[tuple[Finding, Judgement, str]] = [
    (machine.judge_python((3, 11, 0), packages()), OK, "Python 3.11.0"),
    (machine.judge_python((3, 10, 9), packages()), FAIL, "3.11 or newer"),
    (machine.judge_python((3, 12, 0), packages(msgpack=None)), FAIL, "not installed: msgpack"),
    (machine.judge_extras(packages(), []), OK, "qh3 2.1"),
    (machine.judge_extras(packages(zeroconf=None), ["dht"]), OK, "not there: mdns"),
    (machine.judge_extras(packages(dnspython=None), ["dht"]), FAIL, "mosaik-actors[dht]"),
    (machine.judge_extras(packages(qh3=None), []), WARN, "mosaik-actors[quic-native]"),
    (machine.judge_udp(SENT), OK, "10.0.0.7"),
    (machine.judge_udp(SENT[:1]), WARN, "only the loopback interface"),
    (machine.judge_udp([]), FAIL, "no address"),
    (machine.judge_udp([*SENT, Echo("10.0.0.8", False, "lost")]), FAIL, "10.0.0.8 (lost)"),
    (machine.judge_datagrams([Interface("e", 1500)], 16384, 16384), OK, "up to 1472"),
    (machine.judge_datagrams([Interface("e", None)], 16384, 16384), OK, "16384"),
    (machine.judge_datagrams([Interface("e", 1228)], 16384, 16384), WARN, "IPv6 needs 1280"),
    (machine.judge_datagrams([Interface("e", 1227)], 16384, 16384), FAIL, "QUIC needs 1228"),
    (machine.judge_datagrams([], 1200, 16384), WARN, "dev lo mtu"),
    (machine.judge_buffers(Buffers(400, 400, 400)), OK, "asked for 400"),
    (machine.judge_buffers(Buffers(400, 200, 400)), WARN, "net.core.wmem_max=400"),
    (machine.judge_open_files(None, None), OK, "no limit"),
    (machine.judge_open_files(1024, 4096), OK, "at most 4096"),
    (machine.judge_open_files(1023, None), WARN, "ulimit -n"),
    (machine.judge_open_files(127, 127), FAIL, "ulimit -n"),
    (machine.judge_rendezvous("/r", ""), OK, "/r is private"),
    (machine.judge_rendezvous("/r", "/r has mode 777"), FAIL, "chmod 700"),
    (machine.judge_storage(Storage("logs", error="Permission denied"))[0], FAIL, "--data"),
    (machine.judge_storage(stored())[0], OK, "can be written to"),
    (machine.judge_storage(stored(mode=0o777))[0], WARN, "chmod go-w logs"),
    (machine.judge_storage(stored(mode=0o1777))[0], OK, "can be written to"),
    (machine.judge_storage(stored())[1], OK, "5.0 GB"),
    (machine.judge_storage(stored(free=GB - 1))[1], WARN, "make room"),
    (machine.judge_storage(stored(free=GB // 10 - 1))[1], FAIL, "make room"),
    (machine.judge_storage(stored())[2], OK, "2.00 ms"),
    (machine.judge_storage(stored(sync_s=0.021))[2], WARN, "SSD"),
    (machine.judge_storage(stored(sync_s=0.51))[2], FAIL, "leaders change"),
    (machine.judge_storage(stored(sync_s=1e-6))[2], WARN, "lost with the power"),
    (machine.judge_lookups([]), SKIP, "no host"),
    (machine.judge_lookups([NameLookup("a", ("::1",), 0.1, "")]), OK, "a is ::1"),
    (machine.judge_lookups([NameLookup("a", ("::1",), 2.1, "")]), WARN, "a took 2.1 s"),
    (machine.judge_lookups([NameLookup("a", (), 0, "unknown")]), FAIL, "a: unknown"),
    (
        machine.judge_lookups(
            [NameLookup("a", (), 0, "unknown"), NameLookup("b", ("::1",), 0, "")]
        ),
        WARN,
        "a: unknown",
    ),
    (network.judge_peers(Met({"a": "quic", "b": "quic"}, 1, 0, {})), OK, "2 found: 2 quic"),
    (network.judge_peers(Met({"a": "relay"}, 1, 0, {})), WARN, "open a port"),
    (network.judge_peers(Met({}, 3, 0, {})), WARN, "--bootstrap"),
    (network.judge_peers(Met({}, 3, 2, {})), FAIL, "though 2 were named"),
    (network.judge_peers(Met({}, 3, 0, {"future": 4})), FAIL, "future 4"),
    (network.judge_relays([]), SKIP, "--relay"),
    (
        network.judge_relays([RelayReached("r", "quic", 0.02), RelayReached("r", "tcp", 0.03)]),
        OK,
        "1 reached over UDP and TLS over TCP, the nearest in 20.0",
    ),
    (
        network.judge_relays([RelayReached("r", "tcp", 0.02, wants_ticket=True)]),
        OK,
        "over TLS over TCP, with a ticket only, the nearest",
    ),
    (network.judge_relays([RelayReached("r", "quic", 0.31)]), WARN, "nearer"),
    (
        network.judge_relays([lost("r", "quic"), lost("r", "tcp")]),
        FAIL,
        "r: over UDP: timeout, over TLS over TCP: timeout",
    ),
    (network.judge_relays([lost("r", "quic"), lost("r", "tcp")]), FAIL, "at port 443"),
    (
        network.judge_relays([lost("r", "quic"), RelayReached("r", "tcp", 0.1)]),
        WARN,
        "r is reached over TLS over TCP alone; over UDP: timeout",
    ),
    (
        network.judge_relays([lost("r", "quic"), RelayReached("r", "tcp", 0.1)]),
        WARN,
        "for direct paths past it let UDP",
    ),
    (
        network.judge_relays([lost("r", "tcp"), RelayReached("r", "quic", 0.1)]),
        WARN,
        "that blocks UDP needs TCP",
    ),
    (
        network.judge_relays([lost("r", "tcp"), RelayReached("s", "tcp", 0.1)]),
        WARN,
        "r: over TLS over TCP: timeout",
    ),
    (network.judge_clocks([], 10), SKIP, "no peer"),
    (network.judge_clocks([reading(0.3)], 10), OK, "0.300 s ahead"),
    (network.judge_clocks([reading(0.1), reading(-0.1)], 10), OK, "than can be measured, 0.350 s"),
    # What is within the error of the measurement is no drift.
    (network.judge_clocks([reading(-1.2)], 10), OK, "1.200 s behind"),
    (network.judge_clocks([reading(-1.3)], 10), WARN, "the clock of p or this machine's"),
    (network.judge_clocks([reading(10.3)], 10), FAIL, "dated too far ahead"),
    # One of many is wrong, or this machine is.
    (network.judge_clocks([reading(0)] * 3 + [reading(5, peer="q")], 10), WARN, "clock of q"),
    (network.judge_clocks([reading(5)] * 4, 10), WARN, "this machine's clock is wrong"),
    (network.judge_paths([]), SKIP, "no peer to dial"),
    (network.judge_paths([network.DatagramPath("p", 1472)]), OK, "1472 bytes to p"),
    (
        network.judge_paths([network.DatagramPath("p", 1472), network.DatagramPath("q", 1200)]),
        WARN,
        "tunnel",
    ),
    (
        network.judge_paths(paths_of_two),
        WARN,
        "1 of 2 do not answer: q: no answer",
    ),
    (network.judge_mapping(None), SKIP, "--port-mapping"),
    (network.judge_mapping(GatewayAsked(AT, "PCP", "", 1)), OK, "198.51.100.9:4433 by PCP"),
    (network.judge_mapping(GatewayAsked(None, "", "r refuses: so", 1)), WARN, "r refuses: so"),
    (network.judge_mapping(GatewayAsked(None, "", "", 25)), WARN, "no answer within 25 s"),
    (network.judge_nat([NEAR], []), SKIP, "nobody told"),
    (network.judge_nat([NEAR], [Observed("r", NEAR)]), OK, "none"),
    (network.judge_nat([NEAR], [Observed("r", AT)]), OK, "a second observer"),
    (network.judge_nat([NEAR], [Observed("r", AT), Observed("s", AT)]), OK, "hole punching works"),
    (
        network.judge_nat([NEAR], [Observed("r", AT), Observed("s", (AT[0], 9))]),
        WARN,
        "symmetric",
    ),
    (network.judge_dht(None), SKIP, "--dht"),
    (network.judge_dht(DhtReached(4, 0.25)), OK, "0.25 s"),
    (network.judge_dht(DhtReached(4, None)), FAIL, "none of 4"),
    (network.judge_dht(DhtReached(4, None, "no extra")), FAIL, "no extra"),
]


@pytest.mark.parametrize(("judged", "verdict", "text"), JUDGED)
def test_measured_values_are_judged(judged: Finding, verdict: Judgement, text: str) -> None:
    assert judged.verdict is verdict, judged
    assert text in f"{judged.found} {judged.advice}"
    # Whoever is told that something is wrong is told what to do.
    assert bool(judged.advice) == (verdict in (WARN, FAIL)), judged


def test_the_table_counts_wraps_and_lets_nothing_steer_the_terminal() -> None:
    findings = [
        finding.ok("udp", "word " * 40),
        finding.fail("relay", "\x1b[2J", "mend it"),
        finding.skip("dht", "not asked for"),
    ]
    lines = finding.as_table(findings).splitlines()
    assert lines[0].startswith("ok    udp    word word")
    assert max(map(len, lines)) <= 100
    assert r"fail  relay  \x1b[2J" in lines
    assert "             -> mend it" in lines
    assert lines[-1] == "1 ok, 0 to look at, 1 failed, 1 not checked"
    assert finding.has_failed(findings)
    assert not finding.has_failed(findings[::2])
    shown = json.loads(finding.as_json(findings))
    assert shown["ok"] is False
    assert shown["checks"][1] == {
        "check": "relay",
        "verdict": "fail",
        "found": "\x1b[2J",
        "advice": "mend it",
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("zeroconf>=0.130; extra == 'mdns'", ("zeroconf", "mdns", "0.130")),
        ('aioquic<1.8,>=1.7; extra == "x"', ("aioquic", "x", "0")),
        ("thespian", ("thespian", "", "0")),
    ],
)
def test_requirements_are_read(line: str, expected: tuple[str, str, str]) -> None:
    assert machine.parse_requirement(line) == expected


def test_versions_are_compared_as_numbers() -> None:
    assert machine.is_at_least("0.130.0", "0.13")
    assert machine.is_at_least("10.1rc1", "9.9")
    assert not machine.is_at_least("2.9", "2.10")


def test_packages_of_this_project_are_found_with_their_extras() -> None:
    found = {one.name: one for one in read_packages()}
    assert found["aioquic"].extra == ""
    assert found["aioquic"].version
    assert found["zeroconf"].extra == "mdns"
    assert "ruff" not in found


def test_what_is_measured_of_this_machine(tmp_path: Path) -> None:
    assert echo("127.0.0.1", 1200) == ""
    assert echo("192.0.2.77", 1200)  # of no interface: it cannot be bound
    assert measure_buffers(4096).receive_bytes >= 4096
    written = measure_storage(tmp_path)
    assert not written.error
    assert written.free_bytes > 0
    assert all(took > 0 for took in written.sync_s)
    assert not list(tmp_path.iterdir())
    assert "No such file" in measure_storage(tmp_path / "absent").error
    verdicts = {one.check: one.verdict for one in check_machine(tmp_path)}
    assert verdicts["python"] is OK
    assert set(verdicts) >= {"extras", "udp", "mtu", "buffers", "open files", "sync", "storage"}


def test_a_folder_of_the_rendezvous_that_others_may_enter_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOSAIK_RUNTIME_DIR", str(tmp_path))
    assert check_user_folder() == (tmp_path / "mosaik", "")
    (tmp_path / "mosaik").chmod(0o755)
    path, error = check_user_folder()
    assert path == tmp_path / "mosaik"
    assert "mode 755" in error
    monkeypatch.setenv("MOSAIK_RUNTIME_DIR", os.devnull)
    assert check_user_folder()[1]


def test_the_command_says_what_failed_and_exits_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOSAIK_RUNTIME_DIR", str(tmp_path))
    missing = str(tmp_path / "missing")
    assert main(["doctor", "--data", missing, "--json", "--resolve", "localhost"]) == 1
    shown = json.loads(capsys.readouterr().out)
    by_name = {one["check"]: one for one in shown["checks"]}
    assert not shown["ok"]
    assert by_name["storage"]["verdict"] == "fail"
    assert by_name["dns"]["verdict"] == "ok"
    assert main(["doctor", "--data", missing]) == 1
    assert "-> make the folder" in capsys.readouterr().out
    main(["doctor", "nobody", "--data", str(tmp_path), "--wait", "0.1"])
    assert "nobody was found within 0.1 s" in capsys.readouterr().out
    assert stat.S_IMODE((tmp_path / "mosaik").stat().st_mode) == 0o700


def settled(net: Network) -> Awaitable[CatalogSnapshot]:
    return joining.settled(net, 10.0)


async def test_a_network_is_seen_with_its_peers_clocks_and_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOSAIK_RUNTIME_DIR", str(tmp_path))
    over_quic = TransportConfig(carriers=("quic",))
    async with (
        Network("seen", secret=SECRET, transport=over_quic) as shown,
        Network("seen", secret=SECRET, share_status=False, bootstrap=shown.addr) as silent,
    ):
        await until(lambda: silent.peer_id in shown.discovery.catalog())
        net = Network("seen", secret=SECRET)
        found = {one.check: one for one in await check_network(net, 0, settled, [SECRET])}
    assert found["peers"].verdict is OK
    assert "1 unix" in found["peers"].found
    assert "1 quic" in found["peers"].found
    assert found["clock"].verdict is OK
    assert "1 compared" in found["clock"].found
    # Also the one that is met over a Unix socket is dialled over UDP.
    assert found["udp to peers"].verdict is OK
    assert f"16384 bytes to {shown.peer_id.short}" in found["udp to peers"].found
    assert f"16384 bytes to {silent.peer_id.short}" in found["udp to peers"].found
    assert found["nat"].verdict is SKIP


async def test_a_peer_that_udp_does_not_reach_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_probes, "ASK_S", 0.1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        net = Network("seen")
        entry = PeerEntry(
            peer=SecretKey.from_seed("silent").peer_id,
            network=net.id,
            version=EntryVersion(1, 1),
            direct=(silent.getsockname(),),
        )
        [path] = await network_probes.dial_over_udp(net, [PeerInfo(entry)], [])
    assert path.error == "no answer within 0.1 s"
    assert network.judge_paths([path]).verdict is WARN


@pytest.mark.parametrize(
    ("gateway", "external", "error"),
    [
        (Gateway(), OUTSIDE, ""),
        (Gateway(result=2), None, "not authorized"),
        (Gateway(outside="10.0.0.1"), None, "behind another NAT"),
    ],
    ids=["maps", "refuses", "private"],
)
async def test_the_gateway_is_asked_for_a_port_and_given_it_back(
    gateway: Gateway, external: str | None, error: str
) -> None:
    async with serving(gateway) as config:
        asked = await ask_gateway(config, 10.0)
        await until(lambda: not gateway.mapped)
    assert (asked.external and asked.external[0]) == external
    assert error in asked.error


async def test_a_node_that_cannot_start_is_a_failed_check() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        [found] = await check_network(Network("seen", bind=bind), 0, settled)
    assert found.verdict is FAIL
    assert "is in use" in found.found


async def test_relays_the_dht_and_the_resolver_are_asked() -> None:
    issuer = EdDsaSigningKey.generate()
    server = await start_relay(
        Machine(),
        SecretKey.from_seed("relay"),
        [("127.0.0.1", 0)],
        secrets=[SECRET],
        require_ticket=Jwt(issuer.verifying_key),
    )
    try:
        async with LocalDht(2) as dht:
            relays = RelayConfig(relays=(server.addr,), secret=SECRET)
            found = await check_reach(relays, there := dht.config, ["localhost"], 10.0)
        assert [one.verdict for one in found] == [OK, OK, OK], found
        text = "over TLS over TCP and UDP, with a ticket only, the nearest in"
        assert text in found[1].found
        # Without the secret, and in a DHT where nobody is left.
        async with asyncio.timeout(20):
            refused = await check_reach(RelayConfig(relays=(server.addr,)), there, [], 0.3)
        assert [one.verdict for one in refused] == [SKIP, FAIL, FAIL], refused
    finally:
        await server.close()
