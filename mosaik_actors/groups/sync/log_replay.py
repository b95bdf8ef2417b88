"""Log replay: fetch the committed entries that are missing, from all who have them.

The task of `LogReplaySync`, and the last stretch of `SnapshotSync`. The missing range, up to the
highest commit index of anybody when it began, is shared out by a `FetchPlan`, the leader last;
what arrives is put in order and handed out to be installed, one portion at a time.

An answer is dropped, counted against its sender and fetched from another when its entries are not
those asked for, when terms go down, or when it does not fit what it stands on: with each range
comes the term before it, and by the Log Matching Property (Raft thesis 3.5) two ranges fit exactly
if that is the term of the entry before. Where two answers contradict each other and nothing says
who is right, both are dropped. What is well formed and fits is believed: members may fail, they do
not betray.

Invariants:
    * Entries are handed out in order, without a gap, each once, unless the caller refused them.
    * What is held takes `BUFFER_BYTES` at most, besides one answer: when it is full, only what
      everything waits for is asked for. Finished portions that are not yet installed count.
    * When nothing came of anything for long, the task fails; it never hangs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Final

from ...errors import DecodeError
from ...ids import PeerId
from ..machine.sync_roles import (
    Holder,
    InstallEntries,
    SendSync,
    StateSyncFailed,
    StateSyncFinished,
    SyncContext,
    TaskEvent,
)
from ..raft.log import cost_of
from ..wire import sync as wire
from ..wire.raft import check_entries
from ..wire.records import Entry
from .fetch_plan import FetchPlan, FetchRequest, Span, subtract

BUFFER_BYTES: Final = 32 * 1024 * 1024
INSTALL_BYTES: Final = 4 * 1024 * 1024
COMPACTED_PATIENCE_S: Final = 2.0
STALL_TIMEOUTS: Final = 4.0
STALL_MIN_S: Final = 30.0


@dataclass(slots=True)
class _Chunk:
    """Entries that arrived and are not installed."""

    peer: PeerId
    prev_term: int
    entries: tuple[Entry, ...]
    bytes_count: int

    @property
    def first(self) -> int:
        return self.entries[0].index

    @property
    def last(self) -> int:
        return self.entries[-1].index


def _cut(peer: PeerId, prev_term: int, entries: tuple[Entry, ...], span: Span) -> _Chunk:
    """Return what of a range lies in a span."""
    begin = entries[0].index
    first, last = span[0] - begin, span[1] - begin
    if first:
        prev_term = entries[first - 1].term
    if last - first + 1 < len(entries):
        entries = entries[first : last + 1]
    return _Chunk(peer, prev_term, entries, sum(map(cost_of, entries)))


class LogReplayTask:
    """Fetches and hands out committed entries from `context.next_index` on.

    At most `batch_size` of them at once from a peer.
    """

    def __init__(self, context: SyncContext, *, batch_size: int, fetch_timeout: float) -> None:
        self._log = context.log
        self._batch_count = min(batch_size, wire.ANSWER_ENTRIES_MAX)
        self._stall_s = max(STALL_MIN_S, STALL_TIMEOUTS * fetch_timeout)
        self._plan = FetchPlan(context.rng, timeout_s=fetch_timeout)
        self._next = context.next_index
        self._target: int | None = None
        self._chunks: dict[int, _Chunk] = {}
        self._offered: list[_Chunk] = []
        self._bytes_held = 0
        self._bytes_expected = wire.ANSWER_BYTES
        self._events: deque[TaskEvent] = deque()
        self._progress_s = self._now = context.now
        self._compacted_s: float | None = None
        self._is_done = False

    def update_holders(
        self, holders: Mapping[PeerId, Holder], leader: PeerId | None, *, now: float
    ) -> None:
        """Take in who has which entries, and who leads: see `SyncTask`."""
        spans = {
            peer: (holder.first_index, holder.commit_index)
            for peer, holder in holders.items()
            if not holder.is_catching_up
        }
        self._plan.set_sources(spans, leader)
        if spans and self._target is None:
            self._target = max(last for _, last in spans.values())
        self._advance(now)

    def receive_message(self, peer: PeerId, data: bytes, *, now: float) -> None:
        """Take in an answer: see `SyncTask`."""
        try:
            answer = wire.decode_answer(data)
        except DecodeError:
            self._plan.strike_unread(peer, now=now)
            self._advance(now)
            raise
        ask = self._plan.answered(peer, answer.number, now=now)
        if ask is None or self._is_done:
            return
        if isinstance(answer, wire.EntryRange):
            self._receive_range(ask, answer, len(data), now)
        elif isinstance(answer, wire.NotHere):
            self._plan.rest(peer, now=now)
        else:
            self._plan.strike(peer, now=now)
        self._advance(now)

    def installed(self, index: int, *, now: float) -> None:
        """Take in that everything up to `index` is here: see `SyncTask`."""
        for chunk in self._offered:
            self._bytes_held -= chunk.bytes_count
            if chunk.last > index:
                self._plan.strike(chunk.peer, now=now)
        self._offered = []
        if index >= self._next:
            self._next = index + 1
            self._progress_s = now
        # Replication may have brought in what was fetched, or the first of it.
        for chunk in [chunk for chunk in self._chunks.values() if chunk.first < self._next]:
            self._drop(chunk)
            if chunk.last >= self._next:
                span = (self._next, chunk.last)
                self._hold(_cut(chunk.peer, chunk.prev_term, chunk.entries, span))
        self._advance(now)

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due; None for never."""
        if self._is_done:
            return None
        due = [self._plan.get_timer(now=self._now)]
        if not self._offered:
            due.append(self._progress_s + self._stall_s)
        if self._compacted_s is not None:
            due.append(self._compacted_s + COMPACTED_PATIENCE_S)
        return min((at for at in due if at is not None), default=None)

    def handle_timer(self, *, now: float) -> None:
        """Ask others for what was lost; give up when nothing has come for long."""
        self._plan.time_out(now=now)
        self._advance(now)
        if self._is_done:
            return
        if self._compacted_s is not None and now >= self._compacted_s + COMPACTED_PATIENCE_S:
            self._finish(StateSyncFailed(f"entry {self._next} is compacted away everywhere"))
        elif not self._offered and now >= self._progress_s + self._stall_s:
            self._finish(
                StateSyncFailed(f"nobody served entry {self._next} for {self._stall_s:g} s")
            )

    def next_event(self) -> TaskEvent | None:
        """Return what to do next; None for nothing."""
        return self._events.popleft() if self._events else None

    # What arrives.

    def _receive_range(
        self, ask: FetchRequest, answer: wire.EntryRange, size: int, now: float
    ) -> None:
        peer, entries = ask.peer, answer.entries
        try:
            _check(ask, answer)
        except DecodeError:
            self._plan.strike(peer, now=now)
            return
        self._plan.set_span(peer, (answer.first_index, answer.commit_index))
        if not entries:
            self._plan.rest(peer, now=now)
            return
        self._plan.served(peer)
        self._bytes_expected = max(size, self._bytes_expected // 2, wire.ANSWER_BYTES)
        missing = subtract([(max(ask.first, self._next), entries[-1].index)], self._held())
        if not missing:
            return
        chunk = _cut(peer, answer.prev_term, entries, missing[0])
        if chunk.first == self._next or self._bytes_held + chunk.bytes_count <= BUFFER_BYTES:
            self._hold(chunk)
            self._progress_s = now

    def _held(self) -> list[Span]:
        return [(chunk.first, chunk.last) for chunk in (*self._chunks.values(), *self._offered)]

    def _hold(self, chunk: _Chunk) -> None:
        self._chunks[chunk.first] = chunk
        self._bytes_held += chunk.bytes_count

    def _drop(self, chunk: _Chunk) -> None:
        del self._chunks[chunk.first]
        self._bytes_held -= chunk.bytes_count

    # What is handed out.

    def _advance(self, now: float) -> None:
        """Hand out what is in order, ask for what is missing, see whether all is done."""
        self._now = max(self._now, now)
        if self._is_done or self._target is None:
            return
        if not self._offered:
            self._offer(now)
        if not self._offered and self._next > self._target:
            # Another round, if so much was committed meanwhile that it is worth it.
            last = max((last for _, last in self._plan.spans), default=0)
            if last < self._next + self._batch_count:
                self._finish(StateSyncFinished())
                return
            self._target = last
        self._ask(self._target, now)
        self._watch_compaction(self._target, now)

    def _offer(self, now: float) -> None:
        """Hand out what follows on what is installed, as much as one portion holds."""
        run: list[_Chunk] = []
        index, size = self._next, 0
        expected_term = self._log.term_at(index - 1)
        while (chunk := self._chunks.get(index)) is not None:
            size += chunk.bytes_count
            if run and size > INSTALL_BYTES:
                break
            if expected_term not in (None, chunk.prev_term):
                for wrong in (*run[-1:], chunk):
                    self._drop(wrong)
                    self._plan.strike(wrong.peer, now=now)
                return
            run.append(chunk)
            index, expected_term = chunk.last + 1, chunk.entries[-1].term
        if run:
            for chunk in run:
                del self._chunks[chunk.first]
            self._offered = run
            entries = (chunk.entries for chunk in run)
            whole = next(entries) if len(run) == 1 else tuple(chain.from_iterable(entries))
            self._events.append(InstallEntries(whole))

    # What is asked for.

    def _ask(self, target: int, now: float) -> None:
        in_flight = len(self._plan.in_flight)
        room = (BUFFER_BYTES - self._bytes_held) // self._bytes_expected - in_flight
        if room <= 0:
            # Only what all the rest waits for: it is handed out as soon as it comes.
            target = min(target, self._next + self._batch_count - 1)
            room = 0 if self._offered else 1
        for ask in self._plan.next_asks(
            (self._next, target), self._held(), count_max=self._batch_count, asks_max=room, now=now
        ):
            request = wire.FetchEntries(ask.number, ask.first, ask.count)
            self._events.append(SendSync(ask.peer, wire.encode_message(request)))

    def _watch_compaction(self, target: int, now: float) -> None:
        """Note since when nobody has the next entry any more."""
        firsts = [first for first, _ in self._plan.spans]
        if self._offered or self._next > target or not firsts or min(firsts) <= self._next:
            self._compacted_s = None
        elif self._compacted_s is None:
            self._compacted_s = now

    def _finish(self, event: StateSyncFinished | StateSyncFailed) -> None:
        self._is_done = True
        self._events.append(event)
        self._chunks.clear()
        self._offered = []
        self._bytes_held = 0


def _check(ask: FetchRequest, answer: wire.EntryRange) -> None:
    """Raise `DecodeError` unless an answer has entries that were asked for, or none."""
    entries = answer.entries
    if not entries:
        return
    if entries[0].index != ask.first or len(entries) > ask.count:
        raise DecodeError(
            f"{len(entries)} entries from {entries[0].index}, "
            f"expected up to {ask.count} from {ask.first}"
        )
    if entries[-1].index > answer.commit_index:
        raise DecodeError(f"entry {entries[-1].index}, committed {answer.commit_index}")
    if (ask.first == 1) != (answer.prev_term == 0):
        raise DecodeError(f"term {answer.prev_term} before entry {ask.first}")
    check_entries(entries, ask.first - 1, answer.prev_term)
