"""What all endpoints decide about links and peers, without any connection."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from mosaik_actors.ids import NetworkId, PeerId, SecretKey
from mosaik_actors.transport.admission import NetworkKeys
from mosaik_actors.transport.close import CloseCode, CloseReason
from mosaik_actors.transport.config import TransportConfig
from mosaik_actors.transport.endpoint_base import EndpointBase
from mosaik_actors.transport.frames import OpenFrame
from mosaik_actors.transport.interface import LINKS_RESERVED

ME, PEER = (SecretKey.from_seed(name).peer_id for name in ("me", "peer"))


class FakeEndpoint(EndpointBase):
    def __init__(self) -> None:
        self.ended: list[tuple[PeerId, CloseReason]] = []
        self.at = 0.0
        keys = NetworkKeys(NetworkId("n"), ())
        super().__init__(ME, keys, TransportConfig(), lambda: self.at)

    def disconnect(self, peer_id: PeerId, reason: CloseReason) -> None:
        self.ended.append((peer_id, reason))


class FakeLink:
    def __init__(self) -> None:
        self.peer_id = PEER
        self.reason: CloseReason | None = None

    def close(self, reason: CloseReason) -> None:
        self.reason = reason


def test_links_go_to_who_serves_them_and_are_counted() -> None:
    endpoint, taken = FakeEndpoint(), list[Any]()
    endpoint.serve("plain", taken.append)
    endpoint.serve("essential", taken.append, is_essential=True)
    nearly_all = endpoint.config.links_max - LINKS_RESERVED
    answers = []
    for protocol, count in (
        ("plain", 0),
        ("unknown", 0),
        ("plain", nearly_all),
        ("essential", nearly_all),
        ("essential", endpoint.config.links_max),
    ):
        link: Any = FakeLink()
        endpoint.answer(link, OpenFrame(protocol, b""), peer_link_count=count)
        answers.append(None if link.reason is None else link.reason.code)
    full = CloseCode.TOO_MANY_LINKS
    assert answers == [None, CloseCode.INVALID_PROTOCOL, full, None, full]
    assert (endpoint.counters.links_accepted, endpoint.counters.links_refused) == (2, 3)
    endpoint.unserve("plain")
    link = FakeLink()
    endpoint.answer(link, OpenFrame("plain", b""), peer_link_count=0)
    assert link.reason.code == CloseCode.INVALID_PROTOCOL


def test_a_banned_peer_is_disconnected_until_it_is_allowed() -> None:
    endpoint = FakeEndpoint()
    endpoint.ban(PEER, for_s=5.0, why="rude")
    [(peer_id, reason)] = endpoint.ended
    assert (peer_id, "rude" in reason.text) == (PEER, True)
    assert [one.peer_id for one in endpoint.standings()] == [PEER]
    endpoint.allow(PEER)
    assert endpoint.standings() == []


async def test_too_many_broken_rules_end_what_there_is(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    endpoint = FakeEndpoint()
    for _ in range(100):
        endpoint.note_fault(PEER, "nonsense")
    assert endpoint.ended == []  # not in the midst of what it sent
    await asyncio.sleep(0)
    assert {peer_id for peer_id, _ in endpoint.ended} == {PEER}
    assert endpoint.counters.violations == 100
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "broke a rule: nonsense" in said[0]
    assert "is refused" in said[1]
