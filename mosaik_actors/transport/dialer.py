"""Dialling: one connection to a peer, from however many addresses it gave.

Addresses are tried one after the other, `STAGGER_S` apart, without giving up
on the earlier ones; the first that answers is kept and the others are closed
(the idea of Happy Eyeballs, RFC 8305 section 5). Callers that dial the same
peer at the same time share one dial.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from ..ids import PeerId
from .address import PeerAddr, SocketAddr, format_socket_addr
from .close import CloseCode, CloseReason
from .config import TransportConfig
from .connection import Connection
from .interface import LinkRefused

STAGGER_S = 0.25
NOT_NEEDED = CloseReason(CloseCode.SUCCESS, "another connection is used")


class Dialer:
    """Makes connections for one endpoint.

    Args:
        own_id: The peer that is not worth dialling.
        can_dial: Tells whether the endpoint has a socket that can reach an address.
        start: Sends the first datagram to an address and returns the
            connection, its `handshake_done` to be resolved.
        config: The transport's settings.
    """

    def __init__(
        self,
        own_id: PeerId,
        can_dial: Callable[[SocketAddr], bool],
        start: Callable[[PeerId, SocketAddr], Connection],
        config: TransportConfig,
    ) -> None:
        self._own_id = own_id
        self._can_dial = can_dial
        self._start = start
        self._config = config
        self._dials: dict[PeerId, asyncio.Task[Connection]] = {}

    @property
    def dial_count(self) -> int:
        """Peers that are being dialled."""
        return len(self._dials)

    async def dial(self, to: PeerAddr) -> Connection:
        """Return a new connection to a peer. A cancelled caller does not stop the others.

        Raises:
            LinkRefused: No address answered, or what answered is another peer.
        """
        task = self.start(to)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():  # by `close`, not by our caller
                text = "this endpoint is closing"
                raise LinkRefused(CloseReason(CloseCode.GRACEFUL_SHUTDOWN, text)) from None
            raise

    def start(self, to: PeerAddr) -> asyncio.Task[Connection]:
        """Begin to dial a peer, or join the dial that is under way."""
        task = self._dials.get(to.peer_id)
        if task is None:
            loop = asyncio.get_running_loop()
            task = loop.create_task(self._race(to), name=f"dial {to.peer_id.short}")
            self._dials[to.peer_id] = task
            task.add_done_callback(partial(self._forget, to.peer_id))
        return task

    async def close(self) -> None:
        """Give up all dials."""
        dials = list(self._dials.values())
        for dial in dials:
            dial.cancel()
        if dials:
            await asyncio.wait(dials)

    def _forget(self, peer_id: PeerId, task: asyncio.Task[Connection]) -> None:
        if self._dials.get(peer_id) is task:
            del self._dials[peer_id]
        if not task.cancelled():
            task.exception()  # seen: whoever waited has it too

    async def _race(self, to: PeerAddr) -> Connection:
        if to.peer_id == self._own_id:
            raise LinkRefused(CloseReason(CloseCode.UNKNOWN_PEER, "that is this peer itself"))
        addrs = [addr for addr in to.direct if self._can_dial(addr)]
        if not addrs:
            raise LinkRefused(CloseReason(CloseCode.UNEXPECTED_CLOSE, self._why_not(to)))
        tries: list[Connection] = []
        winner: Connection | None = None
        try:
            async with asyncio.timeout(self._config.dial_timeout):
                winner = await self._first_to_answer(to.peer_id, addrs, tries)
                return winner
        except TimeoutError:
            where = ", ".join(map(format_socket_addr, addrs))
            text = f"peer {to.peer_id.short} did not answer at {where}"
            raise LinkRefused(CloseReason(CloseCode.UNEXPECTED_CLOSE, text)) from None
        finally:
            for connection in tries:
                if connection is not winner:
                    if connection.handshake_done is not None:
                        connection.handshake_done.cancel()
                    connection.close(NOT_NEEDED)

    def _why_not(self, to: PeerAddr) -> str:
        if not to.direct:
            return f"no address of peer {to.peer_id.short} is known"
        where = ", ".join(map(format_socket_addr, to.direct))
        return (
            f"peer {to.peer_id.short} at {where} cannot be dialled from what this node is bound "
            'to; bind it to all interfaces, as in bind="0.0.0.0:0"'
        )

    async def _first_to_answer(
        self, peer_id: PeerId, addrs: list[SocketAddr], tries: list[Connection]
    ) -> Connection:
        waiting = list(addrs)
        pending: dict[asyncio.Future[Connection], None] = {}
        refusal: BaseException | None = None
        while waiting or pending:
            if waiting:
                connection = self._start(peer_id, waiting.pop(0))
                assert connection.handshake_done is not None, "a dial is awaited"
                tries.append(connection)
                pending[connection.handshake_done] = None
            await asyncio.wait(
                pending,
                timeout=STAGGER_S if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for done in [done for done in pending if done.done()]:
                del pending[done]
                refusal = done.exception()
                if refusal is None:
                    return done.result()
        assert refusal is not None, "every dial either answers or is refused"
        raise refusal
