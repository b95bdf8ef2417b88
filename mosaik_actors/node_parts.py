"""The parts of one node: what they are made from, in which order they start, and how they end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from .actors.transport import TransportActor
from .clock import Clock, Randomness
from .custom.actors import Actors
from .dht.config import DhtConfig
from .discovery.config import DiscoveryConfig
from .environment import Environment, Machine
from .handles.discovery import Discovery
from .handles.on_demand import PartsOnDemand
from .handles.required_tickets import TicketChecks, start_gate
from .handles.status import StatusService
from .handles.streams import Streams
from .ids import NetworkId, PeerId, SecretKey, Tag
from .network_gate import TicketGate
from .node import Node
from .remote.config import ActorsConfig
from .runtime import AsyncActorSystem
from .streams.config import StreamsConfig
from .tickets.ticket import Ticket
from .tickets.validator import TicketValidator
from .transport.address import PeerAddr, SocketAddr
from .transport.close import SHUTDOWN
from .transport.config import TransportConfig
from .transport.interface import Endpoint
from .transport.messages import StartTransport
from .transport.relay.config import RelayConfig

if TYPE_CHECKING:
    from .custom.services import Net
    from .groups.config import GroupsConfig
    from .tee.config import TeeConfig
    from .transport.relay.client import RelayClient

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """The arguments of a `Network`, checked, with their defaults; it says what each means."""

    network_id: NetworkId
    network_name: str  # "" where only the id was given
    secrets: tuple[bytes, ...]
    secret_key: SecretKey | None
    bootstrap: Sequence[PeerAddr]
    tags: Sequence[Tag]
    tickets: Sequence[Ticket]
    bind: Sequence[SocketAddr]
    rendezvous: bool
    mdns: bool
    dht: DhtConfig | None
    relay: RelayConfig | None
    allow: Sequence[PeerId] | None
    deny: Sequence[PeerId]
    require_ticket: Sequence[TicketValidator]
    discovery: DiscoveryConfig
    streams: StreamsConfig
    groups: GroupsConfig | None  # None until groups are used: their code loads late
    actors: ActorsConfig
    transport: TransportConfig
    metrics_bind: SocketAddr | None
    share_status: bool
    tee: TeeConfig | None
    environment: Environment | None


class NodeParts:
    """What runs for one node, each part None until it has started."""

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self.node: Node | None = None
        self.discovery: Discovery | None = None
        self.streams: Streams | None = None
        self.on_demand: PartsOnDemand | None = None
        self.actors: Actors | None = None
        self.status: StatusService | None = None
        self._relays: RelayClient | None = None
        self._undo: list[Callable[[], Awaitable[object]]] = []

    async def start(self, net: Net, why_not_ready: Callable[[], dict[str, str]]) -> None:
        """Start them all, in order; after an error, `close` what has started.

        Args:
            net: The node, as actors of users see it.
            why_not_ready: What the node waits for, by name.

        Raises:
            TransportError: An address cannot be bound; says which port and why.
            ConfigError: A setting asks for what is not installed.
        """
        settings = self._settings
        environment = settings.environment or Machine()
        has_machine = environment.has_machine
        node, tickets = await self._start_node(environment)
        self.discovery = discovery = await Discovery.start(
            node,
            node.endpoint,
            config=settings.discovery,
            bootstrap=settings.bootstrap,
            tags=settings.tags,
            tickets=settings.tickets,
            rendezvous=settings.rendezvous and has_machine,
            mdns=settings.mdns and has_machine,
            dht=settings.dht if has_machine else None,
            network_name=settings.network_name,
        )
        self._undo.append(discovery.close)
        if self._relays is not None and settings.relay is not None:
            from .handles.relaying import show_tickets

            discovery.on_own_tickets(partial(show_tickets, self._relays, settings.relay))
        tickets.follow(catalog := discovery.catalog_actor)
        self.streams = streams = Streams(node, catalog, tickets, settings.streams)
        self._undo.append(streams.close)
        self.on_demand = on_demand = PartsOnDemand(
            node,
            catalog,
            discovery,
            tickets,
            settings.groups,
            settings.tee,
            has_machine=has_machine,
        )
        self._undo.append(on_demand.close)
        self.actors = await Actors.start(node, net, catalog, tickets.require, settings.actors)
        self._undo.append(self.actors.close)
        self.status = await StatusService.start(
            node,
            discovery,
            streams,
            on_demand.read_groups,
            tickets,
            measures_loop=has_machine,
            is_shared=settings.share_status,
            metrics_bind=settings.metrics_bind,
            why_not_ready=why_not_ready,
        )
        self._undo.append(self.status.close)

    async def _start_node(self, environment: Environment) -> tuple[Node, TicketChecks]:
        settings, randomness = self._settings, environment.randomness
        secret_key = settings.secret_key or SecretKey.from_bytes(randomness.secret("identity"))
        endpoint = await environment.open_endpoint(
            settings.network_id, secret_key, settings.bind, settings.transport, settings.secrets
        )
        endpoint.gate.set_lists(settings.allow, settings.deny)  # before it hears anybody
        if settings.relay is not None:
            from .handles.relaying import use_relays

            self._relays = await use_relays(
                environment, endpoint, secret_key, settings.bind, settings.relay, settings.tickets
            )
            self._undo.insert(0, self._relays.close)  # after the goodbyes of the endpoint
        gate = TicketGate(endpoint) if settings.require_ticket else None
        if gate is not None:
            endpoint = gate.as_endpoint
        self._undo.append(lambda: endpoint.close(SHUTDOWN))
        self.node = node = await start_node(
            endpoint,
            secret_key,
            clock=environment.clock,
            randomness=randomness,
            has_new_key=settings.secret_key is None and environment.has_machine,
        )
        self._undo.append(node.system.shutdown)
        tickets = TicketChecks(node)
        if gate is not None:
            start_gate(gate, node, tickets, settings.require_ticket)
        return node, tickets

    async def close(self) -> None:
        """End them, the newest first; one that fails does not keep the others."""
        while self._undo:
            step = self._undo.pop()
            try:
                await step()
            except asyncio.CancelledError:
                # Whoever cancels every task in sight still gets the sockets back.
                logger.debug("closing was cancelled; going on with what is left")
            except Exception:
                logger.exception("closing a part of the node failed; going on with the others")

    def abandon(self) -> None:
        """End what the node holds here and now, without a word to anybody."""
        if self.node is None or not self._undo:
            return
        self._undo.clear()
        self.node.endpoint.crash()
        if self._relays is not None:
            self._relays.crash()
        self.node.system.kill()
        for part in (self.actors, self.on_demand, self.streams, self.discovery):
            if part is not None:
                part.abandon()  # who waits at its handles


async def start_node(
    endpoint: Endpoint,
    secret_key: SecretKey,
    *,
    clock: Clock,
    randomness: Randomness,
    has_new_key: bool = False,
) -> Node:
    """Start an actor system and bridge `endpoint` to it.

    In the end shut the node's `system` down, then close the endpoint.
    """
    system = await AsyncActorSystem.start(name=secret_key.peer_id.short)
    transport = system.createActor(TransportActor)
    system.tell(transport, StartTransport(endpoint))
    return Node(
        network_id=endpoint.network_id,
        secret_key=secret_key,
        clock=clock,
        randomness=randomness,
        system=system,
        endpoint=endpoint,
        transport=transport,
        has_new_key=has_new_key,
    )
