"""What is dialled, when several know where a peer is, and for how long."""

from __future__ import annotations

import asyncio
import time

import pytest

from mosaik_actors import PeerAddr, TransportConfig
from mosaik_actors.clock import LoopClock
from mosaik_actors.ids import PeerId
from mosaik_actors.peer_log import PeerLog
from mosaik_actors.testing.scenario import simulate
from mosaik_actors.transport.address import DIRECT_COUNT_MAX, SocketAddr
from mosaik_actors.transport.apart import Apart
from mosaik_actors.transport.connection.connection import Connection
from mosaik_actors.transport.dial_budget import DialBudget
from mosaik_actors.transport.endpoint.dialer import ADDRS_MAX, STAGGER_S, Dialer
from mosaik_actors.transport.interface import LinkRefused

PEER = PeerId(bytes([7]) * 32)
NOBODY_APART = Apart((), PeerLog(), lambda _to: True)


class Silent:
    """A try that nobody answers."""

    def __init__(self) -> None:
        self.answered: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()

    def end(self, winner: Connection | None) -> None:
        self.answered.cancel()


def addr(number: int) -> SocketAddr:
    return (f"10.0.{number}.1", 4433)


def test_a_dial_goes_on_at_what_others_know_but_not_without_end() -> None:
    tried: list[SocketAddr] = []

    def start_attempt(_to: PeerAddr, at: SocketAddr, _datagrams_max: int | None) -> Silent:
        tried.append(at)
        return Silent()

    async def nowhere(_peer: PeerId) -> None:
        return None

    async def main() -> None:
        clock = LoopClock(asyncio.get_running_loop())
        config = TransportConfig(dial_timeout=60.0, stranger_dials_max=1000)
        dialer = Dialer(
            PeerId(bytes(32)),
            lambda _addr: True,
            start_attempt,
            nowhere,
            lambda _to: [],
            config,
            DialBudget(config),
            clock,
            NOBODY_APART,
        )
        dial = dialer.start(PeerAddr(PEER, (addr(0),)))
        await asyncio.sleep(1)
        assert tried == [addr(0)]
        # At once, though nothing was left to be tried; what is tried already is not again.
        assert dialer.start(PeerAddr(PEER, (addr(1), addr(0), addr(2)))) is dial
        await asyncio.sleep(STAGGER_S / 2)
        assert tried == [addr(0), addr(1)]
        for start in range(3, 100, DIRECT_COUNT_MAX):
            more = tuple(map(addr, range(start, start + DIRECT_COUNT_MAX)))
            dialer.start(PeerAddr(PEER, more))
        await asyncio.sleep(ADDRS_MAX * STAGGER_S + 1)
        assert len(set(tried)) == len(tried) == ADDRS_MAX
        await dialer.close()

    simulate(main())


async def test_a_dial_lasts_longer_in_a_process_that_is_late_itself() -> None:
    """What answers it may be here already, or its peer be as late."""

    async def nowhere(_peer: PeerId) -> None:
        return None

    loop = asyncio.get_running_loop()
    config = TransportConfig(dial_timeout=0.1)
    dialer = Dialer(
        PeerId(bytes(32)),
        lambda _addr: True,
        lambda *_: Silent(),
        nowhere,
        lambda _to: [],
        config,
        DialBudget(config),
        LoopClock(loop),
        NOBODY_APART,
    )
    began_at = loop.time()
    dial = dialer.start(PeerAddr(PEER, (addr(0),)))
    loop.call_soon(time.sleep, 0.2)  # late by 0.1 s, so it may take 0.4 s more
    with pytest.raises(LinkRefused, match="did not answer"):
        await dial
    assert loop.time() - began_at >= 0.6
