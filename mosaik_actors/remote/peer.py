"""One other node: what goes to its actors (`outgoing`), and what comes from them.

Nothing that comes is built before it is known that its receiver takes it: the actor must
have been shown to other nodes, this node must be allowed to use it, and it must have a
handler for the type. Whatever is refused is said to the sender, with the reason.
"""

from __future__ import annotations

from typing import Any

from thespian.actors import ActorAddress, ActorExitRequest, ActorSystemMessage, PoisonMessage

from ..codec import EncodeError
from ..errors import DecodeError, RemoteError, clip
from ..runtime.cell import ActorCell
from ..runtime.messaging.address import LocalAddress
from ..runtime.messaging.asking import find_circle
from ..runtime.messaging.errors import AskCircle, AskPoisoned, AskRejected, AskUndeliverable
from ..runtime.messaging.notices import DeadLetter, MessageRejected
from ..runtime.messaging.replies import Credit, StreamEnded, StreamItems
from ..runtime.messaging.requests import Request, answer_type
from . import wire
from .outgoing import Outgoing, clip_reason, to_wire
from .reference import RemoteQuestion
from .registry import PLAIN, handled_types, is_plain, takes_plain


class RemotePeer(Outgoing):
    """What comes from another node's actors, beside what goes to them."""

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
                    if question is not None:
                        question.grant(count)
                case wire.Resolve(number, name):
                    found = self._node.find_name(name)
                    if found is not None and self._node.why_not(self.peer_id, found) is not None:
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
                if cell is not None and self._node.why_not(self.peer_id, cell.address) is None:
                    cell.address.deliver(ActorExitRequest(), self._host.address)

    def _find(self, number: int) -> ActorCell | None:
        cell = self._host.cells.get(number)
        return cell if cell is not None and cell.address.is_shared else None

    def _open(self, target: int, type_: str, batch: bytes) -> tuple[ActorCell, list[Any]] | str:
        """Return the actor and its messages, or why it does not take them."""
        cell = self._find(target)
        if cell is None:
            return wire.NOT_THERE
        if (why := self._node.why_not(self.peer_id, cell.address)) is not None:
            return why
        actor_class = cell.message_class
        if not isinstance(actor_class, type):
            return "its class is not known to its node"
        name = actor_class.__name__
        if type_ == PLAIN:
            values = self.codecs.plain.decode_batch(batch)
            for value in values:
                if not is_plain(type(value)) or not takes_plain(actor_class, type(value)):
                    return f"{name} has no handler for {type(value).__name__}"
            return cell, values
        kind = handled_types(actor_class).get(type_)
        if kind is None:
            return f"{name} has no handler for {type_}{near_miss(type_, actor_class)}"
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
            question.message = message
            if isinstance(message, Request):
                question.expected = answer_type(type(message))
            question.chain = chain
            question.deadline = now + left_ms / 1000 if left_ms else None
            question.window = ask.window
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
                is_taken = reason != wire.NOT_THERE
                question.fail(AskUndeliverable(target, message, reason, may_be_delivered=is_taken))
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


def near_miss(type_: str, actor_class: type) -> str:
    """Return a hint at a handler that was probably meant; empty without one.

    It is for a type that is called the same in another module, or it names no type: then it
    takes messages of its own node only.
    """
    last = type_.rpartition(".")[2]
    handled = handled_types(actor_class)
    other = next((name for name in handled if name.rpartition(".")[2] == last), None)
    if other is not None:
        return f", but for {other}: import both from the same module"
    if callable(getattr(actor_class, f"receiveMsg_{last}", None)):
        return f" from other nodes: annotate the message of receiveMsg_{last} with its class"
    return ""


def batch_count(batch: bytes) -> int:
    """Return how many messages a batch says that it has, as far as that is cheap to tell."""
    head = batch[1:6]
    if head[:1] == b"\xdc":
        return int.from_bytes(head[1:3])
    if head[:1] == b"\xdd":
        return int.from_bytes(head[1:5])
    return head[0] & 0x0F if head else 1
