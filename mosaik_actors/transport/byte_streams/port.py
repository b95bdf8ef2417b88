"""A connected byte-stream socket as a `StreamEngine` wants it: no loss, no queue of its own.

What the socket does not take of one burst waits here, and the engine is told to hold the
rest back until there is room (`is_blocked`). Reading takes what is there, up to
`READ_BYTES_MAX` in one turn of the loop, so that no peer keeps others waiting.

A socket that is closed with something unread resets the connection, and the peer may lose
what was said last. So the end is in two steps (RFC 9112 section 9.6): say that no more
will come, then read on, and drop it, until the peer ends as well. It has `LINGER_S` for
that, and for taking what waits.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextvars import copy_context
from functools import cache
from itertools import islice
from typing import Final

from ...clock import Clock
from ...errors import RemoteError
from ...forking import keep_from_children
from ..close import CloseCode
from .engine import StreamEngine

logger = logging.getLogger(__name__)

READ_BYTES_MAX: Final = 1024 * 1024
CHUNK_BYTES: Final = 256 * 1024
GATHER_MAX: Final = 512  # buffers in one call (IOV_MAX is 1024)
JOINED_BYTES_MAX: Final = 16 * 1024
LINGER_S: Final = 5.0
KEPT_BYTES: Final = 4 * 1024 * 1024


@cache
def keep_freed_memory() -> None:
    """Have the allocator keep the memory of large frames for those that come next.

    glibc gives each large block back to the system, and has the system clear another one
    for the next frame, until it has seen a larger one freed (M_MMAP_THRESHOLD in mallopt(3)).
    This one is never written to. It made about a quarter of what an item of 64 KiB costs.
    """
    bytes(KEPT_BYTES)


class StreamPort:
    """One socket and its engine.

    Args:
        sock: A connected socket, not blocking.
        engine: What the bytes are for.
        on_data: Called with the time when the engine has taken in something.
        on_room: Called when the socket, which was full, has taken all that waited for it.
        on_closed: Called when the socket is closed.
        clock: Where `now` comes from.
    """

    def __init__(
        self,
        sock: socket.socket,
        engine: StreamEngine,
        on_data: Callable[[float], None],
        on_room: Callable[[], None],
        on_closed: Callable[[StreamPort], None],
        clock: Clock,
    ) -> None:
        self._socket = sock
        self._engine = engine
        self._on_data = on_data
        self._on_room = on_room
        self._on_closed = on_closed
        self._now = clock.monotonic
        self._take_in = engine.receive_data  # what encrypts has something between
        self._loop = asyncio.get_running_loop()
        # What waits for the socket is the port's own, whoever writes.
        self._context = copy_context()
        self._rest: list[bytes | memoryview] = []
        self._is_finishing = False
        self._is_closed = False
        self._linger_timer: asyncio.TimerHandle | None = None
        keep_freed_memory()
        keep_from_children(sock, lambda one: [one.fileno()])
        self._loop.add_reader(sock, self._read)

    @property
    def local_host(self) -> str:
        """The address of this side, as the system says; empty for Unix sockets, and once closed."""
        try:
            name = self._socket.getsockname()
        except OSError:
            return ""
        return str(name[0]) if isinstance(name, tuple) else ""

    def start(self) -> None:
        """Send what comes first."""
        self.flush()

    def flush(self) -> bool:
        """Send what the engine has, as far as the socket takes it; return whether it had any."""
        has_sent = False
        while not self._is_closed and not self._rest:
            pieces = self._engine.data_to_send()
            if not pieces:
                break
            self._send(self._outgoing(pieces))
            has_sent = True
        return has_sent

    def finish(self) -> None:
        """Send what waits here, then close when the other side has read to the end."""
        if self._is_closed or self._is_finishing:
            return
        self._is_finishing = True
        self._linger_timer = self._loop.call_later(LINGER_S, self.close)
        self.flush()
        if not self._rest:
            self._end_writing()

    def close(self) -> None:
        """Close the socket at once."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._rest.clear()
        self._socket.close()
        self._on_closed(self)

    def _outgoing(self, pieces: list[bytes | memoryview]) -> list[bytes | memoryview]:
        """Return what the socket is to send for what the engine sends."""
        return pieces

    def _note_sent(self, count: int) -> None:
        """Take in that the socket took so many bytes of what it was given."""
        self._engine.untaken_bytes -= count

    # The socket.

    def _send(self, pieces: list[bytes | memoryview]) -> None:
        if len(pieces) > 1 and sum(map(len, pieces)) <= JOINED_BYTES_MAX:
            pieces = [b"".join(pieces)]
        if len(pieces) == 1:
            self._send_one(pieces[0])
        else:
            self._send_many(pieces)

    def _send_one(self, piece: bytes | memoryview) -> None:
        """Send one piece; what the socket does not take waits here."""
        if self._is_closed:
            return
        try:
            count = self._socket.send(piece)
        except OSError as exc:
            self._note_failed(exc, [piece])
            return
        self._note_sent(count)
        if count != len(piece):
            self._send_many([memoryview(piece)[count:]])

    send = _send_one  # what the engine gave out to be sent alone

    def _send_many(self, pieces: list[bytes | memoryview]) -> None:
        try:
            while pieces:
                count = self._socket.sendmsg(islice(pieces, GATHER_MAX))
                self._note_sent(count)
                pieces = _without(pieces, count)
        except OSError as exc:
            self._note_failed(exc, pieces)

    def _note_failed(self, error: OSError, pieces: list[bytes | memoryview]) -> None:
        """Take in why the socket did not take these."""
        if isinstance(error, BlockingIOError | InterruptedError):
            self._wait_for_room(pieces)
            return
        self.close()
        # Whoever writes may be in the midst of something.
        self._loop.call_soon(self._receive_end, context=self._context)

    def _end_writing(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()

    def _wait_for_room(self, pieces: list[bytes | memoryview]) -> None:
        if not self._rest:
            self._context.run(self._loop.add_writer, self._socket, self._on_writable)
        self._rest = pieces
        self._engine.is_blocked = True

    def _on_writable(self) -> None:
        rest, self._rest = self._rest, []
        self._loop.remove_writer(self._socket)
        self._engine.is_blocked = False
        self._send(rest)
        if self._rest or self._is_closed:
            return
        self.flush()
        if not self._is_finishing:
            self._on_room()
        elif not self._rest:
            self._end_writing()

    def _read(self) -> None:
        left = READ_BYTES_MAX
        now = self._now()
        while left > 0:
            try:
                data = self._socket.recv(CHUNK_BYTES)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                data = b""
            if not data:
                self.close()
                self._receive_end()
                return
            count = len(data)
            left -= count
            if not self._is_finishing:
                try:
                    self._take_in(data, now)
                except Exception:
                    logger.exception("a connection failed and is closed; the others go on")
                    self._engine.fail(RemoteError("an internal error", CloseCode.UNEXPECTED_CLOSE))
            if count < CHUNK_BYTES or self._is_closed:
                break
        if not self._is_finishing:
            self._on_data(now)

    def _receive_end(self) -> None:
        """Take in that the other side is gone: nothing that waits here gets anywhere."""
        if not self._is_finishing:
            self._engine.receive_end()
            self._on_data(self._now())


def _without(pieces: list[bytes | memoryview], count: int) -> list[bytes | memoryview]:
    """Return what is left of several buffers without their first bytes."""
    for number, piece in enumerate(pieces):
        if count < len(piece):
            return [memoryview(piece)[count:] if count else piece, *pieces[number + 1 :]]
        count -= len(piece)
    return []
