"""The durable log against the least that a durable log can do, in one run.

The baseline appends the same bytes to a plain file and syncs it: one write and
one fsync per batch, no index, no checksum, no way to cut or compact. Both sides
take turns in many short rounds on the same disk and the median round counts,
because the speed of a sync changes by the second with what else the disk does.

There is no bar: on a busy disk both sides halve or double from round to round.
The baseline writes one page of the disk per small batch, SQLite three or four.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from statistics import median

from mosaik_actors.groups.storage.interface import LogOwner, SaveBatch
from mosaik_actors.groups.storage.sqlite import SqliteLog
from mosaik_actors.groups.wire.records import Entry, EntryKind, HardState, SnapshotMetadata
from mosaik_actors.ids import PeerId, UniqueId

from .report import Row, print_table

ENTRY_BYTES = 100
BATCH_SIZES = (1, 16, 256)
ROUNDS = 15
BATCHES_PER_ROUND = 40

_OWNER = LogOwner(UniqueId("benchmark"), PeerId(b"\1" * 32))


class _PlainFile:
    """The baseline."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def save(self, batch: SaveBatch) -> None:
        self._file.write(b"".join([entry.data for entry in batch.entries]))
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def _batches(first_index: int, count: int, entry_count: int) -> list[SaveBatch]:
    data = Random(first_index).randbytes(ENTRY_BYTES)
    return [
        SaveBatch(
            entries=[
                Entry(index, 1, EntryKind.COMMANDS, data)
                for index in range(start, start + entry_count)
            ]
        )
        for start in range(first_index, first_index + count * entry_count, entry_count)
    ]


def _rate(save: Callable[[SaveBatch], None], batches: list[SaveBatch]) -> float:
    started = time.perf_counter()
    for batch in batches:
        save(batch)
    return len(batches) / (time.perf_counter() - started)


def _measure(folder: Path, entry_count: int, batch_count: int) -> tuple[float, float]:
    """Return our batches per second and the plain file's."""
    log, plain = SqliteLog(folder / f"{entry_count}.log"), _PlainFile(folder / f"{entry_count}.raw")
    log.open(_OWNER)
    log.save(SaveBatch(hard_state=HardState(1)))
    ours: list[float] = []
    baseline: list[float] = []
    try:
        for number in range(ROUNDS):
            batches = _batches(1 + number * batch_count * entry_count, batch_count, entry_count)
            baseline.append(_rate(plain.save, batches))
            ours.append(_rate(log.save, batches))
    finally:
        plain.close()
        log.close()
    return median(ours), median(baseline)


def _measure_large(
    folder: Path, entry_count: int, snapshot_bytes: int
) -> tuple[float, float, float]:
    """Return entries per second on opening, and MB/s of saving and loading a snapshot."""
    log = SqliteLog(folder / "large.log")
    log.open(_OWNER)
    log.save(SaveBatch(hard_state=HardState(1)))
    [batch] = _batches(1, 1, entry_count)
    log.save(batch)
    log.close()
    started = time.perf_counter()
    log.open(_OWNER)
    assert len(log.load().entries) == entry_count
    entries_per_s = entry_count / (time.perf_counter() - started)
    data = Random(0).randbytes(snapshot_bytes)
    batch = SaveBatch(snapshot=(SnapshotMetadata(entry_count, 1), data), compact_to=entry_count)
    started = time.perf_counter()
    log.save(batch)
    save_s = time.perf_counter() - started
    started = time.perf_counter()
    assert log.load().snapshot is not None
    load_s = time.perf_counter() - started
    log.close()
    return entries_per_s, snapshot_bytes / save_s / 1e6, snapshot_bytes / load_s / 1e6


def run(quick: bool = False) -> list[Row]:
    """Measure, and return one row per figure; `quick` uses tiny inputs."""
    scale = 50 if quick else 1
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        for entry_count in BATCH_SIZES:
            ours, baseline = _measure(folder, entry_count, max(2, BATCHES_PER_ROUND // scale))
            rows.append(
                Row(
                    f"storage: batches of {entry_count}, synced",
                    ours,
                    "batches/s",
                    baseline=baseline,
                    baseline_name="plain append and fsync",
                )
            )
            rows.append(
                Row(
                    f"storage: entries in batches of {entry_count}", ours * entry_count, "entries/s"
                )
            )
        loaded, saved_mb, loaded_mb = _measure_large(folder, 100_000 // scale, 50_000_000 // scale)
    rows.append(Row("storage: opening and checking a log", loaded, "entries/s"))
    rows.append(Row("storage: saving a snapshot, synced", saved_mb, "MB/s"))
    rows.append(Row("storage: loading and checking a snapshot", loaded_mb, "MB/s"))
    return rows


if __name__ == "__main__":
    print_table(run())
