"""A listening socket: takes in what others connect, and comes to rest when it cannot.

Where the process has no file left for a new socket, the loop would call again at once and
for ever. So a failed accept is a pause of `PAUSE_S`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any, Final

from ...clock import Clock
from ...forking import keep_from_children
from ...peer_log import PeerLog

logger = logging.getLogger(__name__)

ACCEPTS_PER_TURN: Final = 64
PAUSE_S: Final = 0.2


class Listener:
    """One listening socket.

    Args:
        sock: The socket, bound and listening, not blocking.
        on_socket: Takes each new socket, not blocking, and where it comes from.
        clock: Where `now` comes from.
        log: What peers make it say.
    """

    def __init__(
        self,
        sock: socket.socket,
        on_socket: Callable[[socket.socket, Any], None],
        clock: Clock,
        log: PeerLog,
    ) -> None:
        self._socket = sock
        self._on_socket = on_socket
        self._clock = clock
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        keep_from_children(sock, lambda one: [one.fileno()])
        self._loop.add_reader(sock, self._accept)

    def close(self) -> None:
        """Listen no more. May be repeated."""
        if self._pause is not None:
            self._pause.cancel()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, remote = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as exc:
                text, now = "accepting connections failed: %s", self._clock.monotonic()
                self._log.warning(logger, None, text, exc, now=now, about=exc.errno)
                self._loop.remove_reader(self._socket)
                self._pause = self._loop.call_later(PAUSE_S, self._resume)
                return
            sock.setblocking(False)
            self._on_socket(sock, remote)
            if self._socket.fileno() < 0:  # closed meanwhile
                return

    def _resume(self) -> None:
        self._loop.add_reader(self._socket, self._accept)
