"""The small parts of a consumer: distances, refusals, and the links of its sessions."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from mosaik_actors.ids import PeerId
from mosaik_actors.streams.consuming import distances
from mosaik_actors.streams.consuming.distances import PROBE_AGAIN_S, Distances
from mosaik_actors.streams.consuming.links import SessionLinks
from mosaik_actors.streams.consuming.refusals import Refusals
from mosaik_actors.streams.criteria.criteria import CriteriaError
from mosaik_actors.streams.wire import Accepted, Window
from mosaik_actors.transport.address import PeerAddr
from mosaik_actors.transport.close import CloseCode, CloseReason
from mosaik_actors.transport.interface import LinkRefused, NotAllowed

from .fakes import peer as info
from .fakes import peer_id as peer

A, B = peer("a"), peer("b")


class FakeLink:
    def __init__(self, peer_id: PeerId) -> None:
        self.peer_id = peer_id


def accepted(window: Window) -> Accepted:
    return Accepted(first_sequence=0, window_items=window.items, window_bytes=window.bytes, start=1)


def test_a_probe_is_made_once_in_a_while_and_what_it_showed_is_kept() -> None:
    rtts: dict[PeerId, float] = {}
    known = Distances(rtts.get)
    assert known.begin_probe(A, now=0.0)
    assert not known.begin_probe(A, now=PROBE_AGAIN_S - 1)
    assert not known.receive_probed(A)
    rtts[A] = 0.25
    assert known.receive_probed(A)
    del rtts[A]  # the connection ended
    assert known.measured(info("a")).rtt == 0.25
    assert known.begin_probe(A, now=PROBE_AGAIN_S)
    known.keep_only({B})
    assert known.measured(info("a")).rtt is None


def test_probes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "PROBES_MAX", 1)
    known = Distances(lambda _: None)
    assert known.begin_probe(A, now=0.0)
    assert not known.begin_probe(B, now=0.0)
    known.keep_only({B})
    assert known.begin_probe(B, now=0.0)


def test_a_refusal_is_logged_once_and_forgotten_with_its_producer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    shown: dict[PeerId, Exception] = {}
    refusals = Refusals("prices", logging.getLogger("test"), shown)
    ill = LinkRefused(CloseReason(CloseCode.STREAM_INVALID_CRITERIA, "no such field"))
    for _ in range(2):
        refusals.note_refused(A, ill)
    assert isinstance(shown[A], CriteriaError)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    refusals.receive_ticketless({B: CloseReason(CloseCode.STREAM_NOT_ALLOWED, "no ticket")})
    for _ in range(2):
        refusals.settle(lambda peer_id: False)
    assert list(shown) == [B]
    assert isinstance(shown[B], NotAllowed)
    assert len(caplog.records) == 2
    refusals.receive_ticketless({})
    refusals.settle(lambda peer_id: False)
    assert shown == {}


def test_attempts_wait_until_there_is_room_for_what_comes() -> None:
    links = SessionLinks(Window(256, 1 << 20))
    for attempt, who in enumerate((A, B)):
        links.want((who, attempt), PeerAddr(who))
    links.keep_wanted(lambda peer_id, attempt: peer_id == A)
    opening = links.next_opening()
    assert opening is not None
    assert (opening.token, links.next_opening()) == ((A, 0), None)
    assert links.take_asked(opening.token) == opening.window
    assert links.take_asked(opening.token) is None  # once
    link: Any = FakeLink(A)
    links.open(opening.token, link, accepted(opening.window), opening.window)
    session = links.by_link[link]
    assert (links.link_of(A), links.link_for(session)) == (link, link)
    links.end(link)
    assert session.is_over
    assert (links.link_of(A), links.link_for(session), links.peer_links()) == (None, None, [])


def test_a_newer_link_of_a_producer_outlives_the_end_of_the_older_one() -> None:
    links = SessionLinks(Window(1024, 1 << 20))
    old: Any = FakeLink(A)
    new: Any = FakeLink(A)
    for attempt, link in enumerate((old, new)):
        links.want((A, attempt), PeerAddr(A))
        opening = links.next_opening()
        assert opening is not None
        asked = links.take_asked(opening.token)
        assert asked is not None
        links.open(opening.token, link, accepted(asked), asked)
    links.end(old)
    assert links.link_of(A) is new
    assert links.clear() == [new]
