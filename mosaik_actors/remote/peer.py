"""One other node: what goes to its actors, and what comes from them.

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
from collections.abc import Callable, Iterable
from typing import Any, Protocol
from weakref import WeakValueDictionary

from thespian.actors import ActorAddress, ActorExitRequest, ActorSystemMessage, PoisonMessage

from ..codec import EncodeError
from ..errors import DecodeError, RemoteError, clip
from ..ids import PeerId
from ..runtime import ActorGone, ActorRef
from ..runtime.address import LocalAddress
from ..runtime.asking import find_circle
from ..runtime.cell import ActorCell
from ..runtime.errors import AskCircle, AskPoisoned, AskRejected, AskUndeliverable
from ..runtime.host import ActorHost
from ..runtime.notices import DeadLetter, MessageRejected
from ..runtime.replies import Credit, StreamEnded, StreamItems
from ..runtime.requests import Request, answer_type
from ..transport.close import CloseCode, CloseReason
from ..transport.interface import Link
from . import wire
from .reference import RemoteQuestion, RemoteRef
from .registry import PLAIN, Codecs, handled_types, is_plain, takes_plain
from .sending import Item, Note, encode_sections

logger = logging.getLogger(__name__)

# What is written to an open link at the latest, though the turn of the loop goes on.
_BURST_MAX = 1024


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

    def dial(self, peer: RemotePeer) -> None:
        """Open a link to a node; `link_opened` or `lost` follows."""

    def resolve_ref(self, ref: wire.WireRef) -> ActorRef:
        """Return the reference that was sent."""

    def find_name(self, name: str) -> ActorRef | None:
        """Return the actor of this node that has a name."""

    def may_use(self, peer_id: PeerId, target: ActorRef) -> bool:
        """Return whether a node may send to an actor."""


class RemotePeer:
    """The actors of another node.

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
    def home(self) -> RemotePeer:
        """The node of its actors."""
        return self

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
            self._host.loop.call_soon(self._flush_due)
        elif len(self._pending) >= _BURST_MAX and self._can_write():
            self._flush()

    def _can_write(self) -> bool:
        return self.link is not None and not self._is_blocked

    def _say(self, section: wire.Section) -> None:
        self._put(Note(section))

    def _flush_due(self) -> None:
        self._is_due = False
        self._flush()

    def _flush(self) -> None:
        while self._pending:
            link = self.link
            if link is None:
                if not self._is_dialing:
                    self._is_dialing = True
                    self._node.dial(self)
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
        if deadline is None:
            return 0
        return max(1, int((deadline - self._host.loop.time()) * 1000))

    def wire_ref(self, address: LocalAddress) -> wire.WireRef:
        """Return a reference as it travels."""
        assert isinstance(address, ActorRef)
        return to_wire(address, self._node)

    def refuse(self, item: Item, reason: str) -> None:
        """Take in that something cannot be sent at all."""
        if isinstance(item, Note):
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
        self._fail_questions(f"the link to its node ended: {reason}")
        for question in self._theirs.values():
            self._abandon_theirs(question)
        self._theirs.clear()
        if self.is_waiting:
            self._flush_or_dial()

    def _flush_or_dial(self) -> None:
        if not self._is_dialing:
            self._is_dialing = True
            self._node.dial(self)

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
                    isinstance(item, Note)
                    or not isinstance(item[0], RemoteRef)
                    or item[0].incarnation == incarnation
                ):
                    self._pending.append(item)
                else:
                    self._host.dead_letter(item[1], item[0], item[2], reason)

    def lost(self, reason: str) -> None:
        """Take in that the node cannot be reached, or has left."""
        self._is_dialing = self._is_blocked = False
        if self.link is not None:
            self.link.close(CloseReason(CloseCode.CANCELLED, reason))
            self.link = None  # what were written now would be lost without a word
        pending, self._pending = self._pending, []
        for item in pending:
            if not isinstance(item, Note) and isinstance(item[0], RemoteRef):
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

    # --- questions of this node ---

    def abandon(self, asker: LocalAddress) -> None:
        """Tell the node that nobody waits for an answer any more."""
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

    # --- what comes ---

    def receive(self, frame: bytes) -> None:
        """Take a frame in. Raises `RemoteError`."""
        for section in wire.decode_burst(frame):
            match section:
                case wire.Tell():
                    self._receive_tell(section)
                case wire.Ask():
                    self._receive_ask(section)
                case wire.Answer(ids, type_, batch):
                    self._receive_answer(ids, type_, batch)
                case wire.Failed():
                    self._receive_failed(section)
                case wire.Cancel(number):
                    question = self._theirs.pop(number, None)
                    if question is not None:
                        self._abandon_theirs(question)
                case wire.Ended(number):
                    address = self._forget_question(number)
                    if address is not None:
                        address.deliver(StreamEnded(), self._host.address)
                case wire.Grant(number, count):
                    question = self._theirs.get(number)
                    if question is not None and question.credit is not None:
                        question.credit.grant(count)
                case wire.Resolve(number, name):
                    found = self._node.find_name(name)
                    if found is not None and not self._node.may_use(self.peer_id, found):
                        found = None
                    ref = None if found is None else to_wire(found, self._node)
                    self._say(wire.Resolved(number, ref))
                case wire.Resolved(number, wire_ref):
                    call = self._resolving.pop(number, None)
                    if call is not None:
                        call(None if wire_ref is None else self._node.resolve_ref(wire_ref))
                case wire.Refused(number, type_, count, reason):
                    self._receive_refused(number, type_, count, reason)
                case _:
                    self._receive_watch(section)

    def _receive_watch(self, section: wire.Section) -> None:
        match section:
            case wire.Watch(number):
                cell = self._find(number)
                if cell is None:
                    self._say(wire.Gone(number, "it has exited before"))
                elif number not in self._watched:
                    self._watched[number] = cell.address
                    self._host.watch(cell.address, self._ends)
            case wire.Unwatch(number):
                ref = self._watched.pop(number, None)
                if ref is not None:
                    self._host.unwatch(ref, self._ends)
            case wire.Gone(number, reason):
                assert self.incarnation is not None, "a link is open"
                gone = self._refs.get((self.incarnation, number))
                if gone is not None:
                    self._gone(gone, reason)
            case wire.Exit(number):
                cell = self._find(number)
                if cell is not None and self._node.may_use(self.peer_id, cell.address):
                    cell.address.deliver(ActorExitRequest(), self._host.address)

    def _find(self, number: int) -> ActorCell | None:
        cell = self._host.cells.get(number)
        return cell if cell is not None and cell.address.is_shared else None

    def _open(self, target: int, type_: str, batch: bytes) -> tuple[ActorCell, list[Any]] | str:
        """Return the actor and its messages, or why it does not take them."""
        cell = self._find(target)
        if cell is None:
            return "it has exited, or was never told of to other nodes"
        if not self._node.may_use(self.peer_id, cell.address):
            return "this node may not use it"
        actor_class = cell.actor_class
        name = cell.class_name
        if type_ == PLAIN:
            values = self.codecs.plain.decode_batch(batch)
            for value in values:
                if not is_plain(type(value)) or not takes_plain(actor_class, type(value)):
                    return f"{name} has no handler for {type(value).__name__}"
            return cell, values
        kind = handled_types(actor_class).get(type_)
        if kind is None:
            return (
                f"{name} has no handler for {type_}{near_miss(type_, handled_types(actor_class))}"
            )
        try:
            return cell, self.codecs.of_type(kind).decode_batch(batch)
        except EncodeError as error:
            return error.why
        except DecodeError as error:
            return f"not a {type_} as {name} knows it: {clip(error)}"

    def _receive_tell(self, tell: wire.Tell) -> None:
        opened = self._open(tell.target, tell.type, tell.batch)
        if isinstance(opened, str):
            count = batch_count(tell.batch)
            self._say(wire.Refused(tell.target, tell.type, count, clip_reason(opened)))
            return
        cell, messages = opened
        sender: ActorAddress = self._host.address
        if tell.sender:
            assert self.incarnation is not None, "a link is open"
            sender = self.ref(self.incarnation, tell.sender - 1)
        deliver = cell.address.deliver
        for message in messages:
            deliver(message, sender)
            if cell.dead:
                deliver = cell.address.deliver

    def _receive_refused(self, number: int, type_: str, count: int, reason: str) -> None:
        assert self.incarnation is not None, "a link is open"
        ref = self.ref(self.incarnation, number)
        letter = DeadLetter("actors of this node", ref.label, type_ or "plain values", reason)
        self._host.letters.note(letter, count)

    def _receive_ask(self, ask: wire.Ask) -> None:
        if not len(ask.ids) == len(ask.left_ms):
            raise RemoteError("questions without their time limits")
        opened = self._open(ask.target, ask.type, ask.batch)
        reason = opened if isinstance(opened, str) else ""
        if len(self._theirs) + len(ask.ids) > self._node.questions_max:
            reason = f"{len(self._theirs)} questions of this node wait already"
        if isinstance(opened, str) or reason:
            kind = "gone" if self._find(ask.target) is None else "rejected"
            for number in ask.ids:
                self._fail(number, kind, reason)
            return
        cell, messages = opened
        if len(messages) != len(ask.ids):
            raise RemoteError(f"{len(ask.ids)} numbers for {len(messages)} questions")
        chain = tuple(self._node.resolve_ref(ref) for ref in ask.chain)
        circle = find_circle(chain, cell.address) if chain else None
        now = self._host.loop.time()
        for number, left_ms, message in zip(ask.ids, ask.left_ms, messages, strict=True):
            if circle is not None:
                names = tuple(str(getattr(one, "label", one))[: wire.NAME_MAX] for one in circle)
                self._say(wire.Failed(number, "circle", "", names))
                continue
            question = RemoteQuestion(self._host, self, number, cell.address)
            if isinstance(message, Request):
                question.expected = answer_type(type(message))
            question.chain = chain
            question.deadline = now + left_ms / 1000 if left_ms else None
            question.credit = Credit(self._host.loop, ask.window) if ask.window else None
            self._theirs[number] = question
            cell.address.deliver(message, question.address)

    def _receive_answer(self, ids: tuple[int, ...], type_: str, batch: bytes) -> None:
        answers: list[Any] | None = None
        for index, number in enumerate(ids):
            address = self._questions.get(number)
            if address is None:
                continue
            question = address.question
            if answers is None:
                try:
                    answers = self._decode_answers(question, type_, batch)
                    if len(answers) != len(ids):
                        raise RemoteError(f"{len(ids)} numbers for {len(answers)} answers")
                except DecodeError as error:
                    self._forget_question(number)
                    question.fail(AskRejected(question.target, question.message, clip(error)))
                    continue
            answer = answers[index]
            if getattr(question, "credit", None) is None:
                self._forget_question(number)
                address.deliver(answer, question.target)
            else:
                address.deliver(StreamItems((answer,)), question.target)

    def _decode_answers(self, question: Any, type_: str, batch: bytes) -> list[Any]:
        message = question.message
        if isinstance(message, Request):
            expected = answer_type(type(message))
            if expected is not Any:
                return self.codecs.of_type(expected).decode_batch(batch)
        if type_ != PLAIN:
            raise DecodeError(
                f"the answer is a {type_}; only a Request[...] says that one is expected"
            )
        return self.codecs.plain.decode_batch(batch)

    def _receive_failed(self, failed: wire.Failed) -> None:
        address = self._forget_question(failed.id)
        if address is None:
            return
        question = address.question
        target, message, reason = question.target, question.message, failed.reason
        match failed.why:
            case "poisoned":
                question.fail(AskPoisoned(target, message, reason))
            case "circle":
                question.fail(AskCircle(target, message, failed.circle))
            case "gone":
                question.fail(AskUndeliverable(target, message, reason))
            case _:
                question.fail(AskRejected(target, message, reason))

    def _forget_question(self, number: int) -> LocalAddress | None:
        address = self._questions.pop(number, None)
        if address is not None:
            self._asked.pop(address, None)
        return address

    # --- the answers to its questions ---

    def answer(self, question: RemoteQuestion, message: Any) -> None:
        """Take an answer, a part of one, or why there is none."""
        if question.number not in self._theirs:
            self._host.dead_letter(message, question.address, question.target, "the ask is over")
            return
        match message:
            case StreamItems():
                self._put((question, message, question.target))
                return
            case StreamEnded():
                self._say(wire.Ended(question.number))
            case MessageRejected():
                self._fail(question.number, "rejected", message.reason)
            case PoisonMessage():
                self._fail(question.number, "poisoned", message.details or "")
            case ActorSystemMessage():
                return
            case _:
                self._put((question, message, question.target))
        del self._theirs[question.number]

    def cannot_answer(self, question: RemoteQuestion, reason: str) -> None:
        """Take in that nobody handles the question."""
        if self._theirs.pop(question.number, None) is not None:
            self._fail(question.number, "gone", reason)

    def _fail(self, number: int, kind: str, reason: str) -> None:
        self._say(wire.Failed(number, kind, clip_reason(reason)))

    def _abandon_theirs(self, question: RemoteQuestion) -> None:
        question.is_cancelled = True
        if question.target.abandon is not None:
            question.target.abandon(question.address)


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


def near_miss(type_: str, handled: Iterable[str]) -> str:
    """Return a hint at a type that is called the same in another module; empty without one."""
    last = type_.rpartition(".")[2]
    other = next((name for name in handled if name.rpartition(".")[2] == last), None)
    return "" if other is None else f", but for {other}: import both from the same module"


def batch_count(batch: bytes) -> int:
    """Return how many messages a batch says that it has, as far as that is cheap to tell."""
    head = batch[1:6]
    if head[:1] == b"\xdc":
        return int.from_bytes(head[1:3])
    if head[:1] == b"\xdd":
        return int.from_bytes(head[1:5])
    return head[0] & 0x0F if head else 1
