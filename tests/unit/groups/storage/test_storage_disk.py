"""What the simulated disk does that the storages rely on: renames, and what a failed sync drops."""

from random import Random

import pytest

from mosaik_actors.testing.disk import SimDisk


def test_rename_replaces_in_one_step() -> None:
    disk = SimDisk(Random(0))
    for name in ("old", "new"):
        file = disk.open(name)
        file.append(name.encode())
        file.sync()
    disk.rename("new", "old")
    assert disk.names() == ["old"]
    assert disk.open("old").read() == b"new"
    with pytest.raises(FileNotFoundError):
        disk.rename("new", "old")


def test_rename_does_not_make_the_content_safe() -> None:
    disk = SimDisk(Random(0), tears=False)
    disk.open("new").append(b"content")
    disk.rename("new", "old")
    disk.crash()
    assert disk.open("old").read() == b""


def test_what_a_failed_sync_dropped_is_not_brought_back_by_the_next() -> None:
    disk = SimDisk(Random(0), tears=False)
    file = disk.open("file")
    file.append(b"safe")
    file.sync()
    file.append(b"lost")
    disk.fail_syncs(1)
    with pytest.raises(OSError, match="Input/output error"):
        file.sync()
    file.append(b"more")
    file.sync()
    assert file.read() == b"safelostmore"
    disk.crash()
    assert file.read() == b"safe\0\0\0\0more"


def test_what_was_dropped_is_safe_once_it_is_written_again() -> None:
    disk = SimDisk(Random(0), tears=False)
    file = disk.open("file")
    file.append(b"abcdef")
    disk.fail_syncs(1)
    with pytest.raises(OSError, match="Input/output error"):
        file.sync()
    file.write_at(2, b"cd")
    file.truncate(5)
    file.sync()
    disk.crash()
    assert file.read() == b"\0\0cd\0"
