"""The simulated disk: what a crash, a failing sync and a full disk leave."""

import errno
from random import Random

import pytest

from mosaik_actors.testing.disk import SimDisk


def make(*, tears: bool = False, seed: int = 1) -> SimDisk:
    return SimDisk(Random(seed), tears=tears)


def test_reads_see_what_was_written_before_any_sync() -> None:
    file = make().open("log")
    file.append(b"hello ")
    file.append(b"world")
    file.write_at(0, b"J")
    assert (file.read(), file.read(6), file.read(0, 5)) == (b"Jello world", b"world", b"Jello")
    file.truncate(5)
    assert file.size == 5


def test_crash_loses_what_was_not_synced() -> None:
    disk = make()
    file, other = disk.open("log"), disk.open("other")
    file.append(b"safe")
    file.sync()
    file.append(b" lost")
    file.write_at(0, b"LOST")
    other.append(b"never synced")
    disk.crash()
    assert (disk.open("log").read(), disk.open("other").read()) == (b"safe", b"")
    file.append(b"r")
    file.sync()
    disk.crash()
    assert file.read() == b"safer"


def test_truncation_that_was_not_synced_is_undone() -> None:
    disk = make(tears=True)
    file = disk.open("log")
    file.append(b"0123456789")
    file.sync()
    file.truncate(3)
    disk.crash()
    assert file.read() == b"0123456789"
    file.truncate(3)
    file.sync()
    disk.crash()
    assert file.read() == b"012"


def test_crash_may_tear_the_last_write() -> None:
    left = set()
    for seed in range(200):
        disk = make(tears=True, seed=seed)
        file = disk.open("log")
        file.append(b"safe|")
        file.sync()
        file.append(b"abcd")
        disk.crash()
        left.add(file.read())
        again = file.read()
        disk.crash()
        assert file.read() == again  # what the crash left has reached the disk
    assert left == {b"safe|" + b"abcd"[:kept] for kept in range(5)}


def test_same_seed_tears_in_the_same_way() -> None:
    def play(seed: int) -> bytes:
        disk = make(tears=True, seed=seed)
        disk.open("log").append(bytes(range(200)))
        disk.crash()
        return disk.open("log").read()

    assert play(5) == play(5)
    assert len({play(seed) for seed in range(10)}) > 5


def test_failing_sync_makes_nothing_safe() -> None:
    disk = make()
    file = disk.open("log")
    disk.fail_syncs(2)
    file.append(b"abc")
    for _ in range(2):
        with pytest.raises(OSError, match=r"Input/output error") as caught:
            file.sync()
        assert caught.value.errno == errno.EIO
    assert disk.sync_count == 0
    disk.crash()
    assert file.read() == b""


def test_later_sync_does_not_bring_back_what_a_failing_one_dropped() -> None:
    """Rebello et al. (USENIX ATC 2020), section 3: pages are marked clean after a failure."""
    disk = make()
    file = disk.open("log")
    file.append(b"one ")
    file.sync()
    file.append(b"two ")
    disk.fail_syncs(1)
    with pytest.raises(OSError, match="Input"):
        file.sync()
    file.append(b"three")
    file.sync()
    assert file.read() == b"one two three"  # the cache still shows it
    disk.crash()
    assert file.read() == b"one \0\0\0\0three"


def test_what_is_written_again_after_a_failing_sync_is_safe() -> None:
    disk = make()
    file = disk.open("log")
    file.append(b"abc")
    disk.fail_syncs(1)
    with pytest.raises(OSError, match="Input"):
        file.sync()
    file.write_at(0, b"abc")
    file.sync()
    disk.crash()
    assert file.read() == b"abc"


def test_full_disk_takes_no_more_but_may_be_overwritten() -> None:
    disk = make()
    file = disk.open("log")
    disk.fill(4)
    file.append(b"1234")
    with pytest.raises(OSError, match="No space left") as caught:
        file.append(b"5")
    assert caught.value.errno == errno.ENOSPC
    assert file.read() == b"1234"
    file.write_at(2, b"xy")
    disk.fill(None)
    file.append(b"5")
    assert file.read() == b"12xy5"


def test_files_are_listed_and_removed() -> None:
    disk = make()
    disk.open("b")
    disk.open("a").append(b"x")
    assert disk.open("a").read() == b"x"
    assert disk.names() == ["b", "a"]
    disk.remove("b")
    assert disk.names() == ["a"]
    with pytest.raises(FileNotFoundError):
        disk.remove("b")


def test_writing_beyond_the_end_is_refused() -> None:
    file = make().open("log")
    with pytest.raises(ValueError, match="offset is 1, expected 0 to 0"):
        file.write_at(1, b"x")
