"""Snapshot sync: take over the state as of one place in the log, then the rest.

The task of `SnapshotSync`:

    1. When little is missing and the log still has it, that is replayed (`log_replay`), and
       nothing more.
    2. Else the leader is asked for a snapshot. It has all members take their snapshot at the same
       entry, or names such a one that is still kept; the request is repeated when the leader
       changes or stays silent.
    3. The parts are fetched from all members, and checked (`parts_fetch`).
    4. `InstallSnapshot`; then what was committed after the metadata is replayed.

When a snapshot is gone, cannot be restored, or the log after it is compacted away before it was
replayed, another one is asked for, `ATTEMPTS_MAX` times.

Invariants:
    * No snapshot is handed out that this member is already past.
    * When nothing came of anything for long, the task fails; it never hangs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from ...errors import DecodeError
from ...ids import PeerId
from ..machine.sync_roles import (
    Holder,
    InstallSnapshot,
    SendSync,
    StateSyncFailed,
    SyncContext,
    SyncMismatch,
    TaskEvent,
)
from ..wire import sync as wire
from .log_replay import STALL_MIN_S, STALL_TIMEOUTS, LogReplayTask
from .parts_fetch import PartsFetch

ASK_AGAIN_S: Final = 0.5
ATTEMPTS_MAX: Final = 8


class SnapshotTask:
    """Fetches and hands out a snapshot, and committed entries; `SnapshotSync` has the settings."""

    def __init__(
        self,
        context: SyncContext,
        *,
        fetch_batch_size: int,
        snapshot_request_timeout: float,
        fetch_timeout: float,
    ) -> None:
        self._context = context
        self._batch_count = fetch_batch_size
        self._request_timeout_s = snapshot_request_timeout
        self._fetch_timeout_s = fetch_timeout
        self._stall_s = max(STALL_MIN_S, STALL_TIMEOUTS * snapshot_request_timeout)
        self._number = self._first_number = context.rng.getrandbits(62)
        self._next = context.next_index
        self._holders: Mapping[PeerId, Holder] = {}
        self._leader: PeerId | None = None
        self._asked: PeerId | None = None
        self._ask_again_s: float | None = None
        self._fetch: PartsFetch | None = None
        self._offered: PartsFetch | None = None
        self._replay: LogReplayTask | None = None
        self._attempt_count = 0
        self._mismatch_count = 0
        self._events: deque[TaskEvent] = deque()
        self._progress_s = self._now = context.now
        self._has_failed = False

    def update_holders(
        self, holders: Mapping[PeerId, Holder], leader: PeerId | None, *, now: float
    ) -> None:
        """Take in who can serve, and who leads: see `SyncTask`."""
        self._observe(now)
        self._holders = {p: h for p, h in holders.items() if not h.is_catching_up}
        was_asked_gone = self._asked is not None and self._asked not in self._holders
        if leader != self._leader or was_asked_gone:
            # A new leader knows of no request, and the old one cannot grant it.
            self._asked = self._ask_again_s = None
        self._leader = leader
        if self._fetch is not None:
            self._fetch.set_sources(list(self._holders), leader)
        if self._replay is not None:
            self._replay.update_holders(holders, leader, now=now)
        self._advance()

    def receive_message(self, peer: PeerId, data: bytes, *, now: float) -> None:
        """Take in an answer: see `SyncTask`."""
        self._observe(now)
        if self._replay is not None:
            self._replay.receive_message(peer, data, now=now)
            return
        try:
            self._receive(peer, wire.decode_answer(data))
        except DecodeError:
            if self._fetch is not None:
                self._fetch.plan.strike_unread(peer, now=self._now)
            raise
        finally:
            self._advance()

    def installed(self, index: int, *, now: float) -> None:
        """Take in that everything up to `index` is here: see `SyncTask`."""
        self._observe(now)
        self._next = max(self._next, index + 1)
        offered, self._offered = self._offered, None
        if self._replay is not None:
            self._replay.installed(index, now=now)
        elif offered is not None and index < offered.metadata.index:
            self._try_another("the snapshot could not be restored")
        else:
            self._progress_s = now
            known = offered or self._fetch
            if known is not None and index >= known.metadata.index:
                self._begin_replay()
        self._advance()

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due; None for never."""
        if self._replay is not None:
            return self._replay.get_timer()
        if self._has_failed or self._offered is not None:
            return None
        due: list[float | None] = [self._progress_s + self._stall_s]
        if self._fetch is not None:
            due.append(self._fetch.plan.get_timer(now=self._now))
        elif self._leader in self._holders:
            due.append(self._ask_again_s)
        return min((at for at in due if at is not None), default=None)

    def handle_timer(self, *, now: float) -> None:
        """Ask others for what was lost; give up when nothing has come for long."""
        self._observe(now)
        if self._replay is not None:
            self._replay.handle_timer(now=now)
        elif self._has_failed or self._offered is not None:
            return
        elif now >= self._progress_s + self._stall_s:
            self._fail(f"no snapshot came for {self._stall_s:g} s")
        elif self._fetch is not None:
            self._fetch.plan.time_out(now=now)
        self._advance()

    def next_event(self) -> TaskEvent | None:
        """Return what to do next; None for nothing."""
        while not self._events and self._replay is not None:
            event = self._replay.next_event()
            if not isinstance(event, StateSyncFailed):
                return event
            self._try_another(event.reason)  # the log was cut off under it
            self._advance()
        return self._events.popleft() if self._events else None

    # What is next.

    def _advance(self) -> None:
        """Do what can be done now, in whatever stage it is; a replay goes on by itself."""
        if self._has_failed or self._offered is not None or self._replay is not None:
            return
        if self._fetch is not None:
            self._pump_fetch(self._fetch)
        elif self._leader is None or self._leader not in self._holders:
            return
        elif self._is_little_missing():
            self._begin_replay()
        elif self._ask_again_s is None or self._now >= self._ask_again_s:
            self._asked = self._leader
            self._ask_again_s = self._now + self._request_timeout_s
            self._number += 1
            self._send(self._leader, wire.WantSnapshot(self._number, self._next))

    def _is_little_missing(self) -> bool:
        """Return whether replay is cheaper than a snapshot, and possible."""
        last = max(holder.commit_index for holder in self._holders.values())
        return last < self._next + self._batch_count and any(
            holder.first_index <= self._next for holder in self._holders.values()
        )

    def _begin_replay(self) -> None:
        self._fetch = None
        context = replace(self._context, next_index=self._next, now=self._now)
        self._replay = LogReplayTask(
            context, batch_size=self._batch_count, fetch_timeout=self._fetch_timeout_s
        )
        self._replay.update_holders(self._holders, self._leader, now=self._now)

    def _try_another(self, reason: str) -> None:
        """Ask for another snapshot: this one, or the log after it, is of no use any more."""
        self._fetch = self._replay = self._asked = None
        self._attempt_count += 1
        pause_s = ASK_AGAIN_S * 2.0 ** (self._attempt_count - 1)
        self._ask_again_s = self._now + min(pause_s, self._request_timeout_s)
        if self._attempt_count >= ATTEMPTS_MAX:
            self._fail(f"{reason}; tried {ATTEMPTS_MAX} snapshots")

    # The snapshot.

    def _receive(self, peer: PeerId, answer: wire.Answer) -> None:
        fetch = self._fetch
        match answer:
            case wire.SnapshotNamed() if self._is_awaited(peer, answer):
                self._begin_fetch(answer)
            case wire.NotHere() if self._is_awaited(peer, answer):
                self._ask_again_s = self._now + min(ASK_AGAIN_S, self._request_timeout_s)
            case wire.PartRange() | wire.NotHere() if fetch is not None:
                if fetch.receive(peer, answer, now=self._now):
                    self._progress_s = self._now

    def _is_awaited(self, peer: PeerId, answer: wire.SnapshotNamed | wire.NotHere) -> bool:
        """Return whether the leader answers: late perhaps, but this task and not one before."""
        is_number_mine = self._first_number < answer.number <= self._number
        return self._fetch is None and peer == self._asked and is_number_mine

    def _begin_fetch(self, answer: wire.SnapshotNamed) -> None:
        if answer.metadata.index < self._next:
            # Replication was faster: what is left is in the log.
            self._begin_replay()
            return
        self._asked = self._ask_again_s = None
        self._progress_s = self._now
        self._mismatch_count = 0
        metadata, request_id, rng = answer.metadata, answer.request_id, self._context.rng
        self._fetch = PartsFetch(metadata, request_id, rng, fetch_timeout=self._fetch_timeout_s)
        self._fetch.set_sources(list(self._holders), self._leader)

    def _pump_fetch(self, fetch: PartsFetch) -> None:
        parts = fetch.assembled(now=self._now)
        if parts is not None:
            self._offered, self._fetch = fetch, None
            self._events.append(InstallSnapshot(fetch.metadata, parts))
            return
        if fetch.mismatch_count > self._mismatch_count:
            self._mismatch_count = fetch.mismatch_count
            what = f"the parts of the snapshot at {fetch.metadata.index} do not fit together"
            self._events.append(SyncMismatch(what))
        for peer, request in fetch.next_requests(now=self._now):
            self._send(peer, request)
        if fetch.has_failed:
            self._try_another("no member has the whole snapshot")

    def _observe(self, now: float) -> None:
        self._now = max(self._now, now)

    def _send(self, peer: PeerId, request: wire.Request) -> None:
        self._events.append(SendSync(peer, wire.encode_message(request)))

    def _fail(self, reason: str) -> None:
        self._has_failed = True
        self._fetch = self._asked = None
        self._events.append(StateSyncFailed(reason))
