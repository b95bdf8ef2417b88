"""Nodes that cannot reach each other directly meet through a relay."""

import asyncio
import socket
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mosaik_actors import (
    EdDsaSigningKey,
    Jwt,
    JwtTicketBuilder,
    Network,
    NetworkId,
    PeerAddr,
    RelayConfig,
    SecretKey,
    TransportConfig,
    TransportError,
)
from mosaik_actors.cli import relay as relay_command
from mosaik_actors.cli.main import build_parser
from mosaik_actors.environment import Machine
from mosaik_actors.handles.relaying import start_relay, starting, use_relays
from mosaik_actors.handles.relaying.tickets import encode_tickets
from mosaik_actors.tickets.requirement import Validators
from mosaik_actors.transport.address import format_socket_addr
from mosaik_actors.transport.close import SHUTDOWN
from mosaik_actors.transport.interface import Endpoint, Link, LinkRefused
from mosaik_actors.transport.relay.config import RelayLimits
from mosaik_actors.transport.relay.frames import PROTOCOL, RELAY_NETWORK
from mosaik_actors.transport.relay.server import RelayServer
from tests.unit.transport.endpoints import Inbox
from tests.waiting import until

ONLY_RELAY = TransportConfig(carriers=("relay",))
SECRET = "a secret of the relay's own"


class Item(msgspec.Struct, frozen=True):
    number: int
    padding: bytes = b""


@asynccontextmanager
async def relay(
    port: int = 0,
    secrets: Sequence[bytes] = (),
    limits: RelayLimits | None = None,
    host: str = "127.0.0.1",
    require_ticket: Validators = (),
) -> AsyncIterator[RelayServer]:
    key = SecretKey.from_seed("relay")
    bind = [(host, port)]
    server = await start_relay(
        Machine(), key, bind, limits=limits, secrets=secrets, require_ticket=require_ticket
    )
    try:
        yield server
    finally:
        await server.close()


def node(name: str, server: RelayServer | None, **settings: Any) -> Network:
    chosen: dict[str, Any] = {
        "secret_key": SecretKey.from_seed(name),
        "relay": None if server is None else server.addr,
        "rendezvous": False,
        "transport": ONLY_RELAY,
    }
    return Network("relayed", **chosen | settings)


async def exchange(a: Network, b: Network, count: int = 200) -> None:
    """Send items from one to the other, in order and none missing."""
    producer, consumer = a.streams.produce(Item), b.streams.consume(Item)
    async with asyncio.timeout(30):
        await producer.when().online()
        for number in range(count):
            await producer.send(Item(number, bytes(1000)))
        assert [(await consumer.recv()).number for _ in range(count)] == list(range(count))


async def test_two_nodes_that_reach_only_a_relay_exchange_items_and_survive_its_restart() -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(relay())
        port = server.addr.direct[0][1]
        a = await stack.enter_async_context(node("a", server))
        # The id alone says where: both use the relay.
        b = await stack.enter_async_context(
            node("b", server, bind="127.0.0.2:0", bootstrap=str(a.peer_id))
        )
        assert a.addr.relay == b.addr.relay == str(server.addr)
        await exchange(a, b)
        assert a.node.endpoint.carrier(b.peer_id) == "relay"
        assert server.counters.bytes_forwarded > 200_000
        assert server.peer_count == 2
        connection = a.node.endpoint.connected_peers()
        await server.close()
        server = await stack.enter_async_context(relay(port))
        await until(lambda: server.peer_count == 2)
        await exchange(b, a)
        assert a.node.endpoint.connected_peers() == connection
        await a.close()
        # Its goodbye went through the relay as well.
        await until(lambda: a.peer_id not in b.discovery.catalog())


@pytest.mark.parametrize("carrier", starting.RELAY_CARRIERS)
async def test_a_relay_is_reached_over_tcp_and_over_udp(
    carrier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with relay() as server:
        monkeypatch.setattr(starting, "RELAY_CARRIERS", (carrier,))
        async with (
            node("a", server) as a,
            node("b", server, bootstrap=str(a.peer_id)) as b,
        ):
            await exchange(a, b, count=50)
            assert server.peer_count == 2


async def test_a_relay_with_a_secret_serves_nobody_without(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with relay(secrets=[SECRET.encode()]) as server:
        known = RelayConfig(relays=(server.addr,), secret=SECRET)
        unknown = RelayConfig(relays=(server.addr,), wait=0.2)
        async with (
            node("a", None, relay=known) as a,
            node("b", None, relay=unknown, bootstrap=str(a.peer_id)) as b,
            node("c", None, relay=known, bootstrap=str(a.peer_id)) as c,
        ):
            await until(lambda: c.peer_id in a.discovery.catalog())
            assert b.peer_id not in a.discovery.catalog()
            assert server.peer_count == 2
            assert "its secret is another one than RelayConfig(secret=...) here" in caplog.text


async def test_a_relay_with_tickets_serves_who_shows_one_and_no_longer_than_it_holds() -> None:
    """A node shows relays those of its own tickets that are of the classes it names."""
    issuer = EdDsaSigningKey.generate()
    async with relay(require_ticket=Jwt(issuer.verifying_key, issuers=["acme"])) as server:
        shows = RelayConfig(relays=(server.addr,), tickets=(Jwt.class_id,))
        hides = RelayConfig(relays=(server.addr,), wait=0.2)
        builder = JwtTicketBuilder(issuer, issuer="acme", expires_in=600)
        first = builder.build(SecretKey.from_seed("first").peer_id)
        async with node("first", None, relay=shows, tickets=[first]) as net:
            # It had its ticket from the start, and is served when that is over.
            assert server.peer_count == 1
            assert server.counters.tickets_refused == 0
            assert net.discovery.me.entry.tickets == (first,)
        async with (
            node("a", None, relay=shows) as a,
            node("b", None, relay=shows, bootstrap=str(a.peer_id)) as b,
            node("c", None, relay=hides, bootstrap=str(a.peer_id)) as c,
        ):
            for one in (a, b, c):
                one.discovery.keep_ticket(builder)
            await until(lambda: b.peer_id in a.discovery.catalog())
            assert c.peer_id not in a.discovery.catalog()
            assert server.peer_count == 2
            # A newer one in its place changes nothing; without any it is not served any more.
            b.discovery.replace_ticket(builder.build(b.peer_id))
            await exchange(a, b, count=20)
            assert server.counters.tickets_expired == 0
            b.discovery.remove_tickets_of(Jwt.class_id)
            await until(lambda: server.peer_count == 1)
            assert server.counters.tickets_expired == 1
            b.discovery.add_ticket(builder.build(b.peer_id))
            await until(lambda: server.peer_count == 2)
            await exchange(b, a, count=20)
        assert server.counters.tickets_refused >= 1


async def test_the_command_serves_whom_its_options_say_and_its_metrics_show_whom_it_did_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    issuer = EdDsaSigningKey.generate()
    public = issuer._signing_key.public_key().public_bytes_raw()
    (tmp_path / "issuer.pub").write_text(public.hex())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        metrics_addr = format_socket_addr(free.getsockname())
    options = build_parser().parse_args(
        [
            *("relay", "--bind", "127.0.0.1:0", "--key-file", str(tmp_path / "relay.key")),
            *("--ticket-key", str(tmp_path / "issuer.pub"), "--ticket-alg", "EdDSA"),
            *("--ticket-issuer", "acme", "--metrics-addr", metrics_addr),
        ]
    )
    printed = ""

    def has_printed() -> bool:
        nonlocal printed
        printed += capsys.readouterr().out
        return "\n" in printed

    running = asyncio.create_task(relay_command._run(options))
    try:
        await until(has_printed)
        addr = PeerAddr.parse(printed.strip())
        async with AsyncExitStack() as stack:
            peer = await open_endpoint(stack, RELAY_NETWORK, "peer", ("tcp",))
            with pytest.raises(LinkRefused, match="no valid ticket: it shows no ticket"):
                await peer.open_link(addr, PROTOCOL)
            other, mine = [
                JwtTicketBuilder(issuer, issuer=name, expires_in=60).build(peer.peer_id)
                for name in ("another", "acme")
            ]
            with pytest.raises(LinkRefused, match="issuer"):
                await peer.open_link(addr, PROTOCOL, encode_tickets([other]))
            await peer.open_link(addr, PROTOCOL, encode_tickets([mine]))
            url = f"http://{metrics_addr}/metrics"
            page = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read().decode())
        assert "mosaik_relay_tickets_refused_total 2.0\n" in page
        assert "mosaik_relay_peers 1.0\n" in page
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_ban_holds_through_the_relay() -> None:
    async with (
        relay() as server,
        node("a", server) as a,
        node("b", server, bootstrap=str(a.peer_id)) as b,
    ):
        await until(lambda: b.peer_id in a.node.endpoint.connected_peers())
        a.ban(b.peer_id)
        await until(lambda: b.peer_id not in a.node.endpoint.connected_peers())
        with pytest.raises(TransportError, match="banned"):
            await b.discovery.sync_with(a.addr)


async def test_a_direct_way_is_preferred() -> None:
    direct = TransportConfig(carriers=("quic", "relay"))
    async with (
        relay() as server,
        node("a", server, transport=direct) as a,
        node("b", server, transport=direct, bootstrap=str(a.addr)) as b,
    ):
        await until(lambda: b.peer_id in a.discovery.catalog())
        assert a.node.endpoint.carrier(b.peer_id) == "quic"


async def test_pairs_share_a_relay_beside_many_that_are_silent() -> None:
    """`python -m benchmarks relay` measures it with 50 pairs and 500 silent peers."""
    silent, pairs, sent_bytes = 24, 3, 1 << 20
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(relay())
        for number in range(silent):
            peer = await open_endpoint(stack, RELAY_NETWORK, f"silent {number}", ("tcp",))
            await peer.open_link(server.addr, PROTOCOL)
        inboxes: list[Inbox] = []
        links = []
        for number in range(pairs):
            a, b = [
                await relayed_endpoint(stack, server, f"{side} {number}") for side in ("from", "to")
            ]
            b.serve("load", partial(accept_into, inboxes))
            a.vouch([b.addr])
            links.append(await a.open_link(b.addr, "load"))
        for link in links:
            link.write_many([bytes(64 * 1024)] * (sent_bytes // (64 * 1024)))
        for inbox in inboxes:
            await inbox.until(partial(has_all, inbox, sent_bytes))
        counters = server.counters
        assert server.peer_count == silent + 2 * pairs
        assert counters.bytes_forwarded > pairs * sent_bytes
        assert counters.dropped_full == counters.peers_refused == counters.violations == 0


def has_all(inbox: Inbox, sent_bytes: int) -> bool:
    return sum(map(len, inbox.frames)) == sent_bytes


def accept_into(inboxes: list[Inbox], link: Link) -> None:
    inboxes.append(Inbox(link))
    link.accept()


async def open_endpoint(
    stack: AsyncExitStack, network: NetworkId, name: str, carriers: tuple[str, ...]
) -> Endpoint:
    key, config = SecretKey.from_seed(name), TransportConfig(carriers=carriers)
    endpoint = await Machine().open_endpoint(network, key, [("127.0.0.1", 0)], config, ())
    stack.push_async_callback(endpoint.close, SHUTDOWN)
    return endpoint


async def relayed_endpoint(stack: AsyncExitStack, server: RelayServer, name: str) -> Endpoint:
    endpoint = await open_endpoint(stack, NetworkId("load"), name, ("relay",))
    key, config = SecretKey.from_seed(name), RelayConfig(relays=(server.addr,))
    client = await use_relays(Machine(), endpoint, key, [("127.0.0.1", 0)], config)
    stack.push_async_callback(client.close)
    return endpoint


@pytest.mark.parametrize(
    ("engines", "host"),
    [
        (("aioquic", "aioquic"), "::1"),
        (("qh3", "qh3"), "127.0.0.1"),
        (("qh3", "aioquic"), "127.0.0.1"),
    ],
)
async def test_a_relayed_pair_goes_direct_when_it_can(engines: tuple[str, str], host: str) -> None:
    """The id alone is known, so they meet at the relay; from there on they find a direct path."""
    if "qh3" in engines:
        pytest.importorskip("qh3")
    one, other = [
        TransportConfig(carriers=("quic", "relay"), quic_engine=engine) for engine in engines
    ]
    bind = format_socket_addr((host, 0))
    async with (
        relay(host=host) as server,
        node("a", server, bind=bind, transport=one) as a,
        node("b", server, bind=bind, transport=other, bootstrap=str(a.peer_id)) as b,
    ):
        await exchange(a, b)
        ends = [(a.node.endpoint, b.peer_id), (b.node.endpoint, a.peer_id)]
        await until(lambda: all(end.carrier(peer) == "quic" for end, peer in ends))
        forwarded = server.counters.bytes_forwarded
        await exchange(b, a)
        assert server.counters.bytes_forwarded - forwarded < 100_000
        assert [end.counters.paths_taken for end, _ in ends] == [1, 1]
