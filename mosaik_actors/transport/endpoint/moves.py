"""What becomes of connections when the addresses of this machine change.

What a peer sends to an address that is gone never comes, and what this side sends from there
never leaves. So, when addresses come or go:

    1. A TCP connection from an address that is gone ends at once.
    2. A QUIC connection sends a ping, from wherever the system sends it by now: the peer goes
       on from there, if this side has dialled it (RFC 9000 section 9). One that stays silent for
       `PATIENCE_S` leads nowhere: the one who dialled hears nothing from another address.
    3. Whoever had links on a connection that ended, or is silent, is dialled anew.
    4. On the new connection the peer is notified (`PROTOCOL`). It ends all older ones of
       this node at once: it could not know that they lead nowhere before their idle timeout.

A peer can end only its own connections in this way, which it may do anyhow. Where it says in its
entry that it has left the address that this side has dialled, and does not answer there, it is
dialled at the new one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Set
from contextlib import suppress
from functools import partial
from typing import Final

from ...clock import Clock
from ...ids import PeerId
from ..address import DIRECT_COUNT_MAX, PeerAddr, SocketAddr, is_loopback
from ..byte_streams.connection import StreamConnection
from ..close import MOVED, CloseCode, CloseReason
from ..connection.connection import Connection, ConnectionState
from ..connection.stream_link import StreamLink
from ..frames import OpenFrame
from ..interface import Link, LinkRefused
from .connections import Connections
from .outbound import Outbound

logger = logging.getLogger(__name__)

PROTOCOL: Final = "moved/1"
PATIENCE_S: Final = 0.2
PATIENCE_RTTS: Final = 3.0
DIALS_MAX: Final = 64  # at a time: a node that many have dialled may move
QUICK_S: Final = 1.0
RETRIES_S: Final = (0.1, 0.2, 0.4, 0.8, 1.6)  # the system may not have a way at once

PEER_GONE: Final = CloseReason(
    CloseCode.UNEXPECTED_CLOSE, "the peer does not answer, and says that it is elsewhere"
)
PEER_MOVED: Final = CloseReason(
    CloseCode.UNEXPECTED_CLOSE, "the peer has moved, and connected anew", remote=True
)

AddrOf = Callable[[PeerId], PeerAddr | None]
Dial = Callable[[PeerAddr], asyncio.Task[Connection]]


class Moves:
    """Has the connections of an endpoint survive a change of its addresses.

    Args:
        connections: They.
        outbound: What they leave by.
        dial: Begins to dial a peer, beside the connections that there are.
        clock: Where `now` comes from.
    """

    def __init__(
        self, connections: Connections, outbound: Outbound, dial: Dial, clock: Clock
    ) -> None:
        self._connections = connections
        self._outbound = outbound
        self._dial = dial
        self._clock = clock
        self._tasks: dict[PeerId, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(DIALS_MAX)

    def receive_move(self, hosts: Set[str], addr_of: AddrOf) -> None:
        """Take in that this machine has these addresses by now, and no others.

        Args:
            hosts: They.
            addr_of: Says where a peer is, where others have said so; None where nobody has.
        """
        now = self._clock.monotonic()
        ended: dict[PeerId, SocketAddr | None] = {}
        doubted: dict[PeerId, list[Connection]] = {}
        for connection in self._connections:
            is_needed = connection.state is ConnectionState.READY and bool(connection.links)
            if not isinstance(connection, StreamConnection):
                self._outbound.ping_for_a_while(connection)
                if is_needed and connection.carrier == "quic":
                    doubted.setdefault(connection.peer_id, []).append(connection)
            elif (host := connection.port.local_host) and not (host in hosts or is_loopback(host)):
                if is_needed:
                    ended[connection.peer_id] = connection.reachable_at
                connection.end(MOVED)
                connection.port.close()
        for peer_id in {**ended, **doubted}:
            addr = self._where(peer_id, addr_of(peer_id), ended.get(peer_id), doubted)
            self._start(addr, [] if peer_id in ended else doubted[peer_id], now, MOVED)

    def receive_peer_move(self, addr: PeerAddr, left: Set[SocketAddr]) -> None:
        """Take in that a peer says where it is by now, and no longer at `left`.

        It cannot dial this side where there is a NAT before it, so this side does.
        """
        now = self._clock.monotonic()
        doubted = [
            one
            for one in self._connections.peers.connections(addr.peer_id)
            if one.links and one.is_initiator and one.reachable_at in left
        ]
        for connection in doubted:
            self._outbound.ping_for_a_while(connection)
        if doubted:
            self._start(addr, doubted, now, PEER_GONE)

    def _start(
        self, addr: PeerAddr, doubted: list[Connection], now: float, reason: CloseReason
    ) -> None:
        if (former := self._tasks.pop(addr.peer_id, None)) is not None:
            former.cancel()
        task = self._tasks[addr.peer_id] = asyncio.get_running_loop().create_task(
            self._go_on(addr, doubted, now, reason), name=f"move {addr.peer_id.short}"
        )
        task.add_done_callback(partial(self._forget, addr.peer_id))

    def _forget(self, peer_id: PeerId, task: asyncio.Task[None]) -> None:
        if self._tasks.get(peer_id) is task:
            del self._tasks[peer_id]

    def accept(self, link: Link) -> None:
        """End the connections that a peer had before the one on which it says that it moved."""
        if not isinstance(link, StreamLink):
            return
        link.attach(_ignore)
        link.accept()
        link.close()
        mates = self._connections.peers.connections(link.peer_id)
        for current in [one for one in mates if one is link.connection]:
            for mate in mates:
                if mate is not current and mate.ready_at <= current.ready_at:
                    mate.close(PEER_MOVED)

    def cancel(self) -> list[asyncio.Task[None]]:
        """Dial nobody any more; return what was cancelled for it."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        return tasks

    async def stop(self) -> None:
        """Dial nobody any more."""
        if tasks := self.cancel():
            await asyncio.wait(tasks)

    @staticmethod
    def _where(
        peer_id: PeerId,
        said: PeerAddr | None,
        reached_at: SocketAddr | None,
        doubted: dict[PeerId, list[Connection]],
    ) -> PeerAddr:
        """Return where to dial a peer: where it was reached before, then where it is said to be."""
        reached = [reached_at, *(one.reachable_at for one in doubted.get(peer_id, ()))]
        direct = [*(addr for addr in reached if addr is not None), *(said.direct if said else ())]
        relay = "" if said is None else said.relay
        carriers = () if said is None else said.carriers
        where = tuple(dict.fromkeys(direct))[:DIRECT_COUNT_MAX]
        return PeerAddr(peer_id, where, relay=relay, carriers=carriers)

    async def _go_on(
        self, addr: PeerAddr, doubted: list[Connection], moved_at: float, reason: CloseReason
    ) -> None:
        """Dial a peer anew, unless it is heard on a connection that has moved as well."""
        if doubted:
            rtt = max(one.engine.rtt or 0.0 for one in doubted)
            await asyncio.sleep(max(PATIENCE_S, PATIENCE_RTTS * rtt))
            doubted = [one for one in doubted if not one.is_over and one.last_heard_at <= moved_at]
            if not doubted:
                return
        for pause_s in (*RETRIES_S, None):
            async with self._turns:
                began_at = self._clock.monotonic()
                try:
                    await self._reconnect(addr, doubted, moved_at, reason)
                    return
                except LinkRefused as refused:
                    # Who has a way there and gets no answer need not try it again.
                    is_quick = self._clock.monotonic() - began_at < QUICK_S
                    if pause_s is None or not is_quick:
                        logger.debug("peer %s: %s, after a move", addr.peer_id.short, refused)
                        return
            await asyncio.sleep(pause_s)

    async def _reconnect(
        self, addr: PeerAddr, doubted: list[Connection], moved_at: float, reason: CloseReason
    ) -> None:
        current = self._connections.peers.usable(addr.peer_id)
        if current is None or current.ready_at < moved_at:
            current = await asyncio.shield(self._dial(addr))
        for former in doubted:
            former.close(reason)
        if reason is not MOVED:
            return  # the peer has left the former one itself
        with suppress(LinkRefused):  # it ended again, or its peer knows of no such notice
            link = await self._connections.open_on(
                current, OpenFrame(PROTOCOL, b""), is_essential=True
            )
            link.close()


def _ignore(_event: object) -> None:
    """Let what follows the notice be."""
