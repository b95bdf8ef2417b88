"""UDP ports that read and write many datagrams at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mosaik_actors.transport.address import SocketAddr
from mosaik_actors.transport.batched_sockets import BatchedUdpPort
from mosaik_actors.transport.config import TransportConfig
from mosaik_actors.transport.quic.choice import choose_port
from mosaik_actors.transport.sockets import BatchingPort, DatagramPort, UdpPort, bind_udp
from tests.waiting import until

BUFFER_BYTES = 4 * 1024 * 1024


def bound(host: str = "127.0.0.1", port: int = 0) -> BatchedUdpPort:
    loop = asyncio.get_running_loop()
    made = bind_udp((host, port), BUFFER_BYTES, loop, BatchedUdpPort)
    assert isinstance(made, BatchedUdpPort)
    return made


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_all_is_read_though_each_turn_takes_one(host: str) -> None:
    """What the kernel has handed over wakes nobody: the port itself has to."""
    try:
        one, other = bound(host), bound(host)
    except Exception:
        if host == "::1":
            pytest.skip("this machine has no IPv6")
        raise
    got: list[bytes] = []

    def read_one(port: DatagramPort) -> None:
        found = port.read()
        if found is not None:
            assert found[1] == one.local_addrs[0]
            got.append(found[0])

    other.start(read_one)
    sizes = [1200, 1200, 1200, 700, 1200, 16_000, 1, 0] * 5
    sent = [bytes([number]) * size for number, size in enumerate(sizes)]
    assert one.send_batch(sent, other.local_addrs[0]) == len(sent)
    await until(lambda: len(got) == len(sent))
    assert got == sent
    one.close()
    other.close()
    assert other.read() is None


async def test_what_came_from_one_place_is_read_at_once() -> None:
    one, two, other = bound(), bound(), bound()
    got: list[tuple[list[bytes], SocketAddr]] = []
    there = other.local_addrs[0]
    for port, sizes in ((one, [1200] * 5), (two, [1200, 30]), (one, [0, 1])):
        port.send_batch([bytes(size) for size in sizes], there)

    def read(_port: DatagramPort) -> None:
        while (found := other.read_batch()) is not None:
            got.append(found)

    other.start(read)
    await until(lambda: sum(len(datagrams) for datagrams, _ in got) == 9)
    sources = [one.local_addrs[0], two.local_addrs[0], one.local_addrs[0]]
    assert [source for _, source in got] == sources
    assert [[len(data) for data in datagrams] for datagrams, _ in got] == [
        [1200] * 5,
        [1200, 30],
        [0, 1],
    ]
    for port in (one, two, other):
        port.close()


async def test_address_is_free_after_the_close() -> None:
    port = bound()
    host, number = port.local_addrs[0]
    port.close()
    with pytest.raises(OSError, match="closed"):
        port.send_batch([b"x"], (host, number))
    bound(host, number).close()


async def test_what_is_too_large_is_an_error() -> None:
    port = bound()
    with pytest.raises(OSError, match="long"):
        port.send_batch([bytes(70_000)], port.local_addrs[0])
    port.close()


@pytest.mark.parametrize(
    ("host", "settings", "is_batched"),
    [
        ("0.0.0.0", {}, True),
        ("127.0.0.1", {}, False),  # a few large datagrams are as quick one by one
        ("127.0.0.1", {"datagram_bytes_loopback": 1200}, True),
        ("127.0.0.1", {"quic_engine": "qh3"}, True),
        ("0.0.0.0", {"quic_engine": "aioquic"}, False),
    ],
)
async def test_ports_follow_the_setting(
    host: str, settings: dict[str, Any], is_batched: bool
) -> None:
    make = choose_port(TransportConfig(**settings))
    made = bind_udp((host, 0), BUFFER_BYTES, asyncio.get_running_loop(), make)
    assert isinstance(made, BatchedUdpPort) == is_batched
    made.close()


def test_only_batched_ports_take_batches() -> None:
    assert issubclass(BatchedUdpPort, BatchingPort)
    assert not issubclass(UdpPort, BatchingPort)
