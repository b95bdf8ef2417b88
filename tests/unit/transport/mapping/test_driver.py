"""Port mapping of an endpoint, and of a node, with a gateway at a socket of loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest

from mosaik_actors import ConfigError, Network, TransportConfig
from mosaik_actors.clock import LoopClock
from mosaik_actors.ids import SecretKey
from mosaik_actors.transport.close import SHUTDOWN
from mosaik_actors.transport.endpoint import QuicEndpoint
from mosaik_actors.transport.mapping import driver
from mosaik_actors.transport.mapping.codec import TCP, UDP
from mosaik_actors.transport.mapping.gateway import parse_routes
from tests.waiting import until

from .gateways import OUTSIDE, Gateway, serving


@asynccontextmanager
async def endpoint(config: TransportConfig) -> AsyncIterator[QuicEndpoint]:
    clock = LoopClock(asyncio.get_running_loop())
    key = SecretKey.from_seed("mapped")
    made = await QuicEndpoint.start("net", key, clock=clock, rng=Random(1), config=config)
    try:
        yield made
    finally:
        await made.close(SHUTDOWN)


@pytest.mark.parametrize("knows", ["PCP", "NAT-PMP"])
async def test_an_endpoint_is_told_with_its_mapped_address_and_gives_it_back(knows: str) -> None:
    gateway = Gateway(knows=(knows,))
    async with serving(gateway) as config:
        async with endpoint(config) as made:
            assert made.mapping is not None
            assert made.may_move
            await until(lambda: made.look_where())
            own = made.local_addr.direct[0]
            assert made.addr.direct == (own, (OUTSIDE, own[1]))
            assert made.mapping.method == knows
            await until(lambda: len(gateway.mapped) == 2)
            assert set(gateway.mapped) == {(UDP, own[1]), (TCP, own[1])}
            assert not made.look_where()
        await until(lambda: gateway.mapped == {})


async def test_a_node_announces_where_it_is_mapped() -> None:
    gateway = Gateway()
    async with (
        serving(gateway) as config,
        Network("mapped", transport=config, rendezvous=False) as one,
    ):
        await until(lambda: (OUTSIDE, one.addr.direct[0][1]) in one.discovery.me.addr.direct)


async def test_why_there_is_no_mapping_is_said_and_once(caplog: pytest.LogCaptureFixture) -> None:
    gateway = Gateway(outside="192.168.0.1")
    async with serving(gateway) as config, endpoint(config) as made:
        mapping = made.mapping
        assert mapping is not None
        await until(lambda: bool(mapping.error))
        assert "behind another NAT" in mapping.error
        assert (mapping.external, mapping.method) == (None, "")
        mapping._follow_up()
        assert sum("another NAT" in one.getMessage() for one in caplog.records) == 1
        assert not made.look_where()


async def test_a_gateway_without_a_server_is_known_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unheard:
        unheard.bind(("127.0.0.1", 0))
        port = unheard.getsockname()[1]
    config = TransportConfig(port_mapping=True, port_gateway=f"127.0.0.1:{port}")
    async with endpoint(config) as made:
        mapping = made.mapping
        assert mapping is not None
        await until(lambda: "neither PCP nor NAT-PMP" in mapping.error)


async def test_without_a_route_or_what_to_map_nothing_is_asked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(driver, "find_gateway", lambda: None)
    # Nobody outside reaches the loopback interface, whatever is mapped.
    async with endpoint(TransportConfig(port_mapping=True)) as made:
        assert made.mapping is None
        assert not made.may_move
    assert [one.getMessage() for one in caplog.records] == [
        f"port mapping: {driver.NOTHING_TO_MAP}"
    ]
    made_mapping = driver.PortMapping(
        4433,
        (UDP,),
        None,
        lambda *_: pytest.fail("nobody is there"),
        LoopClock(asyncio.get_running_loop()),
        Random(1),
    )
    assert "port_gateway" in made_mapping.error
    # There is one after a move.
    gateway = Gateway()
    async with serving(gateway) as config:
        made_mapping._named = config.gateway
        made_mapping.receive_move()
        await until(lambda: made_mapping.external == (OUTSIDE, 4433))
        await made_mapping.close()
        await made_mapping.close()
        await until(lambda: gateway.mapped == {})


@pytest.mark.parametrize(
    ("config", "host"),
    [
        (TransportConfig(), "127.0.0.1"),
        (TransportConfig(port_mapping=True), "0.0.0.0"),
        (TransportConfig(port_mapping=True, port_gateway="192.0.2.1"), "0.0.0.0"),
        (TransportConfig(port_mapping=True, port_gateway="127.0.0.1"), "127.0.0.1"),
        (TransportConfig(port_gateway="192.0.2.1"), "127.0.0.1"),
    ],
)
def test_a_node_whose_port_is_mapped_hears_more_than_its_machine(
    config: TransportConfig, host: str
) -> None:
    assert Network("mapped", transport=config)._settings.bind == [(host, 0)]


async def test_upnp_is_tried_when_the_gateway_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        external = None
        error = ""
        is_released = False

        async def run(self) -> None:
            self.external = (OUTSIDE, 9)

        async def release(self) -> None:
            self.is_released = True

    other = Other()
    monkeypatch.setattr(driver, "is_loopback", lambda _host: False)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unheard:
        unheard.bind(("127.0.0.1", 0))
        where = unheard.getsockname()
    clock = LoopClock(asyncio.get_running_loop())
    mapping = driver.PortMapping(9, (UDP,), where, lambda *_: other, clock, Random(1))
    await until(lambda: mapping.external == (OUTSIDE, 9))
    assert (mapping.method, mapping.error) == ("UPnP", "")
    await mapping.close()
    assert other.is_released


def test_the_gateway_is_that_of_the_default_route_with_the_least_metric() -> None:
    head = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
    wifi = "wlan0 00000000 0101A8C0 0003 0 0 600 00000000 0 0 0\n"
    wire = "eth0 00000000 FE01000A 0003 0 0 100 00000000 0 0 0\n"
    link = "eth0 0001000A 00000000 0001 0 0 100 00FFFFFF 0 0 0\n"
    down = "eth1 00000000 0202A8C0 0002 0 0 1 00000000 0 0 0\n"
    assert parse_routes(head + link + wifi) == "192.168.1.1"
    assert parse_routes(head + wifi + wire + down) == "10.0.1.254"
    for text in ("", head, head + link, head + "nonsense\n", head + "a b c d e f g h\n"):
        assert parse_routes(text) is None


@pytest.mark.parametrize("text", ["router", "::1", "192.168.1.1:0", "192.168.1.1:x", "1.2.3"])
def test_what_is_no_gateway_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="port_gateway"):
        TransportConfig(port_gateway=text)
