"""A peer in the form that users see."""

from __future__ import annotations

import pytest

from mosaik_actors.discovery.entry import StreamInfo
from mosaik_actors.discovery.info import IdMap, IdSet, PeerInfo
from mosaik_actors.ids import StreamId, UniqueId
from mosaik_actors.tickets.ticket import Ticket

from .helpers import addr, entry, peer


def test_names_and_ids_are_looked_up_alike() -> None:
    info = PeerInfo(
        entry("a", tags=(UniqueId("fast"),), streams=(StreamInfo(StreamId("prices"), "prices"),))
    )
    assert "fast" in info.tags
    assert UniqueId("fast") in info.tags
    assert "slow" not in info.tags
    assert info.streams["prices"] == info.streams[StreamId("prices")] == "prices"
    assert "prices" in info.streams
    assert list(info.streams) == [StreamId("prices")]
    assert info.peer_id == peer("a")
    assert info.addr == addr("a")


def test_a_missing_stream_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        PeerInfo(entry("a")).streams["prices"]


def test_an_unmeasured_peer_is_not_below_any_limit() -> None:
    assert not PeerInfo(entry("a")).rtt_below(10)
    assert PeerInfo(entry("a"), rtt=0.01).rtt_below(0.02)
    assert not PeerInfo(entry("a"), rtt=0.02).rtt_below(0.02)


def test_tickets_are_found_by_class() -> None:
    one, two = Ticket(UniqueId("jwt"), b"1"), Ticket(UniqueId("tdx"), b"2")
    info = PeerInfo(entry("a", tickets=(one, two)))
    assert info.tickets_of("jwt") == (one,)
    assert info.has_valid_ticket("tdx", lambda data: data == b"2")
    assert not info.has_valid_ticket("jwt", lambda data: data == b"2")


def test_sets_and_maps_of_ids_are_values() -> None:
    assert IdSet([UniqueId("a")]) == frozenset([UniqueId("a")])
    assert IdMap([(UniqueId("a"), "a")]) == {UniqueId("a"): "a"}
    assert hash(PeerInfo(entry("a"))) == hash(PeerInfo(entry("a")))
