"""What a node makes of the tickets of others: who holds a valid one, and until when.

A pure state machine. It validates nothing itself, because that takes time: it hands
out jobs (`take_jobs`), which are done off the loop (`do_jobs`), and takes the answers
(`receive_answers`). Afterwards, and after `handle_timer`, `take_changed` says of whom
something is different now.

Each validator has a *verdict* on each peer:
    * An answer is kept by peer, ticket and validator signature for as long as the peer
      shows the ticket; nothing is validated twice.
    * The verdict is that of the ticket that holds longest. While answers for a newer
      entry are awaited the verdict of the one before stays in force, but for no
      moment longer than its own end; so a renewed ticket keeps what it allows.
    * A ticket that is gone is gone at once, when nothing has to be asked for that.
    * A ticket that is not valid yet is asked about again when it will be; and one that has
      ended once more when it does, if its validator says ``may_hold_again = True``, because
      what ended may be what it is judged by. Until the answer it allows nothing.

Of one class no more than `JUDGED_MAX` tickets of a peer are looked at, the newest; and of
tickets that a peer shows no more nobody is asked. So a peer that shows others again and
again has no more than those waiting.

A peer that is not shown any more keeps its verdict if that held then, because links to
it may still stand, but no more than `GONE_MAX` of them do.

Clock: wall, in seconds since the Unix epoch.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from typing import Any, Final, NamedTuple

import msgspec

from ..clock import validating_at
from ..ids import NetworkId, PeerId, UniqueId
from .counts import TicketCounts
from .ticket import Ticket
from .validator import Expiration, InvalidTicket, TicketValidator, ask_validator

JOBS_MAX: Final = 128  # in one go, so that the first answers need not wait for the last ones
LOOK_S: Final = 10.0  # between looks at what is due: the wall clock may be set meanwhile
GONE_MAX: Final = 1024
JUDGED_MAX: Final = 8
DUE_MIN: Final = 64  # fewer timers of who is gone are not worth looking for
AWAITED: Final = "its tickets have not been validated yet"

Answer = Expiration | InvalidTicket
ShownVersion = tuple[int, int]


class TicketVerdict(NamedTuple):
    """What one or several validators say of a peer.

    Attributes:
        until: It is allowed up to this moment, in seconds since the Unix epoch.
        reason: Why it is not allowed afterwards, or at all.
        is_awaited: Whether a newer answer is on its way.
    """

    until: float
    reason: str = ""
    is_awaited: bool = False

    def allows(self, now: float) -> bool:
        """Return whether the peer is allowed at `now`."""
        return now < self.until


_UNKNOWN = TicketVerdict(-inf, AWAITED, is_awaited=True)
ALLOWED: Final = TicketVerdict(inf)


class Shown(msgspec.Struct, frozen=True):
    """What a peer shows; a `TicketHolder`."""

    peer_id: PeerId
    network_id: NetworkId
    version: ShownVersion
    tickets: tuple[Ticket, ...]


class TicketJob(msgspec.Struct, frozen=True):
    """Ask `validator` about a ticket."""

    validator: TicketValidator
    signature: UniqueId
    ticket: Ticket
    holder: Any
    peer_id: PeerId


def do_jobs(jobs: Iterable[TicketJob], now: float) -> list[Answer]:
    """Return the answers of validators. Takes its time; may run in a thread."""
    answers: list[Answer] = []
    with validating_at(now):
        for job in jobs:
            try:
                answers.append(ask_validator(job.validator, job.ticket.data, job.holder))
            except InvalidTicket as exc:
                answers.append(exc)
    return answers


def do_timed(
    jobs: Iterable[TicketJob], now: float, monotonic: Callable[[], float]
) -> tuple[list[Answer], float]:
    """Return what `do_jobs` does, and how many seconds that took."""
    began_at = monotonic()
    answers = do_jobs(jobs, now)
    return answers, monotonic() - began_at


class _Record:
    """One validator's view of one peer."""

    __slots__ = ("answers", "awaited", "due_at", "tickets", "verdict")

    def __init__(self) -> None:
        self.tickets: tuple[Ticket, ...] | None = None
        self.answers: dict[UniqueId, Answer] = {}
        self.awaited: dict[UniqueId, None] = {}
        self.verdict = _UNKNOWN
        self.due_at = inf


class _Registered:
    """A validator, and what it makes of each peer."""

    __slots__ = ("class_id", "records", "user_count", "validator")

    def __init__(self, validator: TicketValidator) -> None:
        self.validator = validator
        self.class_id = UniqueId(validator.class_id)
        self.records: dict[PeerId, _Record] = {}
        self.user_count = 0


class TicketTable:
    """The state machine of this module's docstring."""

    def __init__(self) -> None:
        self._validators: dict[UniqueId, _Registered] = {}
        self._shown: dict[PeerId, Any] = {}  # what each peer showed last
        self._gone: dict[PeerId, None] = {}
        self._jobs: list[TicketJob] = []
        self._changed: dict[PeerId, None] = {}
        self._due: list[tuple[float, UniqueId, PeerId]] = []
        self.counts = TicketCounts()

    # What is known.

    def verdict(self, peer_id: PeerId, signature: UniqueId) -> TicketVerdict:
        """Return what a validator, by its signature, says of a peer."""
        registered = self._validators.get(signature)
        record = None if registered is None else registered.records.get(peer_id)
        return _UNKNOWN if record is None else record.verdict

    def valid_until(self, *, now: float) -> list[float]:
        """Return until when each ticket that holds does, for each validator and peer."""
        return [
            record.verdict.until
            for registered in self._validators.values()
            for record in registered.records.values()
            if record.verdict.allows(now)
        ]

    @property
    def awaited_count(self) -> int:
        """How many answers of validators are awaited."""
        return sum(
            len(record.awaited)
            for registered in self._validators.values()
            for record in registered.records.values()
        )

    # What changes.

    def register(self, validator: TicketValidator, *, now: float) -> UniqueId:
        """Have a validator asked until `unregister`, and return its signature. Counted."""
        signature = UniqueId(validator.signature)
        registered = self._validators.get(signature)
        if registered is None:
            registered = self._validators[signature] = _Registered(validator)
            for holder in list(self._shown.values()):
                self._compare(signature, registered, holder, now)
        registered.user_count += 1
        return signature

    def unregister(self, signature: UniqueId) -> None:
        """Take back one `register`; after the last one the validator is forgotten."""
        registered = self._validators[signature]
        registered.user_count -= 1
        if not registered.user_count:
            del self._validators[signature]
            self._jobs = [job for job in self._jobs if job.signature != signature]
            self._due = [entry for entry in self._due if entry[1] != signature]
            heapq.heapify(self._due)

    def receive_peer(self, holder: Any, *, now: float) -> None:
        """Take in what a peer shows, a `PeerInfo` or `Shown`, unless something newer is known."""
        known = self._shown.get(holder.peer_id)
        if known is None or known.version <= holder.version:
            self._take(holder, known, now)

    def _take(self, holder: Any, known: Any, now: float) -> None:
        peer_id = holder.peer_id
        if known is holder:
            return
        self._shown[peer_id] = holder
        self._gone.pop(peer_id, None)
        if known is not None and known.tickets == holder.tickets:
            return
        for signature, registered in self._validators.items():
            self._compare(signature, registered, holder, now)

    def receive_peers(self, peers: Mapping[PeerId, Any], *, now: float) -> None:
        """Take in all peers that the catalog shows."""
        shown = self._shown
        for peer_id in [one for one in self._gone if one in peers]:
            del self._gone[peer_id]
        for peer_id, info in peers.items():
            known = shown.get(peer_id)
            # The catalog knows which entry counts, also when clocks were wrong; but what a
            # peer has shown over a connection may be newer.
            if isinstance(known, Shown) and known.version > info.version:
                continue
            if known is not info:
                self._take(info, known, now)
        if len(shown) > len(peers) + len(self._gone):
            for peer_id in [one for one in shown if one not in peers and one not in self._gone]:
                self._leave(peer_id, now)

    def receive_end(self, peer_id: PeerId) -> None:
        """Forget a peer and what it holds: nothing that its tickets allowed stands any more."""
        if self._shown.pop(peer_id, None) is None:
            return
        self._gone.pop(peer_id, None)
        count = 0
        for registered in self._validators.values():
            registered.records.pop(peer_id, None)
            count += len(registered.records)
        if len(self._due) > 2 * count + DUE_MIN:
            self._due = [entry for entry in self._due if not self._is_stale(entry)]
            heapq.heapify(self._due)

    def receive_answers(
        self, jobs: Iterable[TicketJob], answers: Sequence[Answer], *, took_s: float, now: float
    ) -> None:
        """Take in what came of the jobs, and how long that took."""
        self.counts.add(answers, took_s=took_s, now=now)
        for job, answer in zip(jobs, answers, strict=True):
            registered = self._validators.get(job.signature)
            record = None if registered is None else registered.records.get(job.peer_id)
            if record is None or job.ticket.id not in record.awaited:
                continue  # the peer shows something else by now
            del record.awaited[job.ticket.id]
            record.answers[job.ticket.id] = answer
            self._settle(job.signature, job.peer_id, record, now)

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due, None for never."""
        due = self._due
        while due and self._is_stale(due[0]):
            heapq.heappop(due)
        return due[0][0] if due else None

    def handle_timer(self, *, now: float) -> None:
        """Let time do its work: tickets end, others begin."""
        while (due_at := self.get_timer()) is not None and due_at <= now:
            _, signature, peer_id = heapq.heappop(self._due)
            record = self._validators[signature].records[peer_id]
            record.due_at = inf
            self._ask_again(signature, peer_id, record, now)
            self._settle(signature, peer_id, record, now)
            self._changed[peer_id] = None

    def take_jobs(self, count_max: int) -> list[TicketJob]:
        """Return what to ask validators, at most so much at a time, and forget it."""
        jobs: list[TicketJob] = []
        count = 0
        for job in self._jobs:
            if len(jobs) == count_max:
                break
            count += 1
            registered = self._validators.get(job.signature)
            record = None if registered is None else registered.records.get(job.peer_id)
            if record is not None and job.ticket.id in record.awaited:
                jobs.append(job)
        del self._jobs[:count]
        return jobs

    def take_changed(self) -> tuple[PeerId, ...]:
        """Return of whom something is different since the last call."""
        changed = tuple(self._changed)
        self._changed.clear()
        return changed

    # Helpers.

    def _compare(
        self, signature: UniqueId, registered: _Registered, holder: Any, now: float
    ) -> None:
        """See what a peer shows to one validator, and ask about what is new."""
        of_class = [one for one in holder.tickets if one.class_id == registered.class_id]
        tickets = tuple(of_class[-JUDGED_MAX:])
        peer_id = holder.peer_id
        record = registered.records.get(peer_id)
        if record is None:
            record = registered.records[peer_id] = _Record()
        if record.tickets == tickets:
            return
        record.tickets = tickets
        ids = [ticket.id for ticket in tickets]
        record.answers = {one: record.answers[one] for one in ids if one in record.answers}
        wanted = dict(zip(ids, tickets, strict=True))
        for one in [one for one in record.awaited if one not in wanted]:
            del record.awaited[one]
        for one, ticket in wanted.items():
            if one not in record.answers and one not in record.awaited:
                record.awaited[one] = None
                self._ask(signature, registered, ticket, holder)
        self._settle(signature, peer_id, record, now)

    def _ask(
        self, signature: UniqueId, registered: _Registered, ticket: Ticket, holder: Any
    ) -> None:
        self._jobs.append(
            TicketJob(registered.validator, signature, ticket, holder, holder.peer_id)
        )

    def _ask_again(self, signature: UniqueId, peer_id: PeerId, record: _Record, now: float) -> None:
        """Ask about the tickets that are valid by now and were not before."""
        validator = self._validators[signature].validator
        may_hold_again = getattr(validator, "may_hold_again", False)
        for ticket in record.tickets or ():
            answer = record.answers.get(ticket.id)
            if isinstance(answer, InvalidTicket):
                is_due = answer.valid_from is not None and answer.valid_from <= now
            else:
                is_due = may_hold_again and answer is not None and answer.is_past(now)
            if is_due:
                del record.answers[ticket.id]
                record.awaited[ticket.id] = None
                holder = self._shown[peer_id]
                self._ask(signature, self._validators[signature], ticket, holder)

    def _settle(self, signature: UniqueId, peer_id: PeerId, record: _Record, now: float) -> None:
        """Make a verdict of the answers, unless some are awaited and the last one stands."""
        answers = [record.answers[t.id] for t in record.tickets or () if t.id in record.answers]
        until, reason, begins = -inf, "it shows no ticket of the class that is required", inf
        for index, answer in enumerate(answers):
            if isinstance(answer, InvalidTicket):
                reason = answer.reason if not index else reason
                begins = min(begins, inf if answer.valid_from is None else answer.valid_from)
            else:
                end = inf if answer.seconds is None else answer.seconds
                if end > until:
                    until, reason = end, f"its ticket expired at {answer}"
        if record.awaited:
            kept = record.verdict
            if kept.until > until:
                until, reason = kept.until, kept.reason
            elif not answers:
                reason = AWAITED
        verdict = TicketVerdict(until, reason, bool(record.awaited))
        if verdict != record.verdict:
            if (verdict.until, verdict.is_awaited) != (record.verdict.until, True):
                self._changed[peer_id] = None
            record.verdict = verdict
        due_at = min(until if until > now else inf, begins if begins > now else inf)
        if due_at != record.due_at:
            record.due_at = due_at
            if due_at != inf:
                heapq.heappush(self._due, (due_at, signature, peer_id))

    def _is_stale(self, entry: tuple[float, UniqueId, PeerId]) -> bool:
        due_at, signature, peer_id = entry
        record = self._validators[signature].records.get(peer_id)
        return record is None or record.due_at != due_at

    def _leave(self, peer_id: PeerId, now: float) -> None:
        """Forget a peer that is not shown any more, unless it still holds something."""
        holds = any(
            record.verdict.allows(now) or record.verdict.is_awaited
            for registered in self._validators.values()
            if (record := registered.records.get(peer_id)) is not None
        )
        if holds:
            self._gone[peer_id] = None
            if len(self._gone) <= GONE_MAX:
                return
            peer_id = next(iter(self._gone))
        self.receive_end(peer_id)
