"""The network handle: one node, from its sockets to its streams.

    async with Network("my-app", tags=["worker"]) as net:
        prices = net.streams.consume(Price)
        async for price in prices:
            ...

A `Network` is one node's part in a network. Everything that the node opens
through it (streams, watches, links) ends with it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from .config import require_above, seconds
from .custom.actors import Actors
from .dht.config import DhtConfig
from .dht.config import own_config as own_dht_config
from .discovery.config import DiscoveryConfig
from .environment import Environment
from .errors import Closed, ConfigError
from .handles.arguments import (
    as_metrics_addr,
    as_network_id,
    as_peer_addrs,
    as_peer_ids,
    as_secret_key,
    as_settings,
    as_socket_addrs,
    as_tags,
    as_tickets,
    default_bind,
)
from .handles.discovery import Discovery
from .handles.on_demand import PartsOnDemand
from .handles.status import ask_status, peer_addr
from .handles.streams import Streams
from .ids import NetworkId, PeerId, SecretKey, Tag
from .metrics.records import NodeStatus
from .network_secret import SecretSource, load_secrets
from .node import Node
from .node_parts import NodeParts, NodeSettings
from .remote.config import ActorsConfig
from .streams.config import StreamsConfig
from .tickets.requirement import Validators, as_validators
from .tickets.ticket import Ticket
from .transport.address import PeerAddr, SocketAddr
from .transport.config import TransportConfig
from .transport.gate import Standing
from .transport.relay.config import RelayConfig, own_config

if TYPE_CHECKING:
    from .groups.config import GroupsConfig
    from .handles.groups import Groups
    from .handles.trusted_domain import TrustedDomain
    from .tee.config import TeeConfig

logger = logging.getLogger(__name__)

T = TypeVar("T")

BindAddr = SocketAddr | str
ReadinessCheck = Callable[[], str | None]


class Network:
    """One node of a network.

    Use it as an async context manager, or `start` it and `close` it.

    Args:
        network_id: The network's name, or its id. Nodes with another one never
            exchange anything with this one.
        secret: What it takes to be one of the network: a text, bytes, the `Path` of a
            file, or several, at most four, of which each is accepted. At least 16
            bytes; ``mosaik-actors secret new`` makes one. None: the environment
            variable ``MOSAIK_SECRET``, and if there is none whoever knows the id is.
        secret_key: This node's identity: a `SecretKey`, its 32 bytes or its 64
            hexadecimal digits. A new random one when None. To keep one, give
            ``SecretKey.load_or_create(path)``.
        bootstrap: Peers to begin with, as `PeerAddr` or its text. With
            `rendezvous`, nodes on this machine need none.
        tags: What this node is, for others to choose by.
        tickets: Tickets that it shows from the start, peers and relays, one or several. Each is
            for one peer: give the `secret_key` that it was made for. More can be added, and
            kept up, with `discovery` once it runs.
        bind: Where to listen: ``(host, port)``, ``"host:port"``, or several of
            them, at most one per address family. Port 0 takes any free one.
            None hears this machine only, unless `bootstrap` names a peer on
            another one, or with `mdns`, `dht` or `TransportConfig(port_mapping=True)`; then
            all of IPv4. ``"0.0.0.0:4433"`` hears everybody at a port that others can be told.
        rendezvous: Find, and be found by, nodes of the same user on this
            machine through a private directory.
        mdns: Find, and be found by, nodes on the local network (multicast
            DNS, on the interfaces of `bind`). Needs the extra ``mdns``.
        dht: Find, and be found by, nodes anywhere through the Mainline DHT; a `DhtConfig`
            has its settings. With a secret, strangers learn nothing from it. Needs the
            extra ``dht``.
        relay: Relays to be reached through, and to reach peers through that cannot be reached
            directly: an address as ``mosaik-actors relay`` prints it, several, or a
            `RelayConfig`. Peers meet through relays that both use.
        allow: The only peers that may take part with this node, by `PeerId`; None for
            all. It can be changed while the node runs, with `allow` and `ban`.
        deny: Peers that may not. Each node has its own lists, and keeps them as long as
            it runs.
        require_ticket: Validators of tickets, one or several, all of which must accept
            a peer before anything but its tickets is read from it. It is disconnected
            when they expire.
        discovery: The settings of discovery.
        streams: The settings of streams.
        groups: The settings of groups.
        actors: The settings of actors across nodes.
        transport: The settings of the transport.
        metrics_addr: Where to serve metrics over HTTP: ``"host:port"``, ``(host, port)``,
            or a port of the loopback interface. None serves nothing. Needs the extra
            ``metrics``.
        share_status: Whether peers of this network may read this node's `status`.
        tee: Where TDX quotes and their collateral come from. Needs the extra ``tdx``.
        environment: Where the node lives; the real machine when None.

    Raises:
        ConfigError: An argument is wrong.
    """

    def __init__(
        self,
        network_id: NetworkId | str,
        *,
        secret: SecretSource | Iterable[SecretSource] | None = None,
        secret_key: SecretKey | str | bytes | None = None,
        bootstrap: PeerAddr | str | Iterable[PeerAddr | str] = (),
        tags: Tag | str | Iterable[Tag | str] = (),
        tickets: Ticket | Iterable[Ticket] = (),
        bind: BindAddr | Iterable[BindAddr] | None = None,
        rendezvous: bool = True,
        mdns: bool = False,
        dht: bool | DhtConfig = False,
        relay: PeerAddr | str | Iterable[PeerAddr | str] | RelayConfig | None = None,
        allow: Iterable[PeerId | str] | None = None,
        deny: Iterable[PeerId | str] = (),
        require_ticket: Validators = (),
        discovery: DiscoveryConfig | None = None,
        streams: StreamsConfig | None = None,
        groups: GroupsConfig | None = None,
        actors: ActorsConfig | None = None,
        transport: TransportConfig | None = None,
        metrics_addr: BindAddr | int | None = None,
        share_status: bool = True,
        tee: TeeConfig | None = None,
        environment: Environment | None = None,
    ) -> None:
        own_relay = own_config(relay)
        if own_relay is not None:
            from .handles.relaying import relay_secrets

            relay_secrets(own_relay)  # refused here, not at the start
        own_dht = own_dht_config(dht)
        peers = as_peer_addrs(bootstrap)
        relays = () if own_relay is None else own_relay.relays
        has_machine = environment is None or environment.has_machine
        if groups is not None:
            from .groups.config import GroupsConfig  # most nodes have no group

            as_settings("groups", groups, GroupsConfig)
        own_transport = as_settings("transport", transport, TransportConfig)
        is_mapped = own_transport.maps_outside
        self._settings = NodeSettings(
            network_id=as_network_id(network_id),
            network_name=network_id if isinstance(network_id, str) else "",
            secrets=load_secrets(secret, os.environ if has_machine else {}),
            secret_key=as_secret_key(secret_key),
            bootstrap=peers,
            tags=as_tags(tags),
            tickets=as_tickets(tickets),
            bind=default_bind([*peers, *relays], mdns or own_dht is not None or is_mapped)
            if bind is None
            else as_socket_addrs(bind),
            rendezvous=rendezvous,
            mdns=mdns,
            dht=own_dht,
            relay=own_relay,
            allow=None if allow is None else as_peer_ids("allow", allow),
            deny=as_peer_ids("deny", deny),
            require_ticket=as_validators(require_ticket),
            discovery=as_settings("discovery", discovery, DiscoveryConfig),
            streams=as_settings("streams", streams, StreamsConfig),
            groups=groups,
            actors=as_settings("actors", actors, ActorsConfig),
            transport=own_transport,
            metrics_bind=None if metrics_addr is None else as_metrics_addr(metrics_addr),
            share_status=share_status,
            tee=tee,
            environment=environment,
        )
        self._parts = NodeParts(self._settings)
        self._readiness: dict[str, ReadinessCheck] = {}
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, network_id: NetworkId | str, **settings: Any) -> Self:
        """Return a running node; the arguments are those of the class. `close` it in the end.

        Raises:
            ConfigError: An argument is wrong.
            TransportError: An address cannot be bound; says which port and why.
        """
        network = cls(network_id, **settings)
        await network._open()
        return network

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def id(self) -> NetworkId:
        """The network's id."""
        return self._settings.network_id

    @property
    def peer_id(self) -> PeerId:
        """This node's identity."""
        return self.node.peer_id

    @property
    def addr(self) -> PeerAddr:
        """Where others can reach this node; its text can be pasted into `bootstrap`."""
        return self.node.endpoint.addr

    @property
    def discovery(self) -> Discovery:
        """Who is on the network."""
        return self._running(self._parts.discovery)

    @property
    def streams(self) -> Streams:
        """Typed publish and subscribe."""
        return self._running(self._parts.streams)

    @property
    def groups(self) -> Groups:
        """Replicated state machines."""
        return self._on_demand.groups

    @property
    def actors(self) -> Actors:
        """Actors of this node, and the way to those of others."""
        return self._running(self._parts.actors)

    @property
    def metrics_addr(self) -> tuple[str, int] | None:
        """Where metrics are served, as host and port; None when they are not."""
        status = self._parts.status
        return None if status is None else status.metrics_addr

    def status(self) -> NodeStatus:
        """Return what this node shows of itself at this moment. Raises `Closed`.

        The records are frozen, and ``msgspec.json.encode`` writes them down.
        """
        return self._running(self._parts.status).read()

    async def status_of(
        self, peer_id: PeerId | str, *, timeout: float | timedelta = 3.0
    ) -> NodeStatus:
        """Return what a peer of the catalog shows of itself. May be cancelled.

        It answers one peer four times a second at most, and may show what it was up to
        half a second ago.

        Args:
            peer_id: Which one.
            timeout: Seconds, or a `timedelta`.

        Raises:
            LinkRefused: It could not be reached, or does not share its status.
            TransportError: It ended the link without an answer.
            TimeoutError: No answer in time.
            Closed: It is not in the catalog, or the handle is closed.
        """
        return await ask_status(self.node, peer_addr(self.discovery, peer_id), seconds(timeout))

    def add_readiness_check(self, name: str, check: ReadinessCheck) -> None:
        """Let `check` say whether the program is ready, for ``/readyz`` and `why_not_ready`.

        It returns why it is not, or None when it is. A check of the same name is replaced.
        """
        self._readiness[name] = check

    def why_not_ready(self) -> dict[str, str]:
        """Return what this node waits for, by the name of the check; empty when it is ready."""
        if self._closing is not None:
            return {"node": "closing"}
        if self._parts.status is None:
            return {"node": "starting"}
        found = {name: check() for name, check in self._readiness.items()}
        return {name: why for name, why in found.items() if why is not None}

    @property
    def tdx(self) -> TrustedDomain:
        """The trusted domain that this node runs in, if it does."""
        return self._on_demand.trusted_domain

    def __repr__(self) -> str:
        node = self._parts.node
        state = "closed" if self._closing else "running" if node else "not started"
        peer = f", peer {node.peer_id.short}" if node else ""
        return f"Network({self.id.short}{peer}, {state})"

    @property
    def node(self) -> Node:
        """The node's parts, for actors of one's own."""
        return self._running(self._parts.node)

    @property
    def is_closed(self) -> bool:
        """Whether the node was closed."""
        return self._closing is not None

    async def close(self) -> None:
        """Leave the network: drain what was accepted, announce the departure, end everything.

        Takes a few seconds at most. May be repeated. When cancelled, it is
        still carried through before the cancellation goes on.
        """
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(
                self._parts.close(), name=f"close {self.id.short}"
            )
        try:
            await asyncio.wait([self._closing])
        except asyncio.CancelledError:
            await asyncio.wait([self._closing])
            raise
        finally:
            if self._closing.done():
                # Not carried through: whoever cancels every task in sight did so before it began.
                self._parts.abandon()

    def ban(
        self, peer_id: PeerId | str, duration: float | timedelta | None = None, *, why: str = ""
    ) -> None:
        """Refuse a peer from now on: what is open with it ends, and nothing is opened.

        It learns so, and gets `NotAdmitted` with the gate "deny" when it comes again. For
        this node only: ban a peer at each node that it shall not reach. A ban ends with the
        node; give `deny` to have it from the start. A later ban takes the place of this one.

        Args:
            peer_id: Whom.
            duration: For how many seconds, or a `timedelta`; None until `allow`.
            why: The reason: the peer gets it, and `standings` shows it.

        Raises:
            Closed: The handle is not started, or closed.
            ConfigError: `peer_id` is none, is this node's, or `duration` is not above 0.
        """
        for_s = None if duration is None else seconds(duration)
        if for_s is not None:
            require_above("duration", for_s)
        [banned] = as_peer_ids("peer_id", [peer_id])
        if banned == self.peer_id:
            raise ConfigError("peer_id is this node's own: a node cannot ban itself")
        self.node.endpoint.ban(banned, for_s=for_s, why=why)

    def allow(self, peer_id: PeerId | str) -> None:
        """Refuse a peer no longer, whatever it was refused for.

        Lifts a ban and what `deny` says of it, forgets the rules that it broke, and adds it
        to the list of `allow` where there is one. May be repeated. To take a peer off that
        list, `ban` it. The peer comes back when it, or this node, tries the next time:
        within a minute or so, or at once with ``net.discovery.dial``.

        Raises:
            Closed: The handle is not started, or closed.
            ConfigError: `peer_id` is none.
        """
        [allowed] = as_peer_ids("peer_id", [peer_id])
        self.node.endpoint.allow(allowed)

    def standings(self) -> dict[PeerId, Standing]:
        """Return what this node has against whom: bans, and rules that were broken.

        Raises:
            Closed: The handle is not started, or closed.
        """
        return {one.peer_id: one for one in self.node.endpoint.standings()}

    def crash(self) -> None:
        """Vanish without a word, as a killed process does; for tests and simulations.

        Peers notice after their idle timeout. Nothing of the node is usable afterwards.
        """
        if self._closing is None and self._parts.node is not None:
            self._parts.abandon()
            self._closing = asyncio.get_running_loop().create_task(self._parts.close())

    def suspend(self) -> None:
        """Let no actor have a message until `resume`; for tests and simulations.

        Raises:
            Closed: The handle is not started, or closed.
        """
        self.node.system.suspend()

    def resume(self) -> None:
        """Go on after `suspend`. Raises `Closed` as that does."""
        self.node.system.resume()

    @property
    def _on_demand(self) -> PartsOnDemand:
        return self._running(self._parts.on_demand)

    def _running(self, part: T | None) -> T:
        """Return a part of a node that runs. Raises `Closed`."""
        if part is not None:
            return part
        if self._closing is not None:
            raise Closed(reason="the network handle is closed")
        raise Closed(
            reason="the network handle is not started: use `async with Network(...) as net` "
            "or `await Network.start(...)`"
        )

    async def _open(self) -> None:
        if self._parts.node is not None or self._closing is not None:
            raise Closed(reason="a network handle starts once; make a new one")
        try:
            await self._parts.start(self, self.why_not_ready)
        except BaseException:
            await self.close()
            raise
        logger.info("node %s of network %s listens at %s", self.peer_id.short, self.id, self.addr)
