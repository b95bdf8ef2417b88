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
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from thespian.actors import ActorAddress

from ..actors.catalog import CatalogActor
from ..actors.gossip import GossipActor
from ..actors.rendezvous import RendezvousActor
from ..config import require_above, seconds
from ..dht.config import DhtConfig, require_dnspython
from ..discovery.catalog.catalog import Catalog
from ..discovery.catalog.verdict import EntryVerdict
from ..discovery.config import DiscoveryConfig
from ..discovery.entry import PeerEntry, SignedPeerEntry
from ..discovery.gossip.gossip import Gossip
from ..discovery.messages import (
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
from ..discovery.view import CatalogEvent, CatalogSnapshot
from ..errors import Closed, NotAdmitted
from ..events import Events
from ..ids import PeerId, Tag, UniqueId
from ..node import Node
from ..runtime import ActorSystemClosed, AskFailed, AskUndeliverable
from ..tickets.ticket import Ticket
from ..transport.address import PeerAddr
from ..transport.interface import Endpoint
from ..transport.messages import ProtocolServed
from ..when import Wait
from .catalog_state import CatalogState
from .kept_ticket import KeptTicket, TicketBuilder

if TYPE_CHECKING:
    from ..dht.messages import LeaveDht

    LeaveFinder = LeaveRendezvous | LeaveMdns | LeaveDht

logger = logging.getLogger(__name__)

_CLOSE_SLACK_S = 2.0


class Discovery:
    """Who is on the network. Made by `start`; ends with its `Network`."""

    def __init__(
        self,
        node: Node,
        catalog: Catalog,
        gossip: Gossip,
        state: CatalogState,
        catalog_actor: ActorAddress,
        finders: dict[ActorAddress, LeaveFinder],
    ) -> None:
        self._node = node
        self._catalog = catalog
        self._gossip = gossip
        self._state = state
        self.catalog_actor = catalog_actor
        self._finders = finders
        self._departure_s = 0.0
        self._known: tuple[PeerAddr, ...] = ()
        self._kept: list[KeptTicket] = []
        self._dials: dict[asyncio.Task[None], asyncio.Future[None]] = {}
        self._on_own_tickets: Callable[[Iterable[Ticket]], None] | None = None

    @classmethod
    async def start(
        cls,
        node: Node,
        endpoint: Endpoint,
        *,
        config: DiscoveryConfig | None = None,
        bootstrap: Iterable[PeerAddr | str] = (),
        tags: Iterable[Tag | str] = (),
        tickets: Iterable[Ticket] = (),
        rendezvous: bool = True,
        mdns: bool = False,
        dht: DhtConfig | None = None,
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
            tickets: What it shows.
            rendezvous: Whether to look for nodes on this machine.
            mdns: Whether to look for nodes on the local network.
            dht: How to look for nodes in the Mainline DHT; None does not.
            network_name: The network's name, for messages to people.

        Raises:
            ConfigError: The package for mDNS or the DHT is not installed.
            ValueError: A bootstrap text is not an address.
            EntryTooLarge: There are too many tags or tickets.
        """
        if mdns:
            from ..actors.mdns import MdnsActor, require_zeroconf

            require_zeroconf()
        if dht is not None:
            require_dnspython()
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
        for ticket in tickets:
            catalog.local.put_ticket(ticket, now=node.clock.wall())
        rng, now = node.randomness.branch("gossip"), node.clock.monotonic()
        gossip = Gossip(node.peer_id, config, rng, now=now)
        state = CatalogState(catalog.snapshot(), config.events_backlog)
        system = node.system
        catalog_actor, gossip_actor = (
            system.createActor(CatalogActor),
            system.createActor(GossipActor),
        )
        is_read = lambda: state.is_read  # noqa: E731
        start_catalog = StartCatalog(node, config, catalog, state.show, is_read, gossip_actor)
        system.tell(catalog_actor, start_catalog)
        # Peers are refused until the protocol is served, so nobody learns of us before.
        name = network_name or node.network_id.short
        start = StartGossip(node, config, gossip, catalog, catalog_actor, known, name)
        served = await system.ask(gossip_actor, start)
        assert isinstance(served, ProtocolServed), served
        finders: dict[ActorAddress, LeaveFinder] = {}
        if rendezvous:
            finder = system.createActor(RendezvousActor)
            finders[finder] = LeaveRendezvous()
            system.tell(finder, StartRendezvous(node, gossip_actor))
        if mdns:
            finder = system.createActor(MdnsActor)
            finders[finder] = LeaveMdns()
            system.tell(finder, StartMdns(node, gossip_actor))
        if dht is not None:
            from ..actors.dht import DhtActor  # with the package for records
            from ..dht.messages import LeaveDht, StartDht

            finder = system.createActor(DhtActor)
            finders[finder] = LeaveDht()
            start_dht = StartDht(node, gossip_actor, dht, lambda: catalog.snapshot().keys())
            system.tell(finder, start_dht)
        self = cls(node, catalog, gossip, state, catalog_actor, finders)
        self._known = known
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
        return CatalogWatch(self._state)

    def events(self) -> Events[CatalogEvent]:
        """Return an iterator over what happens from now on.

        A reader that falls more than `events_backlog` behind gets `Lagged` in
        place of what it missed. The iteration ends when the network closes.
        """
        return Events(self._state)

    @property
    def refused(self) -> Mapping[EntryVerdict, int]:
        """How many entries were refused so far, by reason."""
        return self._catalog.refused

    # Whom to meet.

    def dial(self, *addrs: PeerAddr | str) -> asyncio.Future[None]:
        """Get to know peers, and keep their addresses for when everybody is lost.

        It begins at once; awaiting the result is optional. It is done when all
        have been tried for the first time and one has answered.

        Raises:
            NotAdmitted: None admits this node; `gate` says why one does not. A
                `DifferentNetwork` for one that belongs to another network.
            SyncError: None answered.
            Closed: The network was closed meanwhile.
            ValueError: A text is not an address. Raised by the call itself.
        """
        self._check_open()
        wanted = tuple(map(_as_addr, addrs))
        loop = asyncio.get_running_loop()
        dialling = loop.create_task(self._dial_all(wanted), name="dial")
        # Not the task itself: cancelled at the end of the network, it would look to who
        # awaits it as if they were cancelled themselves.
        dialled: asyncio.Future[None] = loop.create_future()
        self._dials[dialling] = dialled
        dialling.add_done_callback(self._end_dial)
        return dialled

    async def sync_with(self, addr: PeerAddr | str) -> SyncFinished:
        """Exchange catalogs with a peer, and return what it took.

        Afterwards both sides know what either knew. May be cancelled; the
        exchange goes on without the answer.

        Raises:
            NotAdmitted: The peer does not admit this node; `gate` says why. A
                `DifferentNetwork` when it belongs to another network.
            SyncError: It did not answer, or broke off.
            Closed: The network is closed, or was meanwhile.
            ValueError: The text is not an address.
        """
        self._check_open()
        addr = _as_addr(addr)
        self._node.endpoint.vouch([addr])
        return await self._ask_sync(SyncWith(addr))

    # What this node says about itself.

    def add_tags(self, *tags: Tag | str) -> None:
        """Add labels to this node. Raises `EntryTooLarge`, and then changes nothing."""
        self._change(self._catalog.local.change_tags(tuple(map(Tag, tags)), now=self._now()))

    def remove_tags(self, *tags: Tag | str) -> None:
        """Remove labels from this node."""
        self._change(self._catalog.local.change_tags(remove=tuple(map(Tag, tags)), now=self._now()))

    def add_ticket(self, ticket: Ticket) -> None:
        """Show one more ticket. Raises `EntryTooLarge`, and then changes nothing."""
        self._change_tickets(self._catalog.local.put_ticket(ticket, now=self._now()))

    def remove_ticket(self, ticket_id: UniqueId | str) -> None:
        """Stop showing a ticket."""
        self._change(self._catalog.local.remove_ticket(UniqueId(ticket_id), now=self._now()))

    def remove_tickets_of(self, class_id: UniqueId | str) -> None:
        """Stop showing all tickets of a class."""
        self._change(self._catalog.local.remove_tickets_of(UniqueId(class_id), now=self._now()))

    def replace_ticket(self, ticket: Ticket) -> None:
        """Show a ticket instead of all others of its class, in one step."""
        self._change_tickets(self._catalog.local.replace_ticket(ticket, now=self._now()))

    def keep_ticket(
        self,
        builder: TicketBuilder,
        before: float | timedelta = 60.0,
        *,
        every: float | timedelta | None = None,
    ) -> KeptTicket:
        """Show a ticket, and a new one in its place each time before it expires.

        The first one is shown when the call returns, unless the builder is asynchronous;
        then await the result. A builder that fails later is asked again, after 1 s and
        up to a minute. Other tickets, of the same class too, are left alone.

        Args:
            builder: Has ``build(peer_id)``, which returns a `Ticket` or is a coroutine
                function, such as `JwtTicketBuilder`.
            before: How many seconds before a ticket expires the next one is made; for one
                that does not hold twice as long, at half of its time.
            every: After how many seconds the next one is made. None: as the builder's
                ``expiration(ticket)`` says, or the token itself if it is one.

        Returns:
            What keeps it up; `KeptTicket.close` ends that.

        Raises:
            ConfigError: `before` or `every` is not more than 0; the builder made no
                ticket; or nobody can tell when it expires.
            EntryTooLarge: There is no room for it.
        """
        self._check_open()
        before_s = seconds(before)
        require_above("before", before_s)
        every_s = None if every is None else seconds(every)
        if every_s is not None:
            require_above("every", every_s)
        kept = KeptTicket(
            self._node, builder, before_s=before_s, every_s=every_s, show=self._exchange_ticket
        )
        self._kept.append(kept)
        return kept

    def feed(self, signed: SignedPeerEntry) -> bool:
        """Take in a signed entry, and announce it to others.

        Returns:
            Whether it was accepted: False when it is not newer than what is
            known, forged, of another network, or otherwise refused.
        """
        self._check_open()
        verdict = self._catalog.receive_entry(signed, now=self._now())
        self._change(verdict is EntryVerdict.ACCEPTED)
        return verdict is EntryVerdict.ACCEPTED

    def insert(self, entry: PeerEntry) -> bool:
        """Show a peer here that has not signed an entry. Others do not learn of it.

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
        if self._state.is_closed:
            return
        self._state.close()
        system = self._node.system
        limit_s = self._departure_s + _CLOSE_SLACK_S
        try:
            for finder, leave in self._finders.items():
                await system.ask(finder, leave, limit_s)
            await system.ask(self.catalog_actor, AnnounceDeparture(), limit_s)
        except (AskFailed, ActorSystemClosed) as error:
            logger.info("the departure was not announced: %s", error)
        self._end_kept()
        dials = list(self._dials)
        for dialling in dials:
            dialling.cancel()
        await asyncio.gather(*dials, return_exceptions=True)

    def abandon(self) -> None:
        """End all iterations and calls here and now: the actors are gone."""
        self._end_kept()
        self._state.close()

    def on_own_tickets(self, call: Callable[[Iterable[Ticket]], None]) -> None:
        """Call this with the tickets that the node shows, whenever they may be others."""
        self._on_own_tickets = call

    # Helpers.

    def _end_kept(self) -> None:
        for kept in self._kept:
            kept.close()
        self._kept.clear()

    def _exchange_ticket(self, ticket: Ticket, previous: Ticket | None) -> None:
        local, now = self._catalog.local, self._now()
        self._change_tickets(local.exchange_ticket(ticket, previous, now=now))

    def _change_tickets(self, is_changed: bool) -> None:
        if self._change(is_changed):
            connected = self._node.endpoint.connected_peers()
            refused = [addr for addr in self._known if addr.peer_id not in connected]
            if refused:
                self.dial(*refused)  # for want of a ticket, maybe; now they may let us in

    def _change(self, is_changed: bool) -> bool:
        self._check_open()
        if is_changed:
            self._node.system.tell(self.catalog_actor, CatalogTouched())
            if self._on_own_tickets is not None:
                self._on_own_tickets(self._catalog.local.entry.tickets)
        return is_changed

    def _check_open(self) -> None:
        if self._state.is_closed:
            raise self._state.ended()

    def _now(self) -> float:
        clock = self._node.clock
        return self._catalog.read_clock(clock.wall(), clock.monotonic())

    async def _dial_all(self, addrs: tuple[PeerAddr, ...]) -> None:
        asked = (self._ask_sync(DialPeer(addr)) for addr in addrs)
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if errors and len(errors) == len(addrs):
            raise next((e for e in errors if isinstance(e, NotAdmitted)), errors[0])

    async def _ask_sync(self, request: SyncWith | DialPeer) -> SyncFinished:
        try:
            outcome = await self._node.system.ask(self.catalog_actor, request)
        except (AskUndeliverable, ActorSystemClosed):
            raise Closed(reason="the network is closed") from None
        if isinstance(outcome, SyncFailed):
            raise outcome.error
        assert isinstance(outcome, SyncFinished), outcome
        return outcome

    def _end_dial(self, dialling: asyncio.Task[None]) -> None:
        dialled = self._dials.pop(dialling)
        error = self._state.ended() if dialling.cancelled() else dialling.exception()
        if dialled.done():
            return
        if error is None:
            dialled.set_result(None)
        else:
            dialled.set_exception(error)
            dialled.exception()  # nobody has to await a dial


class CatalogWatch(AsyncIterator[CatalogSnapshot]):
    """The catalogs of `Discovery.watch`, one after the other."""

    def __init__(self, state: CatalogState) -> None:
        self._state = state
        self._seen: CatalogSnapshot | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> CatalogSnapshot:
        state = self._state
        while not state.is_closed:
            if state.snapshot is not self._seen:
                self._seen = state.snapshot
                return self._seen
            await Wait(state, lambda: state.is_closed or state.snapshot is not self._seen)
        raise StopAsyncIteration


def _as_addr(addr: PeerAddr | str) -> PeerAddr:
    return PeerAddr.parse(addr) if isinstance(addr, str) else addr
