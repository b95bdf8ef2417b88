"""A connected byte-stream socket as a `StreamEngine` wants it: no loss, no queue of its own.

What the socket does not take of one burst waits here, and the engine is told to hold the
rest back until there is room (`is_blocked`). Reading takes what is there, up to
`READ_BYTES_MAX` in one turn of the loop, so that no peer keeps others waiting.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from itertools import islice
from typing import Final

from ...clock import Clock
from ...forking import keep_from_children
from .engine import StreamEngine

READ_BYTES_MAX: Final = 1024 * 1024
CHUNK_BYTES: Final = 256 * 1024
BUFFER_BYTES: Final = 1024 * 1024
GATHER_MAX: Final = 512  # buffers in one call (IOV_MAX is 1024)
JOINED_BYTES_MAX: Final = 16 * 1024


class StreamPort:
    """One socket and its engine.

    Args:
        sock: A connected socket, not blocking.
        engine: What the bytes are for.
        on_data: Called when the engine has taken in something.
        on_room: Called when the socket, which was full, has taken all that waited for it.
        clock: Where `now` comes from.
    """

    def __init__(
        self,
        sock: socket.socket,
        engine: StreamEngine,
        on_data: Callable[[], None],
        on_room: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._socket = sock
        self._engine = engine
        self._on_data = on_data
        self._on_room = on_room
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._rest: list[bytes | memoryview] = []
        self._is_finishing = False
        self._is_closed = False
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        keep_from_children(sock, lambda one: [one.fileno()])
        self._loop.add_reader(sock, self._read)

    def flush(self) -> bool:
        """Send what the engine has, as far as the socket takes it; return whether it had any."""
        has_sent = False
        while not self._is_closed and not self._rest and self._engine.has_data_to_send:
            self._send(self._engine.data_to_send())
            has_sent = True
        return has_sent

    def finish(self) -> None:
        """Send what waits here, then close; the other side reads to the end."""
        self._is_finishing = True
        if not self._is_closed:
            self._loop.remove_reader(self._socket)
        self.flush()
        if not self._rest:
            self.close()

    def close(self) -> None:
        """Close the socket at once."""
        if self._is_closed:
            return
        self._is_closed = True
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._rest.clear()
        self._socket.close()

    def _send(self, pieces: list[bytes | memoryview]) -> None:
        total = sum(map(len, pieces))
        if total <= JOINED_BYTES_MAX and len(pieces) > 1:
            pieces = [b"".join(pieces)]
        try:
            while pieces:
                count = self._socket.sendmsg(islice(pieces, GATHER_MAX))
                self._engine.note_taken(count)
                pieces = _without(pieces, count)
        except (BlockingIOError, InterruptedError):
            self._wait_for_room(pieces)
        except OSError:
            self._break()

    def _wait_for_room(self, pieces: list[bytes | memoryview]) -> None:
        if not self._rest:
            self._loop.add_writer(self._socket, self._on_writable)
        self._rest = pieces
        self._engine.is_blocked = True

    def _on_writable(self) -> None:
        rest, self._rest = self._rest, []
        self._loop.remove_writer(self._socket)
        self._engine.is_blocked = False
        self._send(rest)
        if not self._rest and self._is_finishing:
            self.finish()
        elif not self._rest and not self._is_closed:
            self.flush()
            self._on_room()

    def _read(self) -> None:
        left = READ_BYTES_MAX
        now = self._clock.monotonic()
        while left > 0:
            try:
                data = self._socket.recv(CHUNK_BYTES)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                data = b""
            if not data:
                self._break()
                return
            left -= len(data)
            self._engine.receive_data(data, now=now)
            if len(data) < CHUNK_BYTES:
                break
        self._on_data()

    def _break(self) -> None:
        """The other side is gone: nothing that waits here gets anywhere."""
        self.close()
        self._engine.receive_end()
        self._on_data()


def _without(pieces: list[bytes | memoryview], count: int) -> list[bytes | memoryview]:
    """Return what is left of several buffers without their first bytes."""
    for number, piece in enumerate(pieces):
        if count < len(piece):
            return [memoryview(piece)[count:] if count else piece, *pieces[number + 1 :]]
        count -= len(piece)
    return []
