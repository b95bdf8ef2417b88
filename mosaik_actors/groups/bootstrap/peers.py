"""Whom a member without a history sees, and whether it is its turn to begin one.

Everybody applies the same rule to what it sees itself: the lowest member that may begin does so
first, and each further one a step later. When all see the same, only the lowest ever acts; when it
cannot, because its view is another one or it has just died, the next takes its turn. Safety does
not rest on any of this.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from random import Random
from typing import Final

from ...ids import PeerId
from ..config import ConsensusConfig
from ..wire.bootstrap import Seek
from ..wire.records import LEARNER_COUNT_MAX
from ..wire.status import Status

_SEEK_COUNT_MAX: Final = 2 * LEARNER_COUNT_MAX
_BACKOFF_MAX: Final = 4


class BootstrapPeers:
    """What one seeking member sees.

    Attributes:
        statuses: Who is bonded with this member, and what they say.
        failure_count: How many attempts to begin a history failed in a row, 4 at most.
    """

    def __init__(self, me: PeerId, config: ConsensusConfig, rng: Random, *, now: float) -> None:
        self._me = me
        self._config = config
        self._rng = rng
        # Members learn of a new history with the next heartbeat.
        self._step_s = max(config.bootstrap_delay, 2 * config.heartbeat_interval)
        self.statuses: Mapping[PeerId, Status] = {}
        self.failure_count = 0
        self._since_s = now
        self._enough_since_s: float | None = None
        self._not_before_s = now
        self._seeks: dict[PeerId, Seek] = {}
        self._suspects: dict[PeerId, None] = {}
        self._count(now)

    # Changes.

    def update(self, statuses: Mapping[PeerId, Status], *, now: float) -> None:
        """Take in who is bonded now."""
        was_alive = self.living_history()
        self.statuses = {peer: statuses[peer] for peer in sorted(statuses) if peer != self._me}
        for known in (self._seeks, self._suspects):
            for peer in [peer for peer in known if peer not in self.statuses]:
                del known[peer]
        if was_alive and not self.living_history():
            self._since_s = now
        self._count(now)

    def receive_seek(self, peer: PeerId, seek: Seek, *, now: float) -> None:
        """Take in what a peer says of itself; it may come before the bond is reported."""
        if peer not in self._seeks and len(self._seeks) >= _SEEK_COUNT_MAX:
            return
        self._seeks[peer] = seek
        self._count(now)

    def suspect(self, peer: PeerId) -> None:
        """Prefer others, from now on: this one did not answer."""
        self._suspects[peer] = None

    def trust(self, peer: PeerId) -> None:
        """Prefer others no more: this one has answered."""
        self._suspects.pop(peer, None)

    def note_busy(self, peer: PeerId, *, now: float) -> None:
        """Do not count on a peer until it says again that it is free."""
        self._seeks.pop(peer, None)
        self._count(now)

    def failed(self, *, now: float) -> None:
        """Wait a while, a random one, before the next attempt."""
        self.failure_count = min(self.failure_count + 1, _BACKOFF_MAX)
        self._not_before_s = now + self._rng.uniform(0, self._step_s * self.failure_count)

    def postpone(self, *, now: float) -> None:
        """Look again a heartbeat later; the turns of all are counted from then on."""
        self._since_s = now + self._config.heartbeat_interval - self._config.bootstrap_delay

    def start_anew(self, *, now: float) -> None:
        """Begin the search once more."""
        self._since_s = now
        self.failure_count = 0

    def _count(self, now: float) -> None:
        """Note since when there are enough for a history."""
        if len(self.candidates()) < self._config.initial_voters:
            self._enough_since_s = None
        elif self._enough_since_s is None:
            self._enough_since_s = now

    # Views.

    def living_history(self) -> bytes:
        """Return a history that a bonded peer follows and that is not closed; empty for none."""
        for status in self.statuses.values():
            if status.history and not status.closed_into:
                return status.history
        return b""

    def has_begun(self, history: bytes) -> bool:
        """Return whether a bonded peer follows this history."""
        return any(status.history == history for status in self.statuses.values())

    def has_committed(self, *, besides: bytes) -> bool:
        """Return whether a bonded peer follows another history, that has committed something."""
        others = [s for s in self.statuses.values() if s.history not in (b"", besides)]
        return any(status.commit_index > 0 and not status.closed_into for status in others)

    def follows(self, peer: PeerId, history: bytes) -> bool:
        """Return whether this bonded peer follows this history."""
        status = self.statuses.get(peer)
        return status is not None and status.history == history

    def without_history(self) -> list[PeerId]:
        """Return the bonded peers that have no history, in ascending order."""
        # One that waits to be taken into its history anew has that history.
        return [peer for peer, status in self.statuses.items() if not status.history]

    def candidates(self) -> list[PeerId]:
        """Return who may begin a history now, with this member, in ascending order."""
        return sorted([self._me, *(peer for peer in self.statuses if self._is_candidate(peer))])

    def incarnation_of(self, candidate: PeerId) -> bytes:
        """Return the incarnation that another candidate named last."""
        return self._seeks[candidate].incarnation

    def choose_voters(self) -> list[PeerId]:
        """Return whom to propose, in ascending order: this member and the lowest others.

        Those that did not answer the last time come last.
        """
        others = [peer for peer in self.candidates() if peer != self._me]
        others.sort(key=lambda peer: (peer in self._suspects, peer))
        return sorted([self._me, *others[: self._config.initial_voters - 1]])

    def due_s(self) -> float:
        """Return when it is this member's turn to begin a history; infinite for not now."""
        if self._enough_since_s is None or self.living_history():
            return inf
        first_s = max(self._since_s + self._config.bootstrap_delay, self._enough_since_s)
        rank = self.candidates().index(self._me)
        return max(first_s + rank * self._step_s, self._not_before_s)

    def _is_candidate(self, peer: PeerId) -> bool:
        status = self.statuses[peer]
        if status.history or status.is_observer or status.is_leaving:
            return False
        seek = self._seeks.get(peer)
        return self._config.initial_voters == 1 or (seek is not None and seek.is_free)
