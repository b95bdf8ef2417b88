"""What keeps nodes of one network apart, as the commands name it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from mosaik_actors import ConsensusConfig, Map, Network, TransportConfig
from mosaik_actors.cli import groups, joining, peers
from mosaik_actors.cli.doctor.divided import find_apart, find_divided
from mosaik_actors.cli.doctor.network_probes import check_network
from mosaik_actors.cli.main import build_parser
from mosaik_actors.collections.naming import name_of
from mosaik_actors.discovery.entry import GroupInfo
from mosaik_actors.discovery.info import PeerInfo
from mosaik_actors.ids import GroupId
from mosaik_actors.testing import TIME_FACTOR
from tests.unit.discovery.helpers import entry, peer
from tests.waiting import until

Strict = Annotated[int, msgspec.Meta(ge=0)]
QUICK = ConsensusConfig(heartbeat_interval=0.05, election_timeout=0.4)


def member(name: str, *groups: tuple[str, str], **more: Any) -> PeerInfo:
    shown = tuple(GroupInfo(GroupId(group), called) for group, called in groups)
    return PeerInfo(entry(name, groups=shown), **more)


def of_store(kind: str, store: str = "balance") -> str:
    return name_of(kind, store, has_secret=True).shown


def test_one_store_with_two_types_is_two_groups() -> None:
    whole, text = of_store("Map[str, int]"), of_store("Map[str, str]")
    [found] = find_divided([member("a", ("1", whole)), member("b", ("2", text))])
    one, two = GroupId("1").short, GroupId("2").short
    assert str(found) == (
        f"store balance is 2 groups that differ in kind or types: "
        f"Map[str, int] #{one} at {peer('a').short}; Map[str, str] #{two} at {peer('b').short}"
    )


def test_one_type_with_other_constraints_is_two_groups() -> None:
    name = of_store("Map[str, int]")
    [found] = find_divided(
        [member("a", ("1", name)), member("b", ("2", name)), member("c", ("2", name))]
    )
    assert "differ in constraints, a type or settings: Map[str, int] #" in str(found)
    assert f"at {peer('b').short}, {peer('c').short}" in str(found)


def test_groups_of_one_name_are_named_without_a_kind() -> None:
    [found] = find_divided([member("a", ("1", "counter")), member("b", ("2", "counter"))])
    assert str(found).startswith("counter is 2 groups that differ in constraints")
    assert f"group #{GroupId('1').short} at {peer('a').short}" in str(found)


@pytest.mark.parametrize(
    "known",
    [
        [member("a", ("1", "counter")), member("b", ("1", "counter"))],
        [member("a", ("1", "counter")), member("b", ("2", "other"))],
        [member("a", ("1", "")), member("b", ("2", ""))],
        # Whoever has both means two.
        [member("a", ("1", "counter"), ("2", "counter")), member("b", ("2", "counter"))],
        [member("a", ("1", "counter")), member("b", ("2", "counter"), is_reachable=False)],
        [
            member("a", ("1", of_store("Map[str, int]", "x"))),
            member("b", ("2", of_store("Map[str, int]", "y"))),
        ],
    ],
    ids=["one", "other name", "no name", "both at one", "away", "other store"],
)
def test_what_is_meant_is_not_named(known: list[PeerInfo]) -> None:
    assert find_divided(known) == []


def test_any_number_of_groups_of_any_name_fits_into_a_line() -> None:
    known = [member(str(number), (str(number), "n" * 250)) for number in range(200)]
    [found] = find_divided(known)
    assert "and 196 more" in str(found)
    assert len(str(found)) < 500
    assert len(str(find_divided(known * 2)[0])) < 700


def listening(name: str, *carriers: str, relay: str | None = None) -> PeerInfo:
    return PeerInfo(entry(name, carriers=carriers, relay=relay))


def test_peers_that_listen_on_nothing_in_common_are_named() -> None:
    known = [listening("a", "tcp"), listening("b", "quic"), listening("c", "tcp", "quic")]
    assert find_apart(known, lambda _peer: "tcp") == (
        f"no carrier in common: tcp alone at {peer('a').short}; quic alone at {peer('b').short}"
    )
    assert find_apart(known[1:], lambda _peer: "tcp") is None
    # Those of this user have Unix sockets in common; a relay is a way between any two.
    assert find_apart(known, lambda _peer: "unix") is None
    assert find_apart([*known[1:], listening("a", "tcp", relay="r")], lambda _peer: None) is None


def settled(net: Network) -> Any:
    return joining.settled(net, 10.0)


def briefly(net: Network) -> Any:
    return joining.settled(net, TIME_FACTOR)  # nobody will be there


async def run(command: Any, *arguments: str) -> None:
    options = build_parser().parse_args(list(arguments))
    assert await command(options) == 0


async def test_the_commands_name_maps_of_one_store_that_never_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOSAIK_RUNTIME_DIR", str(tmp_path))
    async with Network("bank") as a, Network("bank") as b:
        loose = Map[str, int].writer(a, "balance", consensus=QUICK)
        strict = Map[str, Strict].writer(b, "balance", consensus=QUICK)
        await loose.when().online()
        await strict.when().online()
        await until(lambda: strict.why_offline is None and len(a.discovery.catalog()) == 1)

        await run(groups._run, "group", "status", "bank", "balance")
        [line] = [one for one in capsys.readouterr().out.splitlines() if "never meet" in one]
        for net, store in ((a, loose), (b, strict)):
            assert f"#{store.group_id.short} at {net.peer_id.short}" in line
        assert "differ in" in line

        await run(groups._run, "group", "status", "bank", "balance", "--json")
        rows = [json.loads(one) for one in capsys.readouterr().out.splitlines()]
        others = {row["id"]: row["same_name"] for row in rows}
        ids = [str(loose.group_id), str(strict.group_id)]
        assert others == {ids[0]: ids[1:], ids[1]: ids[:1]}

        found = {one.check: one for one in await check_network(Network("bank"), 0, settled)}
        assert found["groups"].verdict == "warn"
        assert f"#{strict.group_id.short} at {b.peer_id.short}" in found["groups"].found


async def test_the_commands_name_nodes_without_a_carrier_in_common(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOSAIK_RUNTIME_DIR", str(tmp_path))
    only = {
        one: TransportConfig(carriers=(one,), dial_timeout=TIME_FACTOR) for one in ("tcp", "quic")
    }
    async with Network("mixed", transport=only["tcp"]) as tcp:
        why = "no carrier in common: it listens on tcp, this node dials quic"
        # Seen from a node that has QUIC alone, as the rendezvous names the other one.
        net = Network("mixed", transport=only["quic"])
        found = {one.check: one for one in await check_network(net, 0, briefly)}
        assert found["peers"].verdict == "fail"
        assert f"peer {tcp.peer_id.short}: {why}" in found["peers"].found

        # Seen from a node that has both, as they say what they listen on.
        async with Network("mixed", transport=only["quic"]) as quic:
            await run(peers._list, "peers", "mixed")
            shown = capsys.readouterr().out
            found = {one.check: one for one in await check_network(Network("mixed"), 0, settled)}
        among = f"tcp alone at {tcp.peer_id.short}; quic alone at {quic.peer_id.short}"
        assert among in shown
        assert among in found["peers"].found
        assert found["peers"].verdict == "warn"
        # Who does not listen on QUIC is not said to be cut off from UDP.
        assert found["udp to peers"].verdict == "ok"
