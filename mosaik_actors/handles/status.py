"""What a node shows of itself: ``net.status()``, and the same of its peers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Self

from ..actors.status import StatusActor
from ..discovery.info import PeerInfo
from ..errors import Closed, DecodeError, TransportError
from ..ids import PeerId
from ..metrics.loop_delay import LoopDelay
from ..metrics.messages import StartStatus
from ..metrics.records import (
    LISTED_MAX,
    ActorClassStatus,
    ActorsStatus,
    CollectionStatus,
    DiscoveryStatus,
    GroupStatus,
    NodeStatus,
    PeerStatus,
    TransportStatus,
    clip_text,
)
from ..metrics.wire import PROTOCOL, decode_status
from ..node import Node
from ..runtime.status import MailboxStats
from ..transport.address import PeerAddr, SocketAddr
from .discovery import Discovery
from .one_answer import ask_once
from .required_tickets import TicketChecks
from .streams import Streams

if TYPE_CHECKING:
    from ..metrics.server import HttpServer

logger = logging.getLogger(__name__)

GroupsReader = Callable[[], tuple[Sequence[GroupStatus], Sequence[CollectionStatus]]]


class StatusService:
    """Takes the snapshots of one node, and serves them. Made by `start`.

    Args:
        node: The node.
        discovery: Its discovery.
        streams: Its streams.
        read_groups: Returns the status of its groups, and of its collections.
        tickets: What it makes of tickets.
        delay: Measures its loop; None in a simulation.
    """

    def __init__(
        self,
        node: Node,
        discovery: Discovery,
        streams: Streams,
        read_groups: GroupsReader,
        tickets: TicketChecks,
        delay: LoopDelay | None,
    ) -> None:
        self._node = node
        self._discovery = discovery
        self._streams = streams
        self._read_groups = read_groups
        self._tickets = tickets
        self._delay = delay
        self._server: HttpServer | None = None
        self._started_at = node.clock.monotonic()

    @classmethod
    async def start(
        cls,
        node: Node,
        discovery: Discovery,
        streams: Streams,
        read_groups: GroupsReader,
        tickets: TicketChecks,
        *,
        measures_loop: bool,
        is_shared: bool,
        metrics_bind: SocketAddr | None,
        why_not_ready: Callable[[], dict[str, str]],
    ) -> Self:
        """Begin to measure the loop and to serve. `close` it in the end.

        Args:
            node: The node.
            discovery: Its discovery.
            streams: Its streams.
            read_groups: Returns the status of its groups, and of its collections.
            tickets: What it makes of tickets.
            measures_loop: Whether the loop's delay is measured.
            is_shared: Whether peers get the snapshot.
            metrics_bind: Where to serve metrics; None for nowhere.
            why_not_ready: What ``/readyz`` answers with.

        Raises:
            TransportError: The address of the metrics cannot be bound.
        """
        delay = LoopDelay(node.system.loop) if measures_loop else None
        self = cls(node, discovery, streams, read_groups, tickets, delay)
        start = StartStatus(node, self.read if is_shared else None)
        node.system.tell(node.system.createActor(StatusActor), start)
        if metrics_bind is not None:
            from .status_pages import serve_pages  # with the families of all metrics

            try:
                self._server = await serve_pages(metrics_bind, self.read, why_not_ready)
            except BaseException:
                await self.close()
                raise
            logger.info("metrics at http://%s:%d/metrics", *self._server.addr)
        return self

    @property
    def metrics_addr(self) -> tuple[str, int] | None:
        """Where metrics are served."""
        return None if self._server is None else self._server.addr

    async def close(self) -> None:
        """Serve and measure no longer. May be repeated."""
        if self._delay is not None:
            self._delay.close()
        if self._server is not None:
            await self._server.close()

    def read(self) -> NodeStatus:
        """Take a snapshot."""
        node, endpoint = self._node, self._node.endpoint
        connected = endpoint.connected_peers()
        peers = list(self._discovery.catalog().values())
        neighbours = self._discovery.neighbours
        groups, collections = self._read_groups()
        return NodeStatus(
            version=_own_version(),
            network_id=str(node.network_id),
            peer_id=str(node.peer_id),
            addr=str(endpoint.addr),
            tags=tuple(str(tag) for tag in self._discovery.me.entry.tags[:LISTED_MAX]),
            at=node.clock.wall(),
            uptime_s=node.clock.monotonic() - self._started_at,
            discovery=DiscoveryStatus(
                peers=len(peers),
                unreachable=sum(not peer.is_reachable for peer in peers),
                neighbours=len(neighbours),
                refused={str(why): count for why, count in self._discovery.refused.items()},
            ),
            peers=_read_peers(peers, set(connected), set(neighbours)),
            streams=tuple(self._streams.read_status()[:LISTED_MAX]),
            groups=tuple(groups),
            collections=tuple(collections),
            transport=TransportStatus(
                connections=len(connected), counters=asdict(endpoint.counters)
            ),
            actors=_read_actors(node),
            loop=None if self._delay is None else self._delay.status(),
            tickets=self._tickets.read_status(len(self._discovery.me.entry.tickets)),
        )


async def ask_status(node: Node, addr: PeerAddr, timeout_s: float) -> NodeStatus:
    """Return what a peer shows of itself. May be cancelled.

    Raises:
        LinkRefused: It does not show itself, or could not be reached.
        TransportError: It ended the link without an answer, or sent something else.
        TimeoutError: No answer in time.
    """
    frame = await ask_once(node, addr, PROTOCOL, timeout_s=timeout_s)
    try:
        return decode_status(frame)
    except DecodeError as exc:
        raise TransportError(f"the status of the peer could not be decoded: {exc}") from exc


def peer_addr(discovery: Discovery, peer_id: PeerId | str) -> PeerAddr:
    """Return where a peer of the catalog is. Raises `Closed` when it is not there."""
    found = discovery.catalog().get(PeerId(peer_id))
    if found is None:
        raise Closed(reason=f"peer {PeerId(peer_id).short} is not in the catalog")
    return found.addr


@cache
def _own_version() -> str:
    from importlib.metadata import version  # reads files, with the parser of mails

    return version("mosaik-actors")


def _read_peers(
    peers: Iterable[PeerInfo], connected: set[PeerId], neighbours: set[PeerId]
) -> tuple[PeerStatus, ...]:
    # Those that matter to this node first: the list has a limit.
    ordered = sorted(
        peers,
        key=lambda p: (p.peer_id not in neighbours, p.peer_id not in connected, p.peer_id),
    )
    return tuple(
        PeerStatus(
            peer_id=str(peer.peer_id),
            addr=clip_text(str(peer.addr)),
            rtt_s=peer.rtt,
            is_reachable=peer.is_reachable,
            is_connected=peer.peer_id in connected,
            is_neighbour=peer.peer_id in neighbours,
            last_heard_s=peer.last_heard_s,
        )
        for peer in ordered[:LISTED_MAX]
    )


def _read_actors(node: Node) -> ActorsStatus:
    stats = node.system.stats()
    by_class: dict[str, list[MailboxStats]] = {}
    for mailbox in node.system.mailboxes():
        by_class.setdefault(clip_text(mailbox.actor_class), []).append(mailbox)
    return ActorsStatus(
        living=stats.actors,
        created=stats.created,
        exited=stats.exited,
        handled=stats.handled,
        queued=stats.queued,
        failures=stats.failures,
        poisoned=stats.poisoned,
        dead_letters=stats.dead_letters,
        slow=sum(stats.slow.values()),
        classes=tuple(
            ActorClassStatus(
                actor_class=name,
                count=len(boxes),
                queued=sum(box.depth for box in boxes),
                depth_max=max(box.depth_max for box in boxes),
                handled=sum(box.handled for box in boxes),
                slow=sum(box.slow_count for box in boxes),
                busy=sum(box.is_busy for box in boxes),
                age_max_s=max(box.age_s for box in boxes),
            )
            for name, boxes in list(by_class.items())[:LISTED_MAX]
        ),
    )
