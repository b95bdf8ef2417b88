"""UDP sockets that hand the kernel many datagrams at once, through `qh3`.

One system call takes or gives dozens of datagrams (GSO and GRO of Linux, by quinn-udp): at 1,200
bytes that is a sixth of the CPU. Optional, like all of qh3: `sockets.UdpPort` does the same one
by one.
"""

from __future__ import annotations

import errno
import os
import socket
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from qh3._hazmat import UdpSocketState

from ..forking import keep_from_children
from .address import SocketAddr
from .sockets import DatagramPort, UdpPort


def descriptors_of(sock: socket.socket) -> set[int]:
    """Return all descriptors of this process that are of one socket."""
    wanted = os.fstat(sock.fileno())
    found = set()
    # What cannot be looked at is another thread's, just closed, or the folder itself.
    for path in Path("/dev/fd").iterdir():
        with suppress(OSError):
            if os.path.samestat(os.fstat(int(path.name)), wanted):
                found.add(int(path.name))
    return found


def _list_copies(port: BatchedUdpPort) -> set[int]:
    return port._copies if port._state is not None else set()


class BatchedUdpPort(UdpPort):
    """A bound UDP socket. Made by `bind_udp`."""

    def __init__(self, sock: socket.socket, loop: AbstractEventLoop) -> None:
        super().__init__(sock, loop)
        before = descriptors_of(sock)
        self._state: UdpSocketState | None = UdpSocketState(sock.fileno())
        self._copies = descriptors_of(sock) - before
        keep_from_children(self, _list_copies)
        self._inbox: deque[tuple[bytes, Any]] = deque()

    def read(self) -> tuple[bytes, SocketAddr] | None:
        """Return the next datagram and where it came from, None when there is none."""
        if not self._inbox and self._state is not None:
            try:
                self._inbox.extend(self._state.recv())
            except (BlockingIOError, InterruptedError):
                return None
        if not self._inbox:
            return None
        data, remote = self._inbox.popleft()
        return data, (remote[0], remote[1])

    def read_batch(self) -> tuple[list[bytes], SocketAddr] | None:
        """Return datagrams that came from one place one after the other, None for none."""
        if (first := self.read()) is None:
            return None
        data, remote = first
        datagrams, inbox = [data], self._inbox
        while inbox and inbox[0][1][:2] == remote:
            datagrams.append(inbox.popleft()[0])
        return datagrams, remote

    def start(self, on_readable: Callable[[DatagramPort], None]) -> None:
        """Call `on_readable` from the event loop whenever there is something to `read`."""

        def look(port: DatagramPort) -> None:
            on_readable(port)
            # The kernel says nothing of what it has handed over already.
            if self._inbox:
                self._loop.call_soon(look, port)

        super().start(look)

    def close(self) -> None:
        """Close the socket; what was not read is lost."""
        self._inbox.clear()
        self._state = None  # it has a descriptor of its own
        super().close()

    def send_batch(self, datagrams: list[bytes], remote: SocketAddr) -> int:
        """Send datagrams in order until one is not taken; return how many were.

        Raises:
            OSError: Not even the first one was taken.
        """
        if self._state is None:
            raise OSError(errno.EBADF, "the socket is closed")
        try:
            sent: int = self._state.send(datagrams, remote)
            return sent
        except OSError as error:
            sent = getattr(error, "datagrams_sent", 0)
            if not sent:
                raise
            return sent
