"""What an item of 64 KiB costs both ends: the CPU of a process that has them on one event loop.

Two nodes with one carrier, an item at a time through a stream: default settings, and QUIC at the
datagrams of real networks, too, with either engine. The bare side writes the same records with a
length in front. Beside them stands what one copy of so many bytes takes on the same machine, as
copies are most of what differs; and what the datagrams of an item cost without QUIC, by the two
ways of giving them to the kernel: one system call each, or batches, which are one call with GSO
where they leave, and GRO and recvmmsg where they come in.
"""

from __future__ import annotations

import asyncio
import importlib.util
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from typing import Any

import msgspec

from mosaik_actors.transport.sockets import BatchingPort, bind_udp

from . import carriers, streams
from .report import Row
from .streams import LARGE_ITEM_BYTES, Blob

ITEMS, ROUNDS = 500, 5
OURS: dict[str, dict[str, Any]] = {
    carriers.NAMES["unix"]: {"carrier": "unix"},
    carriers.NAMES["tcp"]: {"carrier": "tcp"},
    carriers.NAMES["quic"]: {"carrier": "quic", "quic_engine": "aioquic"},
    **{
        f"QUIC, {streams.SMALL:,} B datagrams, {engine}": {
            "carrier": "quic",
            "datagram_bytes": streams.SMALL,
            "quic_engine": engine,
        }
        for engine in ("aioquic", "qh3")
    },
}
COPY = f"one copy of {LARGE_ITEM_BYTES // 1024} KiB"
DATAGRAMS = {
    f"datagrams of {streams.SMALL:,} B alone, a call each": False,
    f"datagrams of {streams.SMALL:,} B alone, in batches": True,
}

Carry = Callable[[int], Awaitable[object]]  # so many items, from one end to the other


def run(quick: bool) -> list[Row]:
    """Measure all, ours beside the bare side."""
    found = measure(quick=quick)
    rows = []
    for name, options in OURS.items():
        bare = carriers.BARE.get(options["carrier"], "")
        if name in found:
            rows.append(
                Row(
                    f"{name}: a 64 KiB item, both ends",
                    found[name],
                    "CPU us",
                    found.get(bare),
                    bare,
                )
            )
    return [
        *rows,
        *(Row(name, found[name], "CPU us") for name in (COPY, *DATAGRAMS) if name in found),
    ]


def measure(*, quick: bool) -> dict[str, float]:
    """Return the CPU in microseconds, of an item by its way, and of a copy."""
    count = 20 if quick else ITEMS
    found = {COPY: _copy_us(count)}
    for name, is_batched in DATAGRAMS.items():
        if not is_batched or importlib.util.find_spec("qh3"):
            found[name] = asyncio.run(_datagrams_us(count, is_batched=is_batched))
    with carriers.folder():
        for name, options in OURS.items():
            if options.get("quic_engine") != "qh3" or importlib.util.find_spec("qh3"):
                some = count // 10 if options["carrier"] == "quic" else count
                found[name] = asyncio.run(_measure(_nodes(options), some))
        for carrier, name in carriers.BARE.items():
            found[name] = asyncio.run(_measure(_bare(carrier), count))
    return found


def _copy_us(count: int) -> float:
    sources = [bytes([number]) * LARGE_ITEM_BYTES for number in range(64)]
    begun = time.process_time()
    for number in range(count):
        bytearray(sources[number % len(sources)])
    return (time.process_time() - begun) / count * 1e6


async def _datagrams_us(count: int, *, is_batched: bool) -> float:
    """Return the CPU of sending 64 KiB in datagrams over loopback, and of reading them."""
    make = None
    if is_batched:
        from mosaik_actors.transport.batched_sockets import BatchedUdpPort  # as its package

        make = BatchedUdpPort
    loop = asyncio.get_running_loop()
    here, there = (bind_udp(("127.0.0.1", 0), 1 << 20, loop, make) for _ in range(2))
    with closing(here), closing(there):
        size = streams.SMALL
        datagrams = [bytes(size)] * (LARGE_ITEM_BYTES // size) + [bytes(LARGE_ITEM_BYTES % size)]
        remote = there.addrs[0]
        begun = time.process_time()
        for _ in range(count):
            if isinstance(here, BatchingPort):
                sent = 0
                while sent < len(datagrams):
                    sent += here.send_batch(datagrams[sent:], remote)
            else:
                for data in datagrams:
                    here.send(data, remote)
            for _ in datagrams:
                assert there.read() is not None, "loopback lost a datagram"
        return (time.process_time() - begun) / count * 1e6


async def _measure(way: AbstractAsyncContextManager[Carry], count: int) -> float:
    async with way as carry:
        await carry(count)  # buffers have their size, and credit is given
        found = []
        for _ in range(ROUNDS):
            begun = time.process_time()
            await carry(count)
            found.append((time.process_time() - begun) / count * 1e6)
    return statistics.median(found)


@asynccontextmanager
async def _nodes(options: dict[str, Any]) -> AsyncIterator[Carry]:
    items = streams._blobs()
    async with streams._node(options) as there, streams._node(options, str(there.addr)) as here:
        consumer = there.streams.consumer(Blob)
        producer = here.streams.producer(Blob, disconnect_lagging=False)
        await producer.when().online()

        async def send(count: int) -> None:
            for number in range(count):
                await producer.send(items[number % len(items)])

        async def carry(count: int) -> None:
            sending = asyncio.create_task(send(count))
            for _ in range(count):
                await consumer.recv()
            await sending

        yield carry


@asynccontextmanager
async def _bare(carrier: str) -> AsyncIterator[Carry]:
    loop, items = asyncio.get_running_loop(), streams._blobs()
    encode = msgspec.msgpack.Encoder().encode
    decode = msgspec.msgpack.Decoder(Blob).decode
    got, goal, is_done = 0, 0, asyncio.Event()

    def take(frame: memoryview) -> None:
        nonlocal got
        decode(frame)
        got += 1
        if got == goal:
            is_done.set()

    if carrier == "unix":
        where = str(carriers.own_folder() / "bare")
        server = await loop.create_unix_server(lambda: carriers.Frames(take), where)
        transport, protocol = await loop.create_unix_connection(
            lambda: carriers.Frames(lambda _frame: None), where
        )
    else:
        context = carriers.server_context()
        server = await loop.create_server(
            lambda: carriers.Frames(take), "127.0.0.1", 0, ssl=context
        )
        transport, protocol = await loop.create_connection(
            lambda: carriers.Frames(lambda _frame: None),
            *server.sockets[0].getsockname(),
            ssl=carriers.client_context(),
        )

    async def carry(count: int) -> None:
        nonlocal goal
        goal += count
        is_done.clear()
        for number in range(count):
            transport.write(carriers.framed(encode(items[number % len(items)])))
            await protocol.until_room()
        await is_done.wait()

    yield carry
    transport.close()
    server.close()
