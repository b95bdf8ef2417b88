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
from dataclasses import dataclass
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


@dataclass(slots=True, eq=False)
class _Move:
    """What is under way with one peer: where it is dialled, and what leads nowhere, as it seems."""

    addr: PeerAddr
    doubted: list[Connection]
    began_at: float
    reason: CloseReason
    task: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing is done any more."""
        return self.task is None or self.task.done()


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
        self._going_on: dict[PeerId, _Move] = {}
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
            self._start(_Move(addr, [] if peer_id in ended else doubted[peer_id], now, MOVED))

    def receive_peer_move(self, addr: PeerAddr, left: Set[SocketAddr]) -> None:
        """Take in that a peer says where it is by now, and no longer at `left`.

        It cannot dial this side where there is a NAT before it, so this side does. Nor can
        it where this side has moved, too: what was begun then goes on to the new address.
        """
        now = self._clock.monotonic()
        doubted = [
            one
            for one in self._connections.peers.connections(addr.peer_id)
            if one.links and one.is_initiator and one.reachable_at in left
        ]
        for connection in doubted:
            self._outbound.ping_for_a_while(connection)
        own = self._going_on.get(addr.peer_id)
        if own is not None and own.reason is MOVED and not own.is_over:
            also = [one for one in doubted if one not in own.doubted]
            self._start(_Move(addr, [*own.doubted, *also], own.began_at, MOVED))
        elif doubted:
            self._start(_Move(addr, doubted, now, PEER_GONE))

    def _start(self, move: _Move) -> None:
        peer_id = move.addr.peer_id
        former, self._going_on[peer_id] = self._going_on.get(peer_id), move
        if former is not None and former.task is not None:
            former.task.cancel()
        move.task = asyncio.get_running_loop().create_task(
            self._go_on(move), name=f"move {peer_id.short}"
        )
        move.task.add_done_callback(partial(self._forget, move))

    def _forget(self, move: _Move, _task: asyncio.Task[None]) -> None:
        if self._going_on.get(move.addr.peer_id) is move:
            del self._going_on[move.addr.peer_id]

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
        tasks = [move.task for move in self._going_on.values() if move.task is not None]
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

    async def _go_on(self, move: _Move) -> None:
        """Dial a peer anew, unless it is heard on a connection that has moved as well."""
        if move.doubted:
            rtt = max(one.engine.rtt or 0.0 for one in move.doubted)
            await asyncio.sleep(max(PATIENCE_S, PATIENCE_RTTS * rtt))
            move.doubted = [
                one
                for one in move.doubted
                if not one.is_over and one.last_heard_at <= move.began_at
            ]
            if not move.doubted:
                return
        for pause_s in (*RETRIES_S, None):
            async with self._turns:
                began_at = self._clock.monotonic()
                try:
                    await self._reconnect(move)
                    return
                except LinkRefused as refused:
                    # Who has a way there and gets no answer need not try it again.
                    is_quick = self._clock.monotonic() - began_at < QUICK_S
                    if pause_s is None or not is_quick:
                        logger.debug("peer %s: %s, after a move", move.addr.peer_id.short, refused)
                        return
            await asyncio.sleep(pause_s)

    async def _reconnect(self, move: _Move) -> None:
        current = self._connections.peers.usable(move.addr.peer_id)
        if current is None or current.ready_at < move.began_at:
            current = await asyncio.shield(self._dial(move.addr))
        for former in move.doubted:
            former.close(move.reason)
        if move.reason is not MOVED:
            return  # the peer has left the former one itself
        with suppress(LinkRefused):  # it ended again, or its peer knows of no such notice
            link = await self._connections.open_on(
                current, OpenFrame(PROTOCOL, b""), is_essential=True
            )
            link.close()


def _ignore(_event: object) -> None:
    """Let what follows the notice be."""
