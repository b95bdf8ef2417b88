"""What goes to another node's actors: messages, asks and watches, over one link.

What this node says to another one goes over one link, in the order it was said: so the
messages of one actor to another arrive in order, each at most once. The link is the one
that this node opened, or, if there is none, one that the other node opened. While there
is none, what is to be sent waits, at most `waiting_max` of it; when the dial fails, or
the node is known to be gone, all of it becomes dead letters with that reason, and asks fail.

Everything that one turn of the loop sends is one frame. While more than the transport's
high-water mark is unacknowledged, the rest waits for `LinkDrained`.

When a link ends, what was on it may have arrived or not: questions that were sent over it fail
with `AskUndeliverable`, watches are renewed over the next link.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakValueDictionary

from thespian.actors import ActorAddress

from ..ids import PeerId
from ..runtime import ActorGone, ActorRef
from ..runtime.host import ActorHost
from ..runtime.messaging.address import LocalAddress
from ..runtime.messaging.errors import AskRejected, AskUndeliverable
from ..transport.close import CloseCode, CloseReason
from ..transport.interface import Link
from . import wire
from .reference import RemoteQuestion, RemoteRef
from .registry import Codecs
from .sending import Item, SectionToSend, encode_sections

logger = logging.getLogger(__name__)

# What is written to an open link at the latest, though the turn of the loop goes on.
_BURST_MAX = 1024

# Who waits longer than that (30 years) waits for ever.
_LEFT_MAX_S = 1e9


class PeerNode(Protocol):
    """This node, as far as its view of another one knows it."""

    codecs: Codecs
    waiting_max: int
    questions_max: int
    unsent_bytes_max: int

    @property
    def host(self) -> ActorHost:
        """The actor system."""

    @property
    def incarnation(self) -> bytes:
        """Which start of this node it is."""

    @property
    def frame_bytes_max(self) -> int:
        """The largest frame that may be sent."""

    def dial(self, peer_id: PeerId) -> None:
        """Open a link to a node; `link_opened` or `lost` follows."""

    def resolve_ref(self, ref: wire.WireRef) -> ActorRef:
        """Return the reference that was sent."""

    def find_name(self, name: str) -> ActorRef | None:
        """Return the actor of this node that has a name."""

    def why_not(self, peer_id: PeerId, target: ActorRef) -> str | None:
        """Return why a node may not send to an actor, None when it may."""


class Outgoing:
    """What goes to the actors of another node.

    Attributes:
        peer_id: The node.
        link: What is sent goes over it; None while there is none.
        incarnation: Which start of the node it is; None before the first link.
    """

    def __init__(self, node: PeerNode, peer_id: PeerId) -> None:
        self._node = node
        self._host = node.host
        self.peer_id = peer_id
        self.link: Link | None = None
        self.incarnation: bytes | None = None
        self._refs: WeakValueDictionary[tuple[bytes, int], RemoteRef] = WeakValueDictionary()
        self._pending: list[Item] = []
        self._is_due = self._is_dialing = self._is_blocked = False
        self._numbers = 0
        self._questions: dict[int, LocalAddress] = {}  # ours, by number
        self._asked: dict[LocalAddress, int] = {}
        self._resolving: dict[int, Callable[[ActorRef | None], None]] = {}
        self._theirs: dict[int, RemoteQuestion] = {}
        self._watchers: dict[RemoteRef, dict[LocalAddress, None]] = {}
        self._watched: dict[int, ActorRef] = {}
        self._ends = self._host.new_address(self._local_actor_ended)

    @property
    def home(self) -> Outgoing:
        """The node of its actors."""
        return self

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be lost if the node were forgotten."""
        return self.link is None and not (self.is_waiting or self._refs or self._watched)

    @property
    def is_waiting(self) -> bool:
        """Whether anything needs a link to the node."""
        return bool(self._pending or self._watchers)

    def ref(self, incarnation: bytes, number: int, name: str = "", kind: str = "") -> RemoteRef:
        """Return the reference to an actor of the node: always the same for the same actor."""
        found = self._refs.get((incarnation, number))
        if found is None:
            found = RemoteRef(self._host, self, number, incarnation)
            self._refs[incarnation, number] = found
        found.name = name or found.name
        found.class_name = kind or found.class_name
        return found

    # --- what is sent ---

    def send(self, ref: RemoteRef, message: Any, sender: ActorAddress) -> None:
        """Send a message to one of the node's actors."""
        if self.incarnation is not None and ref.incarnation != self.incarnation:
            self._host.dead_letter(message, ref, sender, "its node has restarted since")
            return
        if len(self._pending) >= self._node.waiting_max and not self._can_write():
            reason = f"{len(self._pending)} messages wait for its node"
            self._host.dead_letter(message, ref, sender, reason)
            return
        self._put((ref, message, sender))

    def _put(self, item: Item) -> None:
        self._pending.append(item)
        if not self._is_due:
            self._is_due = True
            if self.link is not None and self.link.is_open:
                self.link.call_before_flush(self._flush_due)  # a turn less in each direction
            else:
                self._host.loop.call_soon(self._flush_due)
        elif len(self._pending) >= _BURST_MAX and self._can_write():
            self._flush()

    def _can_write(self) -> bool:
        return self.link is not None and not self._is_blocked

    def _say(self, section: wire.Section) -> None:
        self._put(SectionToSend(section))

    def _flush_due(self) -> None:
        self._is_due = False
        self._flush()

    def _flush(self) -> None:
        while self._pending:
            link = self.link
            if link is None:
                if not self._is_dialing:
                    self._is_dialing = True
                    self._node.dial(self.peer_id)
                return
            if self._is_blocked:
                return
            items = self._pending[:_BURST_MAX]
            del self._pending[:_BURST_MAX]
            for frame in encode_sections(items, self, self._node.frame_bytes_max):
                link.write(frame)
            self._is_blocked = link.unsent_bytes > self._node.unsent_bytes_max

    def drained(self, link: Link) -> None:
        """Go on writing: the link has room again."""
        if link is self.link:
            self._is_blocked = False
            self._flush()

    # What `encode_sections` asks.

    @property
    def codecs(self) -> Codecs:
        """The codecs of this node."""
        return self._node.codecs

    def register(self, question: LocalAddress) -> int:
        """Give a question of this node a number."""
        known = self._asked.get(question)
        if known is not None:
            return known  # a frame that was too large is encoded once more
        self._numbers += 1
        self._questions[self._numbers] = question
        self._asked[question] = self._numbers
        return self._numbers

    def left_ms(self, deadline: float | None) -> int:
        """Return how many milliseconds are left; 0 for no limit."""
        left_s = _LEFT_MAX_S if deadline is None else deadline - self._host.loop.time()
        return max(1, int(left_s * 1000)) if left_s < _LEFT_MAX_S else 0

    def wire_ref(self, address: LocalAddress) -> wire.WireRef:
        """Return a reference as it travels."""
        assert isinstance(address, ActorRef)
        return to_wire(address, self._node)

    def refuse(self, item: Item, reason: str) -> None:
        """Take in that something cannot be sent at all."""
        if isinstance(item, SectionToSend):
            logger.error("to peer %s: %s", self.peer_id.short, reason)
            return
        ref, message, sender = item
        if isinstance(ref, RemoteQuestion):
            self._fail(ref.number, "poisoned", f"its answer cannot travel: {reason}")
            return
        question = getattr(sender, "question", None)
        if question is not None and isinstance(sender, LocalAddress):
            self._asked.pop(sender, None)
            question.fail(AskRejected(ref, message, reason))
        self._host.dead_letter(message, ref, sender, reason)

    # --- the link ---

    def link_opened(self, link: Link, incarnation: bytes) -> None:
        """Send over this link from now on."""
        self._is_dialing = False
        self._learn(incarnation)
        if self.link is None:
            self.link = link
            self._is_blocked = False
            for ref in self._watchers:
                self._say(wire.Watch(ref.number))
            self._flush()

    def link_offered(self, link: Link, incarnation: bytes) -> None:
        """Take in that the node has opened a link; use it if there is no other."""
        self._learn(incarnation)
        if self.link is None and not self._is_dialing:
            self.link_opened(link, incarnation)

    def link_closed(self, link: Link, reason: str) -> None:
        """Take in that a link has ended."""
        if link is not self.link:
            return
        self.link = None
        self._is_due = False  # a link that has ended need not call
        self._fail_questions(f"the link to its node ended: {reason}")
        for question in self._theirs.values():
            self._abandon_theirs(question)
        self._theirs.clear()
        if self.is_waiting:
            self._flush_or_dial()

    def _flush_or_dial(self) -> None:
        if not self._is_dialing:
            self._is_dialing = True
            self._node.dial(self.peer_id)

    def _learn(self, incarnation: bytes) -> None:
        before, self.incarnation = self.incarnation, incarnation
        if before is None or before != incarnation:
            if self.link is not None and before is not None:
                self.link = None  # it leads to the node's former self
            reason = "its node has restarted"
            for ref in [one for one in self._watchers if one.incarnation != incarnation]:
                self._gone(ref, reason)
            pending, self._pending = self._pending, []
            for item in pending:
                if (
                    isinstance(item, SectionToSend)
                    or not isinstance(item[0], RemoteRef)
                    or item[0].incarnation == incarnation
                ):
                    self._pending.append(item)
                else:
                    self._host.dead_letter(item[1], item[0], item[2], reason)

    def lost(self, reason: str) -> None:
        """Take in that the node cannot be reached, or has left."""
        self._is_dialing = self._is_blocked = self._is_due = False
        if self.link is not None:
            self._give_up_theirs(self.link, f"its node ends the link to the asker's: {reason}")
            self.link.close(CloseReason(CloseCode.CANCELLED, reason))
            self.link = None  # what were written now would be lost without a word
        pending, self._pending = self._pending, []
        for item in pending:
            if not isinstance(item, SectionToSend) and isinstance(item[0], RemoteRef):
                self._host.dead_letter(item[1], item[0], item[2], reason)
        self._fail_questions(reason)
        for ref in list(self._watchers):
            self._gone(ref, reason)

    def _fail_questions(self, reason: str) -> None:
        questions, self._questions = self._questions, {}
        self._asked.clear()
        for address in questions.values():
            question = address.question
            if question is not None and not question.is_over:
                question.fail(AskUndeliverable(question.target, question.message, reason))
        resolving, self._resolving = self._resolving, {}
        for call in resolving.values():
            call(None)

    def _fail(self, number: int, kind: str, reason: str) -> None:
        self._say(wire.Failed(number, kind, clip_reason(reason)))

    def _give_up_theirs(self, link: Link, reason: str) -> None:
        """Cancel what the node asks; should it be there after all, it does not wait for ever."""
        theirs, self._theirs = self._theirs, {}
        if not theirs:
            return
        for question in theirs.values():
            self._abandon_theirs(question)
        why = clip_reason(reason)
        failed: list[Item] = [SectionToSend(wire.Failed(one, "gone", why)) for one in theirs]
        for frame in encode_sections(failed, self, self._node.frame_bytes_max):
            link.write(frame)

    def _abandon_theirs(self, question: RemoteQuestion) -> None:
        question.is_cancelled = True
        if question.target.abandon is not None:
            question.target.abandon(question.address)

    # --- questions of this node ---

    def abandon(self, asker: LocalAddress) -> None:
        """Notify the node that nobody waits for an answer any more."""
        number = self._asked.pop(asker, None)
        if number is not None:
            self._questions.pop(number, None)
            self._say(wire.Cancel(number))

    def grant(self, asker: LocalAddress, count: int) -> None:
        """Let more answers of a stream come."""
        number = self._asked.get(asker)
        if number is not None:
            self._say(wire.Grant(number, count))

    def resolve(self, name: str, call: Callable[[ActorRef | None], None]) -> None:
        """Ask which actor has a name; `call` gets it, or None."""
        self._numbers += 1
        self._resolving[self._numbers] = call
        self._say(wire.Resolve(self._numbers, name))

    # --- watches ---

    def watch(self, ref: RemoteRef, watcher: LocalAddress) -> None:
        """Send `ActorGone` to `watcher` at the end of one of the node's actors, once."""
        if self.incarnation is not None and ref.incarnation != self.incarnation:
            watcher.deliver(ActorGone(ref, "its node has restarted since"), self._host.address)
            return
        is_first = ref not in self._watchers
        self._watchers.setdefault(ref, {})[watcher] = None
        if is_first:
            self._say(wire.Watch(ref.number))

    def unwatch(self, ref: RemoteRef, watcher: LocalAddress) -> None:
        """Send nothing to `watcher` any more."""
        watchers = self._watchers.get(ref)
        if watchers is not None:
            watchers.pop(watcher, None)
            if not watchers:
                del self._watchers[ref]
                if self.link is not None:
                    self._say(wire.Unwatch(ref.number))

    def _gone(self, ref: RemoteRef, reason: str) -> None:
        for watcher in self._watchers.pop(ref, ()):
            watcher.deliver(ActorGone(ref, reason), self._host.address)

    def _local_actor_ended(self, message: Any, _sender: ActorAddress) -> None:
        if isinstance(message, ActorGone):
            self._watched.pop(message.ref.number, None)
            if self.link is not None:
                self._say(wire.Gone(message.ref.number, clip_reason(message.reason)))

    def close(self) -> None:
        """Forget what was promised to the node: it is gone, or this one closes."""
        for ref in self._watched.values():
            self._host.unwatch(ref, self._ends)
        self._watched.clear()


def to_wire(ref: ActorRef, node: PeerNode) -> wire.WireRef:
    """Return a reference as it travels; the node it belongs to keeps it usable from afar."""
    name = (ref.name or "")[: wire.NAME_MAX]
    kind = ref.class_name[: wire.NAME_MAX]
    peer_id = ref.peer_id
    assert peer_id is not None, "this node has a network"
    if isinstance(ref, RemoteRef):
        return wire.WireRef(peer_id, ref.incarnation, ref.number, name, kind)
    ref.is_shared = True
    return wire.WireRef(peer_id, node.incarnation, ref.number, name, kind)


def clip_reason(reason: str) -> str:
    """Return a reason that fits, its end: that of a traceback says most."""
    return reason[-wire.REASON_MAX :]
