"""The rendezvous actor: nodes of one user on one machine find each other.

Receives: `StartRendezvous` first, `LeaveRendezvous` last.
Sends: `PeersSighted` to the gossip actor; `RendezvousLeft` in the end.
Owns: this node's notice files and their locks, descriptors of the folders, and the
    schedule of looks.
Failure: when the folder cannot be had, or is not safe, the reason is logged once
    and the node goes on without.

The place is ``$MOSAIK_RUNTIME_DIR``, else ``$XDG_RUNTIME_DIR``, else the folder for
temporary files. Below it: one folder per user, one per network and secret, one
file per node. How it is kept safe from other users and from accidents:

    * The user's folder and the network's must be real directories, owned by
      this user, closed to others (mode 0700). Everything is opened relative to
      a descriptor of its folder, and no symbolic link is ever followed.
    * A notice is written to a new file, locked (flock), and renamed into place,
      so that nobody sees half of one.
    * The lock lasts as long as the process. Whoever can lock a notice knows
      that its owner is gone, and removes it. Names are never used twice, so
      that this cannot hit a successor.
    * What is read is limited in size and number.

Looking is cheap: an unchanged folder costs one call, and is looked at more and
more rarely. The calls are local and short, and run in a thread.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

import msgspec
from thespian.actors import ActorAddress, ActorExitRequest, WakeupMessage

from ..discovery.messages import LeaveRendezvous, PeersSighted, RendezvousLeft, StartRendezvous
from ..discovery.rendezvous import (
    NOTICE_BYTES_MAX,
    NOTICE_COUNT_MAX,
    PollSchedule,
    RendezvousNotice,
    folder_names,
    format_notice,
    make_name,
    parse_name,
    parse_notice,
)
from ..errors import DecodeError
from ..forking import keep_from_children
from ..node import Node
from ..runtime import TypeDispatcher
from ..transport.local.sockets import socket_name

logger = logging.getLogger(__name__)

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# A pipe or a device in the folder must not block the reader.
_OPEN_NOTICE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_FULL_LOOK_EVERY = 12
_SETTLE_S = 1.0
_ENTER_TRIES = 5
_UNFINISHED = ".new"
_STALE_S = 60.0  # nobody takes this long to write a notice


class _LookDue(msgspec.Struct, frozen=True):
    due_at: float


class RendezvousActor(TypeDispatcher):
    """Leaves a notice, and looks for those of others."""

    def __init__(self) -> None:
        self._node: Node
        self._gossip: ActorAddress
        self._schedule: PollSchedule
        self._folders: dict[NoticeFolder, Path] = {}  # and where they are
        self._seen: dict[
            NoticeFolder, list[RendezvousNotice]
        ] = {}  # by folder, as of its last look
        self._sighted: list[RendezvousNotice] = []
        self._has_failed = False

    # Lifecycle.

    async def receiveMsg_StartRendezvous(
        self, message: StartRendezvous, _sender: ActorAddress
    ) -> None:
        """Leave the notice, then look: of two that start at once, one sees the other."""
        node = self._node = message.node
        self._gossip = message.gossip
        rng = node.randomness.branch("rendezvous")
        self._schedule = PollSchedule(rng, now=node.clock.monotonic())
        for folder_name in folder_names(node.endpoint.keys):
            try:
                path = await asyncio.to_thread(_make_network_folder, folder_name)
                # Before the notice: who reads it finds the socket.
                node.endpoint.listen_local(path)
                notice = RendezvousNotice(node.endpoint.local_addr, os.getpid(), node.clock.wall())
                folder = await asyncio.to_thread(
                    NoticeFolder, folder_name, make_name(node.peer_id, rng), notice
                )
            except OSError as error:
                logger.warning("no rendezvous on this machine: %s", error)
                break
            self._folders[folder] = path
        if self._folders:
            await self._look()

    async def receiveMsg_LeaveRendezvous(
        self, _message: LeaveRendezvous, sender: ActorAddress
    ) -> None:
        """Take the notice away."""
        self._node.endpoint.leave_local()
        folders, self._folders = self._folders, {}
        for folder in folders:
            await asyncio.to_thread(folder.close)
        self.send(sender, RendezvousLeft())

    def receiveMsg_ActorExitRequest(
        self, _message: ActorExitRequest, _sender: ActorAddress
    ) -> None:
        """Take the notice away, if nobody asked for it before."""
        if self._folders:
            self._node.endpoint.leave_local()
        folders, self._folders = self._folders, {}
        for folder in folders:
            folder.close()

    # Timers.

    async def receiveMsg_WakeupMessage(self, message: WakeupMessage, _sender: ActorAddress) -> None:
        """Look again."""
        due_at = self._schedule.get_timer()
        if self._folders and message.payload == _LookDue(due_at):
            await self._look()

    # Helpers.

    async def _look(self) -> None:
        try:
            folders, now = list(self._folders), self._node.clock.wall()
            self._seen |= await asyncio.to_thread(_look, folders, now)
            self._has_failed = False
            # Somebody may have removed the socket with the notice.
            for path in self._folders.values():
                self._node.endpoint.listen_local(path)
        except OSError as error:
            if not self._has_failed:
                logger.warning("looking for peers on this machine failed: %s", error)
            self._has_failed = True
        notices = [notice for seen in self._seen.values() for notice in seen]
        has_news = notices != self._sighted
        if has_news:
            self._sighted = notices
            addrs = tuple(dict.fromkeys(notice.addr for notice in notices))
            self.send(self._gossip, PeersSighted("rendezvous", addrs))
        now = self._node.clock.monotonic()
        self._schedule.receive_look(has_news=has_news, now=now)
        due_at = self._schedule.get_timer()
        self.wakeupAfter(max(0.0, due_at - now), _LookDue(due_at))


class NoticeFolder:
    """A folder of a network on this machine, with this node's notice in it.

    Blocking; every call is short.

    Args:
        folder_name: Which folder, of those of `folder_names`.
        name: The notice's file name.
        notice: What it says.

    Raises:
        OSError: The folder cannot be had, or is not safe; says which and why.
    """

    def __init__(self, folder_name: str, name: str, notice: RendezvousNotice) -> None:
        self._name = name
        self._content = format_notice(notice)
        self._looked_at_mtime_ns = -1
        self._looks = 0
        self._notice_fd = -1
        self._folder_name = folder_name
        self._fd = -1
        keep_from_children(self, lambda folder: (folder._fd, folder._notice_fd))
        self._enter()

    def look(self, *, now: float) -> list[RendezvousNotice] | None:
        """Return the notices of others, by name; None when nothing can have changed.

        Args:
            now: Wall-clock time in seconds, to compare with times of files.
        """
        if self._fd < 0 or not os.fstat(self._fd).st_nlink:  # somebody removed the folder
            self._enter()
        state = os.fstat(self._fd)
        self._looks += 1
        if state.st_mtime_ns == self._looked_at_mtime_ns and self._looks % _FULL_LOOK_EVERY:
            return None
        # Two changes within one tick of the file system's clock look like one.
        is_settled = state.st_mtime < now - _SETTLE_S
        self._looked_at_mtime_ns = state.st_mtime_ns if is_settled else -1
        names = sorted(os.listdir(self._fd))  # noqa: PTH208  # by descriptor, not by path
        if self._name not in names:
            self._write()  # somebody tidied up
        for name in names:
            if name.endswith(_UNFINISHED):
                self._remove_unfinished(name, now)
        others = [name for name in names if name != self._name and parse_name(name) is not None]
        notices = map(self._read, others[:NOTICE_COUNT_MAX])
        return [notice for notice in notices if notice is not None]

    def close(self) -> None:
        """Remove the notice, and give up its lock. May be repeated."""
        notice_fd, self._notice_fd = self._notice_fd, -1
        if notice_fd >= 0:
            os.close(notice_fd)
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        try:
            os.unlink(self._name, dir_fd=fd)
        except OSError as error:
            logger.info("the notice was gone already: %s", error)
        os.close(fd)
        _remove_network_folder(self._folder_name)

    def _enter(self) -> None:
        """Open the folder and leave the notice; again if its last user removed it meanwhile."""
        for attempt in range(_ENTER_TRIES):
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
            self._fd = _open_network_folder(self._folder_name)
            try:
                return self._write()
            except FileNotFoundError:
                if attempt + 1 == _ENTER_TRIES:
                    self._abandon()
                    raise
            except BaseException:
                self._abandon()
                raise
        return None

    def _abandon(self) -> None:
        os.close(self._fd)
        self._fd = -1

    def _write(self) -> None:
        if self._notice_fd >= 0:
            os.close(self._notice_fd)
            self._notice_fd = -1
        new_name = self._name + _UNFINISHED
        fd = os.open(new_name, _OPEN_NEW, 0o600, dir_fd=self._fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(fd, self._content)
            os.rename(new_name, self._name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except BaseException:
            os.close(fd)
            with suppress(FileNotFoundError):
                os.unlink(new_name, dir_fd=self._fd)
            raise
        self._notice_fd = fd

    def _remove_unfinished(self, name: str, now: float) -> None:
        try:
            if os.stat(name, dir_fd=self._fd, follow_symlinks=False).st_mtime < now - _STALE_S:
                os.unlink(name, dir_fd=self._fd)
        except OSError as error:
            logger.info("an unfinished notice is left alone: %s", error)

    def _read(self, name: str) -> RendezvousNotice | None:
        try:
            fd = os.open(name, _OPEN_NOTICE, dir_fd=self._fd)
        except OSError:
            return None  # just removed, or no file of ours
        try:
            return self._read_open(name, fd)
        except (OSError, DecodeError) as error:
            logger.info("a notice is skipped: %s", error)
            return None
        finally:
            os.close(fd)

    def _read_open(self, name: str, fd: int) -> RendezvousNotice | None:
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode) or state.st_uid != os.geteuid():
            return None
        if _can_lock(fd):
            os.unlink(name, dir_fd=self._fd)  # its owner is gone, and so is who listened
            peer_id = parse_name(name)
            assert peer_id is not None, "it is read for its name"
            with suppress(FileNotFoundError):
                os.unlink(socket_name(peer_id), dir_fd=self._fd)
            return None
        return parse_notice(name, os.read(fd, NOTICE_BYTES_MAX + 1))


def check_user_folder() -> tuple[Path, str]:
    """Return the folder in which nodes of this user meet, and why it cannot be used, if so.

    It is made where needed. Blocking, and short.
    """
    path = Path(os.environ.get("MOSAIK_RUNTIME_DIR") or tempfile.gettempdir())
    try:
        path = _find_user_folder()
        fd = _open_private(str(path), str(path), None)
        try:
            with tempfile.TemporaryFile(dir=path) as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(fd)
    except OSError as error:
        return path, str(error)
    return path, ""


def _look(folders: list[NoticeFolder], now: float) -> dict[NoticeFolder, list[RendezvousNotice]]:
    """Return what is in those folders that may have changed."""
    looked = ((folder, folder.look(now=now)) for folder in folders)
    return {folder: notices for folder, notices in looked if notices is not None}


def _open_network_folder(folder_name: str) -> int:
    """Return a descriptor of a network's folder, which is made where needed."""
    user_path = _find_user_folder()
    user_fd = _open_private(str(user_path), str(user_path), None)
    try:
        return _open_private(folder_name, f"{user_path}/{folder_name}", user_fd)
    finally:
        os.close(user_fd)


def _make_network_folder(folder_name: str) -> Path:
    """Return where a network's folder is, which is made where needed."""
    os.close(_open_network_folder(folder_name))
    return _find_user_folder() / folder_name


def _remove_network_folder(folder_name: str) -> None:
    """Remove a network's folder if this was its last node."""
    with suppress(OSError):  # not empty: others are there
        (_find_user_folder() / folder_name).rmdir()


def _find_user_folder() -> Path:
    if place := os.environ.get("MOSAIK_RUNTIME_DIR"):
        Path(place).mkdir(mode=0o700, parents=True, exist_ok=True)
        return Path(place) / "mosaik"
    place = os.environ.get("XDG_RUNTIME_DIR")
    # After a change of user the variable may still name the other one's.
    if place and _is_own(place):
        return Path(place) / "mosaik"
    # The folder for temporary files is everybody's: the name says whose this is.
    return Path(tempfile.gettempdir()) / f"mosaik-{os.geteuid()}"


def _is_own(path: str) -> bool:
    try:
        return Path(path).stat().st_uid == os.geteuid()
    except OSError:
        return False


def _open_private(name: str, path: str, dir_fd: int | None) -> int:
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=dir_fd)
    fd = os.open(name, _OPEN_FOLDER, dir_fd=dir_fd)
    state = os.fstat(fd)
    if state.st_uid == os.geteuid() and not state.st_mode & 0o077:
        return fd
    os.close(fd)
    owner, mode = state.st_uid, stat.S_IMODE(state.st_mode)
    raise PermissionError(
        f"{path} belongs to user {owner} with mode {mode:o}, "
        f"expected user {os.geteuid()} and mode 700"
    )


def _can_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False  # held; or the file system has no locks, and nobody is known to be gone
    return True
