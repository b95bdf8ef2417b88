"""One try to reach a peer at one address, over each carrier that may answer there.

TCP is dialled first: that costs the other side next to nothing, and shows how far it is.
What follows depends on it:

    1. The port answers within `NEAR_S`: the peer is near, and TLS over TCP is begun.
       QUIC follows only if that takes longer than `STAGGER_S`, or fails.
    2. The port is closed, or nothing has come: QUIC is begun. If the port answers later the
       peer is far, where QUIC is the better carrier, and the socket is kept in reserve.
    3. QUIC is silent for `RESERVE_S`: TLS is begun on that socket. So a network that drops
       UDP costs half a second.

The first connection that is ready is kept (the idea of Happy Eyeballs, RFC 8305). A peer
that is there and refuses is believed, over whichever carrier it says so.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from ..close import CloseCode, CloseReason, gate_of
from ..connection.connection import Connection
from ..interface import LinkRefused
from .dialer import NOT_NEEDED

NEAR_S: Final = 0.02
STAGGER_S: Final = 0.25
RESERVE_S: Final = 0.5


class CarrierRace:
    """One try to reach a peer at one address.

    Args:
        begin_quic: Begins a connection over QUIC; None where that may not carry.
        connect_tcp: Returns a connected socket, or raises OSError; None where TCP may not carry.
        begin_tls: Begins a connection over TLS on such a socket.

    Attributes:
        answered: Resolved with the connection that is kept, or why there is none.
    """

    def __init__(
        self,
        begin_quic: Callable[[], Connection] | None,
        connect_tcp: Callable[[], Awaitable[socket.socket]] | None,
        begin_tls: Callable[[socket.socket], Connection],
    ) -> None:
        self._begin_quic = begin_quic
        self._connect_tcp = connect_tcp
        self._begin_tls = begin_tls
        self._made: list[Connection] = []
        self._refusal: LinkRefused | None = None
        self._is_socket_used = False
        self.answered: asyncio.Future[Connection]
        if connect_tcp is not None:
            self.answered = asyncio.ensure_future(self._race(connect_tcp))
            self.answered.add_done_callback(_see)
        else:
            assert begin_quic is not None, "nothing may carry"
            self.answered = self._begin(begin_quic())

    def end(self, winner: Connection | None) -> None:
        """Give up what is not ready, and end all connections but `winner`."""
        self.answered.cancel()
        for connection in self._made:
            if connection is not winner:
                if connection.handshake_done is not None:
                    connection.handshake_done.cancel()
                connection.close(NOT_NEEDED)

    def _begin(self, connection: Connection) -> asyncio.Future[Connection]:
        assert connection.handshake_done is not None, "a dial is awaited"
        connection.handshake_done.add_done_callback(_see)
        self._made.append(connection)
        return connection.handshake_done

    async def _race(self, connect_tcp: Callable[[], Awaitable[socket.socket]]) -> Connection:
        connecting: asyncio.Future[socket.socket] = asyncio.ensure_future(connect_tcp())
        tls: asyncio.Future[Connection] | None = None
        try:
            await asyncio.wait([connecting], timeout=NEAR_S)
            tries: set[asyncio.Future[Connection]] = set()
            if connecting.done():
                tries.add(tls := asyncio.ensure_future(self._over_tls(connecting)))
                if ready := await self._first_of(tries, STAGGER_S):
                    return ready
            if self._begin_quic is not None:
                tries.add(self._begin(self._begin_quic()))
            if tls is None:
                if ready := await self._first_of(tries, RESERVE_S):
                    return ready
                tries.add(tls := asyncio.ensure_future(self._over_tls(connecting)))
            if ready := await self._first_of(tries, None):
                return ready
            raise self._refusal or _nobody()
        finally:
            connecting.cancel()
            if tls is not None:
                tls.cancel()
            is_connected = connecting.done() and not connecting.cancelled()
            if is_connected and not connecting.exception() and not self._is_socket_used:
                connecting.result().close()

    async def _over_tls(self, connecting: asyncio.Future[socket.socket]) -> Connection:
        try:
            sock = await connecting
        except OSError:
            raise _nobody() from None
        self._is_socket_used = True
        return await self._begin(self._begin_tls(sock))

    async def _first_of(
        self, tries: set[asyncio.Future[Connection]], timeout: float | None
    ) -> Connection | None:
        """Return the first that is ready; None when all failed, or after so many seconds.

        Those that failed are taken out of `tries`.

        Raises:
            LinkRefused: The peer is there, and does not want this node.
        """
        loop = asyncio.get_running_loop()
        until = None if timeout is None else loop.time() + timeout
        while tries:
            left = None if until is None else until - loop.time()
            if left is not None and left <= 0:
                return None
            done, _ = await asyncio.wait(tries, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                tries.discard(one)
                error = None if one.cancelled() else one.exception()
                if error is None and not one.cancelled():
                    return one.result()
                if isinstance(error, LinkRefused):
                    if gate_of(error.reason.code) is not None:
                        raise error
                    self._refusal = error
                elif error is not None:
                    raise error
        return None


def _nobody() -> LinkRefused:
    text = "nobody takes connections at that address"
    return LinkRefused(CloseReason(CloseCode.UNEXPECTED_CLOSE, text))


def _see(done: asyncio.Future[Connection]) -> None:
    """Look at what came of a connection, which nobody else may do."""
    if not done.cancelled():
        done.exception()
