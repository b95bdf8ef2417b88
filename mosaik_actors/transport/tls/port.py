"""A TCP socket, a TLS session and an engine: what the one brings is decrypted for the other.

While hands are shaken nothing of the engine leaves. Then each burst of the engine is
encrypted as one, and what the socket took of it counts in proportion. What the session
answers by itself (an alert, new keys) leaves with the next burst, or alone where
what came in was no data; a peer that makes it answer and reads nothing is given up.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Final

from ...clock import Clock
from ...errors import RemoteError
from ..byte_streams.engine import StreamEngine
from ..byte_streams.port import StreamPort
from .session import TlsSession

ANSWER_BYTES_MAX: Final = 64 * 1024


class TlsPort(StreamPort):
    """One socket, its session and its engine.

    Args:
        session: What encrypts, at its begin.
    """

    def __init__(
        self,
        sock: socket.socket,
        session: TlsSession,
        engine: StreamEngine,
        on_data: Callable[[float], None],
        on_room: Callable[[], None],
        on_closed: Callable[[StreamPort], None],
        clock: Clock,
    ) -> None:
        super().__init__(sock, engine, on_data, on_room, on_closed, clock)
        self._take_in = self._open
        self._session = session
        self._plain_left = 0
        self._sealed_left = 0
        self._answer_bytes = 0  # of those that wait behind what the socket does not take

    def start(self) -> None:
        """Begin the handshake, where this side dialled."""
        self._shake_hands(b"")

    def flush(self) -> bool:
        """Send what the engine has; nothing before the handshake is done."""
        return self._session.is_done and super().flush()

    def send(self, data: bytes | memoryview) -> None:
        """Send what the engine gave out to be sent alone."""
        # Alone, so that it is all that is on its way.
        if not self._is_closed and (sealed := self._seal([data], self._engine.untaken_bytes)):
            self._send_one(sealed)

    def _outgoing(self, pieces: list[bytes | memoryview]) -> list[bytes | memoryview]:
        sealed = self._seal(pieces, sum(map(len, pieces)))
        return [sealed] if sealed else []

    def _seal(self, pieces: Sequence[bytes | memoryview], plain_bytes: int) -> bytes:
        """Return what the engine sends, encrypted; nothing where that has failed before."""
        self._answer_bytes = 0
        try:
            sealed = self._session.encrypt(pieces)
        except RemoteError:  # it has failed before, and the engine knows
            self._engine.untaken_bytes -= plain_bytes
            return b""
        self._plain_left += plain_bytes
        self._sealed_left += len(sealed)
        return sealed

    def _note_sent(self, count: int) -> None:
        if count >= self._sealed_left:
            taken, self._sealed_left = self._plain_left, 0
        else:
            taken = self._plain_left * count // self._sealed_left
            self._sealed_left -= count
        self._plain_left -= taken
        self._engine.untaken_bytes -= taken

    def _open(self, data: bytes, now: float) -> None:
        """Take in what the socket brought."""
        if not self._session.is_done:
            if not self._shake_hands(data):
                return
            data = b""  # what came with the end of the handshake is in the session
        try:
            opened = self._session.decrypt(data)
        except RemoteError as error:
            self._engine.fail(error)
            self._answer()
            return
        if opened:
            self._engine.receive_data(opened, now)
        else:
            self._answer()

    def _shake_hands(self, data: bytes) -> bool:
        """Take in a part of the handshake; return whether it is done."""
        try:
            done = self._session.shake_hands(data)
        except RemoteError as error:
            self._engine.fail(error)
            done = None
        self._answer()
        if done is not None:
            self._engine.receive_identity(done)
        return done is not None

    def _answer(self) -> None:
        """Send what the session says by itself."""
        answer = self._session.take_output()
        if not answer:
            return
        if not self._rest:
            self._sealed_left += len(answer)
            self._send([answer])
            return
        self._rest.append(answer)
        self._sealed_left += len(answer)
        self._answer_bytes += len(answer)
        if self._answer_bytes > ANSWER_BYTES_MAX:
            self._engine.fail(RemoteError("makes the session answer, and reads nothing"))
