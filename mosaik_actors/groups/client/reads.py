"""Strong reads of one member: asked of the leader, asked again, given up in time.

Raft answers a read or fails it, or stays silent when messages are lost. Here a
read is asked again while its time lasts, and each gets exactly one outcome.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..raft.ready import ReadState


@dataclass(frozen=True, slots=True)
class ReadGranted:
    """The state here is fresh enough for the read with this token, at this very moment."""

    token: Any


@dataclass(frozen=True, slots=True)
class ReadFailed:
    """The read was not answered in its time."""

    token: Any


@dataclass(slots=True, eq=False)
class _Read:
    token: Any
    deadline_s: float
    ask_at_s: float = 0.0


class Reads:
    """The strong reads that wait; asked again after `retry_s` seconds without an answer."""

    def __init__(self, retry_s: float) -> None:
        self._retry_s = retry_s
        self._reads: dict[int, _Read] = {}
        self._number = 0
        self._events: deque[ReadGranted | ReadFailed] = deque()
        self._retry_at_s: float | None = None

    def __len__(self) -> int:
        return len(self._reads)

    def add(self, token: Any, *, now: float, timeout_s: float) -> None:
        """Take in a read; an event with `token` follows within `timeout_s` seconds."""
        self._number += 1
        self._reads[self._number] = _Read(token, now + timeout_s)
        self._retry_at_s = now

    def cancel(self, token: Any) -> None:
        """Forget a read: nobody waits for it any more."""
        self._reads = {n: read for n, read in self._reads.items() if read.token != token}

    def ask(self, ask: Callable[[int], None], *, now: float) -> None:
        """Ask those that are not asked, or whose answer seems lost, if it is time for that."""
        if self._retry_at_s is None or now < self._retry_at_s or not self._reads:
            return
        for number, read in list(self._reads.items()):
            if read.ask_at_s <= now:
                # A new number: a late answer to the old one must not count for a read
                # that was asked again meanwhile. It would be true, but Raft has one slot.
                del self._reads[number]
                self._number += 1
                self._reads[self._number] = read
                read.ask_at_s = now + self._retry_s
                ask(self._number)
        self._retry_at_s = now + self._retry_s

    def hold(self, *, now: float) -> None:
        """There is nobody to ask at the moment: ask those that are due later."""
        if self._retry_at_s is not None and self._retry_at_s <= now:
            self._retry_at_s = now + self._retry_s

    def retry_now(self, *, now: float) -> None:
        """There is a new leader: ask what was not answered at once."""
        if self._reads:
            for read in self._reads.values():
                read.ask_at_s = now
            self._retry_at_s = now

    def receive_state(self, state: ReadState) -> None:
        """Take in Raft's answer."""
        read = self._reads.get(state.request_id)
        if read is None:
            return
        if state.index is None:
            read.ask_at_s = 0.0  # when there is time
        else:
            del self._reads[state.request_id]
            self._events.append(ReadGranted(read.token))

    def get_timer(self) -> float | None:
        """Return when to call `handle_timer` and `ask`, None for never."""
        if not self._reads:
            return None
        first = min(read.deadline_s for read in self._reads.values())
        return first if self._retry_at_s is None else min(first, self._retry_at_s)

    def handle_timer(self, *, now: float) -> None:
        """Give up the reads whose time is over."""
        for number, read in list(self._reads.items()):
            if now >= read.deadline_s:
                del self._reads[number]
                self._events.append(ReadFailed(read.token))

    def fail_all(self) -> None:
        """Fail all reads: the member stops."""
        self._events += [ReadFailed(read.token) for read in self._reads.values()]
        self._reads.clear()

    def next_event(self) -> ReadGranted | ReadFailed | None:
        """Return what became of a read, None when there is nothing new."""
        return self._events.popleft() if self._events else None
