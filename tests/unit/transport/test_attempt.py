"""In which order carriers are tried at one address; time is virtual."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mosaik_actors.testing.loop import SimLoop
from mosaik_actors.transport.close import CloseCode, CloseReason
from mosaik_actors.transport.connection.connection import Connection
from mosaik_actors.transport.endpoint.attempt import NEAR_S, RESERVE_S, STAGGER_S, CarrierRace
from mosaik_actors.transport.interface import LinkRefused

NEVER = 1e9
SILENT = LinkRefused(CloseReason(CloseCode.UNEXPECTED_CLOSE, "nothing came back"))
UNWANTED = LinkRefused(CloseReason(CloseCode.NOT_ALLOWED, "not allowed here", remote=True))


class FakeConnection:
    """A connection that is ready, or fails, when it is said to be."""

    def __init__(self, carrier: str) -> None:
        self.carrier = carrier
        self.handshake_done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.closed: CloseReason | None = None

    def close(self, reason: CloseReason) -> None:
        self.closed = reason


class FakeSocket:
    """A socket of which is known whether it was closed."""

    is_closed = False

    def close(self) -> None:
        self.is_closed = True


class Peer:
    """A peer at one address. Of each carrier: when it answers, after it is begun, and what.

    Args:
        tcp_s: When its port answers; None where it says at once that it is closed.
        tls_s: How long TLS then takes.
        quic_s: How long QUIC takes.
        tls_error: What TLS ends with, in place of a connection.
        quic_error: The same of QUIC.
    """

    def __init__(
        self,
        *,
        tcp_s: float | None = 0.001,
        tls_s: float = 0.001,
        quic_s: float = 0.001,
        tls_error: LinkRefused | None = None,
        quic_error: LinkRefused | None = None,
    ) -> None:
        self.begun: dict[str, float] = {}
        self.made: list[FakeConnection] = []
        self.socket = FakeSocket()
        self._tcp_s = tcp_s
        self._takes = {"tcp": (tls_s, tls_error), "quic": (quic_s, quic_error)}

    async def connect_tcp(self) -> Any:
        if self._tcp_s is None:
            raise ConnectionRefusedError
        await asyncio.sleep(self._tcp_s)
        return self.socket

    def begin(self, carrier: str) -> Any:
        connection = FakeConnection(carrier)
        self.made.append(connection)
        loop = asyncio.get_running_loop()
        self.begun[carrier] = loop.time()
        after_s, error = self._takes[carrier]
        done = connection.handshake_done

        def finish() -> None:
            if done.done():
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(connection)

        loop.call_later(after_s, finish)
        return connection

    def race(self, *, has_quic: bool = True, has_tcp: bool = True) -> CarrierRace:
        begin_quic: Callable[[], Connection] = lambda: self.begin("quic")  # noqa: E731
        connect: Callable[[], Awaitable[Any]] = self.connect_tcp
        return CarrierRace(
            begin_quic if has_quic else None,
            connect if has_tcp else None,
            lambda _sock: self.begin("tcp"),
        )


def outcome(peer: Peer, **which: bool) -> tuple[str, float]:
    """Return which carrier won and after how long; all else has been given up."""

    async def run() -> tuple[str, float]:
        race = peer.race(**which)
        winner: Any = None
        try:
            winner = await asyncio.wait_for(race.answered, 60)
        finally:
            race.end(winner)
            took = asyncio.get_running_loop().time()
            await asyncio.sleep(0.001)
            for one in peer.made:
                assert (one.closed is None) == (one is winner)
            if peer.socket.is_closed:
                assert "tcp" not in peer.begun
        return winner.carrier, took

    loop = SimLoop()
    try:
        return loop.run_until_complete(run())
    finally:
        loop.close()


def test_near_port_is_all_that_is_tried() -> None:
    peer = Peer()
    carrier, _ = outcome(peer)
    assert carrier == "tcp"
    assert list(peer.begun) == ["tcp"]


def test_closed_port_costs_nothing() -> None:
    peer = Peer(tcp_s=None)
    carrier, took_s = outcome(peer)
    assert carrier == "quic"
    assert took_s < 0.01


def test_far_peer_is_reached_by_quic() -> None:
    peer = Peer(tcp_s=0.08, quic_s=0.16)
    carrier, took_s = outcome(peer)
    assert carrier == "quic"
    assert took_s == pytest.approx(NEAR_S + 0.16, abs=0.01)
    assert peer.socket.is_closed


def test_network_that_drops_udp_costs_half_a_second() -> None:
    peer = Peer(tcp_s=0.08, quic_s=NEVER, tls_s=0.16)
    carrier, took_s = outcome(peer)
    assert carrier == "tcp"
    assert took_s == pytest.approx(NEAR_S + RESERVE_S + 0.16, abs=0.01)
    assert took_s < 2


def test_network_that_drops_tcp_costs_the_time_of_a_near_answer() -> None:
    peer = Peer(tcp_s=NEVER)
    carrier, took_s = outcome(peer)
    assert carrier == "quic"
    assert took_s == pytest.approx(NEAR_S, abs=0.01)


def test_near_port_that_then_is_silent_is_given_company() -> None:
    peer = Peer(tls_s=NEVER)
    carrier, took_s = outcome(peer)
    assert carrier == "quic"
    assert took_s == pytest.approx(STAGGER_S, abs=0.01)


def test_something_else_at_the_port_leaves_quic() -> None:
    peer = Peer(tls_error=SILENT)
    carrier, took_s = outcome(peer)
    assert carrier == "quic"
    assert took_s < 0.02


def test_quic_that_fails_leaves_a_far_port() -> None:
    peer = Peer(tcp_s=0.08, quic_s=0.01, quic_error=SILENT)
    carrier, _ = outcome(peer)
    assert carrier == "tcp"


@pytest.mark.parametrize("carrier", ["tcp", "quic"])
def test_one_carrier_alone_is_waited_for(carrier: str) -> None:
    peer = Peer(tcp_s=1.0, tls_s=1.0, quic_s=2.0)
    found, took_s = outcome(peer, has_tcp=carrier == "tcp", has_quic=carrier == "quic")
    assert found == carrier
    assert took_s == pytest.approx(2.0, abs=0.6)


@pytest.mark.parametrize(
    "peer",
    [Peer(tls_error=UNWANTED), Peer(tcp_s=None, quic_error=UNWANTED)],
    ids=["over TCP", "over QUIC"],
)
def test_peer_that_refuses_is_believed_over_whichever_carrier(peer: Peer) -> None:
    with pytest.raises(LinkRefused) as caught:
        outcome(peer)
    assert caught.value is UNWANTED
    assert len(peer.begun) == 1


def test_nobody_there_is_said_so() -> None:
    with pytest.raises(LinkRefused) as caught:
        outcome(Peer(tcp_s=None, quic_error=SILENT))
    assert caught.value.reason.code == CloseCode.UNEXPECTED_CLOSE


def test_race_that_is_given_up_leaves_nothing_open() -> None:
    async def run() -> None:
        peer = Peer(tcp_s=0.08, quic_s=NEVER, tls_s=NEVER)
        race = peer.race()
        await asyncio.sleep(0.3)
        race.end(None)
        await asyncio.sleep(0.001)
        assert race.answered.cancelled()
        assert peer.socket.is_closed
        assert all(one.closed is not None for one in peer.made)

    loop = SimLoop()
    try:
        loop.run_until_complete(run())
    finally:
        loop.close()
