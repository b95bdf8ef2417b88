"""One sensor process of the demo: a node that streams what it measures.

An ordinary program on the public interface. It is told the network's name and
what to measure, joins, and sends as long as anybody listens:

    * a `Reading` every `READING_INTERVAL_S`;
    * `NodeStats` every `STATS_INTERVAL_S`, and at once when its catalog changes;

It also keeps its newest reading in the map that all processes share (`latest`).

It ends when its standard input does. The system closes that pipe when whoever
started it is gone, in whatever way, so no sensor is ever left behind.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from typing import Final

from ...errors import Full, ProducerOffline
from ...network import Network
from ...running import run
from .gauges import GAUGES
from .latest import Latest
from .records import NODE_STATS, READINGS, NodeStats, PeerView, Reading
from .settings import SENSOR_TAG, demo_network, living

READING_INTERVAL_S: Final = 0.05
STATS_INTERVAL_S: Final = 0.5


async def stream_readings(net: Network, name: str, kind: str, latest: Latest) -> None:
    """Measure and send, until cancelled."""
    gauge = GAUGES[kind]()
    producer = net.streams.produce(Reading, stream_id=READINGS)
    number = 0
    while True:
        await producer.when().online()
        now = time.monotonic()
        reading = Reading(
            sensor=name, pid=os.getpid(), number=number, sent_at=now, measure=gauge.read(now=now)
        )
        try:
            producer.try_send(reading)
        except (ProducerOffline, Full):
            pass  # not accepted: the next reading gets the number
        else:
            number += 1
            latest.newest = reading
        await asyncio.sleep(READING_INTERVAL_S)


class NodeWatcher:
    """Follows the catalog of a node and publishes what the node itself is doing."""

    def __init__(self, net: Network, name: str, latest: Latest) -> None:
        self._net = net
        self._name = name
        self._latest = latest
        self._since: dict[str, float] = {}
        self._rtt_s: dict[str, float | None] = {}
        self._news = asyncio.Event()

    async def follow(self) -> None:
        """Note who comes and goes, until cancelled."""
        async for catalog in self._net.discovery.watch():
            now = time.monotonic()
            others = living(catalog)
            if others.keys() != self._since.keys():
                self._news.set()
            self._since = {peer: self._since.get(peer, now) for peer in others}
            self._rtt_s = {peer: info.rtt for peer, info in others.items()}

    async def tell(self) -> None:
        """Send the node's figures, until cancelled."""
        producer = self._net.streams.produce(NodeStats, stream_id=NODE_STATS)
        system = self._net.node.system
        handled, at = system.stats().handled, time.monotonic()
        while True:
            await producer.when().online()
            self._news.clear()
            before, then = handled, at
            handled, at = system.stats().handled, time.monotonic()
            stats = NodeStats(
                sensor=self._name,
                pid=os.getpid(),
                peer=str(self._net.peer_id),
                sent_at=at,
                messages_per_s=(handled - before) / max(at - then, 0.001),
                peers={
                    peer: PeerView(since, self._rtt_s.get(peer))
                    for peer, since in self._since.items()
                },
                written=self._latest.written,
                latest=self._latest.numbers,
            )
            await producer.send(stats)
            try:
                async with asyncio.timeout(STATS_INTERVAL_S):
                    await self._news.wait()
            except TimeoutError:
                pass


async def end_of_input() -> None:
    """Wait until standard input, a pipe, is closed at the other end."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    descriptor = sys.stdin.fileno()

    def look() -> None:
        if not os.read(descriptor, 1024):
            ended.set()

    loop.add_reader(descriptor, look)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)


async def run_sensor(network: str, name: str, kind: str) -> int:
    """Be a sensor until standard input ends."""
    async with demo_network(network, tags=(SENSOR_TAG, kind)) as net:
        latest = Latest(net, name)
        watcher = NodeWatcher(net, name, latest)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(stream_readings(net, name, kind, latest)),
                group.create_task(latest.write()),
                group.create_task(watcher.follow()),
                group.create_task(watcher.tell()),
            ]
            await end_of_input()
            for task in tasks:
                task.cancel()
    return 0


def main() -> int:
    """Run one sensor as the command line says."""
    parser = argparse.ArgumentParser(prog="sensor")
    parser.add_argument("network")
    parser.add_argument("name")
    parser.add_argument("kind", choices=sorted(GAUGES))
    parser.add_argument("--log-level", default="warning")
    options = parser.parse_args()
    logging.basicConfig(level=options.log_level.upper(), format="%(name)s: %(message)s")
    # Ignored, if whoever started the demo ignores it; but the demo decides whether to obey.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return run(run_sensor, options.network, options.name, options.kind)


if __name__ == "__main__":
    sys.exit(main())
