"""The keeper, seen from the node: the one process that starts those of isolated actors.

A node has a keeper while it has isolated actors, and it is the only process beside theirs.
The keeper (`keeper_process`) is small, has one thread and imports nothing of a
user's, so it can fork: a process for an actor is there within a few milliseconds. What it
runs it gets from the node, over a connection of its own to a socket in a folder that
only this user can enter; the keeper learns no more than a number. Neither listens on any
port.

Invariants:
    * The keeper has its end of a socket pair from its first moment, so that its death is
      noticed whenever it comes, also before it has said anything.
    * When the node dies, the keeper ends and takes all processes with it, those that are
      busy included.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Protocol

from .portable import FrameReader, frame

# How often the end of the keeper process is looked for, once it must come.
_POLL_S = 0.01
_PROGRAM = f"{__package__}.keeper_process"  # nothing of it is of use in the node


class KeeperOwner(Protocol):
    """Whose isolated actors the keeper starts."""

    def accept(self) -> asyncio.BaseProtocol:
        """Return what takes the connection of one actor's process."""

    def cannot_fork(self, number: int, reason: str) -> None:
        """Take in that there is no process for an actor."""

    def keeper_lost(self, keeper: Keeper, error: BaseException | None) -> None:
        """Take in that a keeper has ended, or could not start because of an error. Called once."""


class Keeper:
    """One keeper process; it starts at once. `close` ends it and waits for its end."""

    def __init__(self, owner: KeeperOwner, loop: asyncio.AbstractEventLoop) -> None:
        self._owner = owner
        self._loop = loop
        self._numbers: list[int] = []
        self._folder = ""
        self._server: asyncio.AbstractServer | None = None
        self._connection: asyncio.WriteTransport | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = loop.create_task(self._start(), name="keeper")
        self._starting.add_done_callback(self._started)

    def launch(self, number: int) -> None:
        """Have a process started, which connects and says the number."""
        self._numbers.append(number)
        self._send_numbers()

    def list_descriptors(self) -> list[int]:
        """Return what a forked child of the node must not have."""
        sockets = [] if self._server is None else list(getattr(self._server, "sockets", ()))
        if self._connection is not None:
            sockets.append(self._connection.get_extra_info("socket"))
        return [one.fileno() for one in sockets]

    async def close(self, patience_s: float) -> None:
        """End the process; kill it if it is still there after this time. May be repeated."""
        await asyncio.wait([self._starting])
        self._release()
        process, deadline = self._process, self._loop.time() + patience_s
        while process is not None and process.poll() is None:
            if self._loop.time() >= deadline:
                process.kill()
            await asyncio.sleep(_POLL_S)

    def lost(self) -> None:
        """Take in that the process has gone."""
        if self._connection is not None:
            self._release()
            self._owner.keeper_lost(self, None)

    def cannot_fork(self, number: int, reason: str) -> None:
        """Pass on that there is no process for an actor."""
        self._owner.cannot_fork(number, reason)

    async def _start(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="mosaik-")  # for this user only
        path = str(Path(self._folder, "node"))
        self._server = await self._loop.create_unix_server(self._owner.accept, path)
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = _start_process(path, theirs.fileno())
            connection, _ = await self._loop.create_unix_connection(
                lambda: _KeeperProtocol(self), sock=ours
            )
        except BaseException:
            ours.close()
            raise
        self._connection = connection
        self._send_numbers()

    def _started(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._release()
            self._owner.keeper_lost(self, error)

    def _send_numbers(self) -> None:
        if self._connection is not None:
            for number in self._numbers:
                self._connection.write(frame(number))
            self._numbers.clear()

    def _release(self) -> None:
        if self._server is not None:
            self._server.close()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


class _KeeperProtocol(asyncio.Protocol):
    """The node's end of the connection with the keeper."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._frames = FrameReader()

    def data_received(self, data: bytes) -> None:
        for number, reason in self._frames.feed(data):
            self._keeper.cannot_fork(number, reason)

    def connection_lost(self, error: Exception | None) -> None:
        self._keeper.lost()


def _start_process(path: str, descriptor: int) -> subprocess.Popen[bytes]:
    environment: dict[str, Any] = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
    }
    program = f"from {_PROGRAM} import main; main({path!r}, {descriptor})"
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment,
        stdin=subprocess.DEVNULL,
        pass_fds=[descriptor],
        start_new_session=True,  # Ctrl-C is the node's to handle
    )
