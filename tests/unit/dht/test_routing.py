"""The routing table, and whom to believe about whom."""

from __future__ import annotations

import pytest

from mosaik_actors.dht.krpc import NodeContact
from mosaik_actors.dht.routing import (
    BUCKET_SIZE,
    FAILURES_MAX,
    FRESH_S,
    PER_HOST_MAX,
    RoutingTable,
    distance,
    may_name,
)

OWN = bytes(20)


def contact(number: int, host: str | None = None, *, first: int = 0x80) -> NodeContact:
    """Return a node that is far from this one, unless `first` says otherwise."""
    name = bytes([first]) + bytes(17) + number.to_bytes(2, "big")
    return NodeContact(name, (host or f"5.6.{number // 200}.{number % 200 + 1}", 6881))


def test_closest_come_first() -> None:
    table = RoutingTable(OWN)
    contacts = [contact(n, first=1 << n % 8) for n in range(40)]
    for one in contacts:
        table.note_answer(one, now=0)
    target = contacts[17].id
    found = table.closest(target)
    assert found[0] == contacts[17]
    assert [distance(one.id, target) for one in found] == sorted(
        distance(one.id, target) for one in table
    )[:BUCKET_SIZE]


def test_those_that_answer_keep_their_place() -> None:
    table = RoutingTable(OWN)
    contacts = [contact(n) for n in range(BUCKET_SIZE + 3)]
    for one in contacts:
        table.note_answer(one, now=0)
    assert set(table) == set(contacts[:BUCKET_SIZE])
    for _ in range(FAILURES_MAX - 1):
        table.note_failure(contacts[0], now=1)
    assert contacts[0] not in table.closest(OWN)
    assert len(table) == BUCKET_SIZE
    table.note_failure(contacts[0], now=1)
    # The latest newcomer takes the place.
    assert set(table) == {*contacts[1:BUCKET_SIZE], contacts[-1]}


def test_answer_makes_good_for_a_failure() -> None:
    table = RoutingTable(OWN)
    for now in range(10):
        table.note_answer(contact(1), now=now)
        table.note_failure(contact(1), now=now)
    assert len(table) == 1


def test_own_id_is_not_in_it() -> None:
    table = RoutingTable(OWN)
    table.note_answer(NodeContact(OWN, ("5.6.7.8", 1)), now=0)
    assert len(table) == 0


def test_id_of_another_cannot_be_taken() -> None:
    table = RoutingTable(OWN)
    table.note_answer(contact(1), now=0)
    thief = NodeContact(contact(1).id, ("9.9.9.9", 1))
    table.note_answer(thief, now=1)
    table.note_failure(thief, now=1)
    table.note_failure(thief, now=1)
    assert list(table) == [contact(1)]


def test_one_host_has_few_places() -> None:
    table = RoutingTable(OWN)
    for n in range(30):
        table.note_answer(contact(n, "5.5.5.5", first=1 << n % 8), now=0)
    assert len(table) == PER_HOST_MAX
    private = RoutingTable(OWN)
    for n in range(30):
        private.note_answer(contact(n, "127.0.0.1", first=1 << n % 8), now=0)
    assert len(private) == 30


def test_what_was_silent_for_long_is_looked_after() -> None:
    table = RoutingTable(OWN)
    table.note_answer(contact(1), now=0)
    table.note_answer(contact(2), now=FRESH_S / 2)
    assert table.questionable(now=FRESH_S - 1) == []
    assert table.questionable(now=FRESH_S) == [contact(1)]
    assert table.stale_buckets(now=FRESH_S) == []
    assert table.stale_buckets(now=2 * FRESH_S) == [0]
    table.note_refresh(0, now=2 * FRESH_S)
    assert table.stale_buckets(now=2 * FRESH_S) == []


@pytest.mark.parametrize(
    ("source", "named", "expected"),
    [
        ("5.6.7.8", "9.9.9.9", True),
        ("5.6.7.8", "10.0.0.1", False),
        ("5.6.7.8", "127.0.0.1", False),
        ("5.6.7.8", "169.254.1.1", False),
        ("5.6.7.8", "224.0.0.1", False),
        ("5.6.7.8", "0.0.0.0", False),
        ("10.0.0.1", "10.0.0.2", True),
        ("10.0.0.1", "127.0.0.1", False),
        ("10.0.0.1", "9.9.9.9", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "10.0.0.1", True),
        ("2a00::1", "2a00::2", True),
        ("2a00::1", "fe80::2", False),
        ("2a00::1", "::1", False),
    ],
)
def test_nobody_is_sent_where_the_sender_cannot_have_been(
    source: str, named: str, expected: bool
) -> None:
    assert may_name((source, 1), (named, 1)) is expected
    assert not may_name((source, 1), (named, 0))
