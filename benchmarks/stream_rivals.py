"""What users would pick instead of streams, by turns with ours and with bare asyncio.

Two processes on loopback each, started as those of `carriers`, and the server where there is
one. All carry the same records, encoded by their sender and decoded by their receiver with
msgspec: of 100 bytes one at a time, and as many to a message as a frame of ours holds; of
64 KiB; and a small one whose answer is awaited. Rates are the receiver's, over what arrives;
what does not arrive is counted and said.

A turn measures each of all of them, one after the other, figure by figure, and the median of
the turns counts. What is not installed is left out, and the report says so: `rival_clients`
has how each is used.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import itertools
import shutil
import socket
import statistics
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import msgspec

from . import carriers, streams
from .plot import shown
from .report import Row
from .rival_clients import client

MODES = {
    "plain": "one at a time, 100 B",
    "many": "in bulk, 100 B",
    "large": "64 KiB items",
    "trip": "round trip",
}
UNITS = {"plain": "items/s", "many": "items/s", "large": "MB/s", "trip": "us"}
COUNTS = {
    "plain": 150_000,
    "many": 600 * streams.BATCH_ITEMS,
    "large": 2_500,
    "trip": 1_000,
}
QUICK_COUNTS = {"plain": 2_000, "many": 10 * streams.BATCH_ITEMS, "large": 50, "trip": 20}
FEWER = {"quic": 4}  # by carrier: what to divide the number of items by, since it is slower
TURNS = 5
DONE_WITHIN_S = 60.0

Measure = Callable[[str, int], dict[str, float]]  # of a mode, so many: figures by name


@dataclass(frozen=True, slots=True)
class Rival:
    """Who is measured beside ours, and how.

    Attributes:
        name: What it is, and over what.
        beside: The carrier of ours that it is compared with.
        options: Which client (`rival_clients`), and its options.
        module: What has to be installed.
        program: The server that has to be, if any.
        is_encrypted: Whether what it carries is.
        ahead: The figures in which ours must not be behind.
        fewer: What to divide the number of items by, so that it takes no longer than the others.
    """

    name: str
    beside: str
    options: dict[str, Any]
    module: str
    program: str | None = None
    is_encrypted: bool = True
    ahead: tuple[str, ...] = ()
    fewer: int = 1

    @property
    def missing(self) -> str:
        """What of it is not installed; empty when all is."""
        if importlib.util.find_spec(self.module) is None:
            return self.module
        return "" if self.program is None or find_program(self.program) else self.program


def _zenoh(carrier: str, *, shared_memory: bool = False) -> dict[str, Any]:
    return {"client": "zenoh", "carrier": carrier, "shared_memory": shared_memory}


RIVALS = (
    Rival("zenoh, mutual TLS over TCP", "tcp", _zenoh("tls"), "zenoh", ahead=("large", "trip")),
    Rival("zenoh, mutual TLS over QUIC", "quic", _zenoh("quic"), "zenoh"),
    Rival(
        "zenoh, Unix socket and shared memory",
        "unix",
        _zenoh("unixsock-stream", shared_memory=True),
        "zenoh",
        is_encrypted=False,
    ),
    Rival("ZeroMQ, CURVE over TCP", "tcp", {"client": "zmq", "carrier": "tcp"}, "zmq"),
    Rival(
        "ZeroMQ, Unix socket",
        "unix",
        {"client": "zmq", "carrier": "ipc"},
        "zmq",
        is_encrypted=False,
    ),
    Rival(
        "NATS", "tcp", {"client": "nats"}, "nats", "nats-server",
        is_encrypted=False, ahead=("plain",), fewer=20,
    ),
    Rival(
        "Redis, publish and subscribe", "tcp", {"client": "redis"}, "redis", "redis-server",
        is_encrypted=False, ahead=("plain",), fewer=20,
    ),
)  # fmt: skip


@dataclass(slots=True)
class Contender:
    """One of those that take turns, and what was found of it."""

    name: str
    carrier: str
    is_encrypted: bool
    measure: Measure
    modes: tuple[str, ...] = tuple(MODES)
    rival: Rival | None = None
    found: dict[str, list[float]] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        """How many messages did not arrive, in all turns."""
        return int(sum(self.found.get("lost", ())))

    def median(self, mode: str) -> float | None:
        """Return the median of a figure, or None without one."""
        values = self.found.get(mode)
        return statistics.median(values) if values else None


def run(quick: bool) -> list[Row]:
    """Measure each one that is installed, and ours between them."""
    found = measure(quick=quick)
    ours = {one.carrier: one for one in found if one.rival is None and one.modes == tuple(MODES)}
    rows = []
    for one in found:
        if one.rival is not None:
            rows += _compare(ours[one.carrier], one, one.rival, quick=quick)
    return rows


def _compare(ours: Contender, theirs: Contender, rival: Rival, *, quick: bool) -> list[Row]:
    rows = []
    for mode, what in MODES.items():
        value, baseline = ours.median(mode), theirs.median(mode)
        assert value is not None
        assert baseline is not None
        is_ok = value <= baseline if mode == "trip" else value >= baseline
        is_held = mode in rival.ahead
        rows.append(
            Row(
                f"{rival.beside}: {what}, vs {rival.name}",
                value,
                UNITS[mode],
                baseline,
                rival.name,
                1 if is_held else None,
                is_ok if is_held and not quick else None,
            )
        )
    return rows


def measure(*, quick: bool, rivals: Iterable[Rival] = RIVALS) -> list[Contender]:
    """Measure ours, the bare side and who is installed, by turns; return all with their figures."""
    contenders = list(_contenders(rivals))
    counts = QUICK_COUNTS if quick else COUNTS
    with carriers.folder():
        for _ in range(1 if quick else TURNS):
            for mode, count in counts.items():
                for one in contenders:
                    if mode in one.modes:
                        fewer = FEWER.get(one.carrier, 1)
                        for name, value in one.measure(mode, count // fewer).items():
                            one.found.setdefault(name, []).append(value)
    return contenders


def _contenders(rivals: Iterable[Rival]) -> Iterator[Contender]:
    """Yield those to measure, ours first for each carrier, and the bare side after it."""
    installed = []
    for rival in rivals:
        if rival.missing:
            print(f"[{rival.name}: {rival.missing} is not installed]", end=" ", flush=True)
        else:
            installed.append(rival)
    for carrier in sorted({rival.beside for rival in installed}, key=carriers.CARRIERS.index):
        is_encrypted = carrier != "unix"
        ours = functools.partial(carriers.measure_ours, carrier)
        yield Contender(f"ours, {carriers.NAMES[carrier]}", carrier, is_encrypted, ours)
        if carrier in carriers.BARE:
            bare = functools.partial(carriers.measure_bare, carrier)
            name = carriers.BARE[carrier]
            yield Contender(name, carrier, is_encrypted, bare, carriers.BARE_MODES)
        for rival in installed:
            if rival.beside == carrier:
                theirs = functools.partial(_measure_rival, rival)
                yield Contender(rival.name, carrier, rival.is_encrypted, theirs, rival=rival)


def _measure_rival(rival: Rival, mode: str, count: int) -> dict[str, float]:
    with _server(rival.program) as port:
        count //= 1 if mode == "trip" else rival.fewer
        options = {**rival.options, "mode": mode, "count": count, "port": port}
        pair = streams._pair(_serve, _talk, options)
    return {**carriers.figures(mode, pair), "lost": pair.get("lost", 0)}


def table(found: Iterable[Contender]) -> list[str]:
    """Return what was found as the lines of a table."""
    names = (
        "",
        "encrypted",
        "items/s, one at a time",
        "CPU",
        "items/s, in bulk",
        "MB/s, 64 KiB items",
        "CPU",
        "round trip",
    )
    lines = [f"| {' | '.join(names)} |", "| --- | --- |" + " ---: |" * (len(names) - 2)]
    for one in found:
        name = one.name + (f" ({one.lost:,} lost)" if one.lost else "")
        cells = [name, "yes" if one.is_encrypted else "no"]
        for figure in ("plain", "plain CPU", "many", "large", "large CPU", "trip"):
            value = one.median(figure)
            cells.append("" if value is None else _shown(figure, value))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _shown(figure: str, value: float) -> str:
    if UNITS.get(figure) == "items/s":
        return shown(value)
    if figure == "large":
        return f"{value:,.0f}"
    return f"{value:,.0f} us" if value >= 10 else f"{value:.1f} us"


# Processes: a server where there is one, who receives and who sends.


def find_program(program: str) -> str | None:
    """Return where a program is: beside this Python, or on the path."""
    return shutil.which(program, path=sysconfig.get_path("scripts")) or shutil.which(program)


@contextmanager
def _server(program: str | None) -> Iterator[int]:
    """Give a free port of loopback, with a server there if one is named."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    if program is None:
        yield port
        return
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [find_program(program) or program, *server_settings(program, port, Path(folder))],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            for _ in range(500):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.01)
            yield port
        finally:
            process.terminate()
            process.wait(10)


def server_settings(program: str, port: int, folder: Path) -> list[str]:
    """Return the arguments of a server on loopback, which drops nothing of a slow subscriber's."""
    if program == "redis-server":
        return [
            *("--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)),
            # By default a subscriber that is 32 MiB behind is dropped.
            *("--client-output-buffer-limit", "pubsub 0 0 0"),
        ]
    file = folder / "nats.conf"
    # By default a subscriber that is 64 MB or 10 s behind is dropped.
    file.write_text(
        f'host: "127.0.0.1"\nport: {port}\nmax_pending: 4000000000\nwrite_deadline: "60s"\n'
    )
    return ["-c", str(file)]


class Meter:
    """Decodes what arrives, counts it, and says how fast it came."""

    def __init__(self, mode: str) -> None:
        kinds: dict[str, Any] = {"plain": streams.Trade, "large": streams.Blob}
        self._decode = msgspec.msgpack.Decoder(kinds.get(mode, list[streams.Trade])).decode
        self._is_many = mode == "many"
        self._got = self._first = 0
        self._started = self._ended = self._cpu_s = 0.0

    def take(self, data: bytes) -> bool:
        """Take a message; return whether it was the empty one, which is the last."""
        if not data:
            self._ended = time.perf_counter()
            self._cpu_s = time.process_time() - self._cpu_s
            return True
        found = self._decode(data)
        self._got += len(found) if self._is_many else 1
        if not self._started:
            self._started, self._first = time.perf_counter(), self._got
            self._cpu_s = time.process_time()
        return False

    def report(self, count: int) -> dict[str, float]:
        """Return the rate, the CPU of each, and how many of those sent did not arrive."""
        timed, elapsed_s = self._got - self._first, self._ended - self._started
        return {
            "rate": timed / elapsed_s if self._started else 0.0,
            "receiver_us": self._cpu_s / max(1, timed) * 1e6,
            "lost": count - self._got,
        }


def messages(mode: str, count: int) -> Iterable[bytes]:
    """Return the messages that carry items, `count` of them, and the empty one after them."""
    encode = msgspec.msgpack.Encoder().encode
    if mode == "plain":
        items: list[Any] = [streams.trade(number) for number in range(count)]
    elif mode == "many":
        items = [[streams.trade(number) for number in range(streams.BATCH_ITEMS)]]
        count //= streams.BATCH_ITEMS
    else:
        items = streams._blobs()
    sent = itertools.islice(itertools.cycle(items), count)
    return itertools.chain(map(encode, sent), [b""])


async def _serve(pipe: Pipe, options: dict[str, Any]) -> None:
    async with client(options, listens=True) as side:
        if options["mode"] == "trip":
            encode = msgspec.msgpack.Encoder().encode
            decode = msgspec.msgpack.Decoder(streams.Ping).decode

            def answer(data: bytes) -> bytes:
                return encode(streams.Pong(decode(data).number))

            await side.echo(lambda: pipe.send("ready"), answer)
            pipe.send({})
            await streams._told(pipe)
            return
        meter = Meter(options["mode"])
        async with asyncio.timeout(DONE_WITHIN_S):
            await side.receive(lambda: pipe.send("ready"), meter.take)
        pipe.send(meter.report(options["count"]))
        await streams._told(pipe)


async def _talk(pipe: Pipe, options: dict[str, Any]) -> None:
    await streams._told(pipe)
    async with client(options, listens=False) as side:
        if options["mode"] == "trip":
            encode = msgspec.msgpack.Encoder().encode
            decode = msgspec.msgpack.Decoder(streams.Pong).decode
            pings = (encode(streams.Ping(number)) for number in range(options["count"]))
            samples_s = await side.ask(pings, decode)
            pipe.send(streams._summary(samples_s))
        else:
            sent = messages(options["mode"], options["count"])
            cpu_s = time.process_time()
            await side.send(sent)
            pipe.send({"sender_us": streams._cpu_us(cpu_s, options["count"])})
        await streams._told(pipe)
