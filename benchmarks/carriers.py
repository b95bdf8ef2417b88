"""Streams over each carrier, against bare asyncio over the same kind of socket.

Two processes on loopback each, as in `streams`: whole nodes, default settings, the carrier
alone chosen. The bare side is asyncio's own server and connection: the same records, encoded
in batches as large as ours with a length in front, and decoded; no subscription, credit, order,
links or proof. Over TLS it has a certificate of its own and asks for none. QUIC has no bare
side here: `streams` compares it with aioquic.

Rounds of both sides alternate, and the median of each counts. Each process has a core of its own.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import os
import socket
import ssl
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from . import streams
from .report import Row
from .streams import BATCH_ITEMS, LARGE_ITEM_BYTES, Blob, Trade

CARRIERS = ("unix", "tcp", "quic")
NAMES = {"unix": "Unix socket", "tcp": "TLS over TCP", "quic": "QUIC, 16 KiB datagrams"}
BARE = {"unix": "bare Unix socket", "tcp": "bare TLS over TCP"}
BARE_MODES = ("many", "large", "trip")
BARS = {  # of bare: large items, round trip (times as long)
    "unix": (0.5, 2.0),
    "tcp": (0.7, 1.6),
}
AUTHORITY, CERTIFICATE, KEY = "authority.pem", "certificate.pem", "key.pem"
_FOLDER = "MOSAIK_BENCH_FOLDER"
_ITEMS: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(list[Trade])
_BLOBS: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(list[Blob])


def run(quick: bool) -> list[Row]:
    """Measure items, large items and round trips over each carrier."""
    rounds = 1 if quick else 5
    rows: list[Row] = []
    with folder():
        for carrier in CARRIERS:
            ours, bare = measure(carrier, rounds=rounds, quick=quick)
            share, times = BARS.get(carrier, (None, None))
            name = BARE.get(carrier, "")
            for key, what in (("plain", "send() and async for"), ("many", "send_many()")):
                found = f"{carrier}: {what}, 100 B"
                rows.append(Row(found, ours[key], "items/s", bare.get("many"), name))
            rows += [
                _row(f"{carrier}: 64 KiB items", ours, bare, "large", "MB/s", name, share, quick),
                _row(f"{carrier}: round trip", ours, bare, "trip", "us", name, times, quick),
            ]
    return rows


def _row(
    name: str,
    ours: dict[str, float],
    bare: dict[str, float],
    key: str,
    unit: str,
    baseline_name: str,
    bar: float | None,
    quick: bool,
) -> Row:
    value, baseline = ours[key], bare.get(key)
    is_ok = None
    if bar is not None and baseline is not None and not quick:
        is_ok = value <= bar * baseline if unit == "us" else value >= bar * baseline
    return Row(name, value, unit, baseline, baseline_name, bar, is_ok)


def measure(
    carrier: str, *, rounds: int, quick: bool = False
) -> tuple[dict[str, float], dict[str, float]]:
    """Return medians of ours and of the bare side: items/s, MB/s and microseconds."""
    large = 6_000 if carrier == "quic" else 30_000  # half a second or more, on quick machines too
    count, large, trips = (20_000, 200, 50) if quick else (1_000_000, large, 2_000)
    counts = {"plain": count, "many": count, "large": large, "trip": trips}
    ours: dict[str, list[float]] = {}
    bare: dict[str, list[float]] = {}
    for _ in range(rounds):
        for mode, amount in counts.items():
            for key, value in measure_ours(carrier, mode, amount, has_core=True).items():
                ours.setdefault(key, []).append(value)
        for mode in BARE_MODES if carrier in BARE else ():
            for key, value in measure_bare(carrier, mode, counts[mode], has_core=True).items():
                bare.setdefault(key, []).append(value)
    return (
        {key: statistics.median(values) for key, values in ours.items()},
        {key: statistics.median(values) for key, values in bare.items()},
    )


def measure_ours(
    carrier: str, mode: str, count: int, *, has_core: bool = False
) -> dict[str, float]:
    """Return the `figures` of one at a time ("plain"), in calls ("many"), "large" or "trip"."""
    options = {"carrier": carrier, "count": count, "many": mode == "many", "has_core": has_core}
    listener, talker = {
        "large": (streams._consume_large, streams._produce_large),
        "trip": (streams._answer, streams._ask),
    }.get(mode, (streams._consume, streams._produce))
    return figures(mode, streams._pair(listener, talker, options))


def measure_bare(
    carrier: str, mode: str, count: int, *, has_core: bool = False
) -> dict[str, float]:
    """Return the same of the bare side, which has no way to send one at a time."""
    options = {"carrier": carrier, "mode": mode, "count": count, "has_core": has_core}
    return figures(mode, streams._pair(_bare_serve, _bare_talk, options))


def figures(mode: str, pair: dict[str, float]) -> dict[str, float]:
    """Return what a pair of processes measured: items/s, MB/s or a median in us, and the CPU."""
    if mode == "trip":
        return {mode: pair["median_us"]}
    rate = pair["rate"] * (LARGE_ITEM_BYTES / 1e6 if mode == "large" else 1.0)
    return {mode: rate, f"{mode} CPU": pair["sender_us"] + pair["receiver_us"]}


def large_rate(carrier: str, item_bytes: int, count: int) -> float:
    """Return the MB/s of items of one size over a carrier."""
    options = {"carrier": carrier, "count": count, "item_bytes": item_bytes}
    pair = streams._pair(streams._consume_large, streams._produce_large, options)
    return pair["rate"] * item_bytes / 1e6


@contextmanager
def folder() -> Iterator[None]:
    """Give the processes a folder of their own for sockets and a certificate."""
    with ExitStack() as stack:
        path = stack.enter_context(tempfile.TemporaryDirectory())
        before = {name: os.environ.get(name) for name in (_FOLDER, "MOSAIK_RUNTIME_DIR")}
        os.environ.update({_FOLDER: path, "MOSAIK_RUNTIME_DIR": path})
        _write_certificates(Path(path))
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


# Bare asyncio.


def _write_certificates(path: Path) -> None:
    """Write a certificate for loopback, its key, and the authority that signed it."""
    names = [
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("root", "bare")
    ]
    keys = [Ed25519PrivateKey.generate() for _ in names]
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.datetime.now(datetime.UTC)
    pem = serialization.Encoding.PEM
    for name, key, is_root in zip(names, keys, (True, False), strict=True):
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(names[0])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
            .sign(keys[0], None)
        )
        file = AUTHORITY if is_root else CERTIFICATE
        (path / file).write_bytes(certificate.public_bytes(pem))
    (path / KEY).write_bytes(
        keys[1].private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


class Frames(asyncio.BufferedProtocol):
    """Cuts what comes into frames with a length in front."""

    def __init__(self, on_frame: Callable[[memoryview], None]) -> None:
        self._on_frame = on_frame
        self._buffer = bytearray(1 << 20)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._room = asyncio.Event()
        self._room.set()
        self.transport: asyncio.Transport

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self.transport = transport

    def pause_writing(self) -> None:
        """Have the writer wait."""
        self._room.clear()

    def resume_writing(self) -> None:
        """Let the writer go on."""
        self._room.set()

    async def until_room(self) -> None:
        """Wait until the transport takes more."""
        await self._room.wait()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go."""
        if self._start == self._end:
            self._start = self._end = 0
        elif len(self._buffer) - self._end < 256 * 1024:
            left = self._end - self._start
            self._buffer[:left] = self._buffer[self._start : self._end]
            self._start, self._end = 0, left
        return self._view[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take in bytes."""
        self._end += nbytes
        while self._end - self._start >= 4:
            size = int.from_bytes(self._view[self._start : self._start + 4])
            if self._end - self._start < 4 + size:
                return
            begin = self._start + 4
            self._start = begin + size
            self._on_frame(self._view[begin : begin + size])


def framed(data: bytes) -> bytes:
    """Return data with its length in front."""
    return len(data).to_bytes(4) + data


def own_folder() -> Path:
    """Return the folder that this run's processes share, with certificates and sockets."""
    return Path(os.environ[_FOLDER])


def server_context() -> ssl.SSLContext:
    """Return what a bare server shows: the certificate for loopback."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own_folder() / CERTIFICATE, own_folder() / KEY)
    return context


def client_context() -> ssl.SSLContext:
    """Return what a bare client asks for: nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def _bare_serve(pipe: Pipe, options: dict[str, Any]) -> None:
    loop, count = asyncio.get_running_loop(), options["count"]
    done: asyncio.Future[dict[str, float]] = loop.create_future()
    decode = (_BLOBS if options["mode"] == "large" else _ITEMS).decode
    got, first, start, cpu_s = 0, 0, 0.0, 0.0

    def take(frame: memoryview) -> None:
        nonlocal got, first, start, cpu_s
        got += len(decode(frame))
        if not start:
            first, start, cpu_s = got, loop.time(), time.process_time()
        elif got >= count and not done.done():
            cpu_us = streams._cpu_us(cpu_s, got - first)
            done.set_result({"rate": (got - first) / (loop.time() - start), "receiver_us": cpu_us})

    def make() -> Frames:
        protocol: Frames

        def answer(frame: memoryview) -> None:
            protocol.transport.write(framed(bytes(frame)))

        protocol = Frames(answer if options["mode"] == "trip" else take)
        return protocol

    if options["carrier"] == "unix":
        where: Any = str(own_folder() / f"bare-{os.getpid()}")
        server = await loop.create_unix_server(make, where)
    else:
        server = await loop.create_server(make, "127.0.0.1", 0, ssl=server_context())
        where = server.sockets[0].getsockname()[1]
    pipe.send(where)
    pipe.send({} if options["mode"] == "trip" else await done)
    await streams._told(pipe)
    server.close()


async def _bare_talk(pipe: Pipe, options: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    where = await streams._told(pipe)
    back: asyncio.Queue[bytes] = asyncio.Queue()

    def make() -> Frames:
        return Frames(lambda frame: back.put_nowait(bytes(frame)))

    if options["carrier"] == "unix":
        transport, protocol = await loop.create_unix_connection(make, where)
    else:
        transport, protocol = await loop.create_connection(
            make, "127.0.0.1", where, ssl=client_context()
        )
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    encode = msgspec.msgpack.Encoder().encode
    if options["mode"] == "trip":
        samples_s = []
        for number in range(options["count"]):
            start = loop.time()
            transport.write(framed(encode(streams.Ping(number))))
            await back.get()
            samples_s.append(loop.time() - start)
        pipe.send(streams._summary(samples_s))
    else:
        items: list[Any]
        if options["mode"] == "large":
            items, size = streams._blobs(), 1
        else:
            items, size = [streams.trade(number) for number in range(BATCH_ITEMS)], BATCH_ITEMS
        cpu_s = time.process_time()
        for start_at in range(0, options["count"] + size, size):
            batch = [items[start_at % len(items)]] if size == 1 else items
            transport.write(framed(encode(batch)))
            await protocol.until_room()
            if start_at % (16 * size) == 0:
                await asyncio.sleep(0)
        pipe.send({"sender_us": streams._cpu_us(cpu_s, options["count"] + size)})
    await streams._told(pipe)
    transport.close()
