"""What one round trip of a small item is made of: counted, with both ends on one event loop.

Two nodes with default settings and one carrier, a question through one stream and the answer
through another, `TRIPS` times. Counted are the turns of the loop, the reads and writes of sockets,
what is scheduled (callbacks, timers), futures, readings of the clock, and the calls of functions,
Python's and those of C, by the rooms that they are in. These are the same on any machine.

The CPU time beside them is that of both ends in one process, without what a change of processes
costs. The bare side is a `BufferedProtocol` at each end of a Unix socket, as in `carriers`.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import Any, Final
from unittest.mock import patch

import msgspec

from . import carriers, streams
from .report import Row
from .streams import Ping, Pong

TRIPS: Final = 1000
ROUNDS: Final = 5
COUNTED: Final = {
    "turns of the loop": ("select",),
    "reads of sockets": ("recv", "recv_into"),
    "writes to sockets": ("send", "sendmsg"),
    "callbacks scheduled": ("call_soon",),
    "timers": ("call_at",),
    "futures": ("create_future", "Waiters.join"),
    "readings of the clock": ("monotonic",),
}
ROOMS: Final = ("transport", "streams", "asyncio", "the rest")
_STREAM_ROOMS: Final = ("streams", "actors", "handles", "runtime", "codec", "waiters")

Trip = Callable[[int], Awaitable[object]]
Found = dict[str, float]


def run(quick: bool) -> list[Row]:
    """Count, and measure the CPU of both ends."""
    found = {name: measure(name, quick=quick) for name in ("unix", "tcp", "bare")}
    return [
        Row(f"{carrier}: a round trip, both ends: {what}", found[carrier][what], unit, bare, name)
        for carrier in ("unix", "tcp")
        for what, unit in (("turns of the loop", ""), ("calls of functions", ""), ("CPU", "us"))
        for bare, name in ((found["bare"][what], "bare Unix socket"),)
    ]


def measure(carrier: str, *, quick: bool = False) -> Found:
    """Return what one round trip takes over a carrier, or over a bare Unix socket (`bare`)."""
    with carriers.folder():
        return asyncio.run(_measure(carrier, 20 if quick else TRIPS))


async def _measure(carrier: str, trips: int) -> Found:
    async with _bare() if carrier == "bare" else _nodes(carrier) as trip:
        for number in range(trips):  # caches are filled, and credit is given
            await trip(number)
        times = [await _cpu_of(trip, trips) for _ in range(ROUNDS)]
        counts: Counter[str] = Counter()
        with _counted(counts):
            for number in range(trips):
                await trip(number)
    found = {what: sum(counts[name] for name in names) / trips for what, names in COUNTED.items()}
    found |= {f"calls in {room}": counts[room] / trips for room in ROOMS}
    found["calls of functions"] = sum(counts[room] for room in ROOMS) / trips
    found["CPU"] = statistics.median(times) * 1e6
    return found


async def _cpu_of(trip: Trip, trips: int) -> float:
    begun = time.process_time()
    for number in range(trips):
        await trip(number)
    return (time.process_time() - begun) / trips


@contextmanager
def _counted(counts: Counter[str]) -> Iterator[None]:
    """Count the calls of functions: by their rooms, and some by their names."""
    names = {name for some in COUNTED.values() for name in some}

    def note(frame: FrameType, event: str, arg: Any) -> None:
        if event == "call":
            counts[_room_of(frame.f_code.co_filename)] += 1
            counts[frame.f_code.co_qualname] += 1
        elif event == "c_call":
            counts[_room_of(frame.f_code.co_filename)] += 1
            if arg.__name__ in names:
                counts[arg.__name__] += 1

    # Those that are Python's are not told by a name alone.
    loop: Any = asyncio.get_running_loop()
    with patch.object(loop._selector, "select", _counting(counts, loop._selector.select)):
        for name in ("call_soon", "call_at", "create_future"):
            setattr(loop, name, _counting(counts, getattr(loop, name)))
        sys.setprofile(note)
        try:
            yield
        finally:
            sys.setprofile(None)
            for name in ("call_soon", "call_at", "create_future"):
                delattr(loop, name)


def _counting(counts: Counter[str], method: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        counts[method.__name__] += 1
        return method(*args, **kwargs)

    return call


def _room_of(path: str) -> str:
    if "/asyncio/" in path or path.endswith("selectors.py"):
        return "asyncio"
    room = path.rpartition("mosaik_actors/")[2].partition("/")[0].removesuffix(".py")
    if room == "transport":
        return room
    return "streams" if room in _STREAM_ROOMS else "the rest"


@asynccontextmanager
async def _nodes(carrier: str) -> AsyncIterator[Trip]:
    options = {"carrier": carrier}
    async with streams._node(options) as there, streams._node(options, str(there.addr)) as here:
        pings, pongs = there.streams.consumer(Ping), there.streams.producer(Pong)

        async def answer() -> None:
            async for ping in pings:
                await pongs.send(Pong(ping.number))

        answering = asyncio.create_task(answer())
        asks, answers = here.streams.producer(Ping), here.streams.consumer(Pong)
        await asks.when().online()
        await answers.when().online()

        async def trip(number: int) -> None:
            await asks.send(Ping(number))
            await answers.recv()

        yield trip
        answering.cancel()


@asynccontextmanager
async def _bare() -> AsyncIterator[Trip]:
    loop = asyncio.get_running_loop()
    where, back = str(carriers.own_folder() / "bare"), asyncio.Queue[bytes]()

    def make_echo() -> carriers.Frames:
        protocol: carriers.Frames

        def answer(frame: memoryview) -> None:
            protocol.transport.write(carriers.framed(bytes(frame)))

        protocol = carriers.Frames(answer)
        return protocol

    server = await loop.create_unix_server(make_echo, where)
    transport, _ = await loop.create_unix_connection(
        lambda: carriers.Frames(lambda frame: back.put_nowait(bytes(frame))), where
    )
    encode = msgspec.msgpack.Encoder().encode

    async def trip(number: int) -> None:
        transport.write(carriers.framed(encode(Ping(number))))
        await back.get()

    yield trip
    transport.close()
    server.close()
