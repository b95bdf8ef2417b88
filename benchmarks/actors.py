"""Actors: local messages to a `MosaikActor`, and messages and asks between two processes.

Bars: a local message within 2 times of a plain actor on the same base; 50,000 remote
messages/s one way; 20,000 remote asks/s with 64 under way; one ask at a time over QUIC
within 1.5 times of a bare QUIC echo.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import msgspec
from thespian.actors import Actor, ActorAddress

from mosaik_actors import ActorRef, AsyncActorSystem, MosaikActor, Network, Request, TransportConfig

from .report import Row, print_table
from .transport import bare_echo_us

LOCAL_BAR = 0.5
TELL_BAR = 50_000.0
ASK_BAR = 20_000.0
ALONE_RATIO_MAX = 1.5
IN_FLIGHT = 64
ROUNDS = 3

# Imported, so that its types are called what they are called here.
_SERVER = "import sys; from benchmarks.actors import serve; serve(*sys.argv[1:])"


class Item(msgspec.Struct, frozen=True):
    """One of many."""

    number: int


class Load(Request[int]):
    """How many items came?"""


class Ball(msgspec.Struct, frozen=True):
    """What is played with."""


class Play(msgspec.Struct, frozen=True):
    """Play so many rounds with somebody."""

    partner: ActorAddress
    count: int


class PlainPlayer(Actor):
    """Plays, as any Thespian actor would."""

    left = 0
    partner: ActorAddress
    customer: ActorAddress

    def receiveMessage(self, message: object, sender: ActorAddress) -> None:
        """Take the ball, or begin."""
        if isinstance(message, Ball):
            if not self.left:
                self.send(sender, message)
                return
            self.left -= 1
            self.send(self.partner if self.left else self.customer, message)
        elif isinstance(message, Play):
            self.left, self.partner, self.customer = message.count, message.partner, sender
            self.send(self.partner, Ball())


class MosaikPlayer(MosaikActor):
    """Plays, by the handlers of its messages."""

    left = 0
    partner: ActorAddress
    customer: ActorAddress

    def receiveMsg_Play(self, message: Play, sender: ActorRef) -> None:
        """Begin."""
        self.left, self.partner, self.customer = message.count, message.partner, sender
        self.send(self.partner, Ball())

    def receiveMsg_Ball(self, message: Ball, sender: ActorRef) -> None:
        """Take the ball."""
        if not self.left:
            self.send(sender, message)
            return
        self.left -= 1
        self.send(self.partner if self.left else self.customer, message)


class Counter(MosaikActor):
    """Counts items."""

    def __init__(self) -> None:
        self.count = 0

    def receiveMsg_Item(self, message: Item, sender: ActorRef) -> None:
        """Count."""
        self.count += 1

    def receiveMsg_Load(self, message: Load, sender: ActorRef) -> int:
        """Return the count."""
        return self.count


async def _play(player: type[Actor], count: int) -> float:
    async with AsyncActorSystem() as system:
        first, second = system.createActor(player), system.createActor(player)
        started = time.perf_counter()
        await system.ask(first, Play(second, count))
        return 2 * count / (time.perf_counter() - started)


async def _serve(network_id: str, carriers: list[str]) -> None:
    async with Network(network_id, transport=_transport(carriers)) as net:
        await net.actors.spawn(Counter, name="counter")
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def serve(network_id: str, *carriers: str) -> None:
    """Be the other process, until the input ends."""
    asyncio.run(_serve(network_id, list(carriers)))


def _transport(carriers: Iterable[str]) -> TransportConfig:
    return TransportConfig(carriers=tuple(carriers) or "auto")


async def _tell(ref: ActorRef, count: int) -> float:
    before = await ref.ask(Load())
    started = time.perf_counter()
    for first in range(0, count, 1000):
        for number in range(first, first + 1000):
            ref.tell(Item(number))
        await asyncio.sleep(0)
        if first % 5000 == 0:
            await ref.ask(Load())  # so that no more wait than may
    assert await ref.ask(Load()) == before + count
    return count / (time.perf_counter() - started)


async def _ask(ref: ActorRef, count: int, in_flight: int) -> float:
    async def worker() -> None:
        for _ in range(count // in_flight):
            await ref.ask(Load())

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return count // in_flight * in_flight / (time.perf_counter() - started)


@asynccontextmanager
async def _counter(*carriers: str) -> AsyncIterator[ActorRef]:
    """Give a counter in another process, reached by these carriers; by the best without any."""
    network_id = f"bench-actors-{time.time_ns()}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _SERVER, network_id, *carriers),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        await process.stdout.readline()
        async with Network(network_id, transport=_transport(carriers)) as net:
            yield await net.actors.resolve("counter", timeout=30)
    finally:
        process.stdin.close()
        await process.wait()


async def _remote(scale: int) -> tuple[float, float]:
    async with _counter() as ref:
        await _ask(ref, 1000 // min(scale, 10), 10)
        tells = max([await _tell(ref, 100_000 // scale) for _ in range(ROUNDS)])
        asks = max([await _ask(ref, 32_000 // scale, IN_FLIGHT) for _ in range(ROUNDS)])
    return tells, asks


async def _alone_us(scale: int) -> float:
    """Return the median round trip of asks over QUIC, as to another machine, one at a time."""
    times_us = []
    async with _counter("quic") as ref:
        await _ask(ref, 300 // min(scale, 10), 1)
        for _ in range(2000 // scale):
            started = time.perf_counter()
            await ref.ask(Load())
            times_us.append(1e6 * (time.perf_counter() - started))
    return statistics.median(times_us)


def run(quick: bool = False) -> list[Row]:
    """Measure, and return one row per figure; `quick` uses tiny inputs."""
    scale = 100 if quick else 1
    plain = ours = 0.0
    for _ in range(ROUNDS):
        plain = max(plain, asyncio.run(_play(PlainPlayer, 50_000 // scale)))
        ours = max(ours, asyncio.run(_play(MosaikPlayer, 50_000 // scale)))
    tells, asks = asyncio.run(_remote(scale))
    bare_us = bare_echo_us(2000 // scale)
    alone_us = asyncio.run(_alone_us(scale))
    return [
        Row(
            "actors: local message to a MosaikActor",
            ours,
            "messages/s",
            baseline=plain,
            baseline_name="plain actor",
            bar=LOCAL_BAR,
            ok=ours >= LOCAL_BAR * plain,
        ),
        Row(
            "actors: remote messages, one way",
            tells,
            "messages/s",
            bar=TELL_BAR,
            ok=tells >= TELL_BAR,
        ),
        Row("actors: remote asks, 64 under way", asks, "asks/s", bar=ASK_BAR, ok=asks >= ASK_BAR),
        Row(
            "actors: remote ask over QUIC, one at a time (the bar is a maximum)",
            alone_us,
            "us",
            baseline=bare_us,
            baseline_name="bare QUIC echo",
            bar=ALONE_RATIO_MAX,
            ok=alone_us <= ALONE_RATIO_MAX * bare_us,
        ),
    ]


if __name__ == "__main__":
    print_table(run())
