"""Dialling: one connection to a peer, from however many addresses it gave.

Addresses are tried one after the other, `STAGGER_S` apart, without giving up
on the earlier ones; the first that answers is kept and the others are closed
(the idea of Happy Eyeballs, RFC 8305 section 5). Relays come last, and have to wait
`RELAY_AFTER_S` while a direct address may still answer. Callers that dial the same
peer at the same time share one dial, which goes on at the addresses that later ones know,
up to `ADDRS_MAX`. Addresses that nobody has answered at are
dialled within a `DialBudget`; who has to wait for it waits in line.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Protocol

import msgspec

from ...clock import Clock
from ...ids import PeerId
from ..address import DIRECT_COUNT_MAX, PeerAddr, SocketAddr, format_socket_addr, is_relayed
from ..apart import Apart
from ..close import CloseCode, CloseReason
from ..config import TransportConfig
from ..connection.connection import Connection
from ..dial_budget import DialBudget
from ..interface import LinkRefused
from .patience import patience

STAGGER_S = 0.25
RELAY_AFTER_S = 0.75
ADDRS_MAX = 4 * DIRECT_COUNT_MAX  # of a dial: whoever asks for it later may know others
NOT_NEEDED = CloseReason(CloseCode.SUCCESS, "another connection is used")


class Attempt(Protocol):
    """One try to reach a peer at one address.

    Attributes:
        answered: Resolved with a connection that is ready, or why there is none.
    """

    answered: asyncio.Future[Connection]

    def end(self, winner: Connection | None) -> None:
        """Give up what is not ready, and end all connections but `winner`."""


class Dialer:
    """Makes connections for one endpoint.

    Args:
        own_id: The peer that is not worth dialling.
        can_dial: Tells whether the endpoint has a socket that can reach an address.
        start_attempt: Begins to dial a peer at an address. The number is how many
            datagrams may go there before something comes back; None for any.
        dial_local: Returns a connection to a peer on this machine by a shorter way; None
            where there is none.
        relayed: Returns where a peer is dialled through relays.
        config: The transport's settings.
        budget: How much strangers may get.
        clock: Where `now` comes from.
        apart: With whom there is no carrier in common.
    """

    def __init__(
        self,
        own_id: PeerId,
        can_dial: Callable[[SocketAddr], bool],
        start_attempt: Callable[[PeerAddr, SocketAddr, int | None], Attempt],
        dial_local: Callable[[PeerId], Awaitable[Connection | None]],
        relayed: Callable[[PeerAddr], list[SocketAddr]],
        config: TransportConfig,
        budget: DialBudget,
        clock: Clock,
        apart: Apart,
    ) -> None:
        self._own_id = own_id
        self._can_dial = can_dial
        self._start_attempt = start_attempt
        self._dial_local = dial_local
        self._relayed = relayed
        self._config = config
        self._budget = budget
        self._clock = clock
        self._apart = apart
        self._line: deque[asyncio.Future[None]] = deque()
        self._dials: dict[PeerId, asyncio.Task[Connection]] = {}
        self._races: dict[PeerId, _Race] = {}

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

    def start(self, to: PeerAddr, *, is_direct: bool = False) -> asyncio.Task[Connection]:
        """Begin to dial a peer, through no relay if `is_direct`, or join its dial under way.

        What is dialled already goes on at the addresses that are new, before others.
        """
        task = self._dials.get(to.peer_id)
        if task is None or task.done():  # one that just failed is no answer to who asks now
            loop = asyncio.get_running_loop()
            task = loop.create_task(self._race(to, is_direct), name=f"dial {to.peer_id.short}")
            self._dials[to.peer_id] = task
            task.add_done_callback(partial(self._forget, to.peer_id))
        elif (race := self._races.get(to.peer_id)) is not None:
            race.add(addr for addr in to.direct if self._can_dial(addr))
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

    async def _race(self, to: PeerAddr, is_direct: bool) -> Connection:
        if to.peer_id == self._own_id:
            raise LinkRefused(CloseReason(CloseCode.UNKNOWN_PEER, "that is this peer itself"))
        why_apart: str | None = None
        try:
            connection = await self._dial_local(to.peer_id)
            if connection is None:
                why_apart = None if is_direct else self._apart.receive_dial(to)
                connection = await self._race_addrs(to, is_direct)
        except LinkRefused as refused:
            if why_apart is None or refused.reason.code != CloseCode.UNEXPECTED_CLOSE:
                raise
            self._apart.receive_silence(to.peer_id, now=self._clock.monotonic())
            text = f"peer {to.peer_id.short}: {why_apart}"
            raise LinkRefused(CloseReason(CloseCode.UNEXPECTED_CLOSE, text)) from None
        self._apart.receive_met(to.peer_id)
        return connection

    async def _race_addrs(self, to: PeerAddr, is_direct: bool) -> Connection:
        addrs = [addr for addr in dict.fromkeys(to.direct) if self._can_dial(addr)]
        if not is_direct:
            addrs += self._relayed(to)
        if not addrs:
            raise LinkRefused(CloseReason(CloseCode.UNEXPECTED_CLOSE, self._why_not(to)))
        tries: list[_Try] = []
        winner: Connection | None = None
        race = self._races[to.peer_id] = _Race(addrs)
        try:
            async with patience(self._config.dial_timeout):
                winner = await self._first_to_answer(to, race, tries)
                return winner
        except TimeoutError:
            if not tries:
                raise self._refuse_strangers(to.peer_id, addrs) from None
            text = f"peer {to.peer_id.short} did not answer at {_where(addrs)}"
            raise LinkRefused(CloseReason(CloseCode.UNEXPECTED_CLOSE, text)) from None
        finally:
            del self._races[to.peer_id]
            for one in tries:
                one.attempt.end(winner)
                if one.is_counted:
                    self._budget.end(
                        one.addr,
                        to.peer_id,
                        is_peer_found=winner is not None,
                        now=self._clock.monotonic(),
                    )
            self._call_next()

    def _why_not(self, to: PeerAddr) -> str:
        if not to.direct:
            return f"no address of peer {to.peer_id.short} is known"
        where = ", ".join(map(format_socket_addr, to.direct))
        return (
            f"peer {to.peer_id.short} at {where} cannot be dialled from what this node is bound "
            'to; bind it to all interfaces, as in bind="0.0.0.0:0"'
        )

    async def _first_to_answer(self, to: PeerAddr, race: _Race, tries: list[_Try]) -> Connection:
        peer_id = to.peer_id
        waiting = race.waiting
        pending: dict[asyncio.Future[Connection], None] = {}
        refusal: BaseException | None = None
        while waiting or pending:
            while waiting and self._is_blocked(waiting[0], peer_id):
                waiting.popleft()
            turn_in_s = STAGGER_S
            if waiting:
                now = self._clock.monotonic()
                wait_s = self._budget.wait_s(waiting[0], peer_id, now=now)
                if wait_s:
                    turn_in_s = wait_s
                else:
                    one = self._try(to, waiting.popleft(), now)
                    if waiting and is_relayed(waiting[0][0]) and not is_relayed(one.addr[0]):
                        turn_in_s = RELAY_AFTER_S
                    tries.append(one)
                    pending[one.attempt.answered] = None
                    self._call_next()
            if not pending:
                if waiting:
                    await self._stand_in_line(turn_in_s)
                continue
            race.added = asyncio.get_running_loop().create_future()
            awaited: list[asyncio.Future[Any]] = [*pending, race.added]
            await asyncio.wait(
                awaited,
                timeout=turn_in_s if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for done in [done for done in pending if done.done()]:
                del pending[done]
                refusal = done.exception()
                if refusal is None:
                    return done.result()
        raise refusal or self._refuse_strangers(peer_id, race.addrs)

    def _try(self, to: PeerAddr, addr: SocketAddr, now: float) -> _Try:
        datagrams_max = self._budget.begin(addr, to.peer_id, now=now)
        attempt = self._start_attempt(to, addr, datagrams_max)
        return _Try(addr, attempt, is_counted=datagrams_max is not None)

    def _is_blocked(self, addr: SocketAddr, peer_id: PeerId) -> bool:
        return self._budget.is_blocked(addr, peer_id, now=self._clock.monotonic())

    def _refuse_strangers(self, peer_id: PeerId, addrs: list[SocketAddr]) -> LinkRefused:
        text = (
            f"peer {peer_id.short} is not dialled at {_where(addrs)} now: it has never answered "
            "there, and too many such dials came to nothing lately"
        )
        # Not as who does not answer: nobody is to be accused, or counted as no member, for it.
        return LinkRefused(CloseReason(CloseCode.TOO_MANY_LINKS, text))

    async def _stand_in_line(self, wait_s: float) -> None:
        """Wait until a place may be free, after those who wait already."""
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(called)
        try:
            await asyncio.wait([called], timeout=wait_s)
        finally:
            called.cancel()

    def _call_next(self) -> None:
        """Let the first in line look whether there is a place; it calls the next one."""
        while self._line:
            called = self._line.popleft()
            if not called.done():
                called.set_result(None)
                return


def _where(addrs: list[SocketAddr]) -> str:
    direct = [format_socket_addr(addr) for addr in addrs if not is_relayed(addr[0])]
    return ", ".join(direct if len(direct) == len(addrs) else [*direct, "its relay"])


class _Race:
    """The addresses of one dial, and those that are not tried yet."""

    def __init__(self, addrs: list[SocketAddr]) -> None:
        self.addrs = addrs
        self.waiting = deque(addrs)
        self.added: asyncio.Future[None] | None = None

    def add(self, addrs: Iterable[SocketAddr]) -> None:
        """Try these as well, those that are new, up to `ADDRS_MAX` in all."""
        more = [addr for addr in dict.fromkeys(addrs) if addr not in self.addrs]
        more = more[: max(0, ADDRS_MAX - len(self.addrs))]
        self.addrs += more
        self.waiting.extendleft(reversed(more))
        if more and self.added is not None and not self.added.done():
            self.added.set_result(None)


class _Try(msgspec.Struct, frozen=True):
    """A dial of one address; `is_counted` when it is within the budget."""

    addr: SocketAddr
    attempt: Attempt
    is_counted: bool
