"""The log in an SQLite file: the model, crashes, decay, strangers, lost files, full disks."""

import gc
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Final, overload

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.errors import ConfigError
from mosaik_actors.groups.storage.interface import (
    BatchError,
    LogOwner,
    LogState,
    LogStorage,
    SaveBatch,
    StorageCorrupt,
    StorageError,
    StorageFull,
    StorageInUse,
    StorageMismatch,
    Stored,
)
from mosaik_actors.groups.storage.sqlite import CHUNK_BYTES, SqliteLog
from mosaik_actors.groups.storage.sqlite_file import CHECKPOINT_BYTES, PAGE_BYTES
from mosaik_actors.groups.wire.records import Entry, HardState
from mosaik_actors.ids import UniqueId

from ..storage_batches import OWNER, PEERS, draw_batch, entries, snapshot_at, started

# Where a sync costs nothing, for tests of many small logs; None for the usual place.
FAST_FOLDER = "/dev/shm" if Path("/dev/shm").is_dir() else None
ENDINGS = ("", "-wal", "-mark")


def opened(path: Path, *, file_bytes_max: int | None = None) -> SqliteLog:
    log = SqliteLog(path, file_bytes_max=file_bytes_max)
    log.open(OWNER)
    return log


def loaded(path: Path) -> Stored:
    """Return what a log holds, which is closed again."""
    log = SqliteLog(path)
    try:
        log.open(OWNER)
        return log.load()
    finally:
        log.close()


def saved(path: Path, *batches: SaveBatch) -> None:
    log = opened(path)
    for batch in batches:
        log.save(batch)
    log.close()


def beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def copy_as_a_crash_leaves_it(path: Path, to: Path) -> None:
    """Copy the files of an open log: what a process leaves that is killed at this moment."""
    for ending in ENDINGS:
        beside(to, ending).unlink(missing_ok=True)
        if beside(path, ending).exists():
            shutil.copyfile(beside(path, ending), beside(to, ending))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "group.log"


def test_a_new_log_is_empty_and_keeps_what_is_saved(path: Path) -> None:
    storage: LogStorage = SqliteLog(path)
    assert storage.is_durable
    storage.open(OWNER)
    assert storage.load() == Stored()
    storage.save(SaveBatch(hard_state=HardState(3, PEERS[1]), entries=entries(1, 4, term=2)))
    storage.close()
    storage.close()
    storage.open(OWNER)
    assert storage.load() == Stored(
        hard_state=HardState(3, PEERS[1]), entries=entries(1, 4, term=2)
    )
    storage.close()
    assert not beside(path, "-wal").exists()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_random_batches_match_the_model_and_survive_crashes_and_restarts(seed: int) -> None:
    rng, model = Random(seed), LogState()
    with tempfile.TemporaryDirectory(dir=FAST_FOLDER) as folder:
        path, copy = Path(folder) / "group.log", Path(folder) / "copy.log"
        log = opened(path)
        for _ in range(rng.randint(1, 20)):
            batch = draw_batch(model, rng)
            log.save(batch)
            model.apply(batch)
            fate = rng.random()
            if fate < 0.2:
                copy_as_a_crash_leaves_it(path, copy)
                assert loaded(copy) == model.stored
            elif fate < 0.3:
                # Go on with what the crash left.
                copy_as_a_crash_leaves_it(path, copy)
                log.close()
                path, copy = copy, path
                log = opened(path)
            elif fate < 0.4:
                log.close()
                log = opened(path)
            assert log.load() == model.stored
        log.close()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([16, 512, 4096]))
def test_a_torn_last_batch_is_there_as_a_whole_or_not_at_all(seed: int, sector: int) -> None:
    """A power cut during the last save: some sectors are on disk, in any order, some are not."""
    rng, model = Random(seed), LogState()
    with tempfile.TemporaryDirectory(dir=FAST_FOLDER) as folder:
        path, copy = Path(folder) / "group.log", Path(folder) / "copy.log"
        log = opened(path)
        for _ in range(rng.randint(0, 6)):
            batch = draw_batch(model, rng)
            log.save(batch)
            model.apply(batch)
        copy_as_a_crash_leaves_it(path, copy)
        before = beside(copy, "-wal").read_bytes()
        batch = draw_batch(model, rng)
        log.save(batch)
        after = beside(path, "-wal").read_bytes()
        log.close()
        # The header is synced on its own, before any frame.
        torn = bytearray(before if len(before) >= 32 else after[:32])
        torn += bytes(len(after) - len(torn)) if rng.random() < 0.5 else b""
        for at in range(len(before) or 32, len(after), sector):
            if rng.random() < 0.7 and at <= len(torn):
                torn[at : at + sector] = after[at : at + sector]
        beside(copy, "-wal").write_bytes(torn)
        found = loaded(copy)
        old = model.stored
        model.apply(batch)
        assert found in (old, model.stored)
        # And the log goes on from there.
        log = opened(copy)
        state = LogState(found)
        for _ in range(3):
            batch = draw_batch(state, rng)
            log.save(batch)
            state.apply(batch)
        assert log.load() == state.stored
        log.close()


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), st.booleans(), st.data())
def test_a_changed_byte_of_the_write_ahead_log_is_refused(
    seed: int, has_mark: bool, data: st.DataObject
) -> None:
    """SQLite alone would drop all that follows the byte, without a word."""
    rng, model = Random(seed), LogState()
    with tempfile.TemporaryDirectory(dir=FAST_FOLDER) as folder:
        path, copy = Path(folder) / "group.log", Path(folder) / "copy.log"
        log = opened(path)
        ends, states = [32], [model.stored]
        for _ in range(rng.randint(2, 6)):
            batch = draw_batch(model, rng)
            log.save(batch)
            model.apply(batch)
            ends.append(beside(path, "-wal").stat().st_size)
            states.append(model.stored)
        copy_as_a_crash_leaves_it(path, copy)
        log.close()
        if not has_mark:
            beside(copy, "-mark").unlink()
        content = bytearray(beside(copy, "-wal").read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
        beside(copy, "-wal").write_bytes(content)
        is_commit_header = 0 <= at - (ends[-2] - 24 - PAGE_BYTES) < 16
        if not has_mark and (at >= ends[-2] or is_commit_header):
            # The last batch, or what tells it from the one before it, and nothing else
            # knows of it: as if it had been torn.
            with suppress(StorageCorrupt):
                assert loaded(copy) in states[-3:-1]
            return
        with pytest.raises(StorageCorrupt) as caught:
            loaded(copy)
        assert caught.value.lost
        if at < ends[-2]:
            assert beside(copy, "-wal").read_bytes() == content, "the evidence is destroyed"
        with pytest.raises(StorageCorrupt):
            loaded(copy)


@lru_cache
def database(seed: int) -> tuple[bytes, Stored]:
    """Return the file of a random log, and what it holds."""
    rng, model = Random(seed), LogState()
    with tempfile.TemporaryDirectory(dir=FAST_FOLDER) as folder:
        path = Path(folder) / "group.log"
        log = opened(path)
        while model.shape.last[0] < 30:
            batch = draw_batch(model, rng, data_bytes_max=600)
            log.save(batch)
            model.apply(batch)
        log.close()
        return path.read_bytes(), model.stored


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 5), st.data())
def test_a_changed_byte_of_the_database_never_gives_a_different_log(
    seed: int, data: st.DataObject
) -> None:
    content, stored = database(seed)
    with tempfile.TemporaryDirectory(dir=FAST_FOLDER) as folder:
        path = Path(folder) / "group.log"
        at = data.draw(st.integers(0, len(content) - 1))
        change = data.draw(st.integers(1, 255))
        path.write_bytes(content[:at] + bytes([content[at] ^ change]) + content[at + 1 :])
        try:
            found = loaded(path)
        except StorageError:
            return
        assert found == stored  # A byte that nothing depends on.


@pytest.mark.parametrize(
    ("damage", "place"),
    [
        ("UPDATE entry SET data = x'00' WHERE log_index = 7", "entry 7"),
        ("UPDATE entry SET term = 2 WHERE log_index = 7", "entry 7"),
        ("UPDATE entry SET kind = 2 WHERE log_index = 7", "entry 7"),
        ("UPDATE entry SET kind = 'x' WHERE log_index = 7", "entry 7"),
        ("UPDATE entry SET checksum = checksum + 1 WHERE log_index = 7", "entry 7"),
        ("DELETE FROM entry WHERE log_index = 7", "entry 7"),
        ("DELETE FROM entry WHERE log_index >= 7", "entry 7"),
        ("INSERT INTO entry SELECT log_index + 10, term, kind, data, checksum FROM entry", "entry"),
        ("UPDATE record SET data = x'00' WHERE name = 'head'", "head record"),
        ("DELETE FROM record WHERE name = 'head'", "head record"),
        ("UPDATE record SET data = 'text' WHERE name = 'owner'", "owner record"),
        ("UPDATE chunk SET data = x'01' WHERE number = 1", "snapshot"),
        ("DELETE FROM chunk WHERE number = 0", "snapshot"),
        ("UPDATE chunk SET data = 'text' WHERE number = 0", "snapshot"),
    ],
)
def test_damaged_rows_are_refused_by_name(path: Path, damage: str, place: str) -> None:
    snapshot = snapshot_at(5, data=bytes(CHUNK_BYTES + 1))
    saved(path, started(10), SaveBatch(snapshot=snapshot, compact_to=4))
    with sqlite3.connect(path) as connection:
        connection.execute(damage)
    connection.close()
    with pytest.raises(StorageCorrupt, match=place) as caught:
        loaded(path)
    assert caught.value.lost
    assert caught.value.place == str(path)


def test_damage_that_no_row_shows_yet_is_refused(path: Path) -> None:
    """A page that counts as free and is in use would be written over some day."""
    batch = SaveBatch(hard_state=HardState(1), entries=entries(1, 100, data=bytes(3000)))
    saved(path, batch, SaveBatch(snapshot=snapshot_at(90), compact_to=90))
    content = bytearray(path.read_bytes())
    free_pages = int.from_bytes(content[36:40])
    assert free_pages > 10
    content[36:40] = (free_pages - 1).to_bytes(4)
    path.write_bytes(content)
    with pytest.raises(StorageCorrupt, match="SQLite's own check fails"):
        loaded(path)


def test_truncation_cuts_the_chain_where_it_should(path: Path) -> None:
    log, model = opened(path), LogState()
    for batch in (
        started(10),
        SaveBatch(hard_state=HardState(2), truncate_from=6, entries=entries(6, 3, 2, b"new")),
        SaveBatch(truncate_from=8),
        SaveBatch(snapshot=snapshot_at(5), compact_to=3),
        SaveBatch(truncate_from=6, entries=entries(6, 1, 2, b"newer")),
        SaveBatch(snapshot=snapshot_at(30, 2), compact_to=30, entries=entries(31, 2, 2)),
        SaveBatch(truncate_from=31, entries=entries(31, 2, 2, b"again")),
        SaveBatch(reset=True, entries=entries(1, 2, 1)),
        SaveBatch(truncate_from=1, entries=entries(1, 1, 2)),
    ):
        log.save(batch)
        model.apply(batch)
        assert log.load() == model.stored
    log.close()
    assert loaded(path) == model.stored


def test_a_batch_that_does_not_fit_changes_nothing(path: Path) -> None:
    log = opened(path)
    log.save(started(3))
    with pytest.raises(BatchError, match="entry 9 where 4"):
        log.save(SaveBatch(entries=entries(9, 1)))
    log.save(SaveBatch(entries=entries(4, 1)))
    assert len(log.load().entries) == 4
    log.close()


def test_large_snapshots_and_entries_are_kept(path: Path) -> None:
    data = Random(0).randbytes(3 * CHUNK_BYTES + 17)
    large = [Entry(4, 1, entries(1, 1)[0].kind, Random(1).randbytes(5_000_000))]
    log = opened(path)
    log.save(started(3))
    log.save(SaveBatch(snapshot=snapshot_at(3, data=data), entries=large))
    log.save(SaveBatch(snapshot=snapshot_at(3, data=data[::-1]), compact_to=3))
    log.close()
    found = loaded(path)
    assert found.snapshot == snapshot_at(3, data=data[::-1])
    assert found.entries == large


def test_an_empty_snapshot_is_a_snapshot(path: Path) -> None:
    saved(path, started(3), SaveBatch(snapshot=snapshot_at(2, data=b"")))
    assert loaded(path).snapshot == snapshot_at(2, data=b"")


def test_the_write_ahead_log_stays_bounded(path: Path) -> None:
    log, sizes = opened(path), []
    log.save(started(0))
    for index in range(1, 40):
        log.save(SaveBatch(entries=entries(index, 1, data=bytes(CHECKPOINT_BYTES // 8))))
        sizes.append(beside(path, "-wal").stat().st_size)
    log.close()
    assert max(sizes) < 1.5 * CHECKPOINT_BYTES


# Crashes, for real


WRITER = """
import sys
from pathlib import Path
from random import Random
from tests.unit.groups.storage_batches import OWNER, draw_batch
from mosaik_actors.groups.storage.sqlite import SqliteLog
from mosaik_actors.groups.storage.interface import LogState

log, state, rng = SqliteLog(sys.argv[1]), LogState(), Random(int(sys.argv[2]))
log.open(OWNER)
number = 0
while True:
    batch = draw_batch(state, rng, data_bytes_max=20_000)
    log.save(batch)
    state.apply(batch)
    number += 1
    print(number, flush=True)
"""


@pytest.mark.parametrize("seed", range(6))
def test_a_killed_process_loses_nothing_that_was_saved(path: Path, seed: int) -> None:
    """SIGKILL in the middle of writing; the batches are drawn again here and compared."""
    kill_after = Random(seed).randint(1, 400)
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(seed)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[4],
    ) as writer:
        assert writer.stdout is not None
        saved_count = 0
        for line in writer.stdout:
            saved_count = int(line)
            if saved_count == kill_after:
                writer.kill()
    assert saved_count >= kill_after
    found = loaded(path)
    state, rng = LogState(), Random(seed)
    for _ in range(saved_count):
        state.apply(draw_batch(state, rng, data_bytes_max=20_000))
    if found != state.stored:
        state.apply(draw_batch(state, rng, data_bytes_max=20_000))
    assert found == state.stored


def written_by_this_process() -> int:
    """Return how many bytes this process has handed to the system so far (proc(5))."""
    counters = Path("/proc/self/io").read_text().split()
    return int(counters[counters.index("wchar:") + 1])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs Linux's counters")
def test_what_a_crash_left_is_written_once_more_before_it_is_trusted(path: Path) -> None:
    """After a failed fsync the cache may hold what the disk never will."""
    copy = path.with_name("copy.log")
    log = opened(path)
    log.save(started(3))
    log.save(SaveBatch(entries=entries(4, 10, data=bytes(30_000))))
    copy_as_a_crash_leaves_it(path, copy)
    log.close()
    wal = beside(copy, "-wal")
    content = wal.read_bytes()
    wal.write_bytes(content + b"torn")
    before = written_by_this_process()
    log = opened(copy)
    assert written_by_this_process() - before >= len(content) > 300_000
    assert wal.read_bytes() == content
    assert len(log.load().entries) == 13
    log.close()


FSYNC_FAILS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int fail(void) {
    const char *flag = getenv("FSYNC_FAILS_WHILE");
    if (!flag || access(flag, F_OK) != 0) return 0;
    errno = EIO;
    return 1;
}
int fsync(int fd) {
    return fail() ? -1 : ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}
int fdatasync(int fd) {
    return fail() ? -1 : ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
"""

AFTER_A_FAILED_SYNC = """
import sys
from pathlib import Path
from tests.unit.groups.storage_batches import OWNER, entries, started
from mosaik_actors.groups.storage.sqlite import SqliteLog
from mosaik_actors.groups.storage.interface import SaveBatch, StorageError, StorageFull

flag = Path(sys.argv[2])
log = SqliteLog(sys.argv[1])
log.open(OWNER)
log.save(started(3))
batch = SaveBatch(entries=entries(4, 1))


def fails(call, expected):
    try:
        call()
    except StorageFull:
        raise
    except StorageError as exc:
        assert expected in str(exc), exc
    else:
        raise SystemExit("a failed sync was taken for a good one")


flag.touch()
fails(lambda: log.save(batch), "SQLITE_IOERR")
flag.unlink()
fails(lambda: log.save(batch), "failed earlier")
fails(log.load, "failed earlier")
flag.touch()
log.close()
fails(lambda: log.open(OWNER), "Input/output error")
flag.unlink()
log.open(OWNER)
count = len(log.load().entries)
assert count in (3, 4), count
log.save(SaveBatch(entries=entries(count + 1, 1)))
log.close()
log.open(OWNER)
assert len(log.load().entries) == count + 1
log.close()
print("good")
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_after_a_failed_fsync_nothing_is_accepted_until_it_is_opened_again(
    path: Path, tmp_path: Path
) -> None:
    """The system's fsync really fails here, below SQLite."""
    source, library, flag = tmp_path / "f.c", tmp_path / "f.so", tmp_path / "flag"
    source.write_text(FSYNC_FAILS)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", AFTER_A_FAILED_SYNC, path, flag],
        capture_output=True,
        text=True,
        env={**os.environ, "LD_PRELOAD": str(library), "FSYNC_FAILS_WHILE": str(flag)},
        cwd=Path(__file__).parents[4],
        check=False,
    )
    assert (done.stdout, done.stderr) == ("good\n", "")
    assert len(loaded(path).entries) in (4, 5)


class Interrupted(Sequence[Entry]):
    """Entries that are read once without trouble, and then call `trouble`."""

    def __init__(self, items: list[Entry], trouble: Callable[[], None]) -> None:
        self.items = items
        self.trouble = trouble
        self.readings = 0

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | Sequence[Entry]:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Entry]:
        self.readings += 1
        for number, item in enumerate(self.items):
            if self.readings == 2 and number == 1:
                self.trouble()
            yield item


def test_a_save_that_was_cut_off_leaves_nothing_and_ends_the_log(path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    log = opened(path)
    log.save(started(3))
    with pytest.raises(KeyboardInterrupt):
        log.save(SaveBatch(entries=Interrupted(entries(4, 3), interrupt)))
    with pytest.raises(StorageError, match="failed earlier"):
        log.save(SaveBatch(entries=entries(4, 1)))
    log.close()
    log.open(OWNER)
    assert len(log.load().entries) == 3
    log.close()


# Threads


def test_saves_come_from_a_thread_and_close_waits_for_the_last(path: Path) -> None:
    log = opened(path)
    log.save(started(1))
    under_way, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    def trouble() -> None:
        under_way.set()
        assert go_on.wait(30)

    batch = SaveBatch(entries=Interrupted(entries(2, 3), trouble))
    saver = threading.Thread(target=log.save, args=(batch,))

    def close() -> None:
        log.close()
        closed.set()

    closer = threading.Thread(target=close)
    saver.start()
    assert under_way.wait(30)
    with pytest.raises(StorageInUse, match="under way in another thread"):
        log.save(SaveBatch())
    with pytest.raises(StorageInUse, match="under way in another thread"):
        log.load()
    closer.start()
    assert not closed.wait(0.05), "closed during a save"
    go_on.set()
    saver.join(30)
    closer.join(30)
    assert closed.is_set()
    assert len(loaded(path).entries) == 4


# Strangers


def test_a_log_of_another_group_peer_or_format_is_refused(path: Path) -> None:
    saved(path, started(3))
    other = LogOwner(UniqueId("another group"), OWNER.peer_id)
    with pytest.raises(StorageMismatch, match="group is") as caught:
        SqliteLog(path).open(other)
    assert caught.value.found == str(OWNER.group_id)
    assert caught.value.expected == str(other.group_id)
    with pytest.raises(StorageMismatch, match="peer is"):
        SqliteLog(path).open(LogOwner(OWNER.group_id, PEERS[2]))
    assert len(loaded(path).entries) == 3
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=1")
    connection.close()
    with pytest.raises(StorageMismatch, match="format is 1, expected 2"):
        loaded(path)


def test_files_of_other_programs_are_refused_and_left_alone(path: Path) -> None:
    path.write_text("my thesis, the only copy")
    with pytest.raises(StorageMismatch, match="expected the log of a group"):
        loaded(path)
    assert path.read_text() == "my thesis, the only copy"
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE thesis (page TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StorageMismatch, match="expected the log of a group"):
        loaded(path)
    assert path.read_bytes() == before


def test_a_log_is_open_once_in_a_process(path: Path) -> None:
    log = opened(path)
    with pytest.raises(StorageInUse, match="one group, one storage"):
        log.open(OWNER)
    link = path.with_name("link.log")
    beside(link, "-mark").symlink_to(beside(path, "-mark"))
    for name in (path, link):
        with pytest.raises(StorageInUse, match="another handle or process"):
            SqliteLog(name).open(OWNER)
    log.save(started(3))
    log.close()
    assert len(loaded(path).entries) == 3


def test_a_second_process_is_refused(path: Path) -> None:
    program = (
        "import sys\n"
        "from tests.unit.groups.storage_batches import OWNER\n"
        "from mosaik_actors.groups.storage.sqlite import SqliteLog\n"
        "from mosaik_actors.groups.storage.interface import StorageInUse\n"
        "log = SqliteLog(sys.argv[1])\n"
        "try:\n"
        "    log.open(OWNER)\n"
        "except StorageInUse as exc:\n"
        "    print(exc.reason)\n"
        "else:\n"
        "    print(len(log.load().entries))\n"
    )

    def other_process() -> str:
        return subprocess.run(
            [sys.executable, "-c", program, path],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[4],
            check=True,
        ).stdout

    log = opened(path)
    log.save(started(3))
    assert other_process() == "another handle or process has the log open\n"
    log.close()
    assert other_process() == "3\n"
    # It ended without closing the log; that is as good as a crash.
    assert len(loaded(path).entries) == 3


def test_another_program_that_has_the_file_open_is_named(path: Path) -> None:
    saved(path, started(3))
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageInUse, match="another program"):
        loaded(path)
    connection.execute("ROLLBACK")
    connection.close()
    assert len(loaded(path).entries) == 3


OPENS: Final = (
    "import sys\n"
    "from tests.unit.groups.storage_batches import OWNER\n"
    "from mosaik_actors.groups.storage.sqlite import SqliteLog\n"
    "from mosaik_actors.groups.storage.interface import StorageInUse\n"
    "try:\n"
    "    SqliteLog(sys.argv[1]).open(OWNER)\n"
    "except StorageInUse as exc:\n"
    "    print('refused')\n"
)
READS: Final = (
    "import sqlite3, sys\n"
    "try:\n"
    "    print(sqlite3.connect(sys.argv[1], timeout=0).execute('SELECT * FROM entry').fetchall())\n"
    "except sqlite3.OperationalError:\n"
    "    print('refused')\n"
)


def run_elsewhere(program: str, path: Path) -> str:
    """Run a program in a process of its own; return what it prints."""
    command = [sys.executable, "-c", program, str(path)]
    folder = Path(__file__).parents[4]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=True)
    return done.stdout.strip()


def test_reading_the_files_in_the_same_process_drops_no_lock(path: Path) -> None:
    """A copy of the files, for one: closing a file drops all POSIX locks of a process on it."""
    log = opened(path)
    log.save(started(3))
    copy_as_a_crash_leaves_it(path, path.with_name("copy.log"))
    with pytest.raises(StorageInUse):
        SqliteLog(path).open(OWNER)
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(path, timeout=0)) as reader:
        reader.execute("SELECT * FROM entry").fetchall()
    for ending in ENDINGS:
        beside(path, ending).read_bytes()
    # Neither another node nor SQLite's own tools get in; those would remove the -wal file.
    assert run_elsewhere(OPENS, path) == "refused"
    assert run_elsewhere(READS, path) == "refused"
    log.save(SaveBatch(entries=entries(4, 2)))
    copy_as_a_crash_leaves_it(path, path.with_name("crashed.log"))
    log.close()
    assert len(loaded(path).entries) == len(loaded(path.with_name("crashed.log")).entries) == 5


def test_a_mark_that_was_removed_lets_nobody_in(path: Path) -> None:
    log = opened(path)
    log.save(started(3))
    beside(path, "-mark").unlink()
    with pytest.raises(StorageInUse, match="another program"):
        SqliteLog(path).open(OWNER)
    log.close()


def test_files_are_for_their_owner_only(path: Path) -> None:
    before = os.umask(0)
    try:
        log = opened(path)
        log.save(started(3))
    finally:
        os.umask(before)
    names = sorted(path.parent.iterdir())
    assert [name.name for name in names] == ["group.log", "group.log-mark", "group.log-wal"]
    assert {stat.S_IMODE(name.stat().st_mode) for name in names} == {0o600}
    log.close()


def test_a_forked_child_has_neither_the_log_nor_its_lock(path: Path) -> None:
    log = opened(path)
    log.save(started(3))
    read_end, write_end = os.pipe()
    hold_end, release_end = os.pipe()
    child = os.fork()
    if not child:  # it must not go through the tests' own endings
        try:
            log.close()
            with suppress(StorageError):
                log.save(SaveBatch(entries=entries(4, 2)))
                os.write(write_end, b"saved")
            del log
            gc.collect()
        finally:
            os.close(write_end)
            os.close(release_end)
            os.read(hold_end, 1)
            os._exit(0)
    os.close(write_end)
    try:
        assert os.read(read_end, 10) == b""
        # What the child did took nothing from the parent.
        assert beside(path, "-wal").exists()
        assert run_elsewhere(OPENS, path) == "refused"
        log.save(SaveBatch(entries=entries(4, 2)))
        log.close()
        # The child lives on; the log is free all the same.
        assert len(loaded(path).entries) == 5
    finally:
        for descriptor in (read_end, hold_end, release_end):
            os.close(descriptor)
        os.waitpid(child, 0)


# Lost files


def test_a_removed_write_ahead_log_is_noticed(path: Path) -> None:
    copy = path.with_name("copy.log")
    log = opened(path)
    log.save(started(3))
    log.save(SaveBatch(entries=entries(4, 1)))
    copy_as_a_crash_leaves_it(path, copy)
    log.close()
    beside(copy, "-wal").unlink()
    with pytest.raises(StorageCorrupt, match="ends with batch 0, but 2 were saved") as caught:
        loaded(copy)
    assert caught.value.lost == "batches 1 to 2"


def test_an_old_copy_is_noticed(path: Path) -> None:
    """It may have voted since, and must not vote again."""
    saved(path, started(3))
    old = path.read_bytes()
    saved(path, SaveBatch(hard_state=HardState(2, PEERS[1])))
    path.write_bytes(old)
    with pytest.raises(StorageCorrupt, match="old copy"):
        loaded(path)


def test_a_log_that_is_gone_is_not_replaced_by_a_new_one(path: Path) -> None:
    saved(path, started(3))
    path.unlink()
    with pytest.raises(StorageCorrupt, match="remove these too"):
        loaded(path)
    beside(path, "-mark").unlink()
    assert loaded(path) == Stored()


def test_an_empty_file_is_damage(path: Path) -> None:
    path.touch()
    with pytest.raises(StorageCorrupt, match="it is empty; lost: everything"):
        loaded(path)


def test_a_cut_file_is_damage(path: Path) -> None:
    saved(path, started(200))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(StorageCorrupt):
        loaded(path)


def test_a_damaged_mark_is_only_a_mark_less(path: Path) -> None:
    saved(path, started(3))
    beside(path, "-mark").write_bytes(b"\xff" * 12)
    assert len(loaded(path).entries) == 3


def test_what_a_crash_left_of_a_new_log_is_removed(path: Path) -> None:
    beside(path, "-new").write_bytes(b"half a log")
    beside(path, "-new-wal").write_bytes(b"half of its log")
    saved(path, started(3))
    assert {file.name for file in path.parent.iterdir()} == {"group.log", "group.log-mark"}


# No room, no permission


def save_until_full(log: LogStorage, model: LogState) -> SaveBatch:
    """Save entry after entry, and return the batch that found no room."""
    while True:
        batch = SaveBatch(entries=entries(model.shape.last[0] + 1, 1, data=bytes(20_000)))
        try:
            log.save(batch)
        except StorageFull:
            return batch
        model.apply(batch)


def test_a_full_file_is_reported_and_recovers_with_room(path: Path) -> None:
    log, model = opened(path, file_bytes_max=200_000), LogState()
    log.save(started(0))
    model.apply(started(0))
    batch = save_until_full(log, model)
    for _ in range(3):
        with pytest.raises(StorageFull, match="full"):
            log.save(batch)
        assert log.load() == model.stored
    last = model.shape.last[0]
    assert last > 3
    room = SaveBatch(snapshot=snapshot_at(last), compact_to=last)
    log.save(room)
    model.apply(room)
    more = SaveBatch(entries=entries(last + 1, 5, data=bytes(20_000)))
    log.save(more)
    model.apply(more)
    log.close()
    assert loaded(path) == model.stored
    assert path.stat().st_size <= 200_000


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of one megabyte; skipped where it cannot be mounted."""
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
        if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("needs to mount a small file system")
        try:
            yield Path(folder)
        finally:
            # Lazy, so that a failed test that left a file open leaves no mount behind.
            subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_is_reported_and_recovers_with_room(small_disk: Path) -> None:
    path, ballast = small_disk / "group.log", small_disk / "ballast"
    log, model = opened(path), LogState()
    log.save(started(0))
    model.apply(started(0))
    ballast.write_bytes(bytes(300_000))
    beside(ballast, "-2").write_bytes(bytes(100_000))
    batch = save_until_full(log, model)
    with pytest.raises(StorageFull, match="full"):
        log.save(batch)
    assert log.load() == model.stored
    # Room for some more, and the same call succeeds.
    ballast.unlink()
    log.save(batch)
    model.apply(batch)
    batch = save_until_full(log, model)
    # A restart on the full disk keeps everything, too.
    log.close()
    log = opened(path)
    assert log.load() == model.stored
    # Compaction needs some room, too, before it gives back more.
    beside(ballast, "-2").unlink()
    last = model.shape.last[0]
    room = SaveBatch(snapshot=snapshot_at(last), compact_to=last)
    log.save(room)
    model.apply(room)
    log.save(SaveBatch(entries=batch.entries))
    model.apply(SaveBatch(entries=batch.entries))
    log.close()
    assert loaded(path) == model.stored


def test_room_that_only_the_write_ahead_log_takes_is_given_back(small_disk: Path) -> None:
    """Each snapshot replaces the one before it, but stays in the write-ahead log for a while."""
    path = small_disk / "group.log"
    saved(path, started(3), SaveBatch(snapshot=snapshot_at(3, data=bytes(50_000))))
    log = opened(path)
    for number in range(100):
        log.save(SaveBatch(snapshot=snapshot_at(3, data=bytes([number]) * 50_000)))
    assert log.load().snapshot == snapshot_at(3, data=bytes([99]) * 50_000)
    log.close()


def test_no_room_for_a_new_log_is_reported_and_leaves_nothing(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1024 * 1024 - 8192))
    with pytest.raises(StorageFull):
        loaded(small_disk / "group.log")
    ballast.unlink()
    assert loaded(small_disk / "group.log") == Stored()


def test_a_missing_directory_is_named(path: Path) -> None:
    missing = path.parent / "missing"
    with pytest.raises(StorageError, match=f"there is no directory {missing}"):
        loaded(missing / "group.log")


def test_a_directory_in_the_files_place_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StorageError, match="Is a directory"):
        loaded(path)


WITHOUT_PERMISSION = """
import os, sys
from tests.unit.groups.storage_batches import OWNER
from mosaik_actors.groups.storage.sqlite import SqliteLog
from mosaik_actors.groups.storage.interface import StorageError

if os.geteuid() == 0:
    os.setegid(65534)
    os.seteuid(65534)
for path in sys.argv[1:]:
    try:
        SqliteLog(path).open(OWNER)
    except StorageError as exc:
        print(exc.reason)
"""


def test_missing_permissions_are_named() -> None:
    with tempfile.TemporaryDirectory() as folder:
        closed, read_only = Path(folder) / "closed", Path(folder) / "read-only"
        closed.mkdir()
        read_only.mkdir()
        log = read_only / "group.log"
        saved(log, started(1))
        beside(log, "-mark").chmod(0o666)
        log.chmod(0o444)
        closed.chmod(0o555)
        read_only.chmod(0o777)
        Path(folder).chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_PERMISSION, closed / "group.log", log],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[4],
            check=False,
        )
        closed.chmod(0o755)
    assert done.stderr == ""
    first, second = done.stdout.splitlines()
    assert first == f"no permission to write {closed / 'group.log-mark'}"
    assert second == f"no permission to write {log}"


def test_a_limit_too_small_for_anything_is_a_wrong_setting(path: Path) -> None:
    with pytest.raises(ConfigError, match="file_bytes_max is 1000, expected 65536"):
        SqliteLog(path, file_bytes_max=1000)


def test_calls_out_of_order_are_refused(path: Path) -> None:
    log = SqliteLog(path)
    for call in (log.load, lambda: log.save(SaveBatch())):
        with pytest.raises(StorageError, match="not open"):
            call()
    log.close()
    assert not path.exists()
