"""The side of state sync that serves: entries of the log, and parts of snapshots.

`LogProvider` answers from the log. `SnapshotProvider` does that too, and deals
with snapshots:

    1. A member that has to catch up asks the leader for a snapshot. The leader
       names one that is still kept, when the log continues it, or has
       `TakeSnapshot` proposed (`SnapshotWanted`); many who ask share one.
    2. Every member that applies the system entry takes its snapshot there, and calls
       `snapshot_made`. Those who asked are sent the metadata.
    3. They fetch the parts from whom they like. A request for what is not made
       yet, or of a snapshot that this member has not come to yet, waits here
       for up to `HOLD_S`, then it is answered with what there is.

Limits: `ANSWERS_MAX` answers per peer are made in a turn, and requests beyond
that are dropped: an honest task asks a peer once at a time, and again when no
answer comes. One request per peer waits for parts, the newest; `SNAPSHOTS_MAX` snapshots are kept,
each for its time to live after the last request for it. The first portion of
parts is made at once, which is all of a small snapshot; the rest only when
somebody asks for parts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from random import Random
from typing import Final

from ...ids import PeerId
from ..machine.sync_roles import (
    LogReader,
    ProviderEvent,
    RequestedSnapshot,
    SendSync,
    SnapshotFailed,
    SnapshotWanted,
    SyncContext,
)
from ..wire.sync import (
    ANSWER_BYTES,
    Answer,
    EntryRange,
    FetchEntries,
    FetchParts,
    NotHere,
    PartRange,
    SnapshotNamed,
    WantSnapshot,
    decode_request,
    encode_message,
)
from ..wire.types import REQUEST_BYTES
from .kept_snapshot import KeptSnapshot

HOLD_S: Final = 1.0
SNAPSHOTS_MAX: Final = 2
GONE_MAX: Final = 32
WAITING_MAX: Final = 1024
ANSWERS_MAX: Final = 4


class _Answers:
    """What is to be sent, in order; it is encoded when it is handed out."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[PeerId, Answer]] = deque()
        self._counts: dict[PeerId, int] = {}

    def has_room_for(self, peer: PeerId) -> bool:
        """Return whether a peer may ask for more now."""
        return self._counts.get(peer, 0) < ANSWERS_MAX

    def add(self, peer: PeerId, answer: Answer) -> None:
        self._counts[peer] = self._counts.get(peer, 0) + 1
        self._waiting.append((peer, answer))

    def next_event(self) -> SendSync | None:
        if not self._waiting:
            return None
        peer, answer = self._waiting.popleft()
        self._counts[peer] -= 1
        if not self._counts[peer]:
            del self._counts[peer]
        return SendSync(peer, encode_message(answer))


class LogProvider:
    """Serves entries, and no snapshots."""

    def __init__(self, context: SyncContext) -> None:
        self._log = context.log
        self._answers = _Answers()

    def receive_message(self, peer: PeerId, data: bytes, *, now: float) -> None:
        """Take in a request: see `SyncProvider`."""
        request = decode_request(data)
        if not self._answers.has_room_for(peer):
            return
        if isinstance(request, FetchEntries):
            self._answers.add(peer, range_of(self._log, request))
        else:
            self._answers.add(peer, NotHere(request.number, is_final=True))

    def snapshot_made(self, snapshot: RequestedSnapshot, *, now: float) -> None:
        """Drop a snapshot: nobody will ask for it."""

    def get_timer(self) -> float | None:
        """Return None: nothing is ever due."""
        return None

    def handle_timer(self, *, now: float) -> None:
        """Do nothing."""

    def next_event(self) -> ProviderEvent | None:
        """Return what to do next; None for nothing."""
        return self._answers.next_event()


class SnapshotProvider:
    """Serves entries and snapshots.

    Args:
        context: Where it stands.
        snapshot_ttl: Seconds that a snapshot is kept after the last request for it.
        snapshot_request_timeout: Seconds until a snapshot that was wanted and
            did not come is wanted again.
    """

    def __init__(
        self, context: SyncContext, *, snapshot_ttl: float, snapshot_request_timeout: float
    ) -> None:
        self._log = context.log
        self._is_leader = context.is_leader
        self._rng: Random = context.rng
        self._ttl_s = snapshot_ttl
        self._wanted_timeout_s = snapshot_request_timeout
        self._wanted_s: float | None = None
        self._asking: dict[PeerId, WantSnapshot] = {}
        self._snapshots: dict[bytes, KeptSnapshot] = {}
        self._gone: deque[bytes] = deque(maxlen=GONE_MAX)
        self._held: dict[PeerId, tuple[FetchParts, float]] = {}
        self._events: deque[ProviderEvent] = deque()
        self._answers = _Answers()
        self._now = context.now

    @property
    def snapshots(self) -> Mapping[bytes, KeptSnapshot]:
        """The snapshots that are kept, by request id."""
        return self._snapshots

    # The verbs.

    def receive_message(self, peer: PeerId, data: bytes, *, now: float) -> None:
        """Take in a request: see `SyncProvider`."""
        request = decode_request(data)
        self._observe(now)
        if not self._answers.has_room_for(peer):
            return
        match request:
            case FetchEntries():
                self._answer(peer, range_of(self._log, request))
            case WantSnapshot():
                self._receive_want(peer, request)
            case FetchParts():
                self._held.pop(peer, None)
                if len(self._held) >= WAITING_MAX:
                    self._answer(peer, NotHere(request.number))
                    return
                self._held[peer] = (request, self._now + HOLD_S)
                self._serve()

    def snapshot_made(self, snapshot: RequestedSnapshot, *, now: float) -> None:
        """Take over a snapshot: see `SyncProvider`."""
        self._observe(now)
        if snapshot.request_id in self._snapshots:
            return
        while len(self._snapshots) >= SNAPSHOTS_MAX:
            self._forget(next(iter(self._snapshots)))
        kept = KeptSnapshot(snapshot, expires_s=self._now + self._ttl_s)
        self._snapshots[snapshot.request_id] = kept
        self._make(kept)
        self._wanted_s = None
        asking, self._asking = self._asking, {}
        for peer, request in asking.items():
            self._answer(peer, SnapshotNamed(request.number, kept.request_id, kept.metadata))
        self._serve()

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due, at once while parts are being made."""
        if not self._snapshots and not self._held:
            return None  # as almost always
        if any(snapshot.is_wanted and snapshot.is_making for snapshot in self._snapshots.values()):
            return self._now
        due = [until_s for _, until_s in self._held.values()]
        due += [snapshot.expires_s for snapshot in self._snapshots.values()]
        return min(due, default=None)

    def handle_timer(self, *, now: float) -> None:
        """Make a portion of parts, serve who waits for them, forget what nobody wants."""
        self._observe(now)
        for snapshot in list(self._snapshots.values()):
            if snapshot.is_wanted and snapshot.is_making:
                self._make(snapshot)
                break
        self._serve()
        for request_id, snapshot in list(self._snapshots.items()):
            if snapshot.expires_s <= self._now:
                self._forget(request_id)

    def next_event(self) -> ProviderEvent | None:
        """Return what to do next; None for nothing."""
        return self._events.popleft() if self._events else self._answers.next_event()

    # Which snapshot.

    def _receive_want(self, peer: PeerId, request: WantSnapshot) -> None:
        for snapshot in reversed(self._snapshots.values()):
            if snapshot.metadata.index >= request.next_index and self._is_continued(snapshot):
                snapshot.expires_s = self._now + self._ttl_s
                self._answer(
                    peer, SnapshotNamed(request.number, snapshot.request_id, snapshot.metadata)
                )
                return
        self._asking.pop(peer, None)
        if not self._is_leader() or len(self._asking) >= WAITING_MAX:
            self._answer(peer, NotHere(request.number))
            return
        self._asking[peer] = request
        if self._wanted_s is None or self._now >= self._wanted_s + self._wanted_timeout_s:
            self._wanted_s = self._now
            self._events.append(SnapshotWanted(self._rng.randbytes(REQUEST_BYTES)))

    def _is_continued(self, snapshot: KeptSnapshot) -> bool:
        """Return whether the log still has what comes after a snapshot, and so it is of use."""
        return snapshot.metadata.index + 1 >= self._log.first_index and not snapshot.failure

    def _make(self, snapshot: KeptSnapshot) -> None:
        snapshot.make()
        if snapshot.failure:
            self._events.append(SnapshotFailed(snapshot.request_id, snapshot.failure))

    def _forget(self, request_id: bytes) -> None:
        del self._snapshots[request_id]
        self._gone.append(request_id)

    # Its parts.

    def _serve(self) -> None:
        """Answer the requests for parts that can be answered by now, or have waited enough."""
        for peer, (request, until_s) in list(self._held.items()):
            answer = self._parts_for(request, has_waited=self._now >= until_s)
            if answer is not None:
                del self._held[peer]
                self._answer(peer, answer)

    def _parts_for(self, request: FetchParts, *, has_waited: bool) -> Answer | None:
        snapshot = self._snapshots.get(request.request_id)
        if snapshot is None:
            is_gone = request.request_id in self._gone
            return NotHere(request.number, is_gone) if is_gone or has_waited else None
        snapshot.expires_s = self._now + self._ttl_s
        if snapshot.failure:
            return NotHere(request.number, is_final=True)
        snapshot.is_wanted = True
        if not has_waited and not snapshot.can_fill(request.first_part, request.part_count):
            return None
        parts = snapshot.take(request.first_part, request.part_count)
        return PartRange(request.number, parts, snapshot.whole)

    # Helpers.

    def _observe(self, now: float) -> None:
        self._now = max(self._now, now)

    def _answer(self, peer: PeerId, answer: Answer) -> None:
        self._answers.add(peer, answer)


def range_of(log: LogReader, request: FetchEntries) -> EntryRange:
    """Return the answer to a request for entries: what of them is committed here."""
    first = request.first_index
    entries = log.entries(first, count_max=request.entry_count, bytes_max=ANSWER_BYTES)
    prev_term = log.term_at(first - 1) if entries else None
    if prev_term is None:
        entries, prev_term = (), 0
    return EntryRange(request.number, log.first_index, log.commit_index, prev_term, entries)
