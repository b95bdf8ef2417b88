"""What a leader knows of one follower's log, and how much it sends it.

Three states, as the thesis hints at in 10.2.1 and implementations agree on:

    * PROBE: where the logs agree is not known. One message at a time; the next
      leaves after the answer, or after a heartbeat was answered.
    * REPLICATE: they agree up to `match_index`. Messages leave one after the other without waiting
      (pipelining), as long as fewer than the window's messages and bytes are on their way.
    * SNAPSHOT: the follower needs entries that are compacted away. Nothing is
      sent until it has installed a snapshot.

Links lose nothing while they stand, but they break, and so messages are lost.
A gap shows as a rejection, and the state falls back to PROBE.

Invariants:
    * `match_index` < `next_index`, and `match_index` never goes down.
    * In PROBE at most one message is on its way, outside of it the window
      bounds them; one message always fits.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from .quiescence import Liveness


class ProgressState(Enum):
    """How a follower is replicated to."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


@dataclass(slots=True, eq=False)
class FollowerProgress:
    """What a leader knows of one follower."""

    next_index: int  # the first entry to send next
    heard_s: float  # when it last answered, or when it became a follower
    window_count: int  # messages that may be on their way
    window_bytes: int  # and their bytes
    state: ProgressState = ProgressState.PROBE
    match_index: int = 0  # the follower's log agrees, and is saved, up to here
    commit_sent: int = 0  # the highest commit index it was sent
    commit_known: int = 0  # what it said last that it knows to be committed
    round: int = 0  # the last heartbeat round it answered (Raft thesis 6.4)
    may_quiesce: bool = False  # whether the last message to it allowed it to quiesce
    liveness: Liveness | None = None  # what counts for its replies while it is quiesced, else None
    # Last index and bytes of the messages with entries that are not answered.
    flight: deque[tuple[int, int]] = field(default_factory=deque)
    flight_bytes: int = 0  # their bytes together
    _is_probing: bool = False
    _snapshot_index: int = 0

    def may_send(self) -> bool:
        """Return whether a message with entries may leave now."""
        if self.state is ProgressState.REPLICATE:
            return len(self.flight) < self.window_count and self.flight_bytes < self.window_bytes
        return self.state is ProgressState.PROBE and not self._is_probing

    def sent(self, last_index: int, size_bytes: int) -> None:
        """Note that entries up to `last_index` were sent; a probe may carry none."""
        if self.state is ProgressState.PROBE:
            self._is_probing = True
            return
        assert self.state is ProgressState.REPLICATE, f"sent in {self.state}"
        self.next_index = last_index + 1
        self.flight.append((last_index, size_bytes))
        self.flight_bytes += size_bytes

    def accept(self, match_index: int) -> bool:
        """Note that the follower agrees up to `match_index`; return whether that is news."""
        has_changed = match_index > self.match_index
        if has_changed:
            self.match_index = match_index
            self.next_index = max(self.next_index, match_index + 1)
        flight = self.flight
        while flight and flight[0][0] <= match_index:
            self.flight_bytes -= flight.popleft()[1]
        if self.state is ProgressState.PROBE or (
            self.state is ProgressState.SNAPSHOT and match_index >= self._snapshot_index
        ):
            self._enter(ProgressState.REPLICATE, self.match_index + 1)
        return has_changed

    def reject(self, rejected_index: int, next_index: int) -> None:
        """Note that the log does not agree just before the entries that were sent.

        `next_index` is what to try next, from the follower's hint. Late refusals change nothing.
        """
        if self.state is ProgressState.SNAPSHOT or rejected_index <= self.match_index:
            return
        if self.state is ProgressState.PROBE and rejected_index != self.next_index - 1:
            return
        proposed = min(next_index, rejected_index)
        self._enter(ProgressState.PROBE, max(self.match_index + 1, proposed))

    def wait_for_snapshot(self, snapshot_index: int) -> None:
        """Send nothing until the follower agrees up to `snapshot_index`."""
        self._enter(ProgressState.SNAPSHOT, snapshot_index + 1)
        self._snapshot_index = snapshot_index

    def retry(self) -> None:
        """Let a probe leave again: the last one may be lost."""
        self._is_probing = False

    def _enter(self, state: ProgressState, next_index: int) -> None:
        self.state, self.next_index, self._is_probing = state, next_index, False
        if state is not ProgressState.REPLICATE:
            self.flight.clear()
            self.flight_bytes = 0
