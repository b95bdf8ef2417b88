"""One node's side of one singleton: when to claim, to doubt, to answer, and when to act.

A pure core. ``now`` is the loop's monotonic clock, in seconds. Whoever drives it hands in what
the node's copy of the claims says (`receive_record`), whether the holder's node is in reach
(`receive_reach`) and what strong queries found (`receive_answer`), carries out what `next_step`
returns, and calls it again at `get_timer` at the latest.

A lease runs from before the query was made that confirms it, so it ends, on the holder's own
clock, before the wait of any candidate that put a doubt in after that. A candidate waits a tenth
longer, and a quarter of a second: that much two clocks may differ in speed.

Invariants:
    * It may act only while it has a token and `now` is before `until`.
    * It acts with a token at most once: when it has acted and does not any more, it gives the
      token back and claims a new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from .claims import (
    DRAWN_MAX,
    NOTHING,
    SECONDS_MAX,
    Claim,
    Doubt,
    NameRecord,
    Reassure,
    Release,
    SingletonHost,
)

_WAIT_FACTOR: Final = 1.1
_WAIT_MORE_S: Final = 0.25
_CHECKS_A_LEASE: Final = 4
_LOOK_S: Final = 0.5
_PATIENCE_S: Final = 0.5
_PATIENCE_MAX_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Check:
    """Ask strongly for the record, and hand it to `receive_answer` with the moment before."""

    name: str


Step = Claim | Doubt | Reassure | Release | Check


class Contender:
    """One node's side of one singleton.

    Args:
        name: The singleton's name.
        me: Where it would run here.
        lease_s: For how long it acts without a word from the others.
        rng: Draws what makes tokens and doubts unlike.

    Attributes:
        record: What this node's copy of the claims says.
        token: What it may act with, until `until`; 0 for nothing.
        until: When its lease ends.
        is_candidate: Whether it claims what is free.
        why_not: Why it does not act any more, once it has acted.
    """

    def __init__(self, name: str, me: SingletonHost, lease_s: float, rng: Random) -> None:
        self.name = name
        self.me = me
        self.record = NOTHING
        self.token = 0
        self.until = 0.0
        self.is_candidate = True
        self.why_not = ""
        self._lease_s = lease_s
        self._rng = rng
        self._seen_s = 0.0
        self._missed_s: float | None = None
        self._patience_s = _PATIENCE_S
        self._rests_until = 0.0
        self._check_s = 0.0
        self._acted = 0  # the last token that it acted with
        self._doubted = 0  # the token that it put a doubt on
        self._confirmed: NameRecord | None = None
        self._announced = 0  # the token that it has said it acts with
        self._timer = 0.0

    @property
    def is_mine(self) -> bool:
        """Whether the record names this node's actor."""
        return self.record.host == self.me

    def may_act(self, now: float) -> bool:
        """Return whether it may act at this moment."""
        return self.token != 0 and now < self.until

    # --- inputs ---

    def receive_record(self, record: NameRecord, *, now: float) -> None:
        """Take in what this node's copy of the claims says; it may lag behind."""
        if record != self.record:
            if record.token == self._doubted and self.record.doubt and not record.doubt:
                self._patience_s = min(2 * self._patience_s, _PATIENCE_MAX_S)
            self.record, self._seen_s = record, now
            self._confirmed = None
        if self.token and record.token >= self.token and record.host != self.me:
            self.stop("another node has its place")

    def receive_reach(self, is_in_reach: bool, *, now: float) -> None:
        """Take in whether the holder's node is in reach."""
        if is_in_reach:
            self._missed_s = None
        elif self._missed_s is None:
            self._missed_s = now

    def receive_announced(self, token: int) -> None:
        """Take in that `Reassure` with a token was applied."""
        self._announced = token

    def receive_answer(self, record: NameRecord, *, asked_s: float) -> None:
        """Take in what a strong query found that was made at `asked_s`."""
        self._confirmed = record
        if record.host != self.me or (self.token and record.token != self.token):
            if self.token:
                self.stop("another node has its place")
        elif self._acted < record.token == self._announced and not record.doubt:
            self.token, self.why_not = record.token, ""
            self.until = max(self.until, asked_s + self._lease_s)

    def stop(self, why: str) -> None:
        """Act no more with the token. The next steps give it back."""
        if self.token:
            self._acted, self.token, self.why_not = self.token, 0, why

    def rest(self, *, now: float) -> None:
        """Claim nothing for two leases: it could not be started here."""
        self._rests_until = now + 2 * self._lease_s

    # --- what it wants done ---

    def get_timer(self) -> float:
        """Return when `next_step` is to be called again, if nothing happens before."""
        return self._timer

    def next_step(self, *, now: float, wall_s: float) -> Step | None:
        """Return what to do now, if anything; carry it out and hand in the record, then call again.

        Args:
            now: The time.
            wall_s: The wall clock, in seconds since the Unix epoch.
        """
        if self.token and now >= self.until:
            self.stop("its lease is over: the other nodes did not answer in time")
        if self.is_mine or self.token:
            return self._as_holder(now)
        return self._as_candidate(now, wall_s)

    def _as_holder(self, now: float) -> Step | None:
        record = self.record
        if self.is_mine and record.token <= self._acted:
            return Release(self.name, record.token)
        if self.is_mine and (record.doubt or record.token != self._announced):
            return Reassure(self.name, record.token, self._lease_s)
        if not self.token or now >= self._check_s:
            self._check_s = now + self._lease_s / _CHECKS_A_LEASE
            return Check(self.name)
        self._timer = min(self._check_s, self.until)
        return None

    def _as_candidate(self, now: float, wall_s: float) -> Step | None:
        record = self.record
        self._timer = now + _LOOK_S
        if not self.is_candidate or now < self._rests_until:
            return None
        if record.host is not None and not record.doubt:
            if self._missed_s is None:
                return None
            if now < self._missed_s + self._patience_s:
                self._timer = min(self._timer, self._missed_s + self._patience_s)
                return None
            self._doubted = record.token
            return self.doubt(self.name, record)
        if record.doubt:
            opens_s = self._seen_s + record.lease_s * _WAIT_FACTOR + _WAIT_MORE_S
            if now < opens_s:
                self._timer = opens_s
                return None
        if self._confirmed != record:
            # This node's copy may be empty because it is only being filled.
            return Check(self.name)
        wall = min(max(int(wall_s), 0), SECONDS_MAX)
        return Claim(
            self.name,
            self.me,
            record.token,
            record.doubt,
            self._lease_s,
            self._draw(),
            wall,
        )

    def doubt(self, name: str, record: NameRecord) -> Doubt:
        """Return a doubt in the holder of any name."""
        return Doubt(name, record.token, self._draw())

    def _draw(self) -> int:
        return self._rng.randint(1, DRAWN_MAX)
