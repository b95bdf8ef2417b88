"""A relay that admits peers by what they show: who waits, who is served, and until when."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mosaik_actors import SecretKey
from mosaik_actors.errors import DecodeError
from mosaik_actors.ids import PeerId
from mosaik_actors.peer_log import PeerLog
from mosaik_actors.transport.close import CloseCode, CloseReason
from mosaik_actors.transport.interface import FramesReceived, Link
from mosaik_actors.transport.relay import server as relay_server
from mosaik_actors.transport.relay.config import RelayLimits
from mosaik_actors.transport.relay.frames import RELAY_ITSELF, RELAY_TICKETS, encode_frames
from mosaik_actors.transport.relay.server import RelayServer

A, B, C = (SecretKey.from_seed(name).peer_id for name in "abc")


class FakeLink:
    def __init__(self, peer_id: PeerId, header: bytes = b"") -> None:
        self.peer_id = peer_id
        self.header = header
        self.is_open = True
        self.unsent_bytes = 0
        self.accepted = False
        self.closed: CloseReason | None = None
        self.written: list[bytes] = []
        self.sink: Any = None

    def attach(self, sink: Any) -> None:
        self.sink = sink

    def accept(self, *, frame_bytes_max: int) -> None:
        self.accepted = True

    def close(self, reason: CloseReason) -> None:
        self.closed = self.closed or reason
        self.is_open = False

    def write_many(self, frames: list[bytes]) -> None:
        self.written += frames

    def receive(self, *frames: bytes) -> None:
        self.sink(FramesReceived(cast(Link, self), list(frames)))


class Desk:
    """An admission whose verdicts the test gives."""

    def __init__(self) -> None:
        self.take: Any = None
        self.shown: list[tuple[PeerId, bytes]] = []
        self.gone: list[PeerId] = []

    def start(self, take: Any) -> None:
        self.take = take

    def receive_shown(self, peer_id: PeerId, data: bytes) -> None:
        if data == b"nonsense":
            raise DecodeError("no tickets")
        self.shown.append((peer_id, data))

    def receive_end(self, peer_id: PeerId) -> None:
        self.gone.append(peer_id)

    def close(self) -> None:
        """Nothing."""


class Relay:
    def __init__(self, **limits: int) -> None:
        self.desk = Desk()
        endpoint = SimpleNamespace(serve=self._serve, peer_log=PeerLog())
        clock = SimpleNamespace(monotonic=lambda: 0.0)
        self.server = RelayServer(
            cast(Any, endpoint), RelayLimits(**limits), cast(Any, clock), self.desk
        )

    def _serve(self, _protocol: str, acceptor: Any) -> None:
        self.offer = acceptor

    def link(self, peer_id: PeerId, header: bytes = b"") -> FakeLink:
        link = FakeLink(peer_id, header)
        self.offer(link)
        return link

    def admitted(self, peer_id: PeerId) -> FakeLink:
        link = self.link(peer_id)
        self.desk.take(peer_id, None, False)
        assert link.accepted
        return link


def test_a_link_is_accepted_with_the_verdict_and_not_before() -> None:
    relay = Relay()
    link = relay.link(A, b"shown")
    assert relay.desk.shown == [(A, b"shown")]
    relay.desk.take(A, "not validated yet", True)
    assert (link.accepted, link.closed, relay.server.peer_count) == (False, None, 0)
    relay.desk.take(A, None, False)
    assert (link.accepted, link.closed, relay.server.peer_count) == (True, None, 1)


def test_who_has_no_valid_ticket_is_told_why_counted_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    relay = Relay()
    for _ in range(5):
        link = relay.link(A)
        relay.desk.take(A, "it expired", False)
        assert link.closed == CloseReason(CloseCode.NO_TICKET, "no valid ticket: it expired")
    assert relay.server.counters.tickets_refused == 5
    assert relay.desk.gone == [A] * 5  # nothing of it is kept
    assert [one.levelno for one in caplog.records] == [logging.WARNING]
    assert caplog.messages == [f"peer {A.short} is not served: it expired"]


def test_a_peer_loses_its_place_when_its_tickets_hold_no_more() -> None:
    relay = Relay()
    a, b = relay.admitted(A), relay.admitted(B)
    a.receive(
        RELAY_ITSELF + bytes(32), *encode_frames(bytes(B), [b"one"]), RELAY_TICKETS + b"newer"
    )
    assert relay.desk.shown[-1] == (A, b"newer")
    relay.desk.take(A, None, True)  # the former one counts until the newer one was looked at
    relay.desk.take(A, None, False)
    assert a.is_open
    relay.desk.take(A, "it expired", False)
    assert a.closed is not None
    assert a.closed.code == CloseCode.NO_TICKET
    a.receive(*encode_frames(bytes(B), [b"two"]))
    assert b.written == encode_frames(bytes(A), [b"one"])
    assert relay.server.peer_count == relay.server.counters.tickets_expired == 1
    assert relay.desk.gone == [A]


def test_tickets_that_cannot_be_decoded_break_a_rule() -> None:
    relay = Relay()
    link, standing = relay.link(A, b"nonsense"), relay.admitted(B)
    standing.receive(RELAY_TICKETS + b"nonsense")
    for one in (link, standing):
        assert one.closed is not None
        assert one.closed.code == CloseCode.PROTOCOL_VIOLATION
    assert relay.server.counters.violations == 2
    assert relay.server.peer_count == 0


def test_the_oldest_of_too_many_that_wait_ends_for_a_newcomer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay_server, "WAITING_MAX", 2)
    relay = Relay()
    first, second, third = [relay.link(one) for one in (A, B, C)]
    assert first.closed is not None
    assert "too many peers wait" in first.closed.text
    assert second.is_open
    assert third.is_open
    assert relay.desk.gone == [A]
    # A peer waits once: who comes again waits in place of its former link.
    again = relay.link(C)
    assert (third.is_open, second.is_open, again.is_open) == (False, True, True)


def test_a_full_relay_looks_at_no_tickets() -> None:
    relay = Relay(peers_max=1)
    relay.admitted(A)
    refused = relay.link(B, b"shown")
    assert refused.closed is not None
    assert refused.closed.code == CloseCode.TOO_MANY_LINKS
    assert [peer for peer, _ in relay.desk.shown] == [A]


def test_who_left_before_the_verdict_gets_no_place() -> None:
    relay = Relay()
    link = relay.link(A)
    link.is_open = False
    relay.desk.take(A, None, False)
    assert relay.server.peer_count == 0
    assert relay.desk.gone == [A]
