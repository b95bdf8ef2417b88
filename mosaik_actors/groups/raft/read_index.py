"""Strong reads without the log: the ReadIndex algorithm (Raft thesis 6.4).

A leader answers a read in four steps: it has committed an entry of its own term, so that its commit
index is the true one; it notes that commit index; it hears from a quorum in a heartbeat round that
began *after* the read came in, so that no other leader was elected before; and the reader applies
up to that index. One round serves all reads that wait when it begins.

`ReadQueue` is the leader's half.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from ...ids import PeerId


class PendingRead(NamedTuple):
    """A read that waits: who asks, the leader itself perhaps, and how that peer calls it."""

    reader: PeerId
    request_id: Any


class ReadQueue:
    """The reads that wait at a leader, at most `count_max`."""

    def __init__(self, count_max: int) -> None:
        self.round = 0
        self._count_max = count_max
        self._count = 0
        self._waiting: list[PendingRead] = []
        self._rounds: deque[tuple[int, int, list[PendingRead]]] = deque()

    def __len__(self) -> int:
        return self._count

    def add(self, read: PendingRead) -> bool:
        """Take in a read; return False when too many wait."""
        if self._count >= self._count_max:
            return False
        self._waiting.append(read)
        self._count += 1
        return True

    def start_round(self, commit_index: int) -> bool:
        """Begin a round for the reads that wait for one; return whether there are any.

        Call it only when `commit_index` is the true one. Send `round` to everybody afterwards.
        """
        if not self._waiting:
            return False
        self.round += 1
        self._rounds.append((self.round, commit_index, self._waiting))
        self._waiting = []
        return True

    def confirm(self, round_: int) -> list[tuple[PendingRead, int]]:
        """Return the reads of all rounds up to this one, with the index each must see."""
        confirmed: list[tuple[PendingRead, int]] = []
        while self._rounds and self._rounds[0][0] <= round_:
            _, index, reads = self._rounds.popleft()
            self._count -= len(reads)
            confirmed.extend((read, index) for read in reads)
        return confirmed

    def drain(self) -> list[PendingRead]:
        """Return all reads and forget them: the leader is none any more."""
        left = [read for _, _, reads in self._rounds for read in reads] + self._waiting
        self._rounds, self._waiting, self._count = deque(), [], 0
        return left
