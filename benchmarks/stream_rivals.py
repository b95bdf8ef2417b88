"""What users would pick instead, on the same records: NATS, Redis pub/sub, ZeroMQ with CURVE.

Each is used as its own documentation shows, from asyncio, one publish per
record and one receive per record, a producer and a consumer process and, where
there is one, the server on loopback. Records are encoded and decoded one by one
with msgspec, because these interfaces carry bytes. The rate is the consumer's,
over what arrives: at most once is all they promise.

What is not installed is left out, and the report says so. Nothing here is a
dependency of the project: ``nats-py``, ``redis`` and ``pyzmq`` are looked for in
the environment, ``nats-server`` and ``redis-server`` on the path.
"""

from __future__ import annotations

import asyncio
import importlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection as Pipe
from typing import Any

import msgspec

from . import streams
from .report import Row

SILENCE_S = 2.0
PAUSE_EVERY = 500


def run(quick: bool) -> list[Row]:
    """Measure each one that is installed, and ours between them."""
    total = 5000 if quick else 200_000
    rows = []
    for name, module, program, listener, talker in (
        ("nats-py", "nats", "nats-server", _nats_receive, _nats_send),
        ("redis pub/sub", "redis", "redis-server", _redis_receive, _redis_send),
        ("asyncio pyzmq, CURVE", "zmq", None, _zmq_receive, _zmq_send),
    ):
        missing = _missing(module, program)
        if missing:
            print(f"[{name}: {missing} is not installed]", end=" ", flush=True)
            continue
        theirs, ours = [], []
        for _ in range(1 if quick else 3):
            with _server(program) as port:
                options = {"count": total, "datagram_bytes": streams.LARGE, "port": port}
                theirs.append(streams._pair(listener, talker, options)["rate"])
            options = {"count": total, "datagram_bytes": streams.LARGE, "many": False}
            ours.append(streams._pair(streams._consume, streams._produce, options)["rate"])
        ok = None if quick else max(ours) > max(theirs)
        rows.append(
            Row(f"send() and async for, vs {name}", max(ours), "items/s", max(theirs), name, 1, ok)
        )
    return rows


def _missing(module: str, program: str | None) -> str:
    try:
        importlib.import_module(module)
    except ImportError:
        return module
    return program if program is not None and shutil.which(program) is None else ""


@contextmanager
def _server(program: str | None) -> Iterator[int]:
    """Run a server on a free port of loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    if program is None:
        yield port
        return
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "nats-server": ["-a", "127.0.0.1", "-p", str(port)],
            "redis-server": [
                "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", folder,
                # By default Redis drops a subscriber that is 32 MiB behind.
                "--client-output-buffer-limit", "pubsub 0 0 0",
            ],
        }[program]  # fmt: skip
        process = subprocess.Popen(
            [program, *settings], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
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


class _Meter:
    """Counts what arrives, decoded, and says how fast it came."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.got = 0
        self._decode = msgspec.msgpack.Decoder(streams.Trade).decode
        self._started = self._last = 0.0

    def take(self, data: bytes) -> bool:
        """Take a record; return whether it was the last one."""
        trade = self._decode(data)
        self.got += 1
        if self.got == 1:
            self._started = time.perf_counter()
        if self.got % 256 == 0 or trade.number == self.count - 1:
            self._last = time.perf_counter()
        return trade.number == self.count - 1

    def report(self) -> dict[str, float]:
        """Return the rate; with none received it is 0."""
        elapsed_s = self._last - self._started
        return {"rate": self.got / elapsed_s if elapsed_s > 0 else 0.0}


def _records(count: int) -> Iterator[bytes]:
    encode = msgspec.msgpack.Encoder().encode
    items = [streams.trade(number) for number in range(count)]
    for item in items:
        yield encode(item)


async def _nats_receive(pipe: Pipe, options: dict[str, Any]) -> None:
    nats = importlib.import_module("nats")
    client = await nats.connect(f"nats://127.0.0.1:{options['port']}")
    subscription = await client.subscribe(
        "bench", pending_msgs_limit=options["count"] + 10, pending_bytes_limit=1 << 30
    )
    await client.flush()
    pipe.send("ready")
    meter = _Meter(options["count"])
    async for message in subscription.messages:
        if meter.take(message.data):
            break
    pipe.send(meter.report())
    await streams._told(pipe)
    await client.close()


async def _nats_send(pipe: Pipe, options: dict[str, Any]) -> None:
    await streams._told(pipe)
    nats = importlib.import_module("nats")
    client = await nats.connect(f"nats://127.0.0.1:{options['port']}")
    for record in _records(options["count"]):
        await client.publish("bench", record)
    await client.flush()
    pipe.send({})
    await streams._told(pipe)
    await client.close()


async def _redis_receive(pipe: Pipe, options: dict[str, Any]) -> None:
    client = importlib.import_module("redis.asyncio").Redis(port=options["port"])
    channel = client.pubsub(ignore_subscribe_messages=True)
    await channel.subscribe("bench")
    await channel.get_message(timeout=1.0)
    pipe.send("ready")
    meter = _Meter(options["count"])
    async for message in channel.listen():
        if meter.take(message["data"]):
            break
    pipe.send(meter.report())
    await streams._told(pipe)
    await channel.aclose()
    await client.aclose()


async def _redis_send(pipe: Pipe, options: dict[str, Any]) -> None:
    await streams._told(pipe)
    client = importlib.import_module("redis.asyncio").Redis(port=options["port"])
    batch = client.pipeline(transaction=False)
    for number, record in enumerate(_records(options["count"]), 1):
        batch.publish("bench", record)  # piped, which is the fast way to publish many
        if number % PAUSE_EVERY == 0:
            await batch.execute()
    await batch.execute()
    pipe.send({})
    await streams._told(pipe)
    await client.aclose()


def _zmq_keys() -> tuple[bytes, bytes, bytes, bytes]:
    """Return the same two key pairs in every process: (public, secret) of each side."""
    zmq = importlib.import_module("zmq")
    secrets = [zmq.utils.z85.encode(bytes([number]) * 32) for number in (1, 2)]
    server, client = ((zmq.curve_public(secret), secret) for secret in secrets)
    return (*server, *client)


async def _zmq_receive(pipe: Pipe, options: dict[str, Any]) -> None:
    zmq = importlib.import_module("zmq")
    importlib.import_module("zmq.utils.z85")
    context = importlib.import_module("zmq.asyncio").Context()
    server_public, _, public, secret = _zmq_keys()
    inlet = context.socket(zmq.SUB)
    inlet.curve_serverkey, inlet.curve_publickey, inlet.curve_secretkey = (
        server_public, public, secret,
    )  # fmt: skip
    inlet.setsockopt(zmq.RCVHWM, 0)
    inlet.subscribe(b"")
    inlet.connect(f"tcp://127.0.0.1:{options['port']}")
    pipe.send("ready")
    meter = _Meter(options["count"])
    while not meter.take(await inlet.recv()):
        pass
    pipe.send(meter.report())
    await streams._told(pipe)
    context.destroy(linger=0)


async def _zmq_send(pipe: Pipe, options: dict[str, Any]) -> None:
    await streams._told(pipe)
    zmq = importlib.import_module("zmq")
    importlib.import_module("zmq.utils.z85")
    context = importlib.import_module("zmq.asyncio").Context()
    server_public, server_secret, _, _ = _zmq_keys()
    # XPUB shows when the subscription has arrived; a PUB would drop what comes before.
    outlet = context.socket(zmq.XPUB)
    outlet.curve_server = True
    outlet.curve_publickey, outlet.curve_secretkey = server_public, server_secret
    outlet.setsockopt(zmq.SNDHWM, 0)
    outlet.bind(f"tcp://127.0.0.1:{options['port']}")
    await outlet.recv()
    for number, record in enumerate(_records(options["count"]), 1):
        await outlet.send(record)
        if number % PAUSE_EVERY == 0:
            await asyncio.sleep(0)
    pipe.send({})
    await streams._told(pipe)
    context.destroy(linger=int(SILENCE_S * 1000))
