"""Frames over one link against bytes over one bare aioquic stream, in the same run.

Both sides of both runs are separate processes on loopback. The bare side is
aioquic's own asyncio client and server with the same datagram size, the same
congestion control, and the same chunk size; it frames nothing and proves no
client. The receiver counts bytes and acknowledges the end; the clock runs from
the first write to that acknowledgement.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import ssl
import statistics
from collections.abc import Callable, Coroutine
from functools import partial
from multiprocessing.connection import Connection as Pipe
from random import Random
from typing import Any, cast

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent, StreamDataReceived

from mosaik_actors.clock import LoopClock
from mosaik_actors.ids import SecretKey
from mosaik_actors.transport.address import PeerAddr
from mosaik_actors.transport.close import SHUTDOWN
from mosaik_actors.transport.config import TransportConfig
from mosaik_actors.transport.endpoint import QuicEndpoint
from mosaik_actors.transport.identity import make_certificate
from mosaik_actors.transport.interface import FramesReceived, Link, LinkDrained, LinkEvent

from .report import Row

FRAME_BYTES = 64 * 1024
IN_FLIGHT_BYTES = 2 * 1024 * 1024
BAR_SHARE = 0.85
SILENT_LINKS_RATIO_MAX = 1.2

Measure = Callable[[str, int, int], Coroutine[Any, Any, float]]


def run(quick: bool) -> list[Row]:
    """Measure throughput of 64 KiB frames and the round trip of one small frame."""
    rounds = 1 if quick else 3
    rows = []
    for datagram_bytes, frame_count in ((16_384, 4000), (1_452, 800)):
        count = 50 if quick else frame_count
        ours, bare = [], []
        for _ in range(rounds):  # interleaved, because these machines are noisy
            bare.append(_between_processes(_serve_bare, _send_bare, datagram_bytes, count))
            ours.append(_between_processes(_serve_link, _send_link, datagram_bytes, count))
        best_ours, best_bare = max(ours), max(bare)
        rows.append(
            Row(
                f"64 KiB frames, datagrams of {datagram_bytes:,} B",
                best_ours,
                "MB/s",
                best_bare,
                "bare aioquic stream",
                BAR_SHARE,
                best_ours >= BAR_SHARE * best_bare,
            )
        )
    echoes = 20 if quick else 2000
    bare_us = bare_echo_us(echoes)
    ours_us = _between_processes(_serve_link, _echo_link, 16_384, echoes)
    rows.append(Row("round trip of a small frame, median", ours_us, "us", bare_us, "bare aioquic"))
    rows.append(_beside_silent_links(*((20, 20) if quick else (1000, 3900))))
    return rows


def _beside_silent_links(echo_count: int, link_count: int) -> Row:
    """Return the round trip on one link while others are open, against the same with a few."""
    few_us, many_us = (
        _between_processes(_serve_link, partial(_echo_link, silent_count=count), 16_384, echo_count)
        for count in (10, link_count)
    )
    ok = many_us <= SILENT_LINKS_RATIO_MAX * few_us
    name = f"round trip beside {link_count:,} silent links, median (the bar is a maximum)"
    return Row(name, many_us, "us", few_us, "beside 10", SILENT_LINKS_RATIO_MAX, ok)


def bare_echo_us(count: int) -> float:
    """Return the median round trip over bare aioquic, in microseconds, for others to compare."""
    return _between_processes(_serve_bare, _echo_bare, 16_384, count)


def _between_processes(
    server: Callable[[Pipe, int], None], client: Measure, datagram_bytes: int, count: int
) -> float:
    """Run `server` in a process of its own and `client` here; return what the client measured."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=server, args=(there, datagram_bytes), daemon=True)
    process.start()
    try:
        address = here.recv()
        return asyncio.run(client(address, datagram_bytes, count))
    finally:
        here.send("stop")
        process.join(10)
        process.close()


# Ours.


def _config(datagram_bytes: int) -> TransportConfig:
    return TransportConfig(
        carriers=("quic",),
        datagram_bytes_loopback=datagram_bytes,
        high_water_bytes=IN_FLIGHT_BYTES,
    )


async def _endpoint(name: str, datagram_bytes: int) -> QuicEndpoint:
    return await QuicEndpoint.start(
        "bench",
        SecretKey.from_seed(name),
        clock=LoopClock(asyncio.get_running_loop()),
        rng=Random(name),
        config=_config(datagram_bytes),
    )


def _serve_link(pipe: Pipe, datagram_bytes: int) -> None:
    async def main() -> None:
        endpoint = await _endpoint("server", datagram_bytes)

        def accept(link: Link) -> None:
            remaining = int.from_bytes(link.header)

            def take(event: LinkEvent) -> None:
                nonlocal remaining
                if isinstance(event, FramesReceived):
                    if remaining == 0:
                        link.write_many(event.frames)  # an echo
                        return
                    remaining -= sum(map(len, event.frames))
                    if remaining <= 0:
                        link.write(b"done")

            link.attach(take)
            link.accept()

        endpoint.serve("bench", accept)
        pipe.send(str(endpoint.addr))
        await asyncio.to_thread(pipe.recv)
        await endpoint.close(SHUTDOWN)

    asyncio.run(main())


async def _send_link(address: str, datagram_bytes: int, count: int) -> float:
    endpoint = await _endpoint("client", datagram_bytes)
    loop = asyncio.get_running_loop()
    total = count * FRAME_BYTES
    link = await endpoint.open_link(PeerAddr.parse(address), "bench", total.to_bytes(8))
    room = asyncio.Event()
    done: asyncio.Future[None] = loop.create_future()

    def take(event: LinkEvent) -> None:
        if isinstance(event, LinkDrained):
            room.set()
        elif isinstance(event, FramesReceived):
            done.set_result(None)

    link.attach(take)
    frame = bytes(FRAME_BYTES)
    start = loop.time()
    for _ in range(count):
        link.write(frame)
        if link.unsent_bytes > IN_FLIGHT_BYTES:
            room.clear()
            await room.wait()
    await done
    elapsed = loop.time() - start
    await endpoint.close(SHUTDOWN)
    return total / elapsed / 1e6


async def _echo_link(address: str, datagram_bytes: int, count: int, silent_count: int = 0) -> float:
    endpoint = await _endpoint("client", datagram_bytes)
    loop = asyncio.get_running_loop()
    server = PeerAddr.parse(address)
    for _ in range(silent_count):
        await endpoint.open_link(server, "bench", bytes(8))
    link = await endpoint.open_link(server, "bench", bytes(8))
    back: asyncio.Queue[bytes] = asyncio.Queue()

    def take(event: LinkEvent) -> None:
        if isinstance(event, FramesReceived):
            for frame in event.frames:
                back.put_nowait(frame)

    link.attach(take)
    samples = []
    for _ in range(count):
        start = loop.time()
        link.write(b"ping")
        await back.get()
        samples.append(loop.time() - start)
    await endpoint.close(SHUTDOWN)
    return statistics.median(samples) * 1e6


# Bare aioquic.


class _BareServer(QuicConnectionProtocol):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._remaining: int | None = None

    def quic_event_received(self, event: QuicEvent) -> None:
        if not isinstance(event, StreamDataReceived):
            return
        data = event.data
        if self._remaining is None:
            self._remaining, data = int.from_bytes(data[:8]), data[8:]
        if self._remaining == 0:
            if data:
                self._quic.send_stream_data(event.stream_id, data)
                self.transmit()
            return
        self._remaining -= len(data)
        if self._remaining <= 0:
            self._quic.send_stream_data(event.stream_id, b"done")
            self.transmit()


class _BareClient(QuicConnectionProtocol):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.back: asyncio.Queue[bytes] = asyncio.Queue()
        self.acked = asyncio.Event()

    def datagram_received(self, data: str | bytes, addr: Any) -> None:
        super().datagram_received(data, addr)
        self.acked.set()

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            self.back.put_nowait(event.data)


def _bare_configuration(datagram_bytes: int, is_client: bool) -> QuicConfiguration:
    configuration = QuicConfiguration(
        alpn_protocols=["bench"],
        is_client=is_client,
        max_datagram_size=datagram_bytes,
        max_data=8 * 1024 * 1024,
        max_stream_data=8 * 1024 * 1024,
        verify_mode=ssl.CERT_NONE,
    )
    key = SecretKey.from_seed("bare")
    configuration.certificate = make_certificate(key, 1)
    configuration.private_key = key.private_key
    return configuration


def _enlarge_buffers(transport: Any) -> None:
    """Give the bare side the socket buffers that ours has, or it would lose datagrams."""
    sock = transport.get_extra_info("socket")
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, 4 * 1024 * 1024)


def _serve_bare(pipe: Pipe, datagram_bytes: int) -> None:
    async def main() -> None:
        configuration = _bare_configuration(datagram_bytes, is_client=False)
        server = await serve(
            "127.0.0.1", 0, configuration=configuration, create_protocol=_BareServer
        )
        transport = cast(Any, server)._transport
        _enlarge_buffers(transport)
        pipe.send(str(transport.get_extra_info("sockname")[1]))
        await asyncio.to_thread(pipe.recv)
        server.close()

    asyncio.run(main())


async def _send_bare(port: str, datagram_bytes: int, count: int) -> float:
    loop = asyncio.get_running_loop()
    configuration = _bare_configuration(datagram_bytes, is_client=True)
    total = count * FRAME_BYTES
    async with connect(
        "127.0.0.1", int(port), configuration=configuration, create_protocol=_BareClient
    ) as protocol:
        client = cast(_BareClient, protocol)
        _enlarge_buffers(client._transport)
        quic = client._quic
        stream_id = quic.get_next_available_stream_id()
        frame = bytes(FRAME_BYTES)
        start = loop.time()
        quic.send_stream_data(stream_id, total.to_bytes(8))
        stream = quic._streams[stream_id]
        for _ in range(count):
            quic.send_stream_data(stream_id, frame)
            if len(stream.sender._buffer) > IN_FLIGHT_BYTES:
                client.transmit()
                while len(stream.sender._buffer) > IN_FLIGHT_BYTES // 2:
                    client.acked.clear()
                    await client.acked.wait()
        client.transmit()
        await client.back.get()
        return total / (loop.time() - start) / 1e6


async def _echo_bare(port: str, datagram_bytes: int, count: int) -> float:
    loop = asyncio.get_running_loop()
    configuration = _bare_configuration(datagram_bytes, is_client=True)
    async with connect(
        "127.0.0.1", int(port), configuration=configuration, create_protocol=_BareClient
    ) as protocol:
        client = cast(_BareClient, protocol)
        quic = client._quic
        stream_id = quic.get_next_available_stream_id()
        quic.send_stream_data(stream_id, bytes(8))
        samples = []
        for _ in range(count):
            start = loop.time()
            quic.send_stream_data(stream_id, b"ping")
            client.transmit()
            await client.back.get()
            samples.append(loop.time() - start)
        return statistics.median(samples) * 1e6
