"""Peers that listen on nothing that this node dials."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from mosaik_actors import Network, PeerAddr, SecretKey, TransportConfig
from mosaik_actors.clock import LoopClock
from mosaik_actors.discovery.gossip.addresses import merge_addrs
from mosaik_actors.ids import PeerId
from mosaik_actors.peer_log import PeerLog
from mosaik_actors.testing import TIME_FACTOR
from mosaik_actors.transport.apart import APART_MAX, Apart
from mosaik_actors.transport.close import SHUTDOWN
from mosaik_actors.transport.endpoint import QuicEndpoint
from mosaik_actors.transport.interface import LinkRefused
from tests.waiting import until

DIALS_QUIC = "no carrier in common: it listens on tcp, this node dials quic"
DIALS_TCP = "no carrier in common: it listens on quic, this node dials tcp"


def listening(*carriers: str, number: int = 1) -> PeerAddr:
    return PeerAddr(PeerId(number.to_bytes(32)), (("10.0.0.1", 4433),), carriers=carriers)


def apart(*dials: str, is_reached: bool = False) -> Apart:
    return Apart(dials, PeerLog(), lambda _to: is_reached)


@pytest.mark.parametrize(
    ("dials", "listens", "why"),
    [
        (("quic",), ("tcp",), DIALS_QUIC),
        (("tcp",), ("quic",), DIALS_TCP),
        (("unix", "quic"), ("tcp",), "no carrier in common: it listens on tcp, this node dials "
         "unix and quic"),
        (("tcp", "quic"), ("quic",), None),
        (("unix", "quic"), ("unix", "tcp"), None),
        (("quic",), (), None),  # it does not say, as older versions do not
        ((), ("tcp",), None),
    ],
)  # fmt: skip
def test_what_is_dialled_and_listened_on_is_compared(
    dials: tuple[str, ...], listens: tuple[str, ...], why: str | None
) -> None:
    assert apart(*dials).why_not(listening(*listens)) == why


def test_who_is_reached_another_way_or_has_no_address_is_not_apart() -> None:
    assert apart("quic", is_reached=True).why_not(listening("tcp")) is None
    assert apart("quic").why_not(replace(listening("tcp"), direct=())) is None


def test_what_a_peer_calls_its_carriers_is_bounded_and_steers_nothing() -> None:
    why = apart("quic").why_not(listening(*["\x1b[2J" + "x" * 1000] * 100))
    assert why is not None
    assert why.isprintable()
    assert len(why) < 400


def test_it_is_logged_once_and_again_when_the_peer_was_met_meanwhile(
    caplog: pytest.LogCaptureFixture,
) -> None:
    to, one = listening("tcp"), apart("quic")
    for now in (0.0, 5.0, 5000.0):
        assert one.receive_dial(to) == DIALS_QUIC
        one.receive_silence(to.peer_id, now=now)
    assert [record.message for record in caplog.records] == [
        f"peer {to.peer_id.short} is not reached: {DIALS_QUIC}; give both nodes one carrier more, "
        "or a relay"
    ]
    assert one.dialled == {to.peer_id: DIALS_QUIC}
    assert one.receive_dial(replace(to, carriers=("quic",))) is None
    assert not one.dialled
    one.receive_dial(to)
    one.receive_silence(to.peer_id, now=9000.0)
    assert len(caplog.records) == 2


def test_any_number_of_peers_is_remembered_up_to_a_limit() -> None:
    one = apart("quic")
    for number in range(1, APART_MAX + 100):
        one.receive_dial(listening("tcp", number=number))
    assert len(one.dialled) == APART_MAX
    assert listening("tcp", number=APART_MAX + 99).peer_id in one.dialled


def test_what_two_say_of_a_peer_is_put_together() -> None:
    silent, says = listening(), listening("tcp")
    assert merge_addrs(silent, says).carriers == ("tcp",)
    assert merge_addrs(says, silent).carriers == ("tcp",)
    assert merge_addrs(says, listening("unix", "tcp")).carriers == ("tcp", "unix")
    elsewhere = replace(silent, direct=(("10.0.0.2", 4433),))
    assert merge_addrs(elsewhere, says).carriers == ("tcp",)


@asynccontextmanager
async def endpoints(*carriers: str) -> AsyncIterator[list[QuicEndpoint]]:
    made = []
    async with AsyncExitStack() as stack:
        for number, carrier in enumerate(carriers):
            endpoint = await QuicEndpoint.start(
                "net",
                SecretKey.from_seed(f"{carrier} {number}"),
                clock=LoopClock(asyncio.get_running_loop()),
                rng=Random(number),
                config=TransportConfig(carriers=(carrier,), dial_timeout=0.5 * TIME_FACTOR),
            )
            stack.push_async_callback(endpoint.close, SHUTDOWN)
            made.append(endpoint)
        yield made


async def test_a_dial_that_comes_to_nothing_says_so() -> None:
    async with endpoints("tcp", "quic") as (tcp, quic):
        with pytest.raises(LinkRefused, match=DIALS_TCP):
            await tcp.open_link(quic.addr, "chat")
        with pytest.raises(LinkRefused, match=DIALS_QUIC):
            await quic.open_link(tcp.addr, "chat")
        assert quic.apart.dialled == {tcp.peer_id: DIALS_QUIC}
        quic.vouch([tcp.addr])
        # Of an address alone nothing is known but that nobody answers there.
        with pytest.raises(LinkRefused, match="did not answer"):
            await quic.open_link(replace(tcp.addr, carriers=()), "chat")


async def test_what_a_peer_said_before_it_began_anew_keeps_nobody_away() -> None:
    async with endpoints("quic", "quic") as (a, b):
        b.serve("chat", lambda link: link.accept())
        await a.open_link(replace(b.addr, carriers=("tcp",)), "chat")
        assert not a.apart.dialled


async def test_nodes_of_one_machine_learn_it_from_the_rendezvous_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MOSAIK_RUNTIME_DIR", str(tmp_path))
    caplog.set_level(logging.WARNING)
    short = 0.5 * TIME_FACTOR
    over_tcp = TransportConfig(carriers=("tcp",), dial_timeout=short)
    over_quic = TransportConfig(carriers=("quic",), dial_timeout=short)
    async with (
        Network("mixed", transport=over_tcp) as a,
        Network("mixed", transport=over_quic) as b,
    ):
        lines = [
            f"peer {b.peer_id.short} is not reached: {DIALS_TCP}",
            f"peer {a.peer_id.short} is not reached: {DIALS_QUIC}",
        ]
        await until(lambda: all(line in caplog.text for line in lines))
        assert not a.discovery.catalog()
        # Once a node is there that has both, each hears of the other, and says the same.
        async with Network("mixed") as both:
            await until(lambda: b.peer_id in a.discovery.catalog())
            info = a.discovery.catalog()[b.peer_id]
            assert a.node.endpoint.apart.why_not(info.addr) == DIALS_TCP
            assert both.node.endpoint.apart.why_not(info.addr) is None
        assert all(caplog.text.count(line) == 1 for line in lines)
