"""Compacting the log of a history when it has grown, and the snapshots that stand for what goes.

A member in memory simply forgets the beginning of its log: whoever lacks it is
served a fresh snapshot. A durable one first makes a snapshot of its own, piece
by piece between the turns of the loop, and saves it together with the compaction.

A log that may have to be replayed into another history is not compacted (`merge`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ..machine.snapshot import SnapshotError
from ..raft.raft import Raft
from ..wire.group_record import StoredGroup, encode_stored
from ..wire.records import SnapshotMetadata
from .context import Context

_PARTS_PER_STEP: Final = 4


@dataclass(slots=True)
class _Work:
    """A snapshot that is being made, and the compaction that it is for."""

    metadata: SnapshotMetadata
    keep_count: int
    making: Iterator[bytes]
    made: list[bytes]


class Compaction:
    """Cuts one member's log; `history` and `join_index` are saved with each snapshot."""

    def __init__(self, context: Context, raft: Raft, history: bytes, join_index: int) -> None:
        self._context = context
        self._raft = raft
        self._history = history
        self._join_index = join_index
        self.applied_bytes = 0  # since the log was last compacted
        self._work: _Work | None = None
        self._snapshots: dict[int, bytes] = {}

    @property
    def is_active(self) -> bool:
        """Whether a snapshot is being made: `carry_on` wants to be called every turn."""
        return self._work is not None

    def consider(self) -> bool:
        """Begin to compact the log when it has grown; return whether that was done at once."""
        raft, context = self._raft, self._context
        settings = context.settings
        is_heavy = self.applied_bytes > settings.compact_bytes
        if not is_heavy and raft.applied_index - raft.metadata.index <= settings.compact_entries:
            return False
        if self._work is not None or not context.host.machine.has_snapshot() or context.keeps_log():
            return False
        self.applied_bytes = 0
        keep_count = 0 if is_heavy else settings.keep_entries
        metadata = raft.metadata_at(raft.applied_index)
        if not context.is_durable:
            raft.compact(metadata, keep_count=keep_count)
            return True
        try:
            self._work = _Work(metadata, keep_count, context.host.snapshot_parts(), [])
        except SnapshotError as exc:
            self._fail(exc)
        return False

    def carry_on(self) -> None:
        """Make some more parts of the snapshot; compact the log when they were the last."""
        work = self._work
        if work is None or self._context.keeps_log():
            self._work = None
            return
        try:
            for _ in range(_PARTS_PER_STEP):
                part = next(work.making, None)
                if part is None:
                    self._finish(work)
                    return
                work.made.append(part)
        except SnapshotError as exc:
            self._fail(exc)

    def keep_snapshot(self, metadata: SnapshotMetadata, parts: Sequence[bytes]) -> None:
        """Keep a snapshot until it is saved with its metadata."""
        if self._context.is_durable:
            stored = StoredGroup(self._history, self._join_index, b"", tuple(parts))
            self._snapshots = {metadata.index: encode_stored(stored)}

    def take_snapshot(self, metadata: SnapshotMetadata) -> bytes:
        """Return the snapshot to save with metadata, as a storage holds it."""
        return self._snapshots.pop(metadata.index)

    def _finish(self, work: _Work) -> None:
        self._work = None
        self.keep_snapshot(work.metadata, work.made)
        self._raft.compact(work.metadata, keep_count=work.keep_count)

    def _fail(self, error: SnapshotError) -> None:
        self._work = None
        self._context.warn(f"the log is not compacted: {error}")
