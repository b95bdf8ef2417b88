"""The leader of a history that may end: it asks another one, and closes its own.

    IDLE     no other history is in sight, or it is the other one's turn to ask
    ASKED    a request is out; merging histories are refused meanwhile
    CLOSING  the other history has accepted; `CloseInto` is on its way into the
             log, and what becomes of it is not known

The shorter history asks. Which one that is, each leader judges by what it hears of the other, a
little late: when both grow, each takes itself for the longer one. So after a while the longer one
asks too, and the one that is asked, whose own length is exact, decides. When two requests cross,
both sides compare the lengths in them, the same two numbers.

A log that is not whole cannot be replayed. A leader without the whole log hands over to a voter
that has it; when there is none, the history cannot end, unless all that is in it is in the other
one, which continues it or is continued by it.
"""

from __future__ import annotations

from enum import Enum
from math import inf
from random import Random

from ..wire.merge import MergeAccepted, MergeRefusal, MergeRefused, MergeRequest
from ..wire.system_entries import CloseInto
from ..wire.types import REQUEST_BYTES
from .replay import is_whole
from .view import (
    Emit,
    HandOver,
    HistoriesConflict,
    MergeConfig,
    MergeView,
    Other,
    Others,
    ProposeSystemEntry,
    best_of,
    find_transfer_target,
    is_contained,
    own_rank,
    rank_of,
    to_peer,
)


class MergePhase(Enum):
    """See the module's docstring."""

    IDLE = "idle"
    ASKED = "asked"
    CLOSING = "closing"


class Asking:
    """Asks other histories to take in this one.

    Attributes:
        phase: What it waits for.
        timer_s: When `look` is due at the latest.
    """

    def __init__(self, rng: Random, config: MergeConfig, emit: Emit) -> None:
        self.phase = MergePhase.IDLE
        self.timer_s = inf
        self._rng = rng
        self._config = config
        self._emit = emit
        self._since: dict[bytes, float] = {}
        self._told: dict[bytes, int] = {}
        self._next_at_s = 0.0
        self._retry_s = config.retry
        self._warned_at_s = -inf
        self._request = MergeRequest(bytes(REQUEST_BYTES), bytes(REQUEST_BYTES), 0)
        self._asked = b""
        self._accept_count = 0
        self._count_max: int | None = None
        self._deadline_s = inf
        self._closing: CloseInto | None = None

    def look(self, view: MergeView, others: Others, *, now: float) -> None:
        """Look at what is in sight, and ask when it is time."""
        self._note_sight(others, now)
        self.timer_s = inf
        if self.phase is MergePhase.ASKED:
            if not view.is_leading:
                self.phase = MergePhase.IDLE
            elif now >= self._deadline_s:
                self._back_off(now)
            else:
                self.timer_s = self._deadline_s
        if self.phase is MergePhase.IDLE and view.is_leading:
            self._consider(view, others, now)

    def expects_merge(self, *, now: float) -> bool:
        """Return whether a history came in sight lately, so that one of the two may end soon.

        Not for ever: one that does not merge must not keep the other's log growing.
        """
        return any(now < since + self._config.hold for since in self._since.values())

    def crosses(self, request: MergeRequest) -> bool:
        """Return whether the other history of a request is the one that was asked."""
        return self.phase is MergePhase.ASKED and request.history == self._asked

    def yields_to(self, request: MergeRequest) -> bool:
        """Return whether of two requests that crossed, the other one is the longer history's."""
        mine = self._request
        other_rank = rank_of(request.history, request.command_count)
        return rank_of(mine.history, mine.command_count) < other_rank

    def withdraw(self, *, now: float) -> None:
        """Drop the request that is out: its answer will be ignored."""
        assert self.phase is MergePhase.ASKED, f"withdrawn while {self.phase}"
        self._back_off(now)

    def note_longer(self, request: MergeRequest, *, now: float) -> None:
        """Note that another history is the longer one: ask it at once."""
        self._told[request.history] = request.command_count
        self._next_at_s = now

    def receive_accepted(self, message: MergeAccepted, view: MergeView, *, now: float) -> None:
        """Close this history into one that has accepted it."""
        if self.phase is not MergePhase.ASKED or message.request_id != self._request.request_id:
            return
        # What need not be replayed has nothing that the one that was asked has not.
        is_inside = message.history == self._asked and self._count_max is not None
        can_end = is_inside or is_whole(view.log)
        if not view.is_leading or not can_end:
            self._back_off(now)
            return
        self.phase = MergePhase.CLOSING
        # The count is the one at the time of the request: whoever was accepted
        # since makes this void.
        self._closing = CloseInto(message.history, self._accept_count, self._count_max)
        self._emit(ProposeSystemEntry(self._closing))

    def receive_refused(self, message: MergeRefused, *, now: float) -> None:
        """Try again later; give a shorter history time to ask by itself."""
        if self.phase is MergePhase.ASKED and message.request_id == self._request.request_id:
            self._back_off(now)
            if message.why is MergeRefusal.SHORTER:
                self._next_at_s = max(self._next_at_s, now + self._config.patience)

    def close_settled(self, system_entry: CloseInto, *, now: float) -> None:
        """Note that the fate of a `CloseInto` is known: applied, void, or not in the log."""
        if self.phase is MergePhase.CLOSING and system_entry == self._closing:
            self._back_off(now)

    def _note_sight(self, others: Others, now: float) -> None:
        ready = [history for history, other in others.items() if other.is_ready]
        self._since = {history: self._since.get(history, now) for history in ready}
        self._told = {history: self._told[history] for history in ready if history in self._told}
        if not ready:
            self._retry_s = self._config.retry

    def _consider(self, view: MergeView, others: Others, now: float) -> None:
        best = best_of(others)
        if best is None:
            return
        can_end = is_whole(view.log) or is_contained(view, best)
        transfer_target = None if can_end else find_transfer_target(view)
        if not can_end and transfer_target is None:
            self._warn(best, now)
            return
        told = rank_of(best.history, self._told.get(best.history, 0))
        is_longer = max(best.rank, told) > own_rank(view, best)
        due_s = self._since[best.history] + (0.0 if is_longer else self._config.patience)
        due_s = max(due_s, self._next_at_s)
        if now < due_s:
            self.timer_s = due_s
        elif transfer_target is not None:
            self._emit(HandOver(transfer_target))
            self._back_off(now)
        else:
            self._ask(best, view, now)

    def _ask(self, other: Other, view: MergeView, now: float) -> None:
        assert other.leader is not None, "asked a history without a leader"
        request_id = self._rng.randbytes(REQUEST_BYTES)
        self._request = MergeRequest(view.history, request_id, view.position())
        self._asked = other.history
        self._accept_count = view.ledger.accept_count
        self._count_max = None if is_whole(view.log) else view.ledger.command_count
        self.phase = MergePhase.ASKED
        self._deadline_s = self.timer_s = now + self._config.request_timeout
        self._emit(to_peer(other.leader, self._request))

    def _back_off(self, now: float) -> None:
        self.phase = MergePhase.IDLE
        self._closing = None
        self._next_at_s = self.timer_s = now + self._retry_s * (0.5 + self._rng.random())
        self._retry_s = min(2 * self._retry_s, self._config.retry_max)

    def _warn(self, other: Other, now: float) -> None:
        """Say that neither history can end, once in a while."""
        if other.is_whole:
            return
        due_s = max(
            self._since[other.history] + self._config.patience,
            self._warned_at_s + self._config.repeat,
        )
        if now < due_s:
            self.timer_s = due_s
            return
        self._warned_at_s = now
        self.timer_s = now + self._config.repeat
        self._emit(HistoriesConflict(other.history))
