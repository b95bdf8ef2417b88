"""Submissions of commands, and until when somebody waits for them.

A heap of deadlines. Most submissions are done long before; they are not taken
out of the middle, but swept out when they are more than half of the heap.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from math import inf
from typing import Any, Final

_DONE_MIN: Final = 1024


class PendingSubmission:
    """The commands of one call.

    Attributes:
        token: What its caller knows it by.
        payloads: The commands, until they have numbers.
        count: How many commands these are.
        byte_count: Their bytes.
        deadline: When its caller gives up, in monotonic seconds; may be infinite.
        waits: Whether its caller waits until it is applied.
        last: The number of its last payload; 0 without numbers.
        positions: The positions of those of its commands that are applied.
        results: What they returned, encoded, by position.
        is_told: Whether its caller knows what became of it, or does not care.
    """

    __slots__ = (
        "byte_count", "count", "deadline", "is_told", "last", "payloads", "positions", "results",
        "token", "waits",
    )  # fmt: skip

    def __init__(
        self,
        token: Any,
        payloads: Sequence[bytes],
        count: int,
        byte_count: int,
        deadline: float,
        waits: bool,
    ) -> None:
        self.token = token
        self.payloads = payloads
        self.count = count
        self.byte_count = byte_count
        self.deadline = deadline
        self.waits = waits
        self.last = 0
        self.positions: list[int] = []
        self.results: dict[int, bytes | None] = {}
        self.is_told = False


class CallDeadlines:
    """When callers give up."""

    __slots__ = ("_added_count", "_done_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, PendingSubmission]] = []
        self._added_count = 0
        # Submissions in the heap whose callers are notified.
        self._done_count = 0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, submission: PendingSubmission) -> None:
        """Watch the deadline of a submission."""
        if submission.deadline < inf:
            self._added_count += 1
            heappush(self._heap, (submission.deadline, self._added_count, submission))

    def note_told(self, submission: PendingSubmission) -> None:
        """Watch a submission no more: its caller is notified. Once for each."""
        submission.is_told = True
        if submission.deadline < inf:
            self._done_count += 1
            if self._done_count > _DONE_MIN and self._done_count * 2 > len(self._heap):
                self._heap = [item for item in self._heap if not item[2].is_told]
                heapify(self._heap)
                self._done_count = 0

    def next_at(self) -> float:
        """Return when the next caller gives up; infinite for never."""
        while self._heap and self._heap[0][2].is_told:
            heappop(self._heap)
            self._done_count -= 1
        return self._heap[0][0] if self._heap else inf

    def pop_due(self, now: float) -> PendingSubmission | None:
        """Return the next submission whose caller gives up now, and count it as notified."""
        if self.next_at() > now:
            return None
        submission = heappop(self._heap)[2]
        submission.is_told = True
        return submission
