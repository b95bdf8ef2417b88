"""Log replay: fetch the committed entries that are missing, from all who have them.

The task of `LogReplaySync`, and the last stretch of `SnapshotSync`. The missing
range, up to the highest commit index of anybody when it began, is shared out by
a `FetchPlan`, the leader last; what arrives is put in order and handed out to
be installed, one portion at a time.

An answer is dropped, counted against its sender and fetched from another when
its entries are not those asked for, when terms go down, or when it does not fit
what it stands on: with each range comes the term before it, and by the Log
Matching Property (Raft thesis 3.5) two ranges fit exactly if that is the term
of the entry before. Where two answers contradict each other and nothing says
who is right, both are dropped. What is well formed and fits is believed:
members may fail, they do not betray.

Invariants:
    * Entries are handed out in order, without a gap, each once, unless the
      caller refused them.
    * What is held takes `BUFFER_BYTES` at most, besides one answer: when it is
      full, only what everything waits for is asked for. Finished portions that
      are not yet installed count.
    * When nothing came of anything for long, the task fails; it never hangs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
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
    SyncProgress,
    TaskEvent,
)
from ..raft.log import cost_of
from ..wire.raft import check_entries
from ..wire.records import Entry
from ..wire.sync import (
    ANSWER_BYTES,
    ANSWER_ENTRIES_MAX,
    EntryRange,
    FetchEntries,
    NotHere,
    decode_answer,
    encode_message,
)
from .fetch_plan import FetchPlan, FetchRequest, Span

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
    def span(self) -> Span:
        return (self.entries[0].index, self.entries[-1].index)

    @property
    def last_term(self) -> int:
        return self.entries[-1].term


class LogReplayTask:
    """Fetches and hands out committed entries from `context.next_index` on.

    Args:
        context: Where it stands.
        batch_size: How many entries to ask a peer for at once, at most.
        fetch_timeout: Seconds until a request counts as lost.

    Attributes:
        rejected_count: How many answers were wrong.
    """

    def __init__(self, context: SyncContext, *, batch_size: int, fetch_timeout: float) -> None:
        self._log = context.log
        self._batch_count = min(batch_size, ANSWER_ENTRIES_MAX)
        self._stall_s = max(STALL_MIN_S, STALL_TIMEOUTS * fetch_timeout)
        self._plan = FetchPlan(context.rng, timeout_s=fetch_timeout)
        self._first = self._next = context.next_index
        self._target: int | None = None
        self._chunks: dict[int, _Chunk] = {}
        self._offered: list[_Chunk] = []
        self._bytes_held = 0
        self._bytes_expected = ANSWER_BYTES
        self._events: deque[TaskEvent] = deque()
        self._progress: SyncProgress | None = None
        self._progress_s = self._now = context.now
        self._compacted_s: float | None = None
        self._is_done = False
        self.rejected_count = 0

    @property
    def is_done(self) -> bool:
        """Whether it has finished or failed."""
        return self._is_done

    # The verbs.

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
            answer = decode_answer(data)
        except DecodeError:
            self._plan.give_up(peer)
            self._reject(peer, now)
            self._advance(now)
            raise
        ask = self._plan.answered(peer, answer.number, now=now)
        if ask is None or self._is_done:
            return
        if isinstance(answer, EntryRange):
            self._receive_range(ask, answer, len(data), now)
        elif isinstance(answer, NotHere):
            self._plan.rest(peer, now=now)
        else:
            self._reject(peer, now)
        self._advance(now)

    def installed(self, index: int, *, now: float) -> None:
        """Take in that everything up to `index` is here: see `SyncTask`."""
        for chunk in self._offered:
            self._bytes_held -= chunk.bytes_count
            if chunk.entries[-1].index > index:
                self._reject(chunk.peer, now)
        self._offered = []
        if index >= self._next:
            self._next = index + 1
            self._progress_s = now
        for first, chunk in list(self._chunks.items()):
            if chunk.entries[-1].index < self._next:
                self._drop(first)
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
        if self._events:
            return self._events.popleft()
        progress, self._progress = self._progress, None
        return progress

    # What arrives.

    def _receive_range(self, ask: FetchRequest, answer: EntryRange, size: int, now: float) -> None:
        peer = ask.peer
        try:
            self._check(ask, answer)
        except DecodeError:
            self._reject(peer, now)
            return
        self._plan.set_span(peer, (answer.first_index, answer.commit_index))
        if not answer.entries:
            self._plan.rest(peer, now=now)
            return
        self._plan.served(peer)
        self._bytes_expected = max(size, self._bytes_expected // 2, ANSWER_BYTES)
        chunk = self._fit(peer, answer)
        if chunk is None:
            return
        has_room = self._bytes_held + chunk.bytes_count <= BUFFER_BYTES
        if has_room or chunk.entries[0].index == self._next:
            self._chunks[chunk.entries[0].index] = chunk
            self._bytes_held += chunk.bytes_count
            self._progress_s = now
            self._note_progress()

    def _check(self, ask: FetchRequest, answer: EntryRange) -> None:
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

    def _fit(self, peer: PeerId, answer: EntryRange) -> _Chunk | None:
        """Return the part of an answer that is not here yet; None when all of it is."""
        entries = answer.entries
        begin = entries[0].index
        first, last = max(begin, self._next), entries[-1].index
        for held_first, held_last in self._held():
            if held_first <= first <= held_last:
                first = held_last + 1
            elif first < held_first:
                last = min(last, held_first - 1)
        if first > last:
            return None
        kept = (
            entries
            if last - first + 1 == len(entries)
            else entries[first - begin : last - begin + 1]
        )
        prev_term = answer.prev_term if first == begin else entries[first - begin - 1].term
        return _Chunk(peer, prev_term, kept, sum(map(cost_of, kept)))

    def _held(self) -> list[Span]:
        spans = [chunk.span for chunk in self._chunks.values()]
        spans += [chunk.span for chunk in self._offered]
        return sorted(spans)

    # What is handed out.

    def _advance(self, now: float) -> None:
        """Hand out what is in order, ask for what is missing, see whether all is done."""
        self._now = max(self._now, now)
        if self._is_done or self._target is None:
            return
        if not self._offered:
            self._offer(now)
        if not self._offered and self._next > self._target and not self._go_on():
            self._finish(StateSyncFinished())
            return
        self._ask(now)
        self._watch_compaction(now)

    def _offer(self, now: float) -> None:
        """Hand out what follows on what is installed."""
        head = self._chunks.get(self._next)
        if head is None:
            self._trim_head()
            head = self._chunks.get(self._next)
        if head is None:
            return
        expected = self._log.term_at(self._next - 1)
        if expected is not None and head.prev_term != expected:
            self._reject_chunk(head, now)
            return
        run = self._run_from(head)
        for before, after in pairwise(run):
            if after.prev_term != before.last_term:
                self._reject_chunk(before, now)
                self._reject_chunk(after, now)
                return
        for chunk in run:
            del self._chunks[chunk.entries[0].index]
        self._offered = run
        if len(run) == 1:
            entries = run[0].entries
        else:
            entries = tuple(entry for chunk in run for entry in chunk.entries)
        self._events.append(InstallEntries(entries))

    def _run_from(self, head: _Chunk) -> list[_Chunk]:
        run, size = [head], head.bytes_count
        while (chunk := self._chunks.get(run[-1].entries[-1].index + 1)) is not None:
            size += chunk.bytes_count
            if size > INSTALL_BYTES:
                break
            run.append(chunk)
        return run

    def _trim_head(self) -> None:
        """Cut off what replication brought in meanwhile."""
        for first, chunk in list(self._chunks.items()):
            if first < self._next:
                self._drop(first)
                skip = self._next - first
                kept = chunk.entries[skip:]
                size = sum(map(cost_of, kept))
                prev_term = chunk.entries[skip - 1].term
                self._chunks[self._next] = _Chunk(chunk.peer, prev_term, kept, size)
                self._bytes_held += size

    def _go_on(self) -> bool:
        """Return whether so much was committed meanwhile that another round is worth it."""
        assert self._target is not None, "nothing was aimed at"
        last = max((last for _, last in self._plan.spans), default=0)
        if last <= max(self._target, self._next - 1) + self._batch_count:
            return False
        self._target = last
        return True

    # What is asked for.

    def _ask(self, now: float) -> None:
        assert self._target is not None, "nothing was aimed at"
        held = self._held()
        in_flight = len(self._plan.in_flight)
        room = (BUFFER_BYTES - self._bytes_held) // self._bytes_expected - in_flight
        wanted = (self._next, self._target)
        if room <= 0:
            # Only what all the rest waits for: it is handed out as soon as it comes.
            wanted = (self._next, min(self._target, self._next + self._batch_count - 1))
            room = 0 if self._offered else 1
        for ask in self._plan.next_asks(
            wanted, held, count_max=self._batch_count, asks_max=room, now=now
        ):
            request = FetchEntries(ask.number, ask.first, ask.count)
            self._events.append(SendSync(ask.peer, encode_message(request)))

    def _watch_compaction(self, now: float) -> None:
        """Note since when nobody has the next entry any more."""
        assert self._target is not None, "nothing was aimed at"
        spans = self._plan.spans
        is_gone = (
            not self._offered
            and self._next <= self._target
            and bool(spans)
            and all(first > self._next for first, _ in spans)
        )
        if not is_gone:
            self._compacted_s = None
        elif self._compacted_s is None:
            self._compacted_s = now

    # Helpers.

    def _reject(self, peer: PeerId, now: float) -> None:
        self.rejected_count += 1
        self._plan.strike(peer, now=now)

    def _reject_chunk(self, chunk: _Chunk, now: float) -> None:
        self._drop(chunk.entries[0].index)
        self._reject(chunk.peer, now)

    def _drop(self, first: int) -> None:
        self._bytes_held -= self._chunks.pop(first).bytes_count

    def _note_progress(self) -> None:
        assert self._target is not None, "nothing was aimed at"
        waiting = sum(len(chunk.entries) for chunk in self._chunks.values())
        waiting += sum(len(chunk.entries) for chunk in self._offered)
        done = self._next - self._first + waiting
        self._progress = SyncProgress(done, max(done, self._target - self._first + 1))

    def _finish(self, event: TaskEvent) -> None:
        self._is_done = True
        if self._progress is not None:
            self._events.append(self._progress)
            self._progress = None
        self._events.append(event)
        self._chunks.clear()
        self._offered = []
        self._bytes_held = 0
        self._compacted_s = None
