"""Unix sockets between the processes of one user on one machine.

A node listens in the private folder of its network, where its rendezvous notice is
(`discovery.rendezvous`); the socket's name is made of its PeerId, so that whoever knows a
peer knows where it would listen. Where nobody does, it is dialled by its addresses.

The kernel says who is at the other end: another user's process is hung up on before a
byte is read. What is left to prove, the key and the network, is proven as everywhere.
Nothing is encrypted: the bytes never leave the kernel, and who could read them there, the
same user or root, could as well read the memory of the processes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Final

from ...clock import Clock
from ...ids import PeerId, SecretKey
from ...peer_log import PeerLog
from ..byte_streams.engine import StreamEngine, make_engine
from ..byte_streams.listening import Listener
from ..config import TransportConfig
from .identity import NONCE_BYTES, LocalIdentity

logger = logging.getLogger(__name__)

BACKLOG: Final = 128
BUFFER_BYTES: Final = 1024 * 1024
PATH_BYTES_MAX: Final = 100  # of the 104 to 108 that systems have room for
_NAME_DIGITS: Final = 32
_CREDENTIALS: Final = struct.Struct("3i")  # ucred of unix(7): process, user, group


class LocalSockets:
    """Where one endpoint listens on this machine, and how it dials there.

    Args:
        secret_key: The identity that is proven.
        instance: Which run of the endpoint this is.
        config: The transport's settings.
        clock: Where `now` comes from.
        rng: Where random numbers are drawn from.
        adopt: Takes a new connection that a peer opened.
        log: What peers make it say.
    """

    def __init__(
        self,
        secret_key: SecretKey,
        instance: int,
        config: TransportConfig,
        clock: Clock,
        rng: Random,
        adopt: Callable[[StreamEngine, socket.socket], None],
        log: PeerLog,
    ) -> None:
        self._secret_key = secret_key
        self._instance = instance
        self._config = config
        self._clock = clock
        self._rng = rng
        self._adopt = adopt
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._folders: list[Path] = []
        self._listening: dict[Path, tuple[Listener, Path, int]] = {}  # by folder

    def listen(self, folder: Path) -> None:
        """Listen in a folder that is this user's alone, and dial peers that do.

        May be repeated, and is to be: a socket that somebody has removed is made anew. Where
        that is not possible, it is said in the log once, and addresses are used.
        """
        path = folder / socket_name(self._secret_key.peer_id)
        if not hasattr(socket, "AF_UNIX") or (folder in self._listening and _is_there(path)):
            return  # there may be one of another node with the same key: the two do not fight
        if folder not in self._folders:
            self._folders.append(folder)
        self._stop(folder)
        sock: socket.socket | None = None
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.setblocking(False)
            path.unlink(missing_ok=True)
            with _Reachable(path) as name:
                sock.bind(name)
            sock.listen(BACKLOG)
            file_number = path.lstat().st_ino
        except OSError as exc:
            if sock is not None:
                sock.close()
            text = "no Unix socket at %s (%s): peers here are reached by addresses"
            now = self._clock.monotonic()
            self._log.info(logger, None, text, path, exc, now=now, about=exc.errno)
            return
        listener = Listener(sock, self._accept, self._clock, self._log)
        self._listening[folder] = listener, path, file_number

    async def connect(self, peer_id: PeerId) -> tuple[StreamEngine, socket.socket] | None:
        """Return a connection to a peer that listens on this machine, None where it does not."""
        for folder in self._folders:
            path = folder / socket_name(peer_id)
            try:
                sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            except OSError:  # this process has no file left
                return None
            try:
                sock.setblocking(False)
                with _Reachable(path) as name:
                    await self._loop.sock_connect(sock, name)
                if is_own(sock):
                    _set_buffers(sock)
                    return self._engine(is_initiator=True), sock
            except OSError as exc:
                if isinstance(exc, ConnectionRefusedError):  # left by a process that died
                    path.unlink(missing_ok=True)
            except BaseException:
                sock.close()
                raise
            sock.close()
        return None

    @property
    def is_listening(self) -> bool:
        """Whether peers on this machine can reach this one."""
        return bool(self._listening)

    def has_socket_of(self, peer_id: PeerId) -> bool:
        """Return whether a peer seems to listen on this machine."""
        return any((folder / socket_name(peer_id)).exists() for folder in self._folders)

    def close(self) -> None:
        """Listen no more, and leave nothing behind."""
        for folder in self._folders:
            self._stop(folder)
        self._folders.clear()

    def _stop(self, folder: Path) -> None:
        listening = self._listening.pop(folder, None)
        if listening is None:
            return
        listener, path, file_number = listening
        listener.close()
        with suppress(OSError):
            if path.lstat().st_ino == file_number:  # or it is a successor's
                path.unlink()

    def _accept(self, sock: socket.socket, _remote: object) -> None:
        if is_own(sock):
            _set_buffers(sock)
            self._adopt(self._engine(is_initiator=False), sock)
        else:
            sock.close()

    def _engine(self, *, is_initiator: bool) -> StreamEngine:
        engine = make_engine(self._config, is_initiator=is_initiator, now=self._clock.monotonic())
        identity = LocalIdentity(
            self._secret_key,
            self._instance,
            self._rng.randbytes(NONCE_BYTES),
            is_initiator=is_initiator,
        )
        engine.begin(identity.receive, identity.begin())
        return engine


def _set_buffers(sock: socket.socket) -> None:
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)


def socket_name(peer_id: PeerId) -> str:
    """Return the name of the socket that a peer listens on."""
    return f"{str(peer_id)[:_NAME_DIGITS]}.sock"


def is_own(sock: socket.socket) -> bool:
    """Return whether the process at the other end is of this user, as the kernel says."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:  # elsewhere the folder, which is this user's alone, has to be enough
        return True
    data = sock.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(data)
    return bool(user == os.geteuid())


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except OSError:
        return False
    return True


class _Reachable:
    """A name for a socket's path that is short enough, while the block lasts.

    Systems have room for about a hundred bytes; Linux knows an open folder by a short name.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder: int | None = None

    def __enter__(self) -> str:
        name = str(self._path)
        if len(os.fsencode(name)) <= PATH_BYTES_MAX:
            return name
        self._folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._folder}/{self._path.name}"

    def __exit__(self, *_error: object) -> None:
        if self._folder is not None:
            os.close(self._folder)
