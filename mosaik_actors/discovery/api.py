"""Discovery as a user sees it: `net.discovery`.

    for peer in net.discovery.catalog().values(): ...
    async for catalog in net.discovery.watch(): ...
    async for event in net.discovery.events(): ...

What changes the own entry or the catalog has happened when the call returns,
and reaches other nodes soon after. All of it belongs on the thread of the node's
event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from thespian.actors import ActorAddress

from ..actors.catalog import CatalogActor
from ..actors.gossip import GossipActor
from ..actors.mdns import MdnsActor, require_zeroconf
from ..actors.rendezvous import RendezvousActor
from ..errors import Closed
from ..ids import PeerId, Tag, UniqueId
from ..node import Node
from ..runtime import ActorSystemClosed, AskFailed
from ..transport.address import PeerAddr
from ..transport.interface import Endpoint
from ..transport.messages import ProtocolServed
from .catalog import Catalog, CatalogEvent, CatalogSnapshot, Verdict
from .config import DiscoveryConfig
from .entry import PeerEntry, SignedPeerEntry, Ticket
from .errors import DifferentNetwork
from .gossip import Gossip
from .messages import (
    AnnounceDeparture,
    CatalogTouched,
    DialPeer,
    LeaveMdns,
    LeaveRendezvous,
    StartCatalog,
    StartGossip,
    StartMdns,
    StartRendezvous,
    SyncFailed,
    SyncFinished,
    SyncWith,
)

logger = logging.getLogger(__name__)

_CLOSE_SLACK_S = 2.0


@dataclass(frozen=True, slots=True)
class Lagged:
    """The reader of `events` was too slow: `missed_count` events are not kept any more."""

    missed_count: int


DiscoveryEvent = CatalogEvent | Lagged


class Discovery:
    """Who is on the network. Made by `start`; ends with its `Network`."""

    def __init__(
        self,
        node: Node,
        catalog: Catalog,
        gossip: Gossip,
        board: Board,
        addresses: tuple[ActorAddress, ActorAddress],
        finders: dict[ActorAddress, LeaveRendezvous | LeaveMdns],
    ) -> None:
        self._node = node
        self._catalog = catalog
        self._gossip = gossip
        self._board = board
        self.catalog_actor, self._gossip_actor = addresses
        self._finders = finders
        self._departure_s = 0.0
        self._dials: dict[asyncio.Future[None], None] = {}

    @classmethod
    async def start(
        cls,
        node: Node,
        endpoint: Endpoint,
        *,
        config: DiscoveryConfig | None = None,
        bootstrap: Iterable[PeerAddr | str] = (),
        tags: Iterable[Tag | str] = (),
        rendezvous: bool = True,
        mdns: bool = False,
        network_name: str = "",
    ) -> Self:
        """Start the actors of discovery, and begin to look for peers. `close` it in the end.

        When it returns, peers that dial in are heard.

        Args:
            node: The node.
            endpoint: Where the node's address comes from.
            config: The settings.
            bootstrap: Peers to begin with, as `PeerAddr` or its text.
            tags: Labels of this node.
            rendezvous: Whether to look for nodes on this machine.
            mdns: Whether to look for nodes on the local network.
            network_name: The network's name, for messages to people.

        Raises:
            ConfigError: The package for mDNS is not installed.
            ValueError: A bootstrap text is not an address.
            EntryTooLarge: There are too many tags.
        """
        if mdns:
            require_zeroconf()
        config = config or DiscoveryConfig()
        known = tuple(map(_as_addr, bootstrap))
        catalog = Catalog(
            network_id=node.network_id,
            secret_key=node.secret_key,
            addr=endpoint.addr,
            config=config,
            tags=tuple(map(Tag, tags)),
            clock=node.clock.wall,
            draw=node.randomness.branch("suspicion").random,
            now=node.clock.wall(),
        )
        rng, now = node.randomness.branch("gossip"), node.clock.monotonic()
        gossip = Gossip(node.peer_id, config, rng, now=now)
        board = Board(catalog.snapshot(), config.events_backlog)
        system = node.system
        catalog_actor, gossip_actor = (
            system.createActor(CatalogActor),
            system.createActor(GossipActor),
        )
        system.tell(catalog_actor, StartCatalog(node, config, catalog, board.publish, gossip_actor))
        # Peers are refused until the protocol is served, so nobody is told of us before.
        name = network_name or node.network_id.short
        start = StartGossip(node, config, gossip, catalog, catalog_actor, known, name)
        served = await system.ask(gossip_actor, start)
        assert isinstance(served, ProtocolServed), served
        finders: dict[ActorAddress, LeaveRendezvous | LeaveMdns] = {}
        if rendezvous:
            finder = system.createActor(RendezvousActor)
            finders[finder] = LeaveRendezvous()
            system.tell(finder, StartRendezvous(node, gossip_actor))
        if mdns:
            finder = system.createActor(MdnsActor)
            finders[finder] = LeaveMdns()
            system.tell(finder, StartMdns(node, gossip_actor))
        self = cls(node, catalog, gossip, board, (catalog_actor, gossip_actor), finders)
        self._departure_s = config.graceful_departure_window
        return self

    # What is known.

    @property
    def me(self) -> SignedPeerEntry:
        """What this node says about itself."""
        return self._catalog.me

    def catalog(self) -> CatalogSnapshot:
        """Return the other peers known at this moment. Immutable, and cheap to take."""
        return self._catalog.snapshot()

    @property
    def neighbours(self) -> tuple[PeerId, ...]:
        """The few peers that this node has discovery links to at present; for tools."""
        return self._gossip.neighbours

    def watch(self) -> CatalogWatch:
        """Return an iterator over catalogs: the present one at once, then each newer one.

        A slow reader gets the latest and misses those in between. Any number
        may watch. The iteration ends when the network closes.
        """
        return CatalogWatch(self._board)

    def events(self) -> EventStream:
        """Return an iterator over what happens from now on.

        A reader that falls more than `events_backlog` behind gets `Lagged` in
        place of what it missed. The iteration ends when the network closes.
        """
        return EventStream(self._board)

    @property
    def refused(self) -> Mapping[Verdict, int]:
        """How many entries were refused so far, by reason."""
        return self._catalog.refused

    # Whom to meet.

    def dial(self, *addrs: PeerAddr | str) -> asyncio.Future[None]:
        """Get to know peers, and keep their addresses for when everybody is lost.

        It begins at once; awaiting the result is optional. It is done when all
        have been tried for the first time and one has answered.

        Raises:
            DifferentNetwork: None answered, and one belongs to another network.
            SyncError: None answered.
            ValueError: A text is not an address. Raised by the call itself.
        """
        self._check_open()
        wanted = tuple(map(_as_addr, addrs))
        dialling = asyncio.ensure_future(self._dial_all(wanted))
        self._dials[dialling] = None
        dialling.add_done_callback(self._forget_dial)
        return dialling

    async def sync_with(self, addr: PeerAddr | str) -> SyncFinished:
        """Exchange catalogs with a peer, and return what it took.

        Afterwards both sides know what either knew. May be cancelled; the
        exchange goes on without the answer.

        Raises:
            DifferentNetwork: The peer belongs to another network.
            SyncError: It did not answer, or broke off.
            ValueError: The text is not an address.
        """
        self._check_open()
        return await self._ask_sync(SyncWith(_as_addr(addr)))

    # What this node says about itself.

    def add_tags(self, *tags: Tag | str) -> None:
        """Add labels to this node. Raises `EntryTooLarge`, and then changes nothing."""
        self._change(self._catalog.local.change_tags(tuple(map(Tag, tags)), now=self._now()))

    def remove_tags(self, *tags: Tag | str) -> None:
        """Remove labels from this node."""
        self._change(self._catalog.local.change_tags(remove=tuple(map(Tag, tags)), now=self._now()))

    def add_ticket(self, ticket: Ticket) -> None:
        """Show one more ticket. Raises `EntryTooLarge`, and then changes nothing."""
        self._change(self._catalog.local.put_ticket(ticket, now=self._now()))

    def remove_ticket(self, ticket_id: UniqueId | str) -> None:
        """Stop showing a ticket."""
        self._change(self._catalog.local.remove_ticket(UniqueId(ticket_id), now=self._now()))

    def remove_tickets_of(self, class_id: UniqueId | str) -> None:
        """Stop showing all tickets of a class."""
        self._change(self._catalog.local.remove_tickets_of(UniqueId(class_id), now=self._now()))

    def replace_ticket(self, ticket: Ticket) -> None:
        """Show a ticket instead of all others of its class, in one step."""
        self._change(self._catalog.local.replace_ticket(ticket, now=self._now()))

    # Entries that come some other way.

    def feed(self, signed: SignedPeerEntry) -> bool:
        """Take in a signed entry, and tell others of it.

        Returns:
            Whether it was accepted: False when it is not newer than what is
            known, forged, of another network, or otherwise refused.
        """
        self._check_open()
        verdict = self._catalog.receive_entry(signed, now=self._now())
        self._change(verdict is Verdict.ACCEPTED)
        return verdict is Verdict.ACCEPTED

    def insert(self, entry: PeerEntry) -> bool:
        """Show a peer here that has not signed an entry. Others are not told of it.

        Returns:
            Whether it is shown: False for this node itself, another network, or
            a peer whose signed entry is known.
        """
        return self._change(self._catalog.insert(entry))

    def remove(self, peer_id: PeerId | str) -> bool:
        """Forget a peer here, until it announces itself again; return whether it was known."""
        return self._change(self._catalog.remove(PeerId(peer_id)))

    def clear_unsigned(self) -> int:
        """Forget all peers made with `insert`; return how many there were."""
        cleared_count = self._catalog.clear_unsigned()
        self._change(cleared_count > 0)
        return cleared_count

    # The end.

    async def close(self) -> None:
        """Announce the departure, close the links, end all iterations. May be repeated."""
        if self._board.is_closed:
            return
        self._board.close()
        system = self._node.system
        limit_s = self._departure_s + _CLOSE_SLACK_S
        try:
            for finder, leave in self._finders.items():
                await system.ask(finder, leave, limit_s)
            await system.ask(self.catalog_actor, AnnounceDeparture(), limit_s)
        except (AskFailed, ActorSystemClosed) as error:
            logger.info("the departure was not announced: %s", error)
        dials = list(self._dials)
        for dialling in dials:
            dialling.cancel()
        await asyncio.gather(*dials, return_exceptions=True)

    # Helpers.

    def _change(self, is_changed: bool) -> bool:
        self._check_open()
        if is_changed:
            self._node.system.tell(self.catalog_actor, CatalogTouched())
        return is_changed

    def _check_open(self) -> None:
        if self._board.is_closed:
            raise Closed(reason="the network is closed")

    def _now(self) -> float:
        clock = self._node.clock
        return self._catalog.read_clock(clock.wall(), clock.monotonic())

    async def _dial_all(self, addrs: tuple[PeerAddr, ...]) -> None:
        asked = (self._ask_sync(DialPeer(addr)) for addr in addrs)
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if errors and len(errors) == len(addrs):
            raise next((e for e in errors if isinstance(e, DifferentNetwork)), errors[0])

    async def _ask_sync(self, request: SyncWith | DialPeer) -> SyncFinished:
        outcome = await self._node.system.ask(self.catalog_actor, request)
        if isinstance(outcome, SyncFailed):
            raise outcome.error
        assert isinstance(outcome, SyncFinished), outcome
        return outcome

    def _forget_dial(self, dialling: asyncio.Future[None]) -> None:
        del self._dials[dialling]
        if not dialling.cancelled():
            dialling.exception()  # nobody has to await a dial


class Board:
    """Where the catalog actor publishes, and any number of readers wait.

    Args:
        snapshot: The catalog at first.
        backlog: Events that are kept.
    """

    def __init__(self, snapshot: CatalogSnapshot, backlog: int) -> None:
        self.snapshot = snapshot
        self.is_closed = False
        self._kept: deque[CatalogEvent] = deque(maxlen=backlog)
        self._published_count = 0
        self._news = asyncio.Event()

    @property
    def published_count(self) -> int:
        """Events published so far."""
        return self._published_count

    def publish(self, snapshot: CatalogSnapshot, events: tuple[CatalogEvent, ...]) -> None:
        """Replace the snapshot, add events, and wake all readers."""
        self.snapshot = snapshot
        self._kept.extend(events)
        self._published_count += len(events)
        self._wake()

    def close(self) -> None:
        """End all readers."""
        self.is_closed = True
        self._wake()

    def read_from(self, number: int) -> DiscoveryEvent | None:
        """Return the event of that number, `Lagged` if it is not kept, None if there is none."""
        oldest = self._published_count - len(self._kept)
        if number < oldest:
            return Lagged(oldest - number)
        if number == self._published_count:
            return None
        return self._kept[number - oldest]

    async def wait(self) -> None:
        """Wait until something is published, or the end."""
        await self._news.wait()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


class CatalogWatch:
    """The catalogs of `Discovery.watch`, one after the other."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._seen: CatalogSnapshot | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> CatalogSnapshot:
        while not self._board.is_closed:
            if self._board.snapshot is not self._seen:
                self._seen = self._board.snapshot
                return self._seen
            await self._board.wait()
        raise StopAsyncIteration


class EventStream:
    """The events of `Discovery.events`, one after the other."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._next = board.published_count

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> DiscoveryEvent:
        while True:
            event = self._board.read_from(self._next)
            if event is not None:
                self._next += event.missed_count if isinstance(event, Lagged) else 1
                return event
            if self._board.is_closed:
                raise StopAsyncIteration
            await self._board.wait()


def _as_addr(addr: PeerAddr | str) -> PeerAddr:
    return PeerAddr.parse(addr) if isinstance(addr, str) else addr
