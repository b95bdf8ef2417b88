"""The gossip actor: which peers this node has discovery links to, and what they get.

Receives: `StartGossip` first; `LinkOffered` from the transport actor; `LinkUp`,
    `FramesHeard`, `ProbeAnswered`, `LinkDown` from its peer actors; `EntriesMerged`, `PeersKnown`,
    `StartSync`, `ProbeSuspects`, `LeaveOverlay` from the catalog actor; `PeersSighted` from
    whoever looks for peers.
Sends: `DialLink`, `AdoptLink`, `BeginSync`, `EntriesJudged`, `EndLink` to its peer
    actors; `RefreshEntry`, `CatalogTouched` to the catalog actor;
    `OverlayLeft` in the end.
Owns: the `Gossip` core, and one peer actor per link (`gossip_links`). It writes to the links
    of neighbours directly, and lets the catalog's core judge what they announce without a
    detour: a burst of announcements is one message from its peer actor.
Failure: a link that fails takes its peer actor along; the core decides whom to dial
    instead. A neighbour that does not take in what is written loses the link.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce

import msgspec
from thespian.actors import ActorAddress, ChildActorExited, WakeupMessage

from ..discovery.catalog.catalog import Catalog
from ..discovery.catalog.verdict import EntryVerdict
from ..discovery.config import DiscoveryConfig
from ..discovery.errors import SyncError
from ..discovery.gossip.addresses import merge_addrs
from ..discovery.gossip.announcements import RefreshOwnEntry, SendFrames
from ..discovery.gossip.asked_syncs import AskedSyncs
from ..discovery.gossip.edges import DialNeighbour, DropNeighbour, Offer, SendFrame
from ..discovery.gossip.exchange import Exchange
from ..discovery.gossip.gossip import (
    Gossip,
    GossipEvent,
    LookAtLinks,
    VerifyNeighbours,
    suspect_frames,
)
from ..discovery.gossip.link_roles import LinkRole
from ..discovery.messages import (
    BeginSync,
    CatalogTouched,
    EndLink,
    EntriesJudged,
    EntriesMerged,
    FramesHeard,
    LeaveOverlay,
    LinkDown,
    LinkUp,
    OverlayLeft,
    PeersKnown,
    PeersSighted,
    ProbeAnswered,
    ProbeSuspects,
    RefreshEntry,
    StartGossip,
    StartSync,
    SyncFailed,
)
from ..discovery.rtt import ProbesDue, RttSampled
from ..discovery.wire import (
    FRAME_BYTES_MAX,
    GUEST,
    PROTOCOL,
    Contact,
    LinkPurpose,
    Suspect,
    decode_purpose,
    encode_frame,
    without_loopback_contacts,
)
from ..errors import DecodeError
from ..ids import PeerId
from ..node import Node
from ..runtime import TypeDispatcher
from ..transport.address import PeerAddr
from ..transport.close import SHUTDOWN, CloseCode, CloseReason
from ..transport.interface import Link, LinkClosed
from ..transport.messages import LinkOffered, ServeProtocol
from .gossip_links import GossipLinks

logger = logging.getLogger(__name__)

_ENOUGH = CloseReason(CloseCode.GRACEFUL_SHUTDOWN, "enough neighbours")
_BUSY = CloseReason(CloseCode.GRACEFUL_SHUTDOWN, "too many discovery links")
_SILENT = CloseReason(CloseCode.UNEXPECTED_CLOSE, "no answer")
_LEAVING = CloseReason(CloseCode.GRACEFUL_SHUTDOWN, "this node leaves")
_NO_ANSWER = (CloseCode.UNEXPECTED_CLOSE, CloseCode.CANCELLED)
_VERIFY_S = 2.5
_TIMER_SLACK_S = 0.001


class _GossipTimer(msgspec.Struct, frozen=True):
    due_at: float
    expected_at: float


class GossipActor(TypeDispatcher):
    """Keeps the links of the overlay, and sends over them."""

    def __init__(self) -> None:
        self._node: Node
        self._config: DiscoveryConfig
        self._catalog: ActorAddress
        self._core: Catalog
        self._gossip: Gossip
        self._exchange: Exchange
        self._links: GossipLinks
        self._may_be_accused = False
        self._network_name = ""
        self._asked: AskedSyncs[StartSync] = AskedSyncs()
        self._armed: float | None = None
        self._leaver: ActorAddress | None = None

    # Lifecycle.

    def receiveMsg_StartGossip(self, message: StartGossip, sender: ActorAddress) -> None:
        """Serve the protocol, and begin with the bootstrap peers.

        The transport actor answers the sender: whoever dials after that is heard.
        """
        self._node = message.node
        self._config = message.config
        self._core = message.core
        self._catalog = message.catalog
        self._gossip = message.gossip
        self._exchange = Exchange(message.core, message.gossip)
        self._links = GossipLinks(self, self._node, self._config, self._catalog, self._allowance_s)
        self._network_name = message.network_name
        self._vouch(message.bootstrap)
        self._gossip.receive_hints("bootstrap", message.bootstrap, now=self._now())
        self.send(
            message.node.transport,
            ServeProtocol(PROTOCOL, self.myAddress, sender, is_essential=True),
        )
        self._pump()

    def receiveMsg_LeaveOverlay(self, message: LeaveOverlay, _sender: ActorAddress) -> None:
        """Close all links once what was written is out, then answer."""
        self._leaver = message.asker
        self._links.end_all(EndLink(SHUTDOWN, self._config.graceful_departure_window))
        self._answer_leaver()

    def receiveMsg_ChildActorExited(self, message: ChildActorExited, _sender: ActorAddress) -> None:
        """Forget a peer actor; one that failed takes its link along."""
        for role, peer_id in self._links.forget(message.childAddress):
            self._lose(role, peer_id, CloseCode.UNEXPECTED_CLOSE)
        self._answer_leaver()
        self._pump()

    # From the catalog actor, and from whoever looks for peers.

    def receiveMsg_EntriesMerged(self, message: EntriesMerged, _sender: ActorAddress) -> None:
        """Spread what is new."""
        source, is_synced = message.source, message.source is not None
        self._gossip.receive_fresh(
            message.entries, source, message.replaced, is_synced=is_synced, now=self._now()
        )
        self._pump()

    def receiveMsg_PeersKnown(self, message: PeersKnown, _sender: ActorAddress) -> None:
        """Take in whom to pick neighbours from."""
        self._gossip.receive_known(message.snapshot, message.past, now=self._now())
        self._pump()

    def receiveMsg_PeersSighted(self, message: PeersSighted, _sender: ActorAddress) -> None:
        """Take in where somebody may be found."""
        if message.source == "rendezvous":
            self._vouch(message.addrs)  # only this machine's user can have written them
            self._look_for_own_key(message.addrs)
        self._gossip.receive_hints(message.source, message.addrs, now=self._now())
        self._pump()

    def receiveMsg_StartSync(self, message: StartSync, _sender: ActorAddress) -> None:
        """Sync once for somebody; what is asked while one runs shares the next."""
        addr = message.request.addr
        if self._leaver is not None:
            self._refuse_sync(message)
            return
        if self._asked.begin(addr.peer_id, message):
            self._sync_asked([message])
        if message.is_lasting:
            self._vouch((addr,))
            self._gossip.receive_lasting(addr, now=self._now())
            self._pump()

    def receiveMsg_ProbeSuspects(self, message: ProbeSuspects, _sender: ActorAddress) -> None:
        """Try to reach those whom only one peer accuses, and those that were cut off."""
        self._verify(message.peers)
        for peer_id in message.unreachable:
            self._gossip.overlay.dial_again(peer_id)
        self._pump()

    # Links that peers open.

    def receiveMsg_LinkOffered(self, message: LinkOffered, _sender: ActorAddress) -> None:
        """Accept a link, or say why not."""
        link = message.link
        self._core.receive_met(link.peer_id)
        try:
            purpose = decode_purpose(link.header)
        except DecodeError as error:
            link.close(CloseReason(error.close_code, str(error)[:200]))
            return
        offer = self._decide(link, purpose)
        if isinstance(offer, CloseReason):
            link.close(offer)
        elif offer is Offer.ACCEPT:
            self._replace_link(link.peer_id, self._links.adopt(link, purpose), link)
            link.accept(frame_bytes_max=FRAME_BYTES_MAX)
            self._tell_claims(link)
        else:
            is_probe = purpose.purpose == "probe"
            self._links.adopt(link, LinkPurpose("probe" if is_probe else "sync"))
            reply = GUEST if purpose.purpose == "join" else b""
            link.accept(reply, frame_bytes_max=FRAME_BYTES_MAX)
        self._pump()

    def receiveMsg_LinkClosed(self, message: LinkClosed, _sender: ActorAddress) -> None:
        """Pass on the end of a link that came before its peer actor had it."""
        if (peer := self._links.adopter_of(message.link)) is not None:
            self.send(peer, message)

    # What became of links.

    def receiveMsg_LinkUp(self, message: LinkUp, sender: ActorAddress) -> None:
        """Note a neighbour that we dialled."""
        peer_id = message.peer_id
        if self._links.roles.get(LinkRole.DIAL, peer_id) != sender or self._leaver is not None:
            self._links.refuse(sender)
            return
        self._links.roles.pop(LinkRole.DIAL, peer_id)
        self._gossip.receive_link_up(peer_id, now=self._now())
        self._replace_link(peer_id, sender, message.link)
        self._tell_claims(message.link)
        self.send(sender, BeginSync())
        self._pump()

    def receiveMsg_FramesHeard(self, message: FramesHeard, sender: ActorAddress) -> None:
        """Take in what a neighbour sends, and pass on what is new of it."""
        now = self._now()
        is_from_afar = not self._node.endpoint.may_be_local(message.peer_id)
        for sent in message.frames:
            frame = without_loopback_contacts(sent) if is_from_afar else sent
            unseen = self._gossip.receive_frame(message.peer_id, frame, now=now)
            if isinstance(frame, Suspect):
                self._judge_claims(frame.claims, message.peer_id)
            elif unseen:
                self._judge(unseen, message.peer_id)
        if message.receipt_bytes:
            self.send(sender, EntriesJudged(message.receipt_bytes))
        self._pump()

    def receiveMsg_ProbeAnswered(self, message: ProbeAnswered, sender: ActorAddress) -> None:
        """Take in a measurement."""
        if self._links.roles.get(LinkRole.PROBE, message.peer_id) == sender:
            # Either may be late because a processor was busy; neither can be too early.
            known_s = self._node.endpoint.rtt(message.peer_id)
            rtt_s = message.rtt_s if known_s is None else min(message.rtt_s, known_s)
            self._sample(message.peer_id, rtt_s)

    def receiveMsg_LinkDown(self, message: LinkDown, sender: ActorAddress) -> None:
        """Note a link that ended, or that could not be opened."""
        peer_id, code = message.peer_id, message.reason.code
        role = self._links.roles.find(peer_id, sender)
        if role is not None:
            self._lose(role, peer_id, code)
        if role is LinkRole.VERIFICATION and code in _NO_ANSWER:
            self._note_silent(peer_id)
        if code == CloseCode.DIFFERENT_NETWORK:
            self._blame_network(peer_id)
        self._pump()

    # Timers.

    def receiveMsg_WakeupMessage(self, message: WakeupMessage, _sender: ActorAddress) -> None:
        """Do what is due."""
        if isinstance(message.payload, _GossipTimer) and message.payload.due_at == self._armed:
            self._armed = None
            now = self._now()
            if self._gossip.receive_late(now - message.payload.expected_at, now=now):
                self._may_be_accused = True
                self._refute()
            self._gossip.handle_timer(now=now)
            self._pump()

    # Helpers.

    def _pump(self) -> None:
        while (event := self._gossip.next_event()) is not None:
            self._follow(event)
        due_at = self._gossip.get_timer()
        if due_at is not None and (self._armed is None or due_at < self._armed):
            self._armed = due_at
            now = self._now()
            wait_s = max(0.0, due_at - now) + _TIMER_SLACK_S
            self.wakeupAfter(wait_s, _GossipTimer(due_at, now + wait_s))

    def _follow(self, event: GossipEvent) -> None:
        match event:
            case SendFrames(peers, frames):
                for peer_id in peers:
                    self._links.write(peer_id, frames)
            case SendFrame(peer_id, frame):
                self._links.write(peer_id, (encode_frame(frame),))
            case RefreshOwnEntry():
                self.send(self._catalog, RefreshEntry())
            case DialNeighbour(addr, purpose, urgent):
                contact = Contact.of(self._core.me.addr) if purpose == "join" else None
                self._links.dial(LinkRole.DIAL, addr, LinkPurpose(purpose, urgent, contact))
            case LookAtLinks():
                self._look_at_links()
            case VerifyNeighbours(peers):
                self._verify(peers)
            case RttSampled(peer_id, rtt_s):
                if self._node.endpoint.rtt(peer_id) is None:
                    self._sample(peer_id, rtt_s)
            case ProbesDue():
                connected = set(self._node.endpoint.connected_peers())
                for addr in self._exchange.choose_probes(connected, now=self._now()):
                    self._links.dial(LinkRole.PROBE, addr, LinkPurpose("probe"))
            case DropNeighbour(peer_id):
                self._core.receive_link_down(peer_id, is_broken=False, now=self._wall())
                self._links.drop(peer_id, _ENOUGH)

    def _judge(self, entries: Sequence[bytes], source: PeerId) -> None:
        refused = self._exchange.receive_entries(
            entries,
            source,
            is_from_afar=not self._node.endpoint.may_be_local(source),
            now=self._now(),
            wall=self._wall(),
        )
        self._log_refusals(source, refused)
        self._tell_catalog()

    def _log_refusals(self, source: PeerId, verdicts: Iterable[EntryVerdict]) -> None:
        text, log = "what peer %s announced is refused: %s", self._node.peer_log
        for one in verdicts:
            log.warning(logger, source, text, source.short, one, now=self._now(), about=one)

    def _judge_claims(self, claims: Sequence[bytes], source: PeerId) -> None:
        refused = self._exchange.receive_claims(claims, source, wall=self._wall())
        self._log_refusals(source, refused)
        self._tell_if(self._exchange.spread_claims(source, now=self._now()))

    def _tell_if(self, has_accused: bool) -> None:
        if has_accused:
            self.send(self._catalog, CatalogTouched())  # it decides when time is up

    def _verify(self, peers: Iterable[PeerId]) -> None:
        """Try to reach peers soon, and accuse those that do not answer."""
        if self._leaver is not None:
            return
        limit_s = min(_VERIFY_S + self._allowance_s(), self._config.dial_timeout)
        config = replace(self._config, dial_timeout=limit_s, sync_timeout=limit_s)
        for addr in self._exchange.live_addrs(peers):
            if self._links.roles.get(LinkRole.VERIFICATION, addr.peer_id) is None:
                purpose = LinkPurpose("probe")
                self._links.dial(LinkRole.VERIFICATION, addr, purpose, config=config)

    def _allowance_s(self) -> float:
        return self._gossip.allowance_s(now=self._now())

    def _note_silent(self, peer_id: PeerId) -> None:
        """Accuse a peer that could not be reached; a link to it is of no use any more."""
        heard_at = self._node.endpoint.heard_at(peer_id)
        if heard_at is not None and self._now() < heard_at + _VERIFY_S + self._allowance_s():
            return  # the probe failed, but the peer said something meanwhile
        if not self._links.end(peer_id, _SILENT):  # `_lose_link` accuses it
            self._tell_if(self._exchange.accuse(peer_id, now=self._now(), wall=self._wall()))

    def _look_at_links(self) -> None:
        """Report when each neighbour was heard last."""
        now = self._now()
        heard_at = {}
        for peer_id in self._links.open:
            at = self._node.endpoint.heard_at(peer_id)
            heard_at[peer_id] = now if at is None else at
        self._gossip.receive_heard(heard_at, now=now)

    def _refute(self) -> None:
        """Say that this node is there: somebody may have taken it for dead."""
        self._gossip.receive_claims((), (self._core.peer_id,), None, now=self._now())
        self.send(self._catalog, RefreshEntry())

    def _look_for_own_key(self, addrs: Iterable[PeerAddr]) -> None:
        """Look whether a process on this machine that lives is another node with our key."""
        if any(addr.peer_id == self._core.peer_id for addr in addrs):
            self._core.note_shared_key()
            self._tell_catalog()

    def _blame_network(self, peer_id: PeerId) -> None:
        """Say that a peer that this node was given is in another network."""
        if not self._gossip.is_hinted(peer_id):
            return
        self._node.peer_log.error(
            logger,
            peer_id,
            "peer %s, which this node was told to dial, belongs to another network than this "
            "node's, %s, or has another secret: nothing is exchanged with it; are the network "
            "names and the secrets the same on both sides?",
            peer_id.short,
            repr(self._network_name),
            now=self._now(),
        )

    def _tell_catalog(self) -> None:
        if self._exchange.has_changed():
            self.send(self._catalog, CatalogTouched())

    def _sample(self, peer_id: PeerId, rtt_s: float) -> None:
        self._core.receive_rtt_sample(peer_id, rtt_s)
        self._tell_catalog()

    def _lose(self, role: LinkRole, peer_id: PeerId, code: int) -> None:
        """Take in that a link ended."""
        self._links.roles.pop(role, peer_id)
        if role is LinkRole.NEIGHBOUR:
            self._lose_link(peer_id, code)
        elif role is LinkRole.DIAL and code == CloseCode.SUCCESS:
            self._gossip.receive_guest_done(peer_id, now=self._now())
        elif role is LinkRole.DIAL:
            self._gossip.receive_dial_failed(peer_id, code=code, now=self._now())
        elif role is LinkRole.PROBE:
            is_answer = code == CloseCode.SUCCESS
            self._gossip.rtt.receive_probe_ended(peer_id, was_answered=is_answer, now=self._now())
        elif role is LinkRole.SYNC:
            self._end_asked(peer_id)

    def _sync_asked(self, requests: list[StartSync]) -> None:
        addr = self._gossip.complete_addr(
            reduce(merge_addrs, [request.request.addr for request in requests])
        )
        self._links.dial(LinkRole.SYNC, addr, LinkPurpose("sync"), tuple(requests))

    def _end_asked(self, peer_id: PeerId) -> None:
        waiting = self._asked.end(peer_id, is_over=self._leaver is not None)
        if self._leaver is not None:
            for request in waiting:
                self._refuse_sync(request)
        elif waiting:
            self._sync_asked(waiting)

    def _refuse_sync(self, request: StartSync) -> None:
        error = SyncError(request.request.addr, _LEAVING)
        self.send(request.asker, SyncFailed(error, request.request.token))

    def _vouch(self, addrs: Iterable[PeerAddr]) -> None:
        """Let the addresses that the user, not gossip, has named be dialled without a budget."""
        self._node.endpoint.vouch(addrs)

    def _decide(self, link: Link, purpose: LinkPurpose) -> Offer | CloseReason:
        """Return what to do with a link: `Offer.GUEST` is one sync or probe."""
        if self._leaver is not None:
            return _LEAVING
        if self._links.adopted_count >= self._config.links_max:
            return _BUSY
        may_be_local = self._node.endpoint.may_be_local(link.peer_id)
        now = self._now()
        return self._gossip.judge_link(link.peer_id, purpose, may_be_local=may_be_local, now=now)

    def _replace_link(self, peer_id: PeerId, actor: ActorAddress, link: Link) -> None:
        self._links.replace(peer_id, actor, link)
        self._core.receive_link_up(peer_id)
        if self._may_be_accused:
            # The other ends of lost links may think that it was this node that fell silent.
            self._may_be_accused = False
            self._refute()
        self._tell_catalog()

    def _tell_claims(self, link: Link) -> None:
        """Notify a new neighbour who does not answer."""
        held = self._core.reachability.held_claims()
        if held:
            link.write_many(suspect_frames(held))

    def _lose_link(self, peer_id: PeerId, code: int) -> None:
        del self._links.open[peer_id]
        is_broken = code == CloseCode.UNEXPECTED_CLOSE and self._leaver is None
        self._may_be_accused = self._may_be_accused or is_broken
        has_accused = self._exchange.lose_link(
            peer_id, code=code, is_broken=is_broken, now=self._now(), wall=self._wall()
        )
        self._tell_if(has_accused)

    def _answer_leaver(self) -> None:
        if self._leaver is not None and self._links.is_empty:
            self.send(self._leaver, OverlayLeft())

    def _now(self) -> float:
        return self._node.clock.monotonic()

    def _wall(self) -> float:
        clock = self._node.clock
        return self._core.read_clock(clock.wall(), clock.monotonic())
