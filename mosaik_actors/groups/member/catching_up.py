"""State sync in one history: serving others, and catching up oneself.

Drives the two sides (`sync_roles`) of whatever way the group has chosen. What
was fetched goes into Raft between its pending I/O: a snapshot is first restored
into the machine, piece by piece, and then installed.

While a member catches up, the leader's entries are held back: they would be
refused, and the leader would send from the beginning what the others serve.
What the leader has beyond the end of the sync it sends afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import TYPE_CHECKING

from ...errors import RemoteError
from ...ids import PeerId
from ..machine.runner import MachineFailed
from ..machine.snapshot import SnapshotError
from ..machine.state_sync import StateSync
from ..machine.sync_roles import (
    Holder,
    InstallEntries,
    InstallSnapshot,
    RequestedSnapshot,
    SendSync,
    SnapshotFailed,
    SnapshotWanted,
    StateSyncFailed,
    StateSyncFinished,
    SyncContext,
    SyncMismatch,
    SyncTask,
)
from ..raft.pending_io import PendingIo
from ..raft.raft import Raft
from ..wire.frames import SYNC_ANSWER, SYNC_ASK, with_history
from ..wire.raft import Append, Heartbeat, Message, SnapshotOffer, VoteReply
from ..wire.records import EntryKind, SnapshotMetadata
from ..wire.system_entries import TakeSnapshot, encode_system_entry
from ..wire.types import REQUEST_BYTES
from .events import Logged, Notify, StateReplaced

if TYPE_CHECKING:
    from .context import Context

KeepSnapshot = Callable[[SnapshotMetadata, Sequence[bytes]], None]

_AGAIN_S = 0.5
_SNAPSHOT_WAIT_S = 1.0  # for all members to take their snapshots at the same place


class CatchingUp:
    """Both sides of state sync at one member.

    Args:
        keep_snapshot: Takes a snapshot that is to be saved with its metadata.

    Attributes:
        served_bytes: What was handed to those who catch up.
        mismatch_count: How often what was fetched did not fit together.
    """

    def __init__(
        self,
        context: Context,
        raft: Raft,
        history: bytes,
        keep_snapshot: KeepSnapshot,
        *,
        now: float,
    ) -> None:
        self.served_bytes = 0
        self.mismatch_count = 0
        self._context = context
        self._raft = raft
        self._history = history
        self._keep_snapshot = keep_snapshot
        self._sync: StateSync = context.sync
        self._provider = self._sync.provider(self._sync_context(now))
        self._task: SyncTask | None = None
        self._again_at_s: float | None = None
        self._wanted_index = 0
        self._snapshot_by_s: float | None = None
        self._restoring: tuple[SnapshotMetadata, Sequence[bytes], Iterator[None]] | None = None
        self._is_broken = False
        self._to_install: InstallEntries | InstallSnapshot | None = None

    @property
    def is_active(self) -> bool:
        """Whether this member is catching up."""
        return self._task is not None or self._again_at_s is not None

    def begin(self, index: int = 0, *, now: float) -> None:
        """Catch up, unless under way, and again until `index`: others may serve less at first."""
        self._wanted_index = max(self._wanted_index, index)
        if self._task is None:
            self._again_at_s = None
            self._task = self._sync.requester(self._sync_context(now))
            self.holders_changed(now=now)

    def holds_back(self, message: Message) -> bool:
        """Return whether a message must not reach Raft before this member has caught up."""
        if self.is_restoring:
            # Nothing may be applied to a machine that is half restored: nothing that could
            # commit gets through, nor what could make a leader of this member.
            return isinstance(message, Append | SnapshotOffer | Heartbeat | VoteReply)
        return self.is_active and isinstance(message, Append | SnapshotOffer)

    @property
    def is_restoring(self) -> bool:
        """Whether the machine is half restored, and nothing may be asked of it."""
        return self._restoring is not None or self._is_broken

    def holders_changed(self, *, now: float) -> None:
        """Look anew at who can serve."""
        if self._task is None:
            return
        holders = {
            peer: Holder(status.first_index, status.commit_index, status.is_catching_up)
            for peer, status in self._context.statuses.items()
            if status.history == self._history
        }
        self._task.update_holders(holders, self._raft.leader or self._leader_by_hearsay(), now=now)

    def _leader_by_hearsay(self) -> PeerId | None:
        """Return who leads as others say: one that joins has not heard of a leader yet."""
        said = [
            status for status in self._context.statuses.values() if status.history == self._history
        ]
        return max(said, key=lambda status: status.term).leader if said else None

    def receive_ask(self, peer: PeerId, data: bytes, *, now: float) -> None:
        """Serve. Raises `RemoteError`."""
        self._provider.receive_message(peer, data, now=now)

    def receive_answer(self, peer: PeerId, data: bytes, *, now: float) -> None:
        """Take in what was asked for. Raises `RemoteError`."""
        if self._task is not None:
            self._task.receive_message(peer, data, now=now)

    def snapshot_made(self, snapshot: RequestedSnapshot, *, now: float) -> None:
        """Keep a snapshot for those who fetch it."""
        self._snapshot_by_s = None
        self._provider.snapshot_made(snapshot, now=now)

    def get_timer(self) -> float:
        """Return when to call `handle_timer`."""
        if self._restoring is not None:
            return -inf
        times = [self._provider.get_timer(), self._again_at_s, self._snapshot_by_s]
        if self._task is not None:
            times.append(self._task.get_timer())
        return min([time for time in times if time is not None], default=inf)

    def handle_timer(self, *, now: float) -> None:
        """Do what is due."""
        self._provider.handle_timer(now=now)
        if self._snapshot_by_s is not None and now >= self._snapshot_by_s:
            self._take_snapshot_alone(now)
        if self._again_at_s is not None and now >= self._again_at_s:
            self.begin(now=now)
        if self._task is not None:
            self._task.handle_timer(now=now)

    def pump(self, pending_io: PendingIo, *, now: float) -> None:
        """Carry both sides on; install what was fetched when nothing waits for the disk."""
        self._serve(now)
        while True:
            self._ask(now)
            if not pending_io.is_idle or not self._install(now):
                return
            pending_io.run()

    # Helpers.

    def _sync_context(self, now: float) -> SyncContext:
        raft = self._raft
        return SyncContext(
            me=self._context.me,
            log=raft,
            rng=self._context.rng,
            now=now,
            is_leader=lambda: raft.is_leader,
            next_index=raft.commit_index + 1,
        )

    def _take_snapshot_alone(self, now: float) -> None:
        """Cut the state here and now: no system entry that has all members do so is committed.

        It may be that those who need the snapshot are needed to commit anything.
        """
        self._snapshot_by_s = None
        raft = self._raft
        if not raft.is_leader or not raft.applied_index:
            return
        try:
            parts = self._context.host.snapshot_parts()
        except SnapshotError as exc:
            self._context.emit(Logged(True, f"a snapshot could not be made: {exc}"))
            return
        request_id = self._context.rng.randbytes(REQUEST_BYTES)
        self._provider.snapshot_made(
            RequestedSnapshot(raft.metadata_at(raft.applied_index), request_id, parts), now=now
        )

    def _serve(self, now: float) -> None:
        while (event := self._provider.next_event()) is not None:
            match event:
                case SendSync(peer, data):
                    self.served_bytes += len(data)
                    self._context.send(peer, with_history(SYNC_ANSWER, self._history, data))
                case SnapshotWanted(request_id):
                    system_entry = TakeSnapshot(request_id)
                    self._raft.propose(
                        encode_system_entry(system_entry), system_entry, EntryKind.SYSTEM
                    )
                    self._snapshot_by_s = now + _SNAPSHOT_WAIT_S
                case SnapshotFailed(_, reason):
                    self._context.emit(Logged(True, f"a snapshot could not be made: {reason}"))

    def _ask(self, now: float) -> None:
        while self._task is not None and self._to_install is None:
            event = self._task.next_event()
            match event:
                case None:
                    return
                case SendSync(peer, data):
                    self._context.send(peer, with_history(SYNC_ASK, self._history, data))
                case InstallEntries() | InstallSnapshot():
                    self._to_install = event
                case SyncMismatch(what):
                    self.mismatch_count += 1
                    self._context.emit(Logged(True, f"{what}; it is fetched anew"))
                case StateSyncFinished():
                    self._task = None
                    if self._raft.commit_index < self._wanted_index:
                        self._again_at_s = now + _AGAIN_S
                case StateSyncFailed(reason):
                    self._context.emit(Logged(True, f"catching up failed, trying again: {reason}"))
                    self._task = None
                    self._again_at_s = now + _AGAIN_S

    def _install(self, now: float) -> bool:
        """Install what waits, or a piece of it; return whether there may be more at once."""
        if self._restoring is not None:
            return self._restore_on(now)
        waiting = self._to_install
        if waiting is None:
            return False
        raft = self._raft
        if raft.is_leader:
            self._to_install = self._task = None  # a leader lacks nothing
            return False
        if isinstance(waiting, InstallSnapshot):
            if waiting.metadata.index > raft.commit_index:
                steps = self._context.host.restore(waiting.parts, waiting.metadata.index)
                self._restoring = (waiting.metadata, waiting.parts, steps)
                return self._restore_on(now)
        else:
            self._try(lambda: raft.install(None, waiting.entries))
        self._end_install(now)
        return True

    def _restore_on(self, now: float) -> bool:
        """Restore another piece; install when it was the last."""
        assert self._restoring is not None, "nothing is being restored"
        metadata, parts, steps = self._restoring
        try:
            next(steps)
        except StopIteration:
            self._restoring = None
            self._keep_snapshot(metadata, parts)
            self._try(lambda: self._raft.install(metadata))
            self._context.emit(Notify(StateReplaced(self._context.host.position)))
            self._is_broken = False
            self._end_install(now)
            return True
        except RemoteError as exc:
            if self._is_broken:  # the second: what all others could write cannot be read here
                raise MachineFailed(
                    metadata.index, exc, "two snapshots could not be restored"
                ) from exc
            # The machine is of no use until another snapshot is in it.
            self._restoring, self._is_broken = None, True
            self._context.emit(Logged(True, f"a snapshot was refused: {exc}"))
            self._end_install(now)
            return True
        return False

    def _try(self, install: Callable[[], object]) -> None:
        try:
            install()
        except RemoteError as exc:
            self._context.emit(Logged(True, f"what was fetched does not fit: {exc}"))

    def _end_install(self, now: float) -> None:
        self._to_install = None
        if self._task is not None:
            self._task.installed(self._raft.commit_index, now=now)
