"""Nodes behind NATs of every kind, and a relay, on virtual time and with real QUIC datagrams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from itertools import product

import pytest

from mosaik_actors import NetworkId, PeerAddr, RelayConfig, SecretKey, TransportConfig
from mosaik_actors.clock import LoopClock, Randomness
from mosaik_actors.handles.relaying import start_relay, use_relays
from mosaik_actors.testing import NetworkConditions, SimNetwork, Trace
from mosaik_actors.testing.loop import SimLoop
from mosaik_actors.testing.nat import NatKind
from mosaik_actors.testing.scenario import simulate
from mosaik_actors.transport.address import SocketAddr
from mosaik_actors.transport.close import SHUTDOWN, CloseCode
from mosaik_actors.transport.endpoint import QuicEndpoint
from mosaik_actors.transport.interface import Endpoint, Link, LinkRefused
from mosaik_actors.transport.relay.client import RelayClient
from mosaik_actors.transport.relay.config import RelayLimits
from mosaik_actors.transport.relay.frames import PROTOCOL, RELAY_NETWORK
from mosaik_actors.transport.relay.server import RelayServer
from tests.unit.transport.endpoints import Inbox, quic_connections

KINDS: tuple[NatKind | None, ...] = (
    None,
    "full_cone",
    "restricted",
    "port_restricted",
    "symmetric",
)
PATHS = NetworkConditions(latency=0.02)


class _Place:
    """A machine in the simulation: an `Environment`."""

    has_machine = False

    def __init__(self, network: SimNetwork, name: str, address: str, nat: NatKind | None) -> None:
        self.clock = LoopClock(asyncio.get_running_loop())
        self.randomness = Randomness(name.encode())
        self._at = (name, address)
        self._network = network
        self._nat = nat

    async def open_endpoint(
        self,
        network_id: NetworkId,
        secret_key: SecretKey,
        bind: Sequence[SocketAddr],
        config: TransportConfig,
        secrets: Sequence[bytes],
    ) -> Endpoint:
        return await self._network.open_endpoint(
            *self._at,
            network_id,
            secret_key,
            config,
            self.clock,
            self.randomness,
            self._nat,
            secrets,
        )


class _World:
    def __init__(self, stack: AsyncExitStack, paths: NetworkConditions = PATHS) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        self.network = SimNetwork(loop, Randomness(b"relay"), Trace(), paths, "quic")
        self.stack = stack
        self.endpoints: list[Endpoint] = []
        self.clients: dict[Endpoint, RelayClient] = {}

    async def relay(
        self, run: int = 1, limits: RelayLimits | None = None, number: int = 1
    ) -> RelayServer:
        """Start a relay, the same one in each run."""
        name, address = f"relay {number}", f"203.0.113.{number}"
        place = _Place(self.network, name, address, None)
        place.randomness = Randomness(f"{name} {run}".encode())
        key = SecretKey.from_seed(name)
        server = await start_relay(place, key, [(address, 4433)], limits=limits)
        self.stack.push_async_callback(server.close)
        return server

    async def node(
        self,
        name: str,
        relay: PeerAddr | tuple[PeerAddr, ...] | None,
        nat: NatKind | None,
        run: int = 1,
    ) -> QuicEndpoint:
        key = SecretKey.from_seed(name)
        place = _Place(self.network, name, f"10.0.0.{len(self.endpoints) + 1}", nat)
        place.randomness = Randomness(f"{name} {run}".encode())
        endpoint = await place.open_endpoint(NetworkId("net"), key, [], TransportConfig(), ())
        self.endpoints.append(endpoint)
        assert isinstance(endpoint, QuicEndpoint)
        if relay is not None:
            relays = (relay,) if isinstance(relay, PeerAddr) else relay
            config = RelayConfig(relays=relays)
            client = await use_relays(place, endpoint, key, [], config)
            self.clients[endpoint] = client
            self.stack.push_async_callback(client.close)
        self.stack.push_async_callback(endpoint.close, SHUTDOWN)
        return endpoint


def accept_into(endpoint: QuicEndpoint, inboxes: list[Inbox]) -> None:
    def accept(link: Link) -> None:
        inboxes.append(Inbox(link))
        link.accept()

    endpoint.serve("chat", accept)


def is_punchable(one: NatKind | None, other: NatKind | None) -> bool:
    """Return whether two nodes meet directly: each has to know where the other will answer.

    A symmetric NAT shows every destination another port, so what the relay has seen says
    nothing to a NAT that lets in only ports that were sent to (RFC 5128 section 3.3).
    """
    by_port = {"port_restricted", "symmetric"}
    return "symmetric" not in (one, other) or not {one, other} <= by_port


@pytest.mark.parametrize(("kind_a", "kind_b"), list(product(KINDS, KINDS)))
def test_which_pairs_are_direct_and_which_are_relayed(
    kind_a: NatKind | None, kind_b: NatKind | None
) -> None:
    """Frames that are written while the pair moves to a direct path arrive once, in order."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = _World(stack)
            server = await world.relay()
            a = await world.node("a", server.addr, kind_a)
            b = await world.node("b", server.addr, kind_b)
            inboxes: list[Inbox] = []
            accept_into(b, inboxes)
            assert b.addr.relay == str(server.addr)
            assert server.peer_count == 2
            link = await a.open_link(b.addr, "chat", timeout=5.0)
            assert a.carrier(b.peer_id) == ("quic" if kind_b is None else "relay")
            sent = []
            for number in range(60):
                sent.append(bytes([number]) * 500)
                link.write(sent[-1])
                await asyncio.sleep(0.05)
            await inboxes[0].until(lambda: len(inboxes[0].frames) == len(sent))
            assert inboxes[0].frames == sent
            expected = "quic" if is_punchable(kind_a, kind_b) else "relay"
            assert a.carrier(b.peer_id) == b.carrier(a.peer_id) == expected
            # What the relay forwards from now on is nothing, or all of it.
            before = server.counters.bytes_forwarded
            link.write(bytes(20_000))
            await inboxes[0].until(lambda: len(inboxes[0].frames) == len(sent) + 1)
            is_relayed = server.counters.bytes_forwarded - before >= 20_000
            assert is_relayed == (expected == "relay")
            assert len(inboxes) == 1

    simulate(main())


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> float:
    """Wait until something is so; return after how many seconds it was."""
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    while not condition():
        assert loop.time() - began_at < seconds
        await asyncio.sleep(0.05)
    return loop.time() - began_at


@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_a_direct_path_that_dies_and_comes_back_costs_no_frame(loss: float) -> None:
    """Direct, the relay again, direct again: one link, all the while written to."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            paths = NetworkConditions(latency=0.02, loss=loss)
            world = _World(stack, paths)
            server = await world.relay()
            a = await world.node("a", server.addr, "port_restricted")
            b = await world.node("b", server.addr, "restricted")
            inboxes: list[Inbox] = []
            accept_into(b, inboxes)
            link = await a.open_link(b.addr, "chat", timeout=10.0)
            sent: list[bytes] = []

            async def write() -> None:
                for number in range(400):
                    sent.append(number.to_bytes(2) * 300)
                    link.write(sent[-1])
                    await asyncio.sleep(0.1)

            writing = asyncio.create_task(write())
            await until(lambda: a.carrier(b.peer_id) == b.carrier(a.peer_id) == "quic", 3)
            # Direct datagrams vanish in both directions; those to the relay do not.
            for one, other in ((a, b), (b, a)):
                cut = NetworkConditions(latency=0.02, loss=0.999_999)
                world.network.set_conditions(cut, one.peer_id, other.peer_id)
            await until(lambda: a.carrier(b.peer_id) == b.carrier(a.peer_id) == "relay", 6)
            got = len(inboxes[0].frames)
            await until(lambda: len(inboxes[0].frames) > got + 10, 10)
            world.network.set_conditions(paths)
            await until(lambda: a.carrier(b.peer_id) == b.carrier(a.peer_id) == "quic", 30)
            await writing
            await inboxes[0].until(lambda: len(inboxes[0].frames) == len(sent))
            assert inboxes[0].frames == sent
            assert len(inboxes) == 1
            assert (a.counters.paths_taken, a.counters.paths_lost) == (2, 1)

    simulate(main())


def test_a_node_whose_nat_shows_it_elsewhere_is_direct_again_soon() -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = _World(stack)
            server = await world.relay()
            a = await world.node("a", server.addr, "port_restricted")
            b = await world.node("b", server.addr, "port_restricted")
            inboxes: list[Inbox] = []
            accept_into(b, inboxes)
            link = await a.open_link(b.addr, "chat", timeout=10.0)
            await until(lambda: a.carrier(b.peer_id) == b.carrier(a.peer_id) == "quic", 3)
            world.network._nats[a.addr.direct[0][0]]._outside.clear()
            link.write(b"hello")
            await until(lambda: inboxes[0].frames == [b"hello"], 6)
            await until(lambda: a.counters.paths_taken == b.counters.paths_taken == 2, 10)
            assert a.carrier(b.peer_id) == b.carrier(a.peer_id) == "quic"
            assert link.is_open

    simulate(main())


def test_a_peer_that_restarted_is_noticed_past_the_relay() -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = _World(stack)
            server = await world.relay()
            a = await world.node("a", server.addr, "full_cone")
            b = await world.node("b", server.addr, "full_cone")
            accept_into(b, [])
            first = Inbox(await a.open_link(b.addr, "chat", timeout=10.0))
            await until(lambda: a.carrier(b.peer_id) == "quic", 3)
            b.crash()
            world.clients[b].crash()
            world.endpoints.pop()
            again = await world.node("b", server.addr, "full_cone", run=2)
            accept_into(again, [])
            first.link.write(b"anybody?")
            await until(lambda: bool(first.closed), 8)
            await a.open_link(again.addr, "chat", timeout=10.0)
            await until(lambda: a.carrier(b.peer_id) == "quic", 5)

    simulate(main())


def test_without_a_relay_two_nodes_behind_nats_do_not_meet() -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = _World(stack)
            a = await world.node("a", None, "symmetric")
            b = await world.node("b", None, "symmetric")
            with pytest.raises(LinkRefused, match="did not answer"):
                await a.open_link(b.addr, "chat", timeout=30.0)

    simulate(main())


@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_a_link_outlives_the_restart_of_its_relay_and_loses_nothing(loss: float) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = _World(stack, NetworkConditions(latency=0.02, loss=loss))
            server = await world.relay()
            a = await world.node("a", server.addr, "symmetric")
            b = await world.node("b", server.addr, "symmetric")
            inboxes: list[Inbox] = []
            accept_into(b, inboxes)
            link = await a.open_link(b.addr, "chat", timeout=10.0)
            sent = [bytes([number]) * 2000 for number in range(100)]
            link.write_many(sent[:50])
            await inboxes[0].until(lambda: len(inboxes[0].frames) >= 10)
            await server.close()
            link.write_many(sent[50:])
            await asyncio.sleep(2)
            server = await world.relay(run=2)
            await inboxes[0].until(lambda: len(inboxes[0].frames) == 100)
            assert inboxes[0].frames == sent
            assert len(inboxes) == 1
            assert link.is_open

    simulate(main())


def test_a_pair_goes_on_through_the_relay_that_is_left() -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = _World(stack)
            servers = [await world.relay(number=number) for number in (1, 2)]
            relays = (servers[0].addr, servers[1].addr)
            a = await world.node("a", relays, "symmetric")
            b = await world.node("b", relays, "symmetric")
            inboxes: list[Inbox] = []
            accept_into(b, inboxes)
            first = Inbox(await a.open_link(b.addr, "chat", timeout=10.0))
            [home] = [one for one in servers if str(one.addr) == b.addr.relay]
            [other] = [one for one in servers if one is not home]
            assert home.counters.datagrams_forwarded > 0
            assert other.counters.datagrams_forwarded == 0
            await home.close()
            await first.until_closed()  # after its idle timeout
            await a.open_link(b.addr, "chat", timeout=10.0)
            assert other.counters.datagrams_forwarded > 0

    simulate(main())


def test_who_is_named_by_the_user_is_dialled_through_the_relay_again_at_once() -> None:
    """A node may come to the relay after the one that begins with it; gossip's peers wait."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = _World(stack)
            server = await world.relay()
            a = await world.node("a", server.addr, "symmetric")
            late = PeerAddr(SecretKey.from_seed("b").peer_id)
            other = PeerAddr(SecretKey.from_seed("c").peer_id)
            a.vouch([late])
            for to in (late, other):
                with pytest.raises(LinkRefused, match="did not answer at its relay"):
                    await a.open_link(to, "chat", timeout=20.0)
            assert server.counters.dropped_absent > 0
            for name in ("b", "c"):
                accept_into(await world.node(name, server.addr, "symmetric"), [])
            await a.open_link(late, "chat", timeout=5.0)
            with pytest.raises(LinkRefused, match="has never answered there"):
                await a.open_link(other, "chat", timeout=5.0)

    simulate(main())


def test_a_relay_moves_no_direct_connection_to_itself() -> None:
    """What it replays of a direct connection is refused: nothing would come back from there."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = _World(stack)
            server = await world.relay()
            a = await world.node("a", server.addr, None)
            b = await world.node("b", server.addr, None)
            inboxes: list[Inbox] = []
            accept_into(b, inboxes)
            link = await a.open_link(b.addr, "chat")
            [connection] = quic_connections(b)
            packet = b"\x40" + next(iter(connection.cids)) + bytes(50)
            relay_side = server._links[bytes(b.peer_id)]
            refused_count = b.counters.datagrams_refused
            relay_side.write(bytes(a.peer_id) + packet)
            await asyncio.sleep(1)
            assert b.counters.datagrams_refused == refused_count + 1
            assert connection.carrier == "quic"
            link.write(b"hello")
            await inboxes[0].until(lambda: inboxes[0].frames == [b"hello"])

    simulate(main())


def test_a_flood_through_a_relay_takes_nothing_from_others() -> None:
    """A peer that sends more than it may is slowed down; the other pair is not."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = _World(stack)
            server = await world.relay(limits=RelayLimits(bytes_per_s=64 * 1024))
            a, b, c = [await world.node(name, server.addr, "symmetric") for name in ("a", "b", "c")]
            inboxes: list[Inbox] = []
            accept_into(b, inboxes)
            flood = await a.open_link(b.addr, "chat", timeout=5.0)
            quiet = await c.open_link(b.addr, "chat", timeout=5.0)
            flood.write_many([bytes(50_000)] * 40)
            await asyncio.sleep(3)
            assert server.counters.dropped_rate > 0
            quiet.write(b"hello")
            await inboxes[1].until(lambda: inboxes[1].frames == [b"hello"])
            assert len(inboxes[0].frames) < 10  # of 40: some 4 * 64 KiB

    simulate(main())


def test_a_peer_has_one_place_at_a_relay_and_loses_it_with_a_broken_rule() -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = _World(stack)
            server = await world.relay(limits=RelayLimits(peers_max=2))
            peers = [await raw_peer(world, name) for name in ("a", "b", "c")]
            a, b, c = peers
            first, second = [Inbox(await a.open_link(server.addr, PROTOCOL)) for _ in range(2)]
            assert (await first.until_closed()).reason.text == "another link of this peer is used"
            other = Inbox(await b.open_link(server.addr, PROTOCOL))
            assert server.peer_count == 2
            with pytest.raises(LinkRefused, match="serves 2 peers"):
                await c.open_link(server.addr, PROTOCOL)
            # The sender is who has proven to be it, whatever is written.
            second.link.write(bytes(b.peer_id) + b"sealed")
            await other.until(lambda: other.frames == [bytes(a.peer_id) + b"sealed"])
            second.link.write(b"too short")
            closed = await second.until_closed()
            assert closed.reason.code == CloseCode.PROTOCOL_VIOLATION
            assert server.counters.violations == 1
            # Its place is free again.
            last = await c.open_link(server.addr, PROTOCOL)
            last.close()
            # Who goes on breaking rules is refused for a time.
            with pytest.raises(LinkRefused, match="broke too many rules"):
                await break_rules(a, server.addr)

    simulate(main())


async def raw_peer(world: _World, name: str) -> Endpoint:
    """Return an endpoint that speaks to relays by hand."""
    key = SecretKey.from_seed(name)
    place = _Place(world.network, name, f"10.0.1.{ord(name)}", None)
    endpoint = await place.open_endpoint(RELAY_NETWORK, key, [], TransportConfig(), ())
    world.stack.push_async_callback(endpoint.close, SHUTDOWN)
    return endpoint


async def break_rules(peer: Endpoint, relay: PeerAddr) -> None:
    for _ in range(50):
        try:
            inbox = Inbox(await peer.open_link(relay, PROTOCOL))
        except LinkRefused as refused:
            if "serves 2 peers" not in str(refused):
                raise
            await asyncio.sleep(0.1)
            continue
        inbox.link.write(b"")
        await inbox.until_closed()
