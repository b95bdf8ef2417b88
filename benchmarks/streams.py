"""Items through a stream against the same records over a bare aioquic stream.

Producer and consumer are processes of their own, on loopback, and every record
is encoded and decoded as its type. Ours runs whole nodes: discovery,
subscription, credit, acknowledgements, order and the schema check; with default
settings, but for the buffer of the batched calls, which is as large as what the
bare side keeps in flight.
The bare side is aioquic's own asyncio client and server: it encodes the same
records in batches as large as ours (one msgspec call each), writes them with a
length in front, and decodes them; it has no credit of its own, one datagram
size for both, and the socket buffers that ours has.

Large items are 64 KiB of bytes in a record. Fan-out is one producer and many
consumers of one other process, 16 to a node (a peer may subscribe no more often),
measured as the CPU time that both sides spend per delivered item. Memory is
the resident size of both sides, after the first tenth of the items and at the end.

Machines that others use as well are noisy: rounds of both sides alternate, and
the best of each counts. Rates are the consumer's: from its first batch to its
last item. Round trips begin and end at the application: item out through one
stream, answer back through another.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any, cast

import msgspec
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.quic.events import QuicEvent, StreamDataReceived

from mosaik_actors.network import Network
from mosaik_actors.transport.config import TransportConfig

from .report import Row
from .transport import _bare_configuration, _enlarge_buffers

BATCH_ITEMS = 512  # what a frame of ours holds with default settings, while busy
MANY_ITEMS = 1000
MANY_BUFFER_ITEMS = 5000
IN_FLIGHT_BYTES = 512 * 1024
LARGE, SMALL = 16_384, 1_452

PLAIN_BAR = 300_000
PLAIN_SMALL_BAR = 150_000
MANY_BAR_SHARE = 0.8
ROUND_TRIP_BAR = 1.5
LARGE_ITEM_BYTES = 64 * 1024
LARGE_BAR_SHARE = 0.85
FEW, MANY = 5, 50
CONSUMERS_PER_NODE = 16  # a peer may subscribe no more often
FAN_OUT_BAR = 1.2
MEMORY_BAR = 1.1
ROUND_TRIP_P99_BAR_US = 5000.0

Child = Callable[[Pipe, dict[str, Any]], Coroutine[Any, Any, None]]


class Trade(msgspec.Struct, frozen=True):
    """A record of about 100 bytes as MessagePack."""

    symbol: str
    price: float
    quantity: float
    at_ms: int
    venue: str
    note: str
    number: int


class Ping(msgspec.Struct, frozen=True):
    """What goes out on the round trip."""

    number: int


class Pong(msgspec.Struct, frozen=True):
    """What comes back."""

    number: int


class Blob(msgspec.Struct, frozen=True):
    """A large record."""

    number: int
    data: bytes


def trade(number: int) -> Trade:
    """Return a record of exactly 100 bytes, give or take the size of its numbers."""
    return Trade(
        "ETH/USDC", 1234.5 + number, 1.5, 1_700_000_000_000 + number, "venue", "x" * 18, number
    )


def run(quick: bool) -> list[Row]:
    """Measure rates with plain and batched calls, and the round trip."""
    count, rounds = (20_000, 1) if quick else (1_000_000, 3)
    rows: list[Row] = []
    for datagram_bytes, bar in ((LARGE, PLAIN_BAR), (SMALL, PLAIN_SMALL_BAR)):
        total = count if datagram_bytes == LARGE else count // 4
        plain, many, bare = [], [], []
        for _ in range(rounds):  # interleaved, because these machines are noisy
            options = {"count": total, "datagram_bytes": datagram_bytes}
            bare.append(_pair(_bare_receive, _bare_send, options)["rate"])
            plain.append(_pair(_consume, _produce, {**options, "many": False})["rate"])
            many.append(_pair(_consume, _produce, {**options, "many": True})["rate"])
        size = f"datagrams of {datagram_bytes:,} B"
        bare_rate = max(bare)
        rows.append(
            Row(
                f"send() and async for, {size}",
                max(plain),
                "items/s",
                bare_rate,
                "bare aioquic, same batches",
                bar,
                None if quick else max(plain) >= bar,
            )
        )
        rows.append(
            Row(
                f"send_many() and recv_many(), buffer {MANY_BUFFER_ITEMS}, {size}",
                max(many),
                "items/s",
                bare_rate,
                "bare aioquic, same batches",
                MANY_BAR_SHARE,
                None if quick else max(many) >= MANY_BAR_SHARE * bare_rate,
            )
        )
    rows += _large_rows(quick)
    rows += _fan_out_rows(quick)
    rows += _memory_rows(quick)
    return rows + _round_trip_rows(quick)


def _round_trip_rows(quick: bool) -> list[Row]:
    """Measure round trips by turns, bare and ours: how fast a machine is changes by the second."""
    trips = {"count": 50 if quick else 700, "datagram_bytes": LARGE}
    turns = [
        (_pair(_bare_echo, _bare_ping, trips), _pair(_answer, _ask, trips))
        for _ in range(1 if quick else 9)
    ]
    rows = []
    for name, key in (("median", "median_us"), ("p99", "p99_us")):
        bare_us = statistics.median(bare[key] for bare, _ in turns)
        ours_us = statistics.median(ours[key] for _, ours in turns)
        is_median = key == "median_us"
        limit_us = ROUND_TRIP_BAR * bare_us if is_median else ROUND_TRIP_P99_BAR_US
        rows.append(
            Row(
                f"round trip through two streams, {name}",
                ours_us,
                "us",
                bare_us,
                "bare aioquic echo",
                ROUND_TRIP_BAR if is_median else ROUND_TRIP_P99_BAR_US,
                None if quick else ours_us <= limit_us,
            )
        )
    return rows


def _large_rows(quick: bool) -> list[Row]:
    rows = []
    for datagram_bytes, total in ((LARGE, 4000), (SMALL, 1000)):
        options = {"count": 30 if quick else total, "datagram_bytes": datagram_bytes}
        bare, ours = [], []
        for _ in range(1 if quick else 3):
            bare.append(_pair(_bare_receive_large, _bare_send_large, options)["rate"])
            ours.append(_pair(_consume_large, _produce_large, options)["rate"])
        best, best_bare = (max(rates) * LARGE_ITEM_BYTES / 1e6 for rates in (ours, bare))
        rows.append(
            Row(
                f"64 KiB items, datagrams of {datagram_bytes:,} B",
                best,
                "MB/s",
                best_bare,
                "bare aioquic, same records",
                LARGE_BAR_SHARE,
                None if quick else best >= LARGE_BAR_SHARE * best_bare,
            )
        )
    return rows


def _fan_out_rows(quick: bool) -> list[Row]:
    """Measure what a delivered item costs with 5 and with 50 consumers."""
    deliveries = 5000 if quick else 1_000_000
    costs: dict[int, list[float]] = {FEW: [], MANY: []}
    for _ in range(1 if quick else 3):
        for consumers, found in costs.items():
            options = {
                "count": deliveries // consumers,
                "consumers": consumers,
                "datagram_bytes": LARGE,
            }
            spent = _pair(_consume_each, _produce_each, options)
            found.append(spent["consumer_ns"] + spent["producer_ns"])
    few, many = min(costs[FEW]), min(costs[MANY])
    return [
        Row(
            f"CPU of both sides per delivered item, {MANY} consumers in one process",
            many,
            "ns",
            few,
            f"with {FEW}",
            FAN_OUT_BAR,
            None if quick else many <= FAN_OUT_BAR * few,
        )
    ]


def _memory_rows(quick: bool) -> list[Row]:
    options = {"count": 50_000 if quick else 10_000_000, "datagram_bytes": LARGE}
    found = _pair(_consume_forgetting, _produce_forgetting, options)
    return [
        Row(
            f"resident memory of the {side} after {options['count']:,} items",
            found[f"{side}_end_mb"],
            "MB",
            found[f"{side}_early_mb"],
            "after a tenth of them",
            MEMORY_BAR,
            None if quick else found[f"{side}_end_mb"] <= MEMORY_BAR * found[f"{side}_early_mb"],
        )
        for side in ("producer", "consumer")
    ]


def _pair(listener: Child, talker: Child, options: dict[str, Any]) -> dict[str, float]:
    """Run both in processes of their own; return what the one that measures says.

    They are forked from a process that has imported this module and done nothing else, since
    to import it takes longer than many a measurement. With the option ``has_core`` each stays on
    a core of its own where there are two: else the system decides by the run whether they share
    one, which halves what they carry.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    processes, pipes = [], []
    cores: list[int | None] = [None, None]
    if options.get("has_core") and hasattr(os, "sched_getaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        cores = list(allowed[:2]) if len(allowed) > 1 else cores
    for child, core in zip((listener, talker), cores, strict=True):
        here, there = context.Pipe()
        arguments = (child, there, options, dict(os.environ), core)
        process = context.Process(target=_run_child, args=arguments, daemon=True)
        process.start()
        there.close()
        processes.append(process)
        pipes.append(here)
    try:
        pipes[1].send(pipes[0].recv())  # where the listener is
        measured: dict[str, float] = {}
        for pipe in reversed(pipes):
            measured.update(pipe.recv())
        return measured
    finally:
        for pipe in pipes:  # all at once: some wait for the other side's end
            pipe.send("stop")
        for pipe, process in zip(pipes, processes, strict=True):
            process.join(10)
            process.close()
            pipe.close()


def _run_child(
    child: Child,
    pipe: Pipe,
    options: dict[str, Any],
    environment: dict[str, str],
    core: int | None,
) -> None:
    os.environ.update(environment)
    if core is not None:
        os.sched_setaffinity(0, {core})
    asyncio.run(child(pipe, options))


async def _told(pipe: Pipe) -> Any:
    return await asyncio.to_thread(pipe.recv)


def _cpu_us(since_s: float, items: int) -> float:
    """Return the CPU of this process for each of some items."""
    return (time.process_time() - since_s) / items * 1e6


def _summary(samples_s: list[float]) -> dict[str, float]:
    ordered = sorted(samples_s)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return {"median_us": statistics.median(ordered) * 1e6, "p99_us": p99 * 1e6}


# Ours.


@asynccontextmanager
async def _node(options: dict[str, Any], bootstrap: str | None = None) -> AsyncIterator[Network]:
    carrier = options.get("carrier", "quic")
    transport = TransportConfig(
        carriers=(carrier,),
        datagram_bytes_loopback=options.get("datagram_bytes", LARGE),
        quic_engine=options.get("quic_engine", "auto"),
    )
    known = [] if bootstrap is None else [bootstrap]
    rendezvous = carrier == "unix"  # whose folder has the sockets
    async with Network(
        "bench-streams", bootstrap=known, rendezvous=rendezvous, transport=transport
    ) as net:
        yield net


async def _consume(pipe: Pipe, options: dict[str, Any]) -> None:
    loop, count = asyncio.get_running_loop(), options["count"]
    async with _node(options) as net:
        pipe.send(str(net.addr))
        consumer = net.streams.consume(Trade)
        got = len(await consumer.recv_many())
        start, first, cpu_s = loop.time(), got, time.process_time()
        if options["many"]:
            while got < count:
                got += len(await consumer.recv_many(MANY_ITEMS))
        else:
            async for _item in consumer:
                got += 1
                if got == count:
                    break
        items_per_s = (count - first) / (loop.time() - start)
        pipe.send({"rate": items_per_s, "receiver_us": _cpu_us(cpu_s, count - first)})
        await _told(pipe)


async def _produce(pipe: Pipe, options: dict[str, Any]) -> None:
    items = [trade(number) for number in range(options["count"])]
    async with _node(options, await _told(pipe)) as net:
        buffer_size = MANY_BUFFER_ITEMS if options["many"] else None
        producer = net.streams.producer(Trade, buffer_size=buffer_size)
        await producer.when().online()
        cpu_s = time.process_time()
        if options["many"]:
            for start in range(0, len(items), MANY_ITEMS):
                await producer.send_many(items[start : start + MANY_ITEMS])
        else:
            for item in items:
                await producer.send(item)
        pipe.send({"sender_us": _cpu_us(cpu_s, len(items))})
        await _told(pipe)


async def _consume_large(pipe: Pipe, options: dict[str, Any]) -> None:
    loop, count = asyncio.get_running_loop(), options["count"]
    async with _node(options) as net:
        pipe.send(str(net.addr))
        consumer = net.streams.consume(Blob)
        await consumer.recv()
        start, got, cpu_s = loop.time(), 1, time.process_time()
        async for _item in consumer:
            got += 1
            if got == count:
                break
        items_per_s = (count - 1) / (loop.time() - start)
        pipe.send({"rate": items_per_s, "receiver_us": _cpu_us(cpu_s, count - 1)})
        await _told(pipe)


async def _produce_large(pipe: Pipe, options: dict[str, Any]) -> None:
    items = _blobs(options.get("item_bytes", LARGE_ITEM_BYTES))
    async with _node(options, await _told(pipe)) as net:
        producer = net.streams.produce(Blob)
        await producer.when().online()
        cpu_s = time.process_time()
        for number in range(options["count"]):
            await producer.send(items[number % len(items)])
        pipe.send({"sender_us": _cpu_us(cpu_s, options["count"])})
        await _told(pipe)


def _blobs(item_bytes: int = LARGE_ITEM_BYTES) -> list[Blob]:
    return [Blob(number, bytes([number]) * item_bytes) for number in range(64)]


async def _consume_each(pipe: Pipe, options: dict[str, Any]) -> None:
    count = options["count"]
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(_node(options))
        nodes = [first]
        while len(nodes) * CONSUMERS_PER_NODE < options["consumers"]:
            nodes.append(await stack.enter_async_context(_node(options, str(first.addr))))
        pipe.send(str(first.addr))
        consumers = [
            nodes[number // CONSUMERS_PER_NODE].streams.consume(Trade)
            for number in range(options["consumers"])
        ]
        starts: list[tuple[float, float]] = []

        async def take(consumer: Any) -> None:
            got = len(await consumer.recv_many())
            starts.append((time.process_time(), time.perf_counter()))
            while got < count:
                got += len(await consumer.recv_many(MANY_ITEMS))

        await asyncio.gather(*(take(consumer) for consumer in consumers))
        used_s, took_s = time.process_time() - starts[0][0], time.perf_counter() - starts[0][1]
        deliveries = count * len(consumers)
        pipe.send({"consumer_ns": used_s / deliveries * 1e9, "rate": deliveries / took_s})
        await _told(pipe)


async def _produce_each(pipe: Pipe, options: dict[str, Any]) -> None:
    items = [trade(number) for number in range(options["count"])]
    async with _node(options, await _told(pipe)) as net:
        producer = net.streams.produce(Trade)
        while len(producer.consumers()) < options["consumers"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        start_s = time.process_time()
        for start in range(0, len(items), MANY_ITEMS):
            await producer.send_many(items[start : start + MANY_ITEMS])
        await producer.close()
        deliveries = options["count"] * options["consumers"]
        pipe.send({"producer_ns": (time.process_time() - start_s) / deliveries * 1e9})
        await _told(pipe)


async def _consume_forgetting(pipe: Pipe, options: dict[str, Any]) -> None:
    count = options["count"]
    async with _node(options) as net:
        pipe.send(str(net.addr))
        consumer = net.streams.consume(Trade)
        got, early_mb = 0, 0.0
        while got < count:
            got += len(await consumer.recv_many(MANY_ITEMS))
            if not early_mb and got >= count // 10:
                early_mb = _resident_mb()
        pipe.send({"consumer_early_mb": early_mb, "consumer_end_mb": _resident_mb()})
        await _told(pipe)


async def _produce_forgetting(pipe: Pipe, options: dict[str, Any]) -> None:
    count = options["count"]
    items = [trade(number) for number in range(MANY_ITEMS)]
    async with _node(options, await _told(pipe)) as net:
        producer = net.streams.produce(Trade)
        await producer.when().online()
        early_mb = 0.0
        for sent in range(0, count, MANY_ITEMS):
            await producer.send_many(items)
            if not early_mb and sent >= count // 10:
                early_mb = _resident_mb()
        pipe.send({"producer_early_mb": early_mb, "producer_end_mb": _resident_mb()})
        await _told(pipe)


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


async def _answer(pipe: Pipe, options: dict[str, Any]) -> None:
    async with _node(options) as net:
        pipe.send(str(net.addr))
        pings, pongs = net.streams.consume(Ping), net.streams.produce(Pong)

        async def answer() -> None:
            async for ping in pings:
                await pongs.send(Pong(ping.number))

        answering = asyncio.create_task(answer())
        pipe.send({})
        await _told(pipe)
        answering.cancel()


async def _ask(pipe: Pipe, options: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    async with _node(options, await _told(pipe)) as net:
        pings, pongs = net.streams.produce(Ping), net.streams.consume(Pong)
        await pings.when().online()
        await pongs.when().online()
        samples_s = []
        for number in range(options["count"]):
            start = loop.time()
            await pings.send(Ping(number))
            await pongs.recv()
            samples_s.append(loop.time() - start)
        pipe.send(_summary(samples_s))
        await _told(pipe)


# Bare aioquic.


class _BareReceiver(QuicConnectionProtocol):
    """Takes in batches, decodes them, and says when it had the last one."""

    count = 0
    done: asyncio.Future[dict[str, float]]
    decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(list[Trade])

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._decode = self.decoder.decode
        self._buffer = bytearray()
        self._got = 0
        self._first = 0
        self._start = 0.0

    def quic_event_received(self, event: QuicEvent) -> None:
        if not isinstance(event, StreamDataReceived):
            return
        self._buffer += event.data
        while len(self._buffer) >= 4:
            end = 4 + int.from_bytes(self._buffer[:4])
            if len(self._buffer) < end:
                return
            items = self._decode(bytes(memoryview(self._buffer)[4:end]))
            del self._buffer[:end]
            self._take(len(items))

    def _take(self, item_count: int) -> None:
        self._got += item_count
        if not self._start:
            self._start, self._first = self._loop.time(), self._got
        elif self._got == type(self).count:
            elapsed_s = self._loop.time() - self._start
            type(self).done.set_result({"rate": (self._got - self._first) / elapsed_s})


class _BareEcho(QuicConnectionProtocol):
    """Sends back what comes."""

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived) and event.data:
            self._quic.send_stream_data(event.stream_id, event.data)
            self.transmit()


class _BareClient(QuicConnectionProtocol):
    """Notes what comes back, and that something was acknowledged."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.back: asyncio.Queue[bytes] = asyncio.Queue()
        self.heard = asyncio.Event()

    def datagram_received(self, data: str | bytes, addr: Any) -> None:
        super().datagram_received(data, addr)
        self.heard.set()

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            self.back.put_nowait(event.data)


async def _bare_serve(pipe: Pipe, options: dict[str, Any], protocol: Any) -> Any:
    configuration = _bare_configuration(options["datagram_bytes"], is_client=False)
    server = await serve("127.0.0.1", 0, configuration=configuration, create_protocol=protocol)
    transport = cast(Any, server)._transport
    _enlarge_buffers(transport)
    pipe.send(transport.get_extra_info("sockname")[1])
    return server


@asynccontextmanager
async def _bare_connection(pipe: Pipe, options: dict[str, Any]) -> AsyncIterator[_BareClient]:
    port = await _told(pipe)
    configuration = _bare_configuration(options["datagram_bytes"], is_client=True)
    async with connect(
        "127.0.0.1", port, configuration=configuration, create_protocol=_BareClient
    ) as protocol:
        client = cast(_BareClient, protocol)
        _enlarge_buffers(client._transport)
        yield client


async def _bare_receive(pipe: Pipe, options: dict[str, Any]) -> None:
    _BareReceiver.count = options["count"]
    _BareReceiver.done = asyncio.get_running_loop().create_future()
    server = await _bare_serve(pipe, options, _BareReceiver)
    pipe.send(await _BareReceiver.done)
    await _told(pipe)
    server.close()


async def _bare_send(pipe: Pipe, options: dict[str, Any]) -> None:
    items = [trade(number) for number in range(options["count"])]
    batches = (items[start : start + BATCH_ITEMS] for start in range(0, len(items), BATCH_ITEMS))
    await _bare_send_batches(pipe, options, batches)


async def _bare_send_batches(
    pipe: Pipe, options: dict[str, Any], batches: Iterable[list[Any]]
) -> None:
    encode = msgspec.msgpack.Encoder().encode
    async with _bare_connection(pipe, options) as client:
        quic = client._quic
        stream_id = quic.get_next_available_stream_id()
        quic.send_stream_data(stream_id, b"")
        sender = quic._streams[stream_id].sender
        for items in batches:
            batch = encode(items)
            quic.send_stream_data(stream_id, len(batch).to_bytes(4) + batch)
            client.transmit()
            while len(sender._buffer) > IN_FLIGHT_BYTES:
                client.heard.clear()
                await client.heard.wait()
        pipe.send({})
        await _told(pipe)


async def _bare_receive_large(pipe: Pipe, options: dict[str, Any]) -> None:
    _BareReceiver.decoder = msgspec.msgpack.Decoder(list[Blob])
    await _bare_receive(pipe, options)


async def _bare_send_large(pipe: Pipe, options: dict[str, Any]) -> None:
    items = _blobs()
    batches = ([items[number % len(items)]] for number in range(options["count"]))
    await _bare_send_batches(pipe, options, batches)


async def _bare_echo(pipe: Pipe, options: dict[str, Any]) -> None:
    server = await _bare_serve(pipe, options, _BareEcho)
    pipe.send({})
    await _told(pipe)
    server.close()


async def _bare_ping(pipe: Pipe, options: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    async with _bare_connection(pipe, options) as client:
        quic = client._quic
        stream_id = quic.get_next_available_stream_id()
        samples_s = []
        for _ in range(options["count"]):
            start = loop.time()
            quic.send_stream_data(stream_id, b"ping" * 5)
            client.transmit()
            await client.back.get()
            samples_s.append(loop.time() - start)
        pipe.send(_summary(samples_s))
        await _told(pipe)
