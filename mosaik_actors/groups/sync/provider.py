"""The side of state sync that serves: entries of the log, and parts of snapshots.

`LogProvider` answers from the log. `SnapshotProvider` does that too, and deals with snapshots:

    1. A member that has to catch up asks the leader for a snapshot. The leader names one that is
       still kept, when the log continues it, or has `TakeSnapshot` proposed (`SnapshotWanted`);
       many who ask share one.
    2. Every member that applies the system entry takes its snapshot there, and calls
       `snapshot_made`. Those who asked are sent the metadata.
    3. They fetch the parts from whom they like. A request for what is not made yet, or of a
       snapshot that this member has not come to yet, waits here for up to `HOLD_S`, then it is
       answered with what there is.

Limits: `ANSWERS_MAX` answers per peer are made in a turn, and requests beyond that are dropped: an
honest task asks a peer once at a time, and again when no answer comes. One request per peer waits
for parts, the newest; `SNAPSHOTS_MAX` snapshots are kept, each for its time to live after the last
request for it. The first portion of parts is made at once, which is all of a small snapshot; the
rest only when somebody asks for parts.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from ...ids import PeerId
from ..machine.sync_roles import (
    ProviderEvent,
    RequestedSnapshot,
    SendSync,
    SnapshotFailed,
    SnapshotWanted,
    SyncContext,
)
from ..wire import sync as wire
from ..wire.types import REQUEST_BYTES
from .kept_snapshot import KeptSnapshot

HOLD_S: Final = 1.0
SNAPSHOTS_MAX: Final = 2
GONE_MAX: Final = 32
WAITING_MAX: Final = 1024
ANSWERS_MAX: Final = 4


class LogProvider:
    """Serves entries, and no snapshots."""

    def __init__(self, context: SyncContext) -> None:
        self._log = context.log
        self._now = context.now
        self._answers: dict[PeerId, deque[wire.Answer]] = {}  # encoded when they are handed out

    def receive_message(self, peer: PeerId, data: bytes, *, now: float) -> None:
        """Take in a request: see `SyncProvider`."""
        request = wire.decode_request(data)
        self._observe(now)
        if len(self._answers.get(peer, ())) < ANSWERS_MAX:
            self._receive(peer, request)

    def snapshot_made(self, snapshot: RequestedSnapshot, *, now: float) -> None:
        """Drop a snapshot: nobody will ask for it."""

    def get_timer(self) -> float | None:
        """Return None: nothing is ever due."""
        return None

    def handle_timer(self, *, now: float) -> None:
        """Do nothing."""

    def next_event(self) -> ProviderEvent | None:
        """Return what to do next; None for nothing."""
        if not self._answers:
            return None
        peer, answers = next(iter(self._answers.items()))
        answer = answers.popleft()
        if not answers:
            del self._answers[peer]
        return SendSync(peer, wire.encode_message(answer))

    def _receive(self, peer: PeerId, request: wire.Request) -> None:
        if not isinstance(request, wire.FetchEntries):
            self._answer(peer, wire.NotHere(request.number, is_final=True))
            return
        log, first = self._log, request.first_index
        entries = log.entries(first, count_max=request.entry_count, bytes_max=wire.ANSWER_BYTES)
        prev_term = log.term_at(first - 1) if entries else None
        if prev_term is None:
            entries, prev_term = (), 0
        number, commit_index = request.number, log.commit_index
        self._answer(
            peer, wire.EntryRange(number, log.first_index, commit_index, prev_term, entries)
        )

    def _answer(self, peer: PeerId, answer: wire.Answer) -> None:
        self._answers.setdefault(peer, deque()).append(answer)

    def _observe(self, now: float) -> None:
        self._now = max(self._now, now)


class SnapshotProvider(LogProvider):
    """Serves entries and snapshots; `SnapshotSync` has the settings.

    Attributes:
        snapshots: The snapshots that are kept, by request id.
    """

    def __init__(
        self, context: SyncContext, *, snapshot_ttl: float, snapshot_request_timeout: float
    ) -> None:
        super().__init__(context)
        self.snapshots: dict[bytes, KeptSnapshot] = {}
        self._is_leader = context.is_leader
        self._rng = context.rng
        self._ttl_s = snapshot_ttl
        self._wanted_timeout_s = snapshot_request_timeout
        self._wanted_s: float | None = None
        self._asking: dict[PeerId, wire.WantSnapshot] = {}
        self._gone: deque[bytes] = deque(maxlen=GONE_MAX)
        self._held: dict[PeerId, tuple[wire.FetchParts, float]] = {}
        self._events: deque[ProviderEvent] = deque()

    def snapshot_made(self, snapshot: RequestedSnapshot, *, now: float) -> None:
        """Take over a snapshot: see `SyncProvider`."""
        self._observe(now)
        if snapshot.request_id in self.snapshots:
            return
        while len(self.snapshots) >= SNAPSHOTS_MAX:
            self._forget(next(iter(self.snapshots)))
        kept = KeptSnapshot(snapshot, expires_s=self._now + self._ttl_s)
        self.snapshots[snapshot.request_id] = kept
        self._make(kept)
        self._wanted_s = None
        asking, self._asking = self._asking, {}
        for peer, request in asking.items():
            self._name(peer, request, kept)
        self._serve()

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due, at once while parts are being made."""
        if not self.snapshots and not self._held:
            return None  # as almost always
        if any(snapshot.is_wanted and snapshot.is_making for snapshot in self.snapshots.values()):
            return self._now
        due = [until_s for _, until_s in self._held.values()]
        due += [snapshot.expires_s for snapshot in self.snapshots.values()]
        return min(due, default=None)

    def handle_timer(self, *, now: float) -> None:
        """Make a portion of parts, serve who waits for them, forget what nobody wants."""
        self._observe(now)
        for snapshot in self.snapshots.values():
            if snapshot.is_wanted and snapshot.is_making:
                self._make(snapshot)
                break
        self._serve()
        for request_id, snapshot in list(self.snapshots.items()):
            if snapshot.expires_s <= self._now:
                self._forget(request_id)

    def next_event(self) -> ProviderEvent | None:
        """Return what to do next; None for nothing."""
        return self._events.popleft() if self._events else super().next_event()

    def _receive(self, peer: PeerId, request: wire.Request) -> None:
        match request:
            case wire.WantSnapshot():
                self._receive_want(peer, request)
            case wire.FetchParts():
                self._held.pop(peer, None)
                if len(self._held) >= WAITING_MAX:
                    self._answer(peer, wire.NotHere(request.number))
                    return
                self._held[peer] = (request, self._now + HOLD_S)
                self._serve()
            case _:
                super()._receive(peer, request)

    # Which snapshot.

    def _receive_want(self, peer: PeerId, request: wire.WantSnapshot) -> None:
        for snapshot in reversed(self.snapshots.values()):
            if snapshot.metadata.index >= request.next_index and self._is_continued(snapshot):
                snapshot.expires_s = self._now + self._ttl_s
                self._name(peer, request, snapshot)
                return
        self._asking.pop(peer, None)
        if not self._is_leader() or len(self._asking) >= WAITING_MAX:
            self._answer(peer, wire.NotHere(request.number))
            return
        self._asking[peer] = request
        if self._wanted_s is None or self._now >= self._wanted_s + self._wanted_timeout_s:
            self._wanted_s = self._now
            self._events.append(SnapshotWanted(self._rng.randbytes(REQUEST_BYTES)))

    def _is_continued(self, snapshot: KeptSnapshot) -> bool:
        """Return whether the log still has what comes after a snapshot, and so it is of use."""
        return snapshot.metadata.index + 1 >= self._log.first_index and not snapshot.failure

    def _name(self, peer: PeerId, request: wire.WantSnapshot, kept: KeptSnapshot) -> None:
        self._answer(peer, wire.SnapshotNamed(request.number, kept.request_id, kept.metadata))

    def _make(self, snapshot: KeptSnapshot) -> None:
        snapshot.make()
        if snapshot.failure:
            self._events.append(SnapshotFailed(snapshot.request_id, snapshot.failure))

    def _forget(self, request_id: bytes) -> None:
        del self.snapshots[request_id]
        self._gone.append(request_id)

    # Its parts.

    def _serve(self) -> None:
        """Answer the requests for parts that can be answered by now, or have waited enough."""
        for peer, (request, until_s) in list(self._held.items()):
            answer = self._parts_for(request, has_waited=self._now >= until_s)
            if answer is not None:
                del self._held[peer]
                self._answer(peer, answer)

    def _parts_for(self, request: wire.FetchParts, *, has_waited: bool) -> wire.Answer | None:
        snapshot = self.snapshots.get(request.request_id)
        if snapshot is None:
            is_gone = request.request_id in self._gone
            return wire.NotHere(request.number, is_gone) if is_gone or has_waited else None
        snapshot.expires_s = self._now + self._ttl_s
        if snapshot.failure:
            return wire.NotHere(request.number, is_final=True)
        snapshot.is_wanted = True
        parts, is_full = snapshot.take(request.first_part, request.part_count)
        return (
            wire.PartRange(request.number, parts, snapshot.whole) if is_full or has_waited else None
        )
