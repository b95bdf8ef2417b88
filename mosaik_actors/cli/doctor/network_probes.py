"""Measures a network, as a node of it; and the relays, the DHT and the resolver that were named."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ...dht.config import DhtConfig, parse_host_port, require_dnspython
from ...discovery.config import DiscoveryConfig
from ...environment import Machine
from ...errors import ConfigError, MosaikError, TransportError
from ...handles.arguments import default_bind
from ...handles.dht_client import DhtClient
from ...handles.relaying import RELAY_CARRIERS, relay_secrets
from ...ids import SecretKey
from ...metrics.wire import PROTOCOL as STATUS_PROTOCOL
from ...transport.address import PeerAddr, format_socket_addr
from ...transport.close import SHUTDOWN, CloseCode
from ...transport.config import DATAGRAM_BYTES_MIN, TransportConfig
from ...transport.endpoint import QuicEndpoint
from ...transport.interface import Endpoint, LinkRefused
from ...transport.mapping.driver import start_mapping
from ...transport.relay.config import RelayConfig
from ...transport.relay.frames import PROTOCOL, RELAY_NETWORK
from ...transport.sockets import family_of
from .divided import find_divided, list_apart
from .finding import Finding, fail
from .machine import NameLookup, judge_lookups
from .network import (
    ClockReading,
    DatagramPath,
    DhtReached,
    GatewayAsked,
    Met,
    Observed,
    RelayReached,
    judge_clocks,
    judge_dht,
    judge_groups,
    judge_nat,
    judge_paths,
    judge_peers,
    judge_relays,
)

if TYPE_CHECKING:
    from ...discovery.info import PeerInfo
    from ...discovery.view import CatalogSnapshot
    from ...network import Network

DRIFT_MAX_S: Final = DiscoveryConfig().max_time_drift
PEERS_ASKED_MAX: Final = 16
ASK_S: Final = 3.0
SEARCH_S: Final = 1.0
_POLL_S: Final = 0.02
# A peer may show what it was up to half a second ago: its time is from the middle of that.
_STATUS_AGE_S: Final = 0.5
_HARMLESS: Final = ("accepted", "not newer", "own id")


async def check_reach(
    relays: RelayConfig | None, dht: DhtConfig | None, names: Sequence[str], wait_s: float
) -> list[Finding]:
    """Ask the resolver, the relays and the DHT at the same time; return what is made of it."""
    hosts = [parse_host_port(text)[0] for text in (() if dht is None else dht.bootstrap)]
    looked_up, reached, dht_reached = await asyncio.gather(
        look_up_all([*names, *(host for host in hosts if not _is_numeric(host))], wait_s),
        reach_relays(relays, wait_s),
        reach_dht(dht, wait_s),
    )
    return [judge_lookups(looked_up), judge_relays(reached), judge_dht(dht_reached)]


async def check_network(
    net: Network,
    named: int,
    settled: Callable[[Network], Awaitable[CatalogSnapshot]],
    secrets: Sequence[bytes] = (),
) -> list[Finding]:
    """Run a node for a moment, and return what is made of what it sees.

    Args:
        net: The node, not started yet.
        named: How many peers it was given to begin with.
        settled: Returns the catalog once there is reason to look at it.
        secrets: Those of the network.
    """
    try:
        async with net:
            return await _check_running(net, named, settled, secrets)
    except TransportError as exc:
        advice = "end what has the port, or choose another address (--bind)"
        return [fail("peers", f"this node cannot start: {exc}", advice)]


async def _check_running(
    net: Network,
    named: int,
    settled: Callable[[Network], Awaitable[CatalogSnapshot]],
    secrets: Sequence[bytes] = (),
) -> list[Finding]:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    catalog = await settled(net)
    took_s = loop.time() - begun
    peers = sorted(catalog.values(), key=lambda peer: (not peer.is_reachable, peer.peer_id))
    readings = await asyncio.gather(*(read_clock(net, peer) for peer in peers[:PEERS_ASKED_MAX]))
    endpoint = net.node.endpoint
    refused = {str(why): n for why, n in net.discovery.refused.items() if why not in _HARMLESS}
    carriers = {peer.peer_id.short: endpoint.carrier(peer.peer_id) for peer in peers}
    over_udp = [one for one in peers if not one.addr.carriers or "quic" in one.addr.carriers]
    return [
        judge_peers(Met(carriers, took_s, named, refused, list_apart(endpoint, peers))),
        judge_groups(
            len({group for peer in peers if peer.is_reachable for group in peer.groups}),
            [str(one) for one in find_divided(peers)],
        ),
        judge_clocks([one for one in readings if one is not None], DRIFT_MAX_S),
        judge_paths(await dial_over_udp(net, over_udp[:PEERS_ASKED_MAX], secrets)),
        judge_nat(net.addr.direct, read_observed(net.node.endpoint)),
    ]


async def read_clock(net: Network, peer: PeerInfo) -> ClockReading | None:
    """Compare a peer's clock with this machine's: by a round trip, else by its signed entry."""
    clock = net.node.clock
    sent_at, sent_wall = clock.monotonic(), clock.wall()
    try:
        status = await net.status_of(peer.peer_id, timeout=ASK_S)
    except (MosaikError, TimeoutError):
        # It shows nothing of itself. An entry from the future still tells that it is ahead.
        ahead_s = peer.version.update / 1000 - clock.wall()
        return ClockReading(peer.peer_id.short, ahead_s, 0.0) if ahead_s > 0 else None
    half_s = (clock.monotonic() - sent_at) / 2
    error_s = half_s + _STATUS_AGE_S / 2
    ahead_s = status.at + _STATUS_AGE_S / 2 - (sent_wall + half_s)
    return ClockReading(peer.peer_id.short, ahead_s, error_s)


async def dial_over_udp(
    net: Network, peers: Sequence[PeerInfo], secrets: Sequence[bytes]
) -> list[DatagramPath]:
    """Dial peers over UDP alone, from an endpoint of its own, whatever carries the node's links."""
    if not peers:
        return []
    endpoint = await Machine().open_endpoint(
        net.id,
        SecretKey.generate(),
        default_bind([peer.addr for peer in peers], False),
        TransportConfig(carriers=("quic",)),
        secrets,
    )
    assert isinstance(endpoint, QuicEndpoint), "the machine's"
    try:
        endpoint.vouch([peer.addr for peer in peers])
        return await asyncio.gather(*(_dial_over_udp(endpoint, peer.addr) for peer in peers))
    finally:
        await endpoint.close(SHUTDOWN)


async def _dial_over_udp(endpoint: QuicEndpoint, addr: PeerAddr) -> DatagramPath:
    peer_id, loop = addr.peer_id, asyncio.get_running_loop()
    try:
        async with asyncio.timeout(ASK_S):
            await endpoint.open_link(addr, STATUS_PROTOCOL)
    except TimeoutError:
        return DatagramPath(peer_id.short, error=f"no answer within {ASK_S:g} s")
    except LinkRefused as refused:
        if not refused.reason.remote:
            return DatagramPath(peer_id.short, error=str(refused))
    # The size is searched for: it grows within a few round trips where the path lets it.
    give_up_at = loop.time() + SEARCH_S
    while (size := endpoint.datagram_bytes(peer_id)) and loop.time() < give_up_at:
        if size > DATAGRAM_BYTES_MIN:
            break
        await asyncio.sleep(_POLL_S)
    return DatagramPath(peer_id.short, size or DATAGRAM_BYTES_MIN)


def read_observed(endpoint: Endpoint) -> list[Observed]:
    """Return where relays see this node: over IPv4, where NATs are, or else over IPv6."""
    if not isinstance(endpoint, QuicEndpoint):
        return []
    seen = [Observed(f"relay {format_socket_addr(by)}", addr) for by, addr in endpoint.observed]
    return [one for one in seen if ":" not in one.addr[0]] or seen


async def reach_relays(config: RelayConfig | None, wait_s: float) -> list[RelayReached]:
    """Dial each relay in each way there is, as a node that nobody knows, for a moment."""
    if config is None:
        return []
    found = await asyncio.gather(*(_reach_over(one, config, wait_s) for one in RELAY_CARRIERS))
    return [one for reached in found for one in reached]


async def _reach_over(carrier: str, config: RelayConfig, wait_s: float) -> list[RelayReached]:
    endpoint = await Machine().open_endpoint(
        RELAY_NETWORK,
        SecretKey.generate(),  # one has one place
        default_bind(list(config.relays), False),
        TransportConfig(carriers=(carrier,)),
        relay_secrets(config),
    )
    try:
        endpoint.vouch(config.relays)
        return await asyncio.gather(
            *(_reach_relay(endpoint, carrier, relay, wait_s) for relay in config.relays)
        )
    finally:
        await endpoint.close(SHUTDOWN)


async def _reach_relay(
    endpoint: Endpoint, carrier: str, relay: PeerAddr, wait_s: float
) -> RelayReached:
    where = str(relay).partition("@")[2]
    try:
        async with asyncio.timeout(wait_s):
            link = await endpoint.open_link(relay, PROTOCOL)
    except TimeoutError:
        return RelayReached(where, carrier, error=f"no answer within {wait_s:g} s")
    except LinkRefused as refused:
        if refused.reason.code == CloseCode.NO_TICKET:
            rtt = endpoint.rtt(relay.peer_id)
            return RelayReached(where, carrier, rtt_s=rtt, wants_ticket=True)
        return RelayReached(where, carrier, error=str(refused))
    except TransportError as exc:
        return RelayReached(where, carrier, error=str(exc))
    reached = RelayReached(where, carrier, rtt_s=link.rtt)
    link.close()
    return reached


async def ask_gateway(config: TransportConfig, wait_s: float) -> GatewayAsked:
    """Have the gateway map a port that is free here, and give it back."""
    machine = Machine()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("0.0.0.0", 0))
        mapping = start_mapping(
            config,
            [(config.gateway[0] if config.gateway else "0.0.0.0", held.getsockname()[1])],
            ["quic"],
            machine.clock,
            machine.randomness.branch("doctor"),
        )
        assert mapping is not None, "a mapping is wanted"
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    while True:
                        await asyncio.sleep(_POLL_S)
                        if mapping.is_settled:
                            break
            took_s = loop.time() - begun
            return GatewayAsked(mapping.external, mapping.method, mapping.error, took_s)
        finally:
            await mapping.close()


async def reach_dht(config: DhtConfig | None, wait_s: float) -> DhtReached | None:
    """Ask the nodes of the DHT to begin with, until the first answers."""
    if config is None:
        return None
    from ...actors.dht import resolve

    bind = parse_host_port(config.bind)
    try:
        require_dnspython()
    except ConfigError as exc:
        return DhtReached(len(config.bootstrap), None, str(exc))
    entries = await resolve(config.bootstrap, family_of(bind[0]))
    if not entries:
        names = ", ".join(config.bootstrap)
        return DhtReached(len(config.bootstrap), None, f"none of these could be resolved: {names}")
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with DhtClient(bind, entries, rng=Machine().randomness.branch("dht")) as client:
        try:
            async with asyncio.timeout(wait_s):
                await client.joined()
        except TimeoutError:
            return DhtReached(len(entries), None)
    return DhtReached(len(entries), loop.time() - begun)


async def look_up_all(hosts: Sequence[str], wait_s: float) -> list[NameLookup]:
    """Ask the system's resolver for hosts, all at the same time."""
    return await asyncio.gather(*(_look_up(host, wait_s) for host in dict.fromkeys(hosts)))


async def _look_up(host: str, wait_s: float) -> NameLookup:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    try:
        async with asyncio.timeout(wait_s):
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except TimeoutError:
        return NameLookup(host, (), wait_s, f"no answer within {wait_s:g} s")
    except OSError as exc:
        return NameLookup(host, (), loop.time() - begun, exc.strerror or str(exc))
    addrs = dict.fromkeys(str(addr[0]) for *_, addr in found)
    return NameLookup(host, tuple(addrs), loop.time() - begun, "")


def _is_numeric(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except OSError:
        return False
    return True
