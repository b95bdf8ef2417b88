"""Which connection ends for a newcomer."""

from __future__ import annotations

from typing import Any

from mosaik_actors.transport.address import SocketAddr
from mosaik_actors.transport.config import TransportConfig
from mosaik_actors.transport.endpoint.slots import Slots

STRANGER = ("192.0.2.1", 1)
NEIGHBOUR = ("192.0.2.2", 2)


class FakeSlot:
    def __init__(self, remote: SocketAddr = STRANGER, own_link_count: int = 0) -> None:
        self.reachable_at = remote
        self.own_link_count = own_link_count


def made(**settings: int) -> Slots[FakeSlot]:
    values: dict[str, Any] = {"known_reserve": 0, **settings}
    return Slots(TransportConfig(**values))


def ready(slots: Slots[FakeSlot], count: int = 1) -> list[FakeSlot]:
    there = [FakeSlot() for _ in range(count)]
    for slot in there:
        slots.receive_handshake(slot, STRANGER)
        slots.receive_ready(slot)
    return there


def test_the_longest_without_an_accepted_link_ends_first() -> None:
    slots = made(connections_max=3)
    one, two, three = ready(slots, 3)
    assert slots.is_full(3, STRANGER)
    assert not slots.is_full(2, STRANGER)
    assert slots.evictable(STRANGER) is one
    slots.receive_used(one)
    assert slots.evictable(STRANGER) is two
    slots.receive_unused(one)
    slots.forget(two)
    assert slots.evictable(STRANGER) is three
    slots.forget(three)
    assert slots.evictable(STRANGER) is one


def test_connections_in_use_are_never_evictable() -> None:
    slots = made(connections_max=2)
    used, opening = ready(slots, 2)
    slots.receive_used(used)
    opening.own_link_count = 1
    assert slots.is_full(2, STRANGER)
    assert not slots.has_evictable(STRANGER)


def test_an_unfinished_handshake_ends_where_all_else_is_in_use() -> None:
    slots = made(connections_max=3)
    (used,) = ready(slots)
    slots.receive_used(used)
    first, second = FakeSlot(), FakeSlot()
    slots.receive_handshake(first, STRANGER)
    slots.receive_handshake(second, STRANGER)
    assert slots.evictable(STRANGER) is first


def test_handshakes_are_bounded_and_the_oldest_ends() -> None:
    slots = made(handshakes_max=2)
    ready(slots)
    first, second = FakeSlot(), FakeSlot()
    slots.receive_handshake(first, STRANGER)
    assert not slots.is_full(2, STRANGER)
    slots.receive_handshake(second, STRANGER)
    assert slots.half_open_count == 2
    assert slots.is_full(3, STRANGER)
    assert slots.evictable(STRANGER) is first  # an idle connection would give no room


def test_a_reserve_is_kept_for_addresses_that_had_a_link() -> None:
    slots = made(connections_max=8, handshakes_max=8, known_reserve=2)
    neighbour = FakeSlot(NEIGHBOUR)
    slots.receive_ready(neighbour)
    slots.receive_used(neighbour)
    slots.forget(neighbour)
    assert slots.is_full(6, STRANGER)
    assert not slots.is_full(7, NEIGHBOUR)
    assert slots.is_full(8, NEIGHBOUR)
    # Its handshake ends for another neighbour's, not for a stranger's.
    slots.receive_handshake(neighbour, NEIGHBOUR)
    assert not slots.has_evictable(STRANGER)
    assert slots.evictable(NEIGHBOUR) is neighbour


def test_the_reserve_is_a_quarter_at_most() -> None:
    slots = made(connections_max=4, known_reserve=64)
    assert not slots.is_full(2, STRANGER)
    assert slots.is_full(3, STRANGER)
    assert not made(connections_max=1, known_reserve=64).is_full(0, STRANGER)


def test_known_addresses_are_bounded() -> None:
    slots = made(connections_max=2, known_reserve=0)
    for port in range(10):
        slots.receive_used(FakeSlot(("192.0.2.3", port)))
    assert len(slots._known) == 2


def test_what_is_evicted_makes_room_however_many_came_before() -> None:
    slots = made(connections_max=100)
    there = ready(slots, 100)
    for _ in range(10_000):
        assert slots.is_full(len(there), STRANGER)
        victim = slots.evictable(STRANGER)
        assert victim is there.pop(0)
        slots.forget(victim)
        there += ready(slots)
