"""Plays rounds on two endpoints, and says what went otherwise than it must.

After each round all that was written to links that ended in order has come, in order and as
it was; of all other links what came is the begin of what was written; neither endpoint
holds anything but one idle connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

from mosaik_actors.testing import TIME_FACTOR
from mosaik_actors.transport.close import SUCCESS, CloseCode, CloseReason
from mosaik_actors.transport.connection.ended import LINGER_S, EndedStreams
from mosaik_actors.transport.connection.stream_link import StreamLink
from mosaik_actors.transport.endpoint import QuicEndpoint
from mosaik_actors.transport.interface import (
    ConnectionEvent,
    Endpoint,
    FramesReceived,
    Link,
    LinkClosed,
    LinkEvent,
    LinkRefused,
    PeerConnected,
)
from tests.waiting import until

from .leftovers import held_by
from .plan import FRAME_BYTES_MAX, Fate, Frame, How, LinkPlan, RoundPlan, Write, plan_round

PROTOCOL, UNSERVED = "soak", "nobody serves this"
ROUND_S = 60.0
HIGH_WATER_BYTES = 64 * 1024


class SoakFailed(AssertionError):
    """Something that must hold did not."""


@dataclass
class Tally:
    """What was done so far."""

    rounds: int = 0
    links: int = 0
    frames: int = 0
    frame_bytes: int = 0
    connections: int = 0
    ends: dict[str, int] = field(default_factory=dict)


class Reader:
    """A sink that compares what comes with what must come."""

    def __init__(self, name: str, pool: bytes, expected: list[Frame], tally: Tally) -> None:
        self.name = name
        self.expected = expected
        self.count = 0
        self.closed: CloseReason | None = None
        self.faults: list[str] = []
        self._pool = memoryview(pool)
        self._tally = tally
        self._changed = asyncio.Event()

    @property
    def has_all(self) -> bool:
        """Whether all has come."""
        return self.count == len(self.expected)

    def take(self, event: LinkEvent) -> None:
        """Take in what the link says."""
        if self.closed is not None:
            self.faults.append(f"{self.name}: {type(event).__name__} after its end")
        if isinstance(event, FramesReceived):
            for frame in event.frames:
                self._compare(frame)
        elif isinstance(event, LinkClosed):
            self.closed = event.reason
        self._changed.set()

    async def until(self, condition: Callable[[], object]) -> bool:
        """Wait until `condition` holds; return False if the link ended before."""
        while not condition():
            if self.closed is not None:
                return False
            self._changed.clear()
            await self._changed.wait()
        return True

    def _compare(self, frame: bytes) -> None:
        number, self.count = self.count, self.count + 1
        self._tally.frames += 1
        self._tally.frame_bytes += len(frame)
        if number >= len(self.expected):
            self.faults.append(f"{self.name}: a frame more than the {len(self.expected)} written")
            return
        meant = self.expected[number]
        if frame != self._pool[meant.offset : meant.offset + meant.size]:
            text = f"frame {number} is {len(frame)} other bytes than the {meant.size} written"
            self.faults.append(f"{self.name}: {text}")


class Soak:
    """Two endpoints, and what has happened between them.

    Args:
        endpoints: The pair; nothing else uses them.
        seed: What all rounds follow from.
    """

    def __init__(self, endpoints: tuple[Endpoint, Endpoint], seed: int) -> None:
        self.tally = Tally()
        self._endpoints = endpoints
        self._rng = Random(seed)
        self._pool = self._rng.randbytes(2 * FRAME_BYTES_MAX)
        self._plans: dict[int, LinkPlan] = {}
        self._held: dict[int, asyncio.Event] = {}  # for links that are not answered
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended: set[tuple[int, int]] = set()  # sides of links that went as planned
        self._is_cut = False
        self._faults: list[str] = []
        self._seen = [[0, 0, 0], [0, 0, 0]]  # links opened, accepted, refused by each
        self._connected = [0, 0]
        self._next_number = 0
        self._logged = _Errors(self._faults)
        logging.getLogger("mosaik_actors").addHandler(self._logged)
        asyncio.get_running_loop().set_exception_handler(self._note_unhandled)
        for here, endpoint in enumerate(endpoints):
            endpoint.serve(PROTOCOL, self._acceptor(here))
            endpoint.on_connection_event(self._listener(here))

    def end(self) -> None:
        """Listen to the log and the loop no more; a second call does nothing."""
        logging.getLogger("mosaik_actors").removeHandler(self._logged)
        asyncio.get_running_loop().set_exception_handler(None)

    async def play(self) -> None:
        """Play one more round.

        Raises:
            SoakFailed: Something was not as it must be.
        """
        plan = plan_round(self._rng, self._next_number)
        self._next_number += len(plan.links)
        await self._play(plan)
        self.tally.rounds += 1

    async def settle(self) -> None:
        """Have one idle connection, made anew."""
        here, there = self._endpoints
        here.disconnect(there.peer_id, SUCCESS)
        await until(lambda: not here.connected_peers() and not there.connected_peers())
        number, self._next_number = self._next_number, self._next_number + 1
        plan = LinkPlan(number, 0, 0, Fate.DONE, 0, SUCCESS, ((), ()), (0, 0), (False, False))
        await self._play(RoundPlan((plan,), None, 0))

    async def _play(self, plan: RoundPlan) -> None:
        self._plans = {link.number: link for link in plan.links}
        self._ended.clear()
        self._is_cut = plan.cut_by is not None
        for link in plan.links:
            self._spawn(self._open(link))
        if plan.cut_by is not None:
            self._spawn(self._cut(plan.cut_by, plan.cut_turns))
        try:
            async with asyncio.timeout(ROUND_S * TIME_FACTOR):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            waiting = [f"{task.get_name()}: {task.get_stack()}" for task in self._tasks]
            self._faults += [f"not over within {ROUND_S:g} s", *waiting]
            for task in self._tasks:
                task.cancel()
        self._check_faults()
        with suppress(TimeoutError):
            await until(lambda: not self._left())
        self._faults += self._left()
        self._check(plan)
        self._check_faults()
        self.tally.links += len(plan.links)

    # What is done.

    async def _open(self, plan: LinkPlan) -> None:
        await _turns(plan.after_turns)
        here, there = self._endpoints[plan.opener], self._endpoints[1 - plan.opener]
        protocol = UNSERVED if plan.fate is Fate.UNSERVED else PROTOCOL
        header = plan.number.to_bytes(8)
        if plan.fate is Fate.CANCELLED:
            self._held[plan.number] = asyncio.Event()
        opening = asyncio.ensure_future(here.open_link(there.addr, protocol, header, timeout=30))
        if plan.fate is Fate.CANCELLED:
            offered = asyncio.ensure_future(self._held[plan.number].wait())
            await asyncio.wait((opening, offered), return_when=asyncio.FIRST_COMPLETED)
            offered.cancel()
            opening.cancel()
        try:
            link = await opening
        except asyncio.CancelledError:
            if plan.fate is not Fate.CANCELLED:
                raise
            self._note_end(plan, 0)
        except LinkRefused as error:
            self._on_refused(plan, error.reason)
        else:
            self._seen[plan.opener][0] += 1
            if link.reply != header:
                self._faults.append(f"{_name(plan, 0)}: another reply, {link.reply!r}")
            await self._converse(plan, 0, link)

    def _acceptor(self, here: int) -> Callable[[Link], None]:
        def accept(link: Link) -> None:
            self._seen[here][1] += 1
            plan = self._plans[int.from_bytes(link.header)]
            if plan.fate is Fate.REFUSED:
                link.close(plan.reason)
                self._note_end(plan, 1)
            elif plan.fate is Fate.CANCELLED:
                self._spawn(self._hold(plan, link))
                self._held[plan.number].set()
            else:
                link.accept(link.header)
                self._spawn(self._converse(plan, 1, link))

        return accept

    async def _hold(self, plan: LinkPlan, link: Link) -> None:
        """Never answer; wait until the opener gives up."""
        reader = self._reader(plan, 1)
        link.attach(reader.take)
        await reader.until(lambda: False)
        if reader.closed is not None and reader.closed.code == CloseCode.CANCELLED:
            self._note_end(plan, 1)

    async def _converse(self, plan: LinkPlan, side: int, link: Link) -> None:
        """Write all, take all, and end the link as it is planned."""
        reader = self._reader(plan, side)
        late = self._spawn(_attach(link, reader, plan.late_turns[side]))
        for write in plan.writes[side]:
            self._write(link, write)
            if plan.is_patient[side]:
                await until(lambda: not link.is_open or link.unsent_bytes <= HIGH_WATER_BYTES)
            await _turns(write.turns)
        await asyncio.wait((late,))
        if plan.closer != side:
            await reader.until(lambda: False)
            self._check_end(plan, side, reader)
            return
        went_well = plan.fate is not Fate.DONE or await reader.until(lambda: reader.has_all)
        link.close(plan.reason)
        if plan.fate is Fate.ABORTED:
            _abort(link)
        if went_well or self._is_cut:
            self._note_end(plan, side)
        else:
            self._faults.append(f"{reader.name}: ended before it had all: {reader.closed}")

    def _write(self, link: Link, write: Write) -> None:
        frames = [self._pool[frame.offset : frame.offset + frame.size] for frame in write.frames]
        match write.how:
            case How.LONE:
                link.write(frames[0])
            case How.NOW:
                link.write_now(frames[0])
            case How.MANY:
                link.write_many(frames)

    async def _cut(self, here: int, turns: int) -> None:
        await _turns(turns)
        other = self._endpoints[1 - here].peer_id
        self._endpoints[here].disconnect(other, CloseReason(CloseCode.UNEXPECTED_CLOSE, "cut"))

    # What must hold.

    def _on_refused(self, plan: LinkPlan, reason: CloseReason) -> None:
        self._seen[plan.opener][2] += 1
        right = {
            Fate.REFUSED: (plan.reason.code, plan.reason.text),
            Fate.UNSERVED: (CloseCode.INVALID_PROTOCOL, f"nothing serves {UNSERVED!r} here"),
        }
        # A reset may overtake that the link was accepted (RFC 9000 section 3.2).
        is_overtaken = plan.fate is Fate.ABORTED and reason.code == CloseCode.CANCELLED
        is_right = right.get(plan.fate) == (reason.code, reason.text)
        if is_right or is_overtaken or self._is_cut:
            self._note_end(plan, 0)
        else:
            self._faults.append(f"{_name(plan, 0)}: {reason}")

    def _check_end(self, plan: LinkPlan, side: int, reader: Reader) -> None:
        """Check a side that did not close."""
        reason, meant = reader.closed, plan.reason
        assert reason is not None
        if plan.fate is not Fate.ABORTED and not self._is_cut:
            if (reason.code, reason.text, reason.remote) != (meant.code, meant.text, True):
                self._faults.append(f"{reader.name}: ended with {reason}, not {meant}")
            if not reader.has_all:
                text = f"{reader.count} of {len(reader.expected)} frames came before its end"
                self._faults.append(f"{reader.name}: {text}")
        self._note_end(plan, side)

    def _check(self, plan: RoundPlan) -> None:
        """Check what must hold after a round."""
        if not self._is_cut:
            sides = {(link.number, side) for link in plan.links for side in (0, 1)}
            sides -= {(link.number, 1) for link in plan.links if link.fate is Fate.UNSERVED}
            for number, side in sorted(sides - self._ended):
                self._faults.append(f"{_name(self._plans[number], side)}: did not end as planned")
        for here, endpoint in enumerate(self._endpoints):
            counters, (opened, accepted, _) = endpoint.counters, self._seen[here]
            pairs = {
                "links accepted": (counters.links_accepted, accepted),
                "rules broken": (counters.violations, 0),
            }
            if isinstance(endpoint, QuicEndpoint):  # in memory nobody counts them
                pairs["links opened"] = (counters.links_opened, opened)
            self._faults += [
                f"endpoint {here}: counts {counted} {name}, there were {real}"
                for name, (counted, real) in pairs.items()
                if counted != real
            ]
            if self._connected[here] != len(endpoint.connected_peers()):
                self._faults.append(f"endpoint {here}: {self._connected[here]} peers by its events")

    def _left(self) -> list[str]:
        """Return what is held between rounds."""
        left = [
            f"endpoint {here} holds {count} in {name}"
            for here, endpoint in enumerate(self._endpoints)
            for name, count in held_by(endpoint).items()
        ]
        here, there = self._endpoints
        if bool(here.connected_peers()) != bool(there.connected_peers()):
            left.append("only one of them is connected")
        return left

    def _check_faults(self) -> None:
        if self._faults:
            text = "; ".join(self._faults[:20])
            raise SoakFailed(f"round {self.tally.rounds}: {text}")

    # Helpers.

    def _reader(self, plan: LinkPlan, side: int) -> Reader:
        expected = [] if plan.fate is Fate.CANCELLED else plan.frames_of(1 - side)
        reader = Reader(_name(plan, side), self._pool, expected, self.tally)
        reader.faults = self._faults
        return reader

    def _note_end(self, plan: LinkPlan, side: int) -> None:
        self._ended.add((plan.number, side))
        if not side:
            ends = self.tally.ends
            name = "cut" if self._is_cut else plan.fate.value
            ends[name] = ends.get(name, 0) + 1

    def _listener(self, here: int) -> Callable[[ConnectionEvent], None]:
        def listen(event: ConnectionEvent) -> None:
            is_new = isinstance(event, PeerConnected)
            self._connected[here] += 1 if is_new else -1
            self.tally.connections += is_new and not here

        return listen

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._faults.append(f"{type(error).__name__}: {error}")

    def _note_unhandled(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._faults.append(f"unhandled: {context.get('exception') or context['message']!r}")


class _Errors(logging.Handler):
    """Takes what is logged as an error for a fault."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._faults = faults

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._faults.append(f"logged: {record.getMessage()} {error!r}")


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def _attach(link: Link, reader: Reader, late_turns: int) -> None:
    await _turns(late_turns)
    link.attach(reader.take)


def _abort(link: Link) -> None:
    """Give up what a closed link has not sent, as if the peer had taken nothing for long."""
    if not isinstance(link, StreamLink):
        return
    connection: Any = link.connection
    ended = connection._draining.pop(link.stream_id, None)
    if ended is None:
        return
    connection.flush(now=connection.last_heard_at)
    _, unsent_bytes = ended
    stalled = EndedStreams({link.stream_id: (0.0, min(unsent_bytes, link.unsent_bytes))})
    stalled.drop_stalled(connection.engine, now=LINGER_S)
    connection._draining.update(stalled)
    connection.owner.mark_dirty(connection)


def _name(plan: LinkPlan, side: int) -> str:
    return f"link {plan.number} ({plan.fate.value}), {('opener', 'acceptor')[side]}"
