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
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .config import require_above, seconds
from .custom.actors import Actors
from .dht.config import DhtConfig
from .dht.config import own_config as own_dht_config
from .discovery.config import DiscoveryConfig
from .environment import Environment, Machine
from .errors import Closed, ConfigError
from .handles.arguments import (
    as_metrics_addr,
    as_network_id,
    as_peer_addrs,
    as_peer_ids,
    as_secret_key,
    as_socket_addrs,
    as_tags,
    default_bind,
)
from .handles.discovery import Discovery
from .handles.on_demand import PartsOnDemand
from .handles.relaying import relay_secrets, show_tickets, use_relays
from .handles.required_tickets import TicketChecks, start_gate
from .handles.status import StatusService, ask_status, peer_addr
from .handles.streams import Streams
from .ids import NetworkId, PeerId, SecretKey, Tag
from .metrics.records import NodeStatus
from .network_gate import TicketGate
from .network_secret import SecretSource, load_secrets
from .node import Node
from .remote.config import ActorsConfig
from .starting import start_node
from .streams.config import StreamsConfig
from .tickets.requirement import Validators, as_validators
from .transport.address import PeerAddr, SocketAddr
from .transport.close import SHUTDOWN
from .transport.config import TransportConfig
from .transport.gate import Standing
from .transport.relay.client import RelayClient
from .transport.relay.config import RelayConfig, own_config

if TYPE_CHECKING:
    from .groups.config import GroupsConfig
    from .handles.groups import Groups
    from .handles.trusted_domain import TrustedDomain
    from .tee.config import TeeConfig

logger = logging.getLogger(__name__)

BindAddr = SocketAddr | str
ReadinessCheck = Callable[[], str | None]


class Network:
    """One node of a network.

    Use it as an async context manager, or `start` it and `close` it. (The class is longer than
    others because it is the face of everything: its arguments and what they mean, and one short
    method for each thing that concerns a whole node. What these do is done elsewhere.)

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
        bind: Where to listen: ``(host, port)``, ``"host:port"``, or several of
            them, at most one per address family. Port 0 takes any free one.
            None hears this machine only, unless `bootstrap` names a peer on
            another one, or with `mdns` or `dht`; then all of IPv4. ``"0.0.0.0:4433"``
            hears everybody at a port that others can be told.
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
        self._require_ticket = as_validators(require_ticket)
        self._id = as_network_id(network_id)
        self._name = network_id if isinstance(network_id, str) else ""
        has_machine = environment is None or environment.has_machine
        self._secrets = load_secrets(secret, os.environ if has_machine else {})
        self._secret_key = as_secret_key(secret_key)
        self._allow = None if allow is None else as_peer_ids("allow", allow)
        self._deny = as_peer_ids("deny", deny)
        self._bootstrap = as_peer_addrs(bootstrap)
        self._tags = as_tags(tags)
        self._dht = own_dht_config(dht)
        self._relay = own_config(relay)
        relay_secrets(self._relay)  # refused here, not at the start
        relays = () if self._relay is None else self._relay.relays
        self._bind = (
            default_bind([*self._bootstrap, *relays], mdns or self._dht is not None)
            if bind is None
            else as_socket_addrs(bind)
        )
        self._rendezvous = rendezvous
        self._mdns = mdns
        self._discovery_config = discovery or DiscoveryConfig()
        self._streams_config = streams or StreamsConfig()
        self._groups_config = groups
        self._actors_config = actors or ActorsConfig()
        self._transport_config = transport or TransportConfig()
        self._metrics_bind = None if metrics_addr is None else as_metrics_addr(metrics_addr)
        self._share_status = share_status
        self._tee_config = tee
        self._environment = environment
        self._node: Node | None = None
        self._discovery: Discovery | None = None
        self._streams: Streams | None = None
        self._on_demand: PartsOnDemand | None = None
        self._actors: Actors | None = None
        self._status: StatusService | None = None
        self._relays: RelayClient | None = None
        self._readiness: dict[str, ReadinessCheck] = {}
        self._undo: list[Callable[[], Awaitable[object]]] = []
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
        return self._id

    @property
    def peer_id(self) -> PeerId:
        """This node's identity."""
        return self._started.peer_id

    @property
    def addr(self) -> PeerAddr:
        """Where others can reach this node; its text can be pasted into `bootstrap`."""
        return self._started.endpoint.addr

    @property
    def discovery(self) -> Discovery:
        """Who is on the network."""
        if self._discovery is None:
            raise self._not_running()
        return self._discovery

    @property
    def streams(self) -> Streams:
        """Typed publish and subscribe."""
        if self._streams is None:
            raise self._not_running()
        return self._streams

    @property
    def groups(self) -> Groups:
        """Replicated state machines."""
        return self._parts.groups

    @property
    def actors(self) -> Actors:
        """Actors of this node, and the way to those of others."""
        if self._actors is None:
            raise self._not_running()
        return self._actors

    @property
    def metrics_addr(self) -> tuple[str, int] | None:
        """Where metrics are served, as host and port; None when they are not."""
        return None if self._status is None else self._status.metrics_addr

    def status(self) -> NodeStatus:
        """Return what this node shows of itself at this moment. Raises `Closed`.

        The records are frozen, and ``msgspec.json.encode`` writes them down.
        """
        if self._status is None:
            raise self._not_running()
        return self._status.read()

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
        return await ask_status(self._started, peer_addr(self.discovery, peer_id), seconds(timeout))

    def add_readiness_check(self, name: str, check: ReadinessCheck) -> None:
        """Let `check` say whether the program is ready, for ``/readyz`` and `why_not_ready`.

        It returns why it is not, or None when it is. A check of the same name is replaced.
        """
        self._readiness[name] = check

    def why_not_ready(self) -> dict[str, str]:
        """Return what this node waits for, by the name of the check; empty when it is ready."""
        if self._closing is not None:
            return {"node": "closing"}
        if self._status is None:
            return {"node": "starting"}
        found = {name: check() for name, check in self._readiness.items()}
        return {name: why for name, why in found.items() if why is not None}

    @property
    def tdx(self) -> TrustedDomain:
        """The trusted domain that this node runs in, if it does."""
        return self._parts.trusted_domain

    def __repr__(self) -> str:
        state = "closed" if self._closing else "running" if self._node else "not started"
        peer = f", peer {self._node.peer_id.short}" if self._node else ""
        return f"Network({self._id.short}{peer}, {state})"

    @property
    def node(self) -> Node:
        """The node's parts, for actors of one's own."""
        return self._started

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
                self._unwind(), name=f"close {self._id.short}"
            )
        try:
            await asyncio.wait([self._closing])
        except asyncio.CancelledError:
            await asyncio.wait([self._closing])
            raise
        finally:
            if self._closing.done() and self._undo and self._node is not None:
                # Cancelled before it could begin, by whoever cancels every task in sight.
                self._abandon(self._node)

    def ban(
        self, peer_id: PeerId | str, duration: float | timedelta | None = None, *, why: str = ""
    ) -> None:
        """Refuse a peer from now on: what is open with it ends, and nothing is opened.

        It is told so, and gets `NotAdmitted` with the gate "deny" when it comes again. For
        this node only: ban a peer at each node that it shall not reach. A ban ends with the
        node; give `deny` to have it from the start. A later ban takes the place of this one.

        Args:
            peer_id: Whom.
            duration: For how many seconds, or a `timedelta`; None until `allow`.
            why: What the peer is told with it, and what `standings` shows.

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
        self._started.endpoint.ban(banned, for_s=for_s, why=why)

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
        self._started.endpoint.allow(allowed)

    def standings(self) -> dict[PeerId, Standing]:
        """Return what this node has against whom: bans, and rules that were broken.

        Raises:
            Closed: The handle is not started, or closed.
        """
        return {one.peer_id: one for one in self._started.endpoint.standings()}

    def crash(self) -> None:
        """Vanish without a word, as a killed process does; for tests and simulations.

        Peers notice after their idle timeout. Nothing of the node is usable afterwards.
        """
        if self._closing is None and self._node is not None:
            self._abandon(self._node)
            self._closing = asyncio.get_running_loop().create_task(self._unwind())

    def suspend(self) -> None:
        """Let no actor have a message until `resume`; for tests and simulations.

        Raises:
            Closed: The handle is not started, or closed.
        """
        self._started.system.suspend()

    def resume(self) -> None:
        """Go on after `suspend`. Raises `Closed` as that does."""
        self._started.system.resume()

    def _abandon(self, node: Node) -> None:
        """End what the node holds here and now, without a word to anybody."""
        self._undo.clear()
        node.endpoint.crash()
        if self._relays is not None:
            self._relays.crash()
        node.system.kill()
        for part in (self._actors, self._on_demand, self._streams, self._discovery):
            if part is not None:
                part.abandon()  # who waits at its handles

    @property
    def _started(self) -> Node:
        if self._node is None:
            raise self._not_running()
        return self._node

    @property
    def _parts(self) -> PartsOnDemand:
        if self._on_demand is None:
            raise self._not_running()
        return self._on_demand

    def _not_running(self) -> Closed:
        if self._closing is not None:
            return Closed(reason="the network handle is closed")
        return Closed(
            reason="the network handle is not started: use `async with Network(...) as net` "
            "or `await Network.start(...)`"
        )

    async def _open(self) -> None:
        if self._node is not None or self._closing is not None:
            raise Closed(reason="a network handle starts once; make a new one")
        try:
            await self._build()
        except BaseException:
            await self.close()
            raise
        logger.info("node %s of network %s listens at %s", self.peer_id.short, self._id, self.addr)

    async def _build(self) -> None:
        environment = self._environment or Machine()
        randomness = environment.randomness
        secret_key = self._secret_key or SecretKey.from_bytes(randomness.secret("identity"))
        endpoint = await environment.open_endpoint(
            self._id, secret_key, self._bind, self._transport_config, self._secrets
        )
        endpoint.gate.set_lists(self._allow, self._deny)  # before it hears anybody
        if self._relay is not None:
            self._relays = await use_relays(
                environment, endpoint, secret_key, self._bind, self._relay
            )
            self._undo.insert(0, self._relays.close)  # after the goodbyes of the endpoint
        gate = TicketGate(endpoint) if self._require_ticket else None
        if gate is not None:
            endpoint = gate.as_endpoint
        self._undo.append(lambda: endpoint.close(SHUTDOWN))
        self._node = node = await start_node(
            endpoint, secret_key, clock=environment.clock, randomness=randomness
        )
        self._undo.append(node.system.shutdown)
        tickets = TicketChecks(node)
        if gate is not None:
            start_gate(gate, node, tickets, self._require_ticket)
        self._discovery = discovery = await Discovery.start(
            node,
            endpoint,
            config=self._discovery_config,
            bootstrap=self._bootstrap,
            tags=self._tags,
            rendezvous=self._rendezvous and environment.has_machine,
            mdns=self._mdns and environment.has_machine,
            dht=self._dht if environment.has_machine else None,
            network_name=self._name,
        )
        self._undo.append(discovery.close)
        if self._relays is not None and self._relay is not None:
            discovery.on_own_tickets(partial(show_tickets, self._relays, self._relay))
        tickets.follow(catalog := discovery.catalog_actor)
        self._streams = streams = Streams(node, catalog, tickets, self._streams_config)
        self._undo.append(streams.close)
        self._on_demand = on_demand = PartsOnDemand(
            node,
            catalog,
            discovery,
            tickets,
            self._groups_config,
            self._tee_config,
            has_machine=environment.has_machine,
        )
        self._undo.append(on_demand.close)
        self._actors = actors = await Actors.start(
            node, self, catalog, tickets.require, self._actors_config
        )
        self._undo.append(actors.close)
        self._status = status = await StatusService.start(
            node,
            discovery,
            streams,
            on_demand.read_groups,
            tickets,
            measures_loop=environment.has_machine,
            is_shared=self._share_status,
            metrics_bind=self._metrics_bind,
            why_not_ready=self.why_not_ready,
        )
        self._undo.append(status.close)

    async def _unwind(self) -> None:
        """End the parts, the newest first; one that fails does not keep the others."""
        while self._undo:
            step = self._undo.pop()
            try:
                await step()
            except asyncio.CancelledError:
                # Whoever cancels every task in sight still gets the sockets back.
                logger.debug("closing was cancelled; going on with what is left")
            except Exception:
                logger.exception("closing a part of the node failed; going on with the others")
