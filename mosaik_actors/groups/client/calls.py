"""Submissions of commands, and until when somebody waits for them.

Most calls have the same time limit, so their deadlines come in order: these are in a
queue, the others in a heap. Most submissions are done long before their deadline; they are
not taken out of the middle, but swept out when they are more than half.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from math import inf
from typing import Any, Final

_DONE_MIN: Final = 1024


class Submission:
    """The commands of one call."""

    __slots__ = (
        "byte_count", "count", "deadline", "is_told", "last", "left", "payloads", "positions",
        "results", "timeout_s", "token", "waits",
    )  # fmt: skip

    def __init__(
        self,
        # At least one. They take effect in this order, after all that were submitted before.
        payloads: Sequence[bytes],
        count: int,  # of commands
        byte_count: int,
        token: Any,  # hashable; differs from those of all that are pending
        timeout_s: float,  # until its caller is notified that it failed; may be infinite
        waits: bool,  # until the commands are applied, not for a leader to take them
    ) -> None:
        self.payloads = payloads
        self.count = self.left = count  # all its commands, and how many are not answered
        self.byte_count = byte_count
        self.token = token
        self.timeout_s = timeout_s
        self.waits = waits
        self.deadline = inf  # when its caller gives up, in monotonic seconds; may be infinite
        self.last = 0  # the number of its last payload; 0 without numbers
        # The positions of those of its commands that are applied.
        self.positions: Sequence[int] = ()
        self.results: dict[int, bytes | None] = {}  # what they returned, encoded, by position
        self.is_told = False  # whether its caller knows what became of it, or does not care

    def note(self, positions: range, results: Sequence[bytes | None]) -> None:
        """Take in where more of its commands were applied, and what they returned, if known."""
        if results:
            self.results.update(zip(positions, results, strict=True))
        before = self.positions
        if not before:
            self.positions = positions
        elif isinstance(before, range) and before.stop == positions.start:
            self.positions = range(before.start, positions.stop)
        else:
            self.positions = [*before, *positions]


class CallDeadlines:
    """When callers give up."""

    __slots__ = ("_added_count", "_done_count", "_heap", "_queue")

    def __init__(self) -> None:
        self._queue: deque[Submission] = deque()
        self._heap: list[tuple[float, int, Submission]] = []
        self._added_count = 0
        # Submissions in either whose callers are notified.
        self._done_count = 0

    def __len__(self) -> int:
        return len(self._queue) + len(self._heap)

    def add(self, submission: Submission) -> None:
        """Watch the deadline of a submission."""
        if submission.deadline < inf:
            queue = self._queue
            if not queue or submission.deadline >= queue[-1].deadline:
                queue.append(submission)
            else:
                self._added_count += 1
                heappush(self._heap, (submission.deadline, self._added_count, submission))

    def note_told(self, submission: Submission) -> None:
        """Watch a submission no more: its caller is notified. Once for each."""
        submission.is_told = True
        if submission.deadline < inf:
            self._done_count += 1
            if self._done_count > _DONE_MIN and self._done_count * 2 > len(self):
                self._queue = deque([one for one in self._queue if not one.is_told])
                self._heap = [item for item in self._heap if not item[2].is_told]
                heapify(self._heap)
                self._done_count = 0

    def next_at(self) -> float:
        """Return when the next caller gives up; infinite for never."""
        queue, heap = self._queue, self._heap
        while queue and queue[0].is_told:
            queue.popleft()
            self._done_count -= 1
        while heap and heap[0][2].is_told:
            heappop(heap)
            self._done_count -= 1
        queue_at = queue[0].deadline if queue else inf
        return min(queue_at, heap[0][0]) if heap else queue_at

    def pop_due(self, now: float) -> Submission | None:
        """Return the next submission whose caller gives up now, and count it as notified."""
        due_at = self.next_at()
        if due_at > now:
            return None
        if self._queue and self._queue[0].deadline == due_at:
            submission = self._queue.popleft()
        else:
            submission = heappop(self._heap)[2]
        submission.is_told = True
        return submission
