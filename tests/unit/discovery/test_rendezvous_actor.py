"""Same-host rendezvous on a real file system, with real processes where one must die."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from mosaik_actors import Network, TransportConfig
from mosaik_actors.actors.rendezvous import _FULL_LOOK_EVERY, NoticeFolder
from mosaik_actors.discovery.rendezvous import (
    NOTICE_BYTES_MAX,
    RendezvousNotice,
    folder_names,
    format_notice,
    make_name,
)
from mosaik_actors.handles.discovery import Discovery
from mosaik_actors.ids import NetworkId
from mosaik_actors.transport.admission import NetworkKeys
from tests.nodes import node_maker
from tests.waiting import until

from .helpers import NETWORK, addr, peer

RNG = Random(1)
[FOLDER] = folder_names(NetworkKeys(NETWORK))


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place of this test's own; returns the folder of the network."""
    monkeypatch.setenv("MOSAIK_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path / "run" / "mosaik" / FOLDER


class Folders:
    def __init__(self) -> None:
        self.made: list[NoticeFolder] = []

    def make(self, name: str, folder: str = FOLDER) -> NoticeFolder:
        notice = RendezvousNotice(addr(name), os.getpid(), time.time())
        self.made.append(NoticeFolder(folder, make_name(peer(name), RNG), notice))
        return self.made[-1]


@pytest.fixture
def folders() -> Iterator[Folders]:
    made = Folders()
    yield made
    for folder in made.made:
        folder.close()


def names_seen(folder: NoticeFolder) -> set[str] | None:
    notices = folder.look(now=time.time())
    if notices is None:
        return None
    return {name for name in "abc" for n in notices if n.addr == addr(name)}


def test_nodes_see_each_other_and_see_each_other_go(folders: Folders, place: Path) -> None:
    a, b = folders.make("a"), folders.make("b")
    assert names_seen(a) == {"b"}
    assert names_seen(b) == {"a"}
    b.close()
    assert names_seen(a) == set()
    a.close()
    a.close()
    assert not place.exists()  # the last one takes the folder along


def test_folder_that_vanishes_is_made_again(folders: Folders, place: Path) -> None:
    a = folders.make("a")
    for file in place.iterdir():
        file.unlink()
    place.rmdir()
    b = folders.make("b")
    assert names_seen(a) == {"b"}
    assert names_seen(b) == {"a"}


def test_folder_that_cannot_be_made_again_at_once_is_made_later(
    folders: Folders, place: Path
) -> None:
    """As on a disk that is full for a while."""
    a = folders.make("a")
    shutil.rmtree(place.parent)
    place.parent.write_text("in the way")
    for _ in range(2):
        with pytest.raises(NotADirectoryError):
            a.look(now=time.time())
    place.parent.unlink()
    assert names_seen(a) == set()
    b = folders.make("b")
    assert names_seen(b) == {"a"}
    shutil.rmtree(place.parent)
    place.parent.write_text("in the way")
    with pytest.raises(NotADirectoryError):
        a.look(now=time.time())
    a.close()
    place.parent.unlink()


def test_networks_do_not_mix(folders: Folders) -> None:
    a = folders.make("a")
    folders.make("b", folder_names(NetworkKeys(NetworkId("another")))[0])
    assert names_seen(a) == set()


def test_everything_is_closed_to_other_users(folders: Folders, place: Path) -> None:
    folders.make("a")
    modes = [place.stat().st_mode, place.parent.stat().st_mode]
    assert [mode & 0o777 for mode in modes] == [0o700, 0o700]
    assert [file.stat().st_mode & 0o777 for file in place.iterdir()] == [0o600]


def test_the_notice_of_a_killed_process_is_removed(folders: Folders, place: Path) -> None:
    script = """
import sys, time
from random import Random
from mosaik_actors.actors.rendezvous import NoticeFolder
from mosaik_actors.discovery.rendezvous import RendezvousNotice, make_name
from mosaik_actors.transport.address import PeerAddr
there = PeerAddr.parse(sys.argv[2])
name = make_name(there.peer_id, Random(2))
folder = NoticeFolder(sys.argv[1], name, RendezvousNotice(there, 1, 2.0))
print("ready", flush=True)
time.sleep(60)
"""
    command = [sys.executable, "-c", script, FOLDER, str(addr("b"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        a = folders.make("a")
        assert names_seen(a) == {"b"}
        process.send_signal(signal.SIGKILL)
        process.wait()
    # Whether the owner of a notice lives is looked at now and then only.
    assert set() in [names_seen(a) for _ in range(_FULL_LOOK_EVERY)]
    assert len(list(place.iterdir())) == 1


def test_an_unchanged_folder_is_not_read_again_but_now_and_then(
    folders: Folders, place: Path
) -> None:
    a = folders.make("a")
    later = time.time() + 10
    assert a.look(now=later) == []
    looks = [a.look(now=later) for _ in range(24)]
    assert looks.count([]) == 2
    assert looks.count(None) == 22
    # A file that came within one tick of the clock is not overlooked.
    b = folders.make("b")
    assert names_seen(a) == {"b"}
    assert names_seen(b) == {"a"}


def test_a_notice_that_somebody_removed_is_written_again(folders: Folders, place: Path) -> None:
    a, b = folders.make("a"), folders.make("b")
    for file in place.iterdir():
        file.unlink()
    assert names_seen(a) == set()
    assert names_seen(b) == {"a"}


@pytest.mark.parametrize("trick", ["link", "pipe", "folder", "large", "rubbish", "other peer"])
def test_a_file_that_is_no_notice_is_skipped(
    folders: Folders, place: Path, tmp_path: Path, trick: str
) -> None:
    a = folders.make("a")
    path = place / make_name(peer("b"), RNG)
    good = format_notice(RendezvousNotice(addr("b"), 1, 2.0))
    holder = tmp_path / "holder"
    match trick:
        case "link":
            holder.write_bytes(good)
            path.symlink_to(holder)
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "large":
            path.write_bytes(good + bytes(NOTICE_BYTES_MAX))
        case "rubbish":
            path.write_bytes(b"rubbish")
        case "other peer":
            path.write_bytes(format_notice(RendezvousNotice(addr("c"), 1, 2.0)))
    held = None
    if path.is_file() and not path.is_symlink():
        held = lock(path)
    try:
        assert names_seen(a) == set()
        assert path.exists()
    finally:
        if held is not None:
            os.close(held)


def lock(path: Path) -> int:
    import fcntl

    fd = os.open(path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def test_an_old_unfinished_notice_is_removed_and_a_new_one_left(
    folders: Folders, place: Path
) -> None:
    a = folders.make("a")
    old, new = place / "old.new", place / "new.new"
    for path in (old, new):
        path.touch()
    os.utime(old, (time.time() - 100,) * 2)
    assert names_seen(a) == set()
    assert not old.exists()
    assert new.exists()


@pytest.mark.parametrize("trick", ["open to others", "a link", "a file", "another user's"])
def test_a_folder_that_is_not_safe_is_refused(
    folders: Folders, place: Path, tmp_path: Path, trick: str
) -> None:
    user = place.parent
    user.parent.mkdir()
    match trick:
        case "open to others":
            user.mkdir(mode=0o755)
        case "a link":
            (tmp_path / "elsewhere").mkdir(mode=0o700)
            user.symlink_to(tmp_path / "elsewhere")
        case "a file":
            user.touch()
        case "another user's":
            if os.geteuid() != 0:
                pytest.skip("only root can make a folder that belongs to another user")
            user.mkdir(mode=0o700)
            os.chown(user, 12345, 12345)
    with pytest.raises(OSError, match="mosaik"):
        folders.make("a")


def test_without_a_runtime_directory_of_ours_the_temporary_one_serves(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MOSAIK_RUNTIME_DIR")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "gone"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folders.make("a")
    assert len(list((tmp_path / f"mosaik-{os.geteuid()}" / FOLDER).iterdir())) == 1
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folders.make("b")
    assert len(list((tmp_path / "mosaik" / FOLDER).iterdir())) == 1


async def test_nodes_meet_by_their_notices_alone_and_clean_up(place: Path) -> None:
    async with node_maker("memory") as make:
        started = []
        for name in "abc":
            node = await make(name, str(NETWORK))
            started.append(await Discovery.start(node, node.endpoint))
        await until(lambda: all(len(one.catalog()) == 2 for one in started))
        assert len(list(place.iterdir())) == 3
        for one in started[:2]:
            await one.close()
        assert len(list(place.iterdir())) == 1
        # The third is not closed in an orderly way: its actor cleans up as it exits.
        await started[2]._node.system.shutdown()
        assert not place.exists()
        await started[2].close()


async def test_a_node_is_reached_by_its_socket_after_somebody_tidied_up(place: Path) -> None:
    """Where sockets alone may carry, it would be reached by nobody for ever."""
    config = TransportConfig(carriers=("unix",))
    async with Network("tidy", transport=config) as a:
        await until(lambda: list(place.parent.glob("*/*.peer")))
        [notice] = place.parent.glob("*/*.peer")
        shutil.rmtree(notice.parent)
        await until(lambda: list(notice.parent.glob("*.sock")))
        async with Network("tidy", transport=config) as b:
            await until(lambda: b.peer_id in a.discovery.catalog())
            assert a.node.endpoint.carrier(b.peer_id) == "unix"


async def test_nodes_with_a_secret_meet_while_it_is_changed(place: Path) -> None:
    old, new = b"the old secret..", b"the new secret.."
    async with node_maker("memory") as make:
        started = {}
        for name, secrets in {"old": (old,), "new": (new,), "both": (new, old), "none": ()}.items():
            node = await make(name, str(NETWORK), secrets=secrets)
            started[name] = await Discovery.start(node, node.endpoint)
        inside = [started[name] for name in ("old", "new", "both")]
        # Those with one secret each hear of each other from the one that has both, and
        # cannot talk to each other: it is for all to have both in between.
        await until(lambda: all(len(one.catalog()) == 2 for one in inside))
        assert len(started["none"].catalog()) == 0
        names = {folder.name for folder in place.parent.iterdir()}
        assert len(names) == 3
        assert str(NETWORK) not in names
        for discovery in started.values():
            await discovery.close()
        assert not list(place.parent.iterdir())


async def test_a_node_without_a_safe_folder_goes_on_without(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place.parent.mkdir(parents=True, mode=0o755)
    place.parent.chmod(0o755)
    async with node_maker("memory") as make:
        node = await make("a", str(NETWORK))
        discovery = await Discovery.start(node, node.endpoint)
        await until(lambda: "no rendezvous on this machine" in caplog.text)
        assert "expected user" in caplog.text
        async with asyncio.timeout(5):
            await discovery.close()
