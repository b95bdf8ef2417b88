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

from ...errors import RemoteError
from ...ids import PeerId
from ..machine import sync_roles as roles
from ..machine.runner import MachineFailed
from ..machine.snapshot import SnapshotError
from ..raft.pending_io import PendingIo
from ..raft.raft import Raft
from ..wire.frames import SYNC_ANSWER, SYNC_ASK, with_history
from ..wire.raft import Append, Heartbeat, Message, SnapshotOffer, VoteReply
from ..wire.records import EntryKind, SnapshotMetadata
from ..wire.system_entries import TakeSnapshot, encode_system_entry
from ..wire.types import REQUEST_BYTES
from .compaction import Compaction
from .context import Context
from .events import StateReplaced

_AGAIN_S = 0.5
_SNAPSHOT_WAIT_S = 1.0  # for all members to take their snapshots at the same place


class CatchingUp:
    """Both sides of state sync at one member."""

    def __init__(
        self, context: Context, raft: Raft, history: bytes, compaction: Compaction, *, now: float
    ) -> None:
        self.served_bytes = 0  # what was handed to those who catch up
        self.mismatch_count = 0  # how often what was fetched did not fit together
        self._context = context
        self._raft = raft
        self._history = history
        self._compaction = compaction
        self.provider = context.sync.provider(self._sync_context(now))
        self._task: roles.SyncTask | None = None
        self._again_at_s: float | None = None
        self._wanted_index = 0
        self._snapshot_by_s: float | None = None
        self._restoring: tuple[SnapshotMetadata, Sequence[bytes], Iterator[None]] | None = None
        self._is_broken = False
        self._to_install: roles.InstallEntries | roles.InstallSnapshot | None = None

    @property
    def is_active(self) -> bool:
        """Whether this member is catching up."""
        return self._task is not None or self._again_at_s is not None

    def begin(self, index: int = 0, *, now: float) -> None:
        """Catch up, unless under way, and again until `index`: others may serve less at first."""
        self._wanted_index = max(self._wanted_index, index)
        if self._task is None:
            self._again_at_s = None
            self._task = self._context.sync.requester(self._sync_context(now))
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
        statuses = self._context.statuses
        here = {peer: said for peer, said in statuses.items() if said.history == self._history}
        holders = {
            peer: roles.Holder(said.first_index, said.commit_index, said.is_catching_up)
            for peer, said in here.items()
        }
        leader = self._raft.leader
        if leader is None and here:  # one that joins has not heard of it, but others have
            leader = max(here.values(), key=lambda said: said.term).leader
        self._task.update_holders(holders, leader, now=now)

    def receive_answer(self, peer: PeerId, data: bytes, *, now: float) -> None:
        """Take in what was asked for. Raises `RemoteError`."""
        if self._task is not None:
            self._task.receive_message(peer, data, now=now)

    def snapshot_made(self, snapshot: roles.RequestedSnapshot, *, now: float) -> None:
        """Keep a snapshot for those who fetch it."""
        self._snapshot_by_s = None
        self.provider.snapshot_made(snapshot, now=now)

    def get_timer(self) -> float:
        """Return when to call `handle_timer`."""
        if self._restoring is not None:
            return -inf
        task_s = None if self._task is None else self._task.get_timer()
        due_s = inf
        for time in (self.provider.get_timer(), self._again_at_s, self._snapshot_by_s, task_s):
            if time is not None and time < due_s:
                due_s = time
        return due_s

    def handle_timer(self, *, now: float) -> None:
        """Do what is due."""
        self.provider.handle_timer(now=now)
        if self._snapshot_by_s is not None and now >= self._snapshot_by_s:
            self._take_snapshot_alone(now)
        if self._again_at_s is not None and now >= self._again_at_s:
            self.begin(now=now)
        if self._task is not None:
            self._task.handle_timer(now=now)

    def pump(self, pending_io: PendingIo, *, now: float) -> None:
        """Carry both sides on; install what was fetched when nothing waits for the disk."""
        self._serve(now)
        while self._task is not None or self._restoring is not None or self._to_install is not None:
            self._ask(now)
            if not pending_io.is_idle or not self._install(now):
                return
            pending_io.run()

    def _sync_context(self, now: float) -> roles.SyncContext:
        raft, context = self._raft, self._context
        return roles.SyncContext(
            me=context.me,
            log=raft,
            rng=context.rng,
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
            self._context.warn(f"a snapshot could not be made: {exc}")
            return
        metadata = raft.metadata_at(raft.applied_index)
        request_id = self._context.rng.randbytes(REQUEST_BYTES)
        self.provider.snapshot_made(roles.RequestedSnapshot(metadata, request_id, parts), now=now)

    def _serve(self, now: float) -> None:
        while (event := self.provider.next_event()) is not None:
            match event:
                case roles.SendSync(peer, data):
                    self.served_bytes += len(data)
                    self._context.send(peer, with_history(SYNC_ANSWER, self._history, data))
                case roles.SnapshotWanted(request_id):
                    entry = TakeSnapshot(request_id)
                    self._raft.propose(encode_system_entry(entry), entry, EntryKind.SYSTEM)
                    self._snapshot_by_s = now + _SNAPSHOT_WAIT_S
                case roles.SnapshotFailed(_, reason):
                    self._context.warn(f"a snapshot could not be made: {reason}")

    def _ask(self, now: float) -> None:
        while self._task is not None and self._to_install is None:
            event = self._task.next_event()
            match event:
                case None:
                    return
                case roles.SendSync(peer, data):
                    self._context.send(peer, with_history(SYNC_ASK, self._history, data))
                case roles.InstallEntries() | roles.InstallSnapshot():
                    self._to_install = event
                case roles.SyncMismatch(what):
                    self.mismatch_count += 1
                    self._context.warn(f"{what}; it is fetched anew")
                case roles.StateSyncFinished():
                    self._task = None
                    if self._raft.commit_index < self._wanted_index:
                        self._again_at_s = now + _AGAIN_S
                case roles.StateSyncFailed(reason):
                    self._context.warn(f"catching up failed, trying again: {reason}")
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
        if isinstance(waiting, roles.InstallSnapshot):
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
            return False
        except StopIteration:
            self._restoring = None
            self._compaction.keep_snapshot(metadata, parts)
            self._try(lambda: self._raft.install(metadata))
            self._context.notify(StateReplaced(self._context.host.position))
            self._is_broken = False
        except RemoteError as exc:
            if self._is_broken:  # the second: what all others could write cannot be read here
                why = "two snapshots could not be restored"
                raise MachineFailed(metadata.index, exc, why) from exc
            # The machine is of no use until another snapshot is in it.
            self._restoring, self._is_broken = None, True
            self._context.warn(f"a snapshot was refused: {exc}")
        self._end_install(now)
        return True

    def _try(self, install: Callable[[], object]) -> None:
        try:
            install()
        except RemoteError as exc:
            self._context.warn(f"what was fetched does not fit: {exc}")

    def _end_install(self, now: float) -> None:
        self._to_install = None
        if self._task is not None:
            self._task.installed(self._raft.commit_index, now=now)
