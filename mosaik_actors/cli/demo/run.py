"""One run of the demo: the collector's node and the script of what happens.

The collector is this process. It takes in the sensors' two streams and its own
catalog, notes all of it in the facts, and draws them. The script starts the
sensors, waits until what should happen is seen to have happened, kills one,
waits again, starts another. It never assumes: each step follows from the facts,
and a step that does not come in time is left to the claims to report.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from random import Random
from typing import Final
from uuid import uuid4

from rich.console import Console

from ...handles.channels import ChannelInfo
from ...network import Network
from . import claims
from .display import Display, LiveDisplay, PlainDisplay
from .facts import Facts
from .gauges import GAUGES
from .latest import Latest
from .processes import DemoProcesses, processes
from .records import NODE_STATS, READINGS, NodeStats, Reading
from .settings import COLLECTOR_TAG, SENSOR_TAG, demo_network, living

DRAW_INTERVAL_S: Final = 0.125
TREND_INTERVAL_S: Final = 0.5
STEP_TIMEOUT_S: Final = 60.0  # interpreters start slowly on a machine that has other work
KILL_AT_SHARE: Final = 0.4
LOOK_AT_LEAST_S: Final = 1.0


async def run_demo(
    *, seconds: float, sensor_count: int, plain: bool, seed: int | None, log_level: str
) -> int:
    """Run the demo and return the exit code: 0 when all claims hold."""
    facts = Facts(f"demo-{uuid4().hex[:8]}", now=time.monotonic())
    console = Console()
    display: Display
    if plain or not console.is_terminal:
        display = PlainDisplay()
    else:
        display = LiveDisplay(console, sensor_count=sensor_count)
    run = _Run(facts, display, seconds=seconds, sensor_count=sensor_count, rng=Random(seed))
    with _logging_to(facts, log_level):
        await run.play(log_level)
    found = claims.check(facts, sensor_count=sensor_count)
    display.summarize(facts, found)
    failed = claims.failures(found)
    for claim in failed:
        print(f"mosaik-actors: demo: not so: {claim.text}: {claim.detail}", file=sys.stderr)
    return 1 if failed else 0


@contextmanager
def _logging_to(facts: Facts, log_level: str) -> Iterator[None]:
    """Show what is logged here among the events: it must not break into the live table."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    root.handlers[:] = [_Remarks(facts)]
    root.setLevel(log_level.upper())
    try:
        yield
    finally:
        root.handlers[:], level = before
        root.setLevel(level)


class _Remarks(logging.Handler):
    def __init__(self, facts: Facts) -> None:
        super().__init__()
        self._facts = facts

    def emit(self, record: logging.LogRecord) -> None:
        self._facts.receive_remark(f"collector: {record.getMessage()}", now=time.monotonic())


class _Run:
    def __init__(
        self, facts: Facts, display: Display, *, seconds: float, sensor_count: int, rng: Random
    ) -> None:
        self._facts = facts
        self._display = display
        self._seconds = seconds
        self._sensor_count = sensor_count
        self._rng = rng
        self._news = asyncio.Event()

    async def play(self, log_level: str) -> None:
        """Play the script from start to end; nothing is left running."""
        facts = self._facts
        with self._display:
            async with processes(facts, log_level=log_level, changed=self._news.set) as sensors:
                for name, kind in self._cast():
                    await sensors.start(name, kind)
                async with demo_network(facts.network, tags=[COLLECTOR_TAG]) as net:
                    facts.receive_collector(str(net.peer_id))
                    async with asyncio.TaskGroup() as group:
                        tasks = [
                            group.create_task(self._draw()),
                            group.create_task(self._follow_catalog(net)),
                            group.create_task(self._collect_readings(net)),
                            group.create_task(self._collect_stats(net)),
                            group.create_task(self._follow_latest(net)),
                        ]
                        await self._script(sensors)
                        facts.receive_end(now=time.monotonic())
                        await sensors.end()
                        for task in tasks:
                            task.cancel()

    def _cast(self) -> list[tuple[str, str]]:
        """Return the name and kind of each sensor."""
        kinds = list(GAUGES)
        names: list[tuple[str, str]] = []
        for index in range(self._sensor_count):
            lap, place = divmod(index, len(kinds))
            kind = kinds[place]
            names.append((f"{kind}-{lap + 1}" if lap else kind, kind))
        return names

    def _next_name(self, kind: str) -> str:
        count = sum(one == kind for _, one in self._cast())
        return f"{kind}-{count + 1}"

    # --- the script ---

    async def _script(self, sensors: DemoProcesses) -> None:
        facts = self._facts
        if not await self._until(lambda: _has_begun(facts)):
            return
        if not await self._pass_time(facts.started_at + KILL_AT_SHARE * self._seconds):
            return
        victim = self._rng.choice(facts.initial)
        sensors.kill(victim.pid)
        if not await self._until(lambda: claims.loss_was_noticed(facts).holds):
            return
        kind = dict(self._cast())[victim.name]
        await sensors.start(self._next_name(kind), kind, replaces=victim.name)
        if await self._until(lambda: _has_healed(facts)):
            await self._pass_time(facts.started_at + self._seconds)

    async def _until(self, happened: Callable[[], bool]) -> bool:
        """Wait until the facts say so; return False when it takes too long or cannot come."""
        with suppress(TimeoutError):
            async with asyncio.timeout(STEP_TIMEOUT_S):
                while not happened():
                    if self._facts.crashed:
                        return False
                    self._news.clear()
                    await self._news.wait()
                return True
        return False

    async def _pass_time(self, until: float) -> bool:
        """Let the audience look until this moment, and for a little while at least.

        Return False at once when a process ends by itself.
        """
        left_s = max(LOOK_AT_LEAST_S, until - time.monotonic())
        with suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                while not self._facts.crashed:
                    self._news.clear()
                    await self._news.wait()
        return not self._facts.crashed

    # --- what is seen ---

    async def _follow_catalog(self, net: Network) -> None:
        async for catalog in net.discovery.watch():
            peers = {peer: info.rtt for peer, info in living(catalog).items()}
            self._facts.receive_catalog(peers, now=time.monotonic())
            self._news.set()

    async def _collect_readings(self, net: Network) -> None:
        consumer = net.streams.consumer(
            Reading, stream_id=READINGS, require=lambda peer: SENSOR_TAG in peer.tags
        )
        async with asyncio.TaskGroup() as group:
            followed: set[ChannelInfo] = set()
            async for reading in consumer:
                self._facts.receive_reading(reading, now=time.monotonic())
                self._news.set()
                for channel in consumer.producers():
                    if channel not in followed:
                        followed.add(channel)
                        group.create_task(self._await_end(channel))

    async def _await_end(self, channel: ChannelInfo) -> None:
        await channel.disconnected()
        self._facts.receive_stream_end(str(channel.producer_id), now=time.monotonic())
        self._news.set()

    async def _collect_stats(self, net: Network) -> None:
        async for stats in net.streams.consume(NodeStats, stream_id=NODE_STATS):
            self._facts.receive_stats(stats, now=time.monotonic())
            self._news.set()

    async def _follow_latest(self, net: Network) -> None:
        latest = Latest(net, "collector")
        while True:
            await latest.updated()
            self._facts.receive_latest(latest.numbers, now=time.monotonic())
            self._news.set()

    async def _draw(self) -> None:
        next_trend_at = self._facts.started_at
        while True:
            now = time.monotonic()
            if now >= next_trend_at:
                next_trend_at = now + TREND_INTERVAL_S
                self._facts.sample_trends()
            self._display.update(self._facts, now=now)
            await asyncio.sleep(DRAW_INTERVAL_S)


def _has_begun(facts: Facts) -> bool:
    return (
        claims.all_found_each_other(facts).holds
        and claims.all_streamed(facts).holds
        and all(sensor.written is not None for sensor in facts.initial)
    )


def _has_healed(facts: Facts) -> bool:
    return (
        claims.replacement_joined(facts).holds
        and claims.network_healed(facts).holds
        and claims.latest_survived(facts).holds
    )
