"""Pairs of peers that send through a loaded relay, against the same pairs on the direct path.

On loopback, in processes of their own: a relay with the default limits, peers that are registered
there and say nothing, those that send and those that receive. Each active pair is two endpoints
with a connection and a link of their own, as two nodes have; an idle peer is an endpoint that
only holds its link to the relay. The ways are measured by turns in one run, and the median of
each counts:

    * through the relay, which the peers reach over TCP, since it is near;
    * directly over QUIC, in datagrams of 1,200 to 1,472 bytes, as real networks carry them;
    * directly over QUIC, in datagrams of 16 KiB, as one machine does.

All of it shares the cores of one machine. So the relay's work slows the peers down, which it
would not on a machine of its own: what is compared is what a byte costs in all.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from typing import Any

from mosaik_actors.environment import Machine
from mosaik_actors.handles.relaying import start_relay, use_relays
from mosaik_actors.ids import NetworkId, SecretKey
from mosaik_actors.transport.address import PeerAddr
from mosaik_actors.transport.config import DATAGRAM_BYTES_MIN, TransportConfig
from mosaik_actors.transport.interface import (
    Endpoint,
    FramesReceived,
    Link,
    LinkDrained,
    LinkEvent,
)
from mosaik_actors.transport.relay.client import RelayClient
from mosaik_actors.transport.relay.config import RelayConfig
from mosaik_actors.transport.relay.frames import PROTOCOL, RELAY_NETWORK

from .report import Row

NETWORK = NetworkId("bench-relay")
WAYS = {
    "relay": "through the relay",
    "small": "direct, datagrams of 1,200 to 1,472 B",
    "large": "direct, datagrams of 16 KiB",
}
IDLE_PEERS = 500
PAIRS = 50
SHARE_BAR = 0.5
FAIRNESS_BAR = 0.5
FRAME_BYTES = 64 * 1024
IN_FLIGHT_BYTES = 1024 * 1024
WARM_S = 1.0
OPEN_FILES = 16_384
_POLL_S = 0.02

Child = Callable[[Pipe, dict[str, Any]], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Load:
    """What came of one way, with all pairs at once.

    Attributes:
        mb_per_s: Of all pairs.
        slowest_share: What the slowest pair had of what a pair has on the average.
        cpu_ms: Of all processes, for each MB.
        relay_cpu_ms: Of the relay alone, for each MB.
    """

    mb_per_s: float
    slowest_share: float
    cpu_ms: float
    relay_cpu_ms: float


def run(quick: bool) -> list[Row]:
    """Measure all pairs through the relay and directly."""
    idle, pairs = (4, 2) if quick else (IDLE_PEERS, PAIRS)
    found = measure(idle, pairs, rounds=1 if quick else 3, seconds=0.2 if quick else 3.0)
    relayed = found["relay"]
    rows = []
    for way in ("small", "large"):
        direct = found[way]
        is_ok = None if quick else relayed.mb_per_s >= SHARE_BAR * direct.mb_per_s
        name = f"{pairs} pairs through a relay beside {idle} idle peers"
        rows.append(
            Row(name, relayed.mb_per_s, "MB/s", direct.mb_per_s, WAYS[way], SHARE_BAR, is_ok)
        )
    share = relayed.slowest_share
    is_fair = None if quick else share >= FAIRNESS_BAR
    return [
        *rows,
        Row("CPU of all for a MB through a relay", relayed.cpu_ms, "ms", direct.cpu_ms, "direct"),
        Row("CPU of the relay for a MB", relayed.relay_cpu_ms, "ms"),
        Row(
            "the slowest pair through a relay, of an average one",
            100 * share,
            "%",
            bar=100 * FAIRNESS_BAR,
            ok=is_fair,
        ),
    ]


def measure(
    idle: int, pairs: int, *, rounds: int, seconds: float, ways: Iterable[str] = WAYS
) -> dict[str, Load]:
    """Return the medians of some of `WAYS`, with so many idle peers at the relay."""
    found: dict[str, list[Load]] = {way: [] for way in ways}
    with (
        _running(_relay, {}) as (relay, addr),
        _running(_idle, {"relay": addr, "count": idle}),
    ):
        for _ in range(rounds):
            for way, loads in found.items():
                loads.append(_measure_way(way, relay, addr, pairs, seconds))
        served, _ = _ask(relay)[1]
        assert served == idle, f"{served} idle peers are left of {idle}"
    return {way: _median(loads) for way, loads in found.items()}


def _measure_way(way: str, relay: Pipe, addr: str, pairs: int, seconds: float) -> Load:
    options = {"way": way, "relay": addr, "pairs": pairs}
    with (
        _running(_receive, options) as (receivers, addrs),
        _running(_send, {**options, "to": addrs}) as (senders, _),
    ):
        while not all(_ask(receivers)[1]):
            time.sleep(_POLL_S)
        time.sleep(min(WARM_S, seconds))
        started = time.monotonic()
        before = [_ask(pipe) for pipe in (relay, senders, receivers)]
        counts = [0]
        while not any(counts):  # as it may be in a moment of a busy machine
            time.sleep(seconds)
            after = [_ask(pipe) for pipe in (relay, senders, receivers)]
            counts = [end - begin for begin, end in zip(before[2][1], after[2][1], strict=True)]
        took_s = time.monotonic() - started
    cpu_s = [end[0] - begin[0] for begin, end in zip(before, after, strict=True)]
    total_mb = sum(counts) / 1e6
    slowest_share = min(counts) / 1e6 / (total_mb / pairs)
    return Load(
        total_mb / took_s, slowest_share, 1e3 * sum(cpu_s) / total_mb, 1e3 * cpu_s[0] / total_mb
    )


def _median(loads: list[Load]) -> Load:
    return Load(
        *(
            statistics.median(getattr(load, name) for load in loads)
            for name in ("mb_per_s", "slowest_share", "cpu_ms", "relay_cpu_ms")
        )
    )


# The processes.


@contextmanager
def _running(child: Child, options: dict[str, Any]) -> Iterator[tuple[Pipe, Any]]:
    """Run a process while inside; give the pipe to it, and what it said when it was ready."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_run_child, args=(child, there, options), daemon=True)
    process.start()
    there.close()
    try:
        yield here, here.recv()
    finally:
        here.send("stop")
        process.join(20)
        process.close()
        here.close()


def _run_child(child: Child, pipe: Pipe, options: dict[str, Any]) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    asyncio.run(child(pipe, options))


def _ask(pipe: Pipe) -> tuple[float, Any]:
    """Return how much CPU a process has used, and what it has counted."""
    pipe.send("count")
    answer: tuple[float, Any] = pipe.recv()
    return answer


async def _answer(pipe: Pipe, count: Callable[[], Any]) -> None:
    """Answer `_ask` until it is enough."""
    while await asyncio.to_thread(pipe.recv) == "count":
        pipe.send((time.process_time(), count()))


async def _relay(pipe: Pipe, options: dict[str, Any]) -> None:
    key = SecretKey.from_seed("bench relay")
    server = await start_relay(Machine(), key, [("127.0.0.1", 0)])
    pipe.send(str(server.addr))
    await _answer(pipe, lambda: (server.peer_count, server.counters))
    await server.close()


async def _idle(pipe: Pipe, options: dict[str, Any]) -> None:
    machine, relay = Machine(), PeerAddr.parse(options["relay"])
    config = TransportConfig(carriers=("tcp",))
    endpoints = []
    for number in range(options["count"]):
        key = SecretKey.from_seed(f"idle {number}")
        bind = [("127.0.0.1", 0)]
        endpoint = await machine.open_endpoint(RELAY_NETWORK, key, bind, config, ())
        await endpoint.open_link(relay, PROTOCOL)
        endpoints.append(endpoint)
    pipe.send("ready")
    await _answer(pipe, lambda: None)
    for endpoint in endpoints:
        endpoint.crash()


async def _receive(pipe: Pipe, options: dict[str, Any]) -> None:
    counts = [0] * options["pairs"]
    opened = []
    for number in range(options["pairs"]):
        endpoint, client = await _open(f"receiver {number}", options)
        endpoint.serve("bench", _Counter(counts, number).accept)
        opened.append((endpoint, client))
    pipe.send([str(endpoint.addr) for endpoint, _ in opened])
    await _answer(pipe, lambda: list(counts))
    _crash(opened)


class _Counter:
    """Counts the bytes that one endpoint gets."""

    def __init__(self, counts: list[int], number: int) -> None:
        self._counts = counts
        self._number = number

    def accept(self, link: Link) -> None:
        """Take a link."""
        link.attach(self._take)
        link.accept()

    def _take(self, event: LinkEvent) -> None:
        if isinstance(event, FramesReceived):
            self._counts[self._number] += sum(map(len, event.frames))


async def _send(pipe: Pipe, options: dict[str, Any]) -> None:
    opened, links = [], []
    for number, text in enumerate(options["to"]):
        endpoint, client = await _open(f"sender {number}", options)
        addr = PeerAddr.parse(text)
        endpoint.vouch([addr])
        link = await endpoint.open_link(addr, "bench")
        link.attach(_take_room)
        opened.append((endpoint, client))
        links.append(link)
    for link in links:
        _fill(link)
    pipe.send("ready")
    await _answer(pipe, lambda: None)
    _crash(opened)


def _take_room(event: LinkEvent) -> None:
    if isinstance(event, LinkDrained):
        _fill(event.link)


def _fill(link: Link) -> None:
    while link.is_open and link.unsent_bytes <= IN_FLIGHT_BYTES:
        link.write(_FRAME)


async def _open(name: str, options: dict[str, Any]) -> tuple[Endpoint, RelayClient | None]:
    machine, key, bind = Machine(), SecretKey.from_seed(name), [("127.0.0.1", 0)]
    large = TransportConfig().datagram_bytes_loopback
    config = TransportConfig(
        carriers=("relay" if options["way"] == "relay" else "quic",),
        datagram_bytes_loopback=DATAGRAM_BYTES_MIN if options["way"] == "small" else large,
        high_water_bytes=IN_FLIGHT_BYTES,
    )
    endpoint = await machine.open_endpoint(NETWORK, key, bind, config, ())
    client = None
    if options["way"] == "relay":
        relays = RelayConfig(relays=(PeerAddr.parse(options["relay"]),))
        client = await use_relays(machine, endpoint, key, bind, relays)
    return endpoint, client


def _crash(opened: list[tuple[Endpoint, RelayClient | None]]) -> None:
    for endpoint, client in opened:
        endpoint.crash()
        if client is not None:
            client.crash()


_FRAME = bytes(FRAME_BYTES)
