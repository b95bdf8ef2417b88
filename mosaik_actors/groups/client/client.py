"""The commands of one member, from its callers to the log and back.

A client numbers its payloads, of one command or several, from 1 and sends them to the
leader in command batches, in order. It learns what became of them from the log as it is
applied here. What is lost, refused or overtaken by a change of leader is sent again;
`sessions` makes that exactly once (Raft thesis 6.3).

    waiting   accepted, without a number: may still be dropped, and then never
              takes effect.
    numbered  was handed to a leader: may be in some log. It is offered until
              it is answered, even when nobody waits for it any more, for later
              commands stand on it.

Invariants:
    * Commands take effect in the order they were submitted, each at most once.
    * A command that failed without `may_take_effect` never takes effect.
    * Not answered commands are bounded, those on their way more closely: what
      waits longer than its caller fails while it is still without a number.
    * `CommandBatch.born_index` is that of the client's first command batch, always: a client
      that was forgotten must not look like a new one.

When the group has forgotten the client, nobody can tell what became of its
numbered commands. They fail as unknown, and a new client begins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from random import Random
from typing import Any, Final

from ...codec import EncodeError
from ...errors import Full
from ..machine.payloads import COMMAND_BYTES_MAX, PAYLOAD_BYTES, PAYLOAD_COMMANDS, decode_positions
from ..machine.sessions import CommandAnswer, Refusal, read_results
from ..wire.commands import ONE_COMMAND, CommandBatch, join_commands
from ..wire.types import CLIENT_BYTES
from .calls import CallDeadlines, Submission
from .window import ClientWindow

_BACKOFFS_MAX: Final = 4
_DROPPED_MIN: Final = 1024


@dataclass(frozen=True, slots=True)
class SubmissionFailed:
    """A submission failed, as far as its caller is concerned."""

    token: Any  # which one
    # Whether its commands may be applied all the same, or are already. If not, they never will be.
    may_take_effect: bool
    reason: str  # why


@dataclass(frozen=True, slots=True)
class ClientRenewed:
    """The client goes on under another id."""

    client_id: bytes  # the new one
    # Numbered commands that nobody waited for, and of which nobody knows whether they take effect.
    unknown_count: int


ClientEvent = Submission | SubmissionFailed | ClientRenewed
"""A `Submission` is done: its commands are applied, or handed to a leader."""


class CommandClient:
    """The command client of one member in one group.

    Call `take_command_batches` once per turn of the loop, whatever happened, and hand what it
    returns to the leader, in order. After that, and after any other call, `take_events` and re-read
    `get_timer`. `now` is monotonic seconds.
    """

    def __init__(
        self,
        client_id: bytes,  # drawn at random
        *,
        pending_commands: int,  # how many may be accepted and not answered
        pending_bytes: int,
        # Without any answer everything is sent again; after a refusal from a sixteenth of it on.
        resend_s: float,
        rng: Random,  # for new ids, and so that members do not try again all at once
    ) -> None:
        self._pending_commands = pending_commands
        self._pending_bytes = pending_bytes
        self._resend_s = resend_s
        self._rng = rng
        self._events: list[ClientEvent] = []
        self._deadlines = CallDeadlines()
        # Without numbers, in order, those that were cancelled without their payloads; with
        # numbers and not answered, in order; and of both those that somebody waits for.
        self._waiting: deque[Submission] = deque()
        self._dropped_count = 0
        self._numbered: deque[Submission] = deque()
        self._awaited: dict[Any, Submission] = {}
        self.pending_count = 0  # commands of submissions that are accepted and not answered whole
        self.pending_bytes = 0  # the same in bytes
        self._has_leader = False
        self._epoch: object = None
        self._begin(client_id)

    def _begin(self, client_id: bytes) -> None:
        """Begin a new client: nothing is numbered."""
        assert len(client_id) == CLIENT_BYTES, f"a client's id of {len(client_id)} bytes"
        self._client_id = client_id
        self._born_index: int | None = None
        self._numbered.clear()
        self._window = ClientWindow()
        self._attempts = 0
        self._resend_at = inf
        self._paused_until = -inf

    # What it believes.

    @property
    def client_id(self) -> bytes:
        """Whose commands they are; see `ClientRenewed`."""
        return self._client_id

    @property
    def is_idle(self) -> bool:
        """Whether every command is answered."""
        return not self.pending_count

    def has_room(self, count: int, byte_count: int) -> bool:
        """Return whether `submit` would accept these; any number, when nothing is pending."""
        return not self.pending_count or (
            self.pending_count + count <= self._pending_commands
            and self.pending_bytes + byte_count <= self._pending_bytes
        )

    # Callers.

    def submit(self, submission: Submission, *, now: float) -> None:
        """Accept commands; the submission, done, or a `SubmissionFailed` for it follows.

        Raises `Full`: there is no room now; nothing was accepted. Raises `EncodeError`: a command
        is larger than a log entry may be.
        """
        token, byte_count = submission.token, submission.byte_count
        assert submission.payloads, "a submission of no commands"
        assert token not in self._awaited, f"{token!r} is pending"
        if byte_count > COMMAND_BYTES_MAX:
            _check_sizes(submission.payloads)
        if not self.has_room(submission.count, byte_count):
            raise Full(submission.payloads)
        submission.deadline = now + submission.timeout_s
        self._waiting.append(submission)
        self._awaited[token] = submission
        self.pending_count += submission.count
        self.pending_bytes += byte_count
        self._deadlines.add(submission)

    def cancel(self, token: Any) -> bool:
        """Forget who waits for a submission; return whether it will never take effect.

        One with numbers goes on in the background. No event follows. A token
        that is not pending is ignored.
        """
        submission = self._awaited.pop(token, None)
        if submission is None:
            return False
        self._deadlines.note_told(submission)
        if submission.last:
            return False
        self._drop(submission)
        return True

    def fail_all(self, reason: str) -> None:
        """Fail everything: the member leaves. What is numbered may take effect all the same."""
        self._renew(reason)
        for submission in [one for one in self._waiting if one.payloads]:
            self._drop(submission)
            self._fail(submission, reason, may_take_effect=False)

    # The group.

    def set_leader(self, is_known: bool, epoch: object, now: float) -> None:
        """Note whether there is a leader that command batches can be handed to.

        With another one, or one that was out of reach, everything not answered is sent again: what
        the old one took may be lost. `epoch` says who leads, and in which term.
        """
        if is_known and (not self._has_leader or epoch != self._epoch):
            self._epoch = epoch
            self._attempts = 0
            self._paused_until = now
            self._send_again()
        self._has_leader = is_known

    def change_history(self) -> None:
        """Note that the member follows another history now, which includes its former one.

        What is not answered will be offered there under the same numbers, as
        the commands that were applied have been replayed with them.
        """
        if not self._window.count:
            if self._born_index is not None:
                self._renew("")
            return
        # Indexes of the two histories cannot be compared. With 0 the client is
        # taken for a new one only where no client was ever forgotten.
        self._born_index = 0
        self._send_again()

    def take_command_batches(self, now: float, born_index: int) -> list[CommandBatch]:
        """Return what to hand to the leader now; `born_index` is a position committed here."""
        if not self._has_unsent() or not self._has_leader or now < self._paused_until:
            return []
        if self._born_index is None:
            self._born_index = born_index
        window, command_batches = self._window, []
        while window.may_send:
            self._number_waiting()
            if not window.has_unsent:
                break
            first, payloads = window.take()
            command_batches.append(
                CommandBatch(self._client_id, self._born_index, first, window.base - 1, payloads)
            )
        if command_batches and self._resend_at == inf:
            self._resend_at = now + self._resend_s * (1 << min(self._attempts, _BACKOFFS_MAX))
        return command_batches

    def may_take(self, now: float) -> bool:
        """Return whether `take_command_batches` would return anything."""
        return (
            self._has_leader
            and self._has_unsent()
            and self._window.may_send
            and now >= self._paused_until
        )

    def receive_refused(self, first_sequence: int, now: float) -> None:
        """Send again, after a while, from the command batch on that begins with this number."""
        if self._window.base <= first_sequence < self._window.next_sent:
            self._paused_until = now + self._backoff_s()
            self._attempts += 1
            self._send_again(first_sequence)

    def receive_answers(self, answers: Sequence[CommandAnswer], now: float) -> None:
        """Take in what became of this client's commands, as the log was applied here."""
        window = self._window
        for answer in answers:
            sequence = answer.sequence
            if sequence < window.base or sequence >= window.next_number:
                continue  # a repetition, or not of this client's
            if answer.refusal is not Refusal.NONE:
                self._settle(now)
                if not self._receive_refusal(answer, now):
                    return
            elif sequence != window.base:
                # Those before are applied too, but their answers were not seen
                # here: a snapshot took their place. Repeating them brings them.
                self._settle(now)
                self._note_missing(now)
            elif not self._receive_positions(answer):
                return
        self._settle(now)

    # Timers and events.

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due; None for never."""
        due_at = min(self._resend_at, self._deadlines.next_at())
        if self._paused_until > -inf and self._has_leader and self._has_unsent():
            due_at = min(due_at, self._paused_until)
        return None if due_at == inf else due_at

    def handle_timer(self, *, now: float) -> None:
        """Do what is due; then call `take_command_batches`. Too early does no harm."""
        if now >= self._paused_until:
            self._paused_until = -inf
        if now >= self._resend_at:
            self._attempts += 1
            self._send_again()
        while (submission := self._deadlines.pop_due(now)) is not None:
            self._time_out(submission)

    def take_events(self) -> Sequence[ClientEvent]:
        """Return what has happened since the last call."""
        events = self._events
        if events:
            self._events = []
        return events

    # Helpers: sending.

    def _has_unsent(self) -> bool:
        return bool(self._waiting) or self._window.has_unsent

    def _number_waiting(self) -> None:
        """Give numbers to what can be sent at once.

        Calls of one command each share a payload and its number: everywhere else the price is
        one for each payload.
        """
        waiting, window = self._waiting, self._window
        while waiting and window.may_number:
            submission = waiting.popleft()
            payloads = submission.payloads
            if not payloads:
                self._dropped_count -= 1
                continue
            sharing = [submission]
            head = payloads[0][:2]
            if waiting and head[1:] == ONE_COMMAND and submission.count == 1:
                _take_alike(waiting, sharing, head)
                if len(sharing) > 1:
                    commands = [one.payloads[0][2:] for one in sharing]
                    payloads = (join_commands(head[:1], commands),)
            last = window.add(payloads, sum(map(len, payloads)))
            for one in sharing:
                one.last, one.payloads = last, ()
                if not one.waits:
                    self._resolve(one)
            self._numbered += sharing

    def _send_again(self, sequence: int | None = None) -> None:
        """Send again from a number on, by default everything that is not answered."""
        self._window.go_back(self._window.base if sequence is None else sequence)
        self._resend_at = inf

    def _backoff_s(self) -> float:
        """Return how long to wait before the next attempt: longer each time, never the same."""
        share = 1 << min(self._attempts, _BACKOFFS_MAX)
        return self._resend_s * share / (1 << _BACKOFFS_MAX) * self._rng.uniform(0.5, 1)

    # Helpers: answers.

    def _receive_positions(self, answer: CommandAnswer) -> bool:
        """Take in the answer to the first payload that has none; return whether to go on."""
        positions, numbered = decode_positions(answer.position), self._numbered
        if positions is None:
            self._renew("it was applied, but its position is not known any more")
            return False
        count, number = len(positions), self._window.base
        results = () if answer.result is None else read_results(answer.result, count)
        at = 0
        while numbered and at < count:
            submission = numbered[0]
            is_last = submission.last == number
            end = at + submission.left if is_last else count
            if end > count or end - at > submission.left:
                break  # an answer may be of a peer's snapshot, and say anything
            if not submission.is_told:
                submission.note(positions[at:end], results[at:end])
            submission.left -= end - at
            at = end
            if not is_last:
                break
            numbered.popleft()
            self._let_go(submission)
            if not submission.is_told:
                self._resolve(submission)
        self._window.base += 1
        if at != count or (numbered and numbered[0].last == number):
            self._renew("something else was applied in its place")
            return False
        return True

    def _receive_refusal(self, answer: CommandAnswer, now: float) -> bool:
        """Take in that a command was not applied; return whether this client goes on."""
        match answer.refusal:
            case Refusal.GAP if answer.sequence > self._window.base:
                self._note_missing(now)
            case Refusal.OVERFLOW | Refusal.CLOSED:
                self._resend_at = min(self._resend_at, now + self._backoff_s())
            case _:
                # EXPIRED; or what cannot be while the group remembers: it does
                # not have what it answered, or has an answer that it gave away.
                self._renew(f"whether it takes effect is not known: {answer.refusal.value}")
                return False
        return True

    def _note_missing(self, now: float) -> None:
        """Send everything again: at once the first time, then later each time.

        What was on its way behind a lost command is refused for the same reason,
        command by command, and is no reason to send once more.
        """
        if self._window.next_sent == self._window.base:
            return
        if self._attempts:
            self._resend_at = min(self._resend_at, now + self._backoff_s())
        else:
            self._attempts = 1
            self._send_again()

    def _settle(self, now: float) -> None:
        """Go on after answers, if there were any: what follows has all its time again."""
        window = self._window
        if window.settle():
            self._attempts = 0
            is_awaiting = window.next_sent > window.base
            self._resend_at = now + self._resend_s if is_awaiting else inf

    # Helpers: ends.

    def _renew(self, reason: str) -> None:
        """Give up everything that has a number, and go on as another client."""
        unknown_count = 0
        for submission in self._numbered:
            self._let_go(submission)
            if submission.is_told:
                unknown_count += submission.left
            else:
                self._fail(submission, reason, may_take_effect=True)
        self._begin(self._rng.randbytes(CLIENT_BYTES))
        self._events.append(ClientRenewed(self._client_id, unknown_count))

    def _time_out(self, submission: Submission) -> None:
        if submission.last:
            self._fail(submission, "not applied in time", may_take_effect=True)
        else:
            self._drop(submission)
            self._fail(submission, "no leader took it in time", may_take_effect=False)

    def _drop(self, submission: Submission) -> None:
        """Take out a submission that has no numbers."""
        submission.payloads = ()
        self._let_go(submission)
        self._dropped_count += 1
        if self._dropped_count > _DROPPED_MIN and self._dropped_count * 2 > len(self._waiting):
            self._waiting = deque([one for one in self._waiting if one.payloads])
            self._dropped_count = 0

    def _let_go(self, submission: Submission) -> None:
        """Count a submission no more: it is answered, or never will be."""
        self.pending_count -= submission.count
        self.pending_bytes -= submission.byte_count

    def _resolve(self, submission: Submission) -> None:
        """Notify the caller that its commands are applied, or handed over."""
        del self._awaited[submission.token]
        self._deadlines.note_told(submission)
        self._events.append(submission)

    def _fail(self, submission: Submission, reason: str, *, may_take_effect: bool) -> None:
        token = submission.token
        del self._awaited[token]
        self._deadlines.note_told(submission)
        self._events.append(SubmissionFailed(token, may_take_effect, reason))


def _take_alike(waiting: deque[Submission], sharing: list[Submission], head: bytes) -> None:
    """Add those that follow to one of a single command, if they are encoded like it."""
    room_bytes = PAYLOAD_BYTES - sharing[0].byte_count
    while waiting and len(sharing) < PAYLOAD_COMMANDS:
        following = waiting[0].payloads
        if len(following) != 1 or following[0][:2] != head:
            return
        room_bytes -= len(following[0])
        if room_bytes < 0:
            return
        sharing.append(waiting.popleft())


def _check_sizes(payloads: Sequence[bytes]) -> None:
    for payload in payloads:
        if len(payload) > COMMAND_BYTES_MAX:
            raise EncodeError(
                payload, f"a command of {len(payload)} bytes, at most {COMMAND_BYTES_MAX}"
            )
