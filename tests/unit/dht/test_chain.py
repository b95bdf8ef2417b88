"""What a node does with the slots: one node by itself, then several on a DHT."""

from __future__ import annotations

from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mosaik_actors.dht.chain import (
    LIFE_S,
    POLL_S,
    REFRESH_S,
    UNREACHED_S,
    PeersFound,
    ReadSlot,
    SlotChain,
    SlotState,
    WriteSlot,
    read_slot,
    take_addrs,
)
from mosaik_actors.dht.items import ImmutableItem, Item, MutableItem
from mosaik_actors.dht.record import encode_record
from mosaik_actors.dht.slots import SLOT_COUNT, DhtSlot, derive_slots
from mosaik_actors.ids import PeerId, SecretKey, UniqueId
from mosaik_actors.transport.address import PeerAddr, SocketAddr
from mosaik_actors.transport.admission import NetworkKeys

from .dht_world import START_WALL_S, World

SLOTS = derive_slots(NetworkKeys(UniqueId("net")))
ME, OTHER, THIRD = (SecretKey.from_seed(name).peer_id for name in ("me", "other", "third"))
HERE, THERE = ("5.5.5.5", 4433), ("6.6.6.6", 4433)


def record(
    slot: DhtSlot, peer: PeerId = OTHER, *, addrs: tuple[SocketAddr, ...] = (THERE,), at: float = 0
) -> MutableItem:
    sequence = int((START_WALL_S + at) * 1_000_000)
    value = encode_record(PeerAddr(peer, addrs), slot.public_key)
    return MutableItem.sign(slot.private_key, sequence, value)


class Alone:
    """One node's chain, and slots that hold what the test puts there."""

    def __init__(self, items: dict[int, Item] | None = None, *, is_private: bool = False) -> None:
        self.chain = SlotChain(SLOTS, ME, rng=Random(1), is_private=is_private)
        self.items = items or {}
        self.found: tuple[PeerAddr, ...] = ()
        self.writes: list[WriteSlot] = []
        self.answered_count = 8
        self.stored_count = 8
        self.now = 0.0
        self.chain.set_addr(PeerAddr(ME, (HERE,)), now=0)

    def run(self, seconds: float = 0) -> None:
        end = self.now + seconds
        while self.chain.timer_s <= end:
            self.now = max(self.now, self.chain.timer_s)
            self.chain.handle_timer(now=self.now, wall=START_WALL_S + self.now)
            self._do()
        self.now = end

    def _do(self) -> None:
        while effects := self.chain.take_effects():
            for effect in effects:
                match effect:
                    case ReadSlot(index):
                        self.chain.receive_item(
                            index,
                            self.items.get(index),
                            self.answered_count,
                            now=self.now,
                            wall=START_WALL_S + self.now,
                        )
                    case WriteSlot(index, item):
                        self.writes.append(effect)
                        if self.stored_count:
                            self.items[index] = item
                        self.chain.receive_written(index, self.stored_count, now=self.now)
                    case PeersFound(addrs):
                        self.found = addrs

    def state(self, index: int) -> SlotState:
        return self.chain.readings[index].state


def test_free_slot_is_claimed_and_written_again_in_time() -> None:
    node = Alone()
    node.run()
    [claim] = node.writes
    assert (claim.index, claim.expected) == (node.chain.own, None)
    node.chain.note_reached({OTHER})
    node.run(LIFE_S)
    assert 2 <= len(node.writes) - 1 <= 3
    assert {one.index for one in node.writes} == {claim.index}
    assert node.state(claim.index) is SlotState.OWN
    ages = [one.item.sequence for one in node.writes]
    assert ages == sorted(ages)
    assert ages[1] - ages[0] < LIFE_S / 2 * 1e6


def test_nothing_is_claimed_before_somebody_has_answered() -> None:
    node = Alone()
    node.answered_count = 0
    node.run(100)
    assert node.writes == []
    assert {one.state for one in node.chain.readings} == {SlotState.UNKNOWN}


def test_nothing_is_claimed_without_an_address() -> None:
    node = Alone()
    node.chain.set_addr(PeerAddr(ME, (("10.0.0.1", 4433),)), now=0)
    node.run(100)
    assert node.writes == []


def test_claim_replaces_what_is_dead() -> None:
    dead: dict[int, Item] = {}
    for number, slot in enumerate(SLOTS):
        nonsense = MutableItem.sign(slot.private_key, 5, b"nonsense")
        dead[number] = nonsense if number % 2 else record(slot, at=-LIFE_S - 1)
    node = Alone(dict(dead))
    node.run()
    [claim] = node.writes
    before = dead[claim.index]
    assert isinstance(before, MutableItem)
    assert claim.expected == before.sequence
    assert claim.item.sequence > before.sequence
    assert node.found == ()


def test_nothing_is_claimed_where_all_are_taken() -> None:
    peers = [SecretKey.from_seed(str(n)).peer_id for n in range(SLOT_COUNT)]
    node = Alone({n: record(SLOTS[n], peer, at=250) for n, peer in enumerate(peers)})
    node.chain.note_reached(set(peers))
    node.run(200)
    assert node.writes == []
    assert {one.peer_id for one in node.found} == set(peers)
    # Of those that nobody reaches the places are taken in the end.
    node.chain.note_reached(set(peers[1:]))
    node.run(2 * POLL_S)
    assert [one.index for one in node.writes] == [0]


def test_record_of_a_peer_nobody_reaches_is_still_told() -> None:
    """It may be there, behind something that keeps only this node out."""
    node = Alone({3: record(SLOTS[3], at=100)})
    node.run(UNREACHED_S + 10)
    assert node.state(3) is SlotState.UNREACHED
    assert node.found == (PeerAddr(OTHER, (THERE,)),)


def test_slot_that_another_one_has_written_is_lost() -> None:
    node = Alone()
    node.run()
    mine = node.chain.own
    assert mine is not None
    node.items[mine] = record(SLOTS[mine], at=300)
    node.chain.note_reached({OTHER})
    node.run(2 * POLL_S)
    assert node.chain.own not in (None, mine)
    assert len(node.writes) == 2


def test_record_that_is_gone_is_written_again() -> None:
    node = Alone()
    node.run()
    mine = node.chain.own
    assert mine is not None
    del node.items[mine]
    node.run(20)
    assert mine in node.items
    assert node.chain.own == mine


def test_other_address_is_written_at_once() -> None:
    node = Alone()
    node.run(1)
    node.chain.set_addr(PeerAddr(ME, (THERE,)), now=node.now)
    node.run(0)
    assert len(node.writes) == 2
    assert node.writes[1].index == node.writes[0].index
    node.chain.set_addr(PeerAddr(ME, (THERE,)), now=node.now)
    node.run(0)
    assert len(node.writes) == 2


def test_write_that_nobody_took_leads_to_another_claim() -> None:
    node = Alone()
    node.stored_count = 0
    node.run()
    assert node.chain.own is None
    node.stored_count = 1
    node.run(20)
    assert node.chain.own is not None


def test_node_that_restarts_takes_its_own_slot() -> None:
    node = Alone({5: record(SLOTS[5], ME)})
    node.run()
    assert [one.index for one in node.writes] == [5]


def test_number_at_the_end_is_left_alone() -> None:
    """Nothing can follow it: whoever wrote it has the slot for as long as it is kept."""
    end = MutableItem.sign(SLOTS[0].private_key, 2**63 - 1, b"for ever")
    items: dict[int, Item] = {0: end}
    items |= {n: record(SLOTS[n], THIRD, at=0) for n in range(1, SLOT_COUNT)}
    node = Alone(items)
    node.chain.note_reached({THIRD})
    node.run(REFRESH_S)
    assert node.writes == []
    assert node.state(0) is SlotState.INVALID


def test_clock_far_ahead_makes_a_record_dead() -> None:
    assert read_slot(SLOTS[0], record(SLOTS[0], at=200), wall=START_WALL_S).state is SlotState.ALIVE
    ahead = read_slot(SLOTS[0], record(SLOTS[0], at=400), wall=START_WALL_S)
    assert ahead.state is SlotState.EXPIRED


def test_what_is_no_record_says_why() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    reading = read_slot(SLOTS[0], MutableItem.sign(key, 1, [b"x"]), wall=0)
    assert (reading.state, reading.reason) == (SlotState.INVALID, "a record is no byte string")
    assert read_slot(SLOTS[0], ImmutableItem(b""), wall=0).state is SlotState.FREE
    assert read_slot(SLOTS[0], None, wall=0).state is SlotState.FREE


@pytest.mark.parametrize(
    ("host", "hears_loopback", "is_private", "expected"),
    [
        ("6.6.6.6", False, False, True),
        ("2a00::1", False, False, True),
        ("10.0.0.1", False, False, False),
        ("10.0.0.1", False, True, True),
        ("192.168.1.1", False, False, False),
        ("127.0.0.1", False, True, False),
        ("127.0.0.1", True, False, True),
        ("::ffff:127.0.0.1", False, True, False),
        ("224.0.0.1", True, True, False),
        ("255.255.255.255", True, True, False),
        ("169.254.1.1", True, True, False),
    ],
)
def test_addresses_that_are_dialled(
    host: str, hears_loopback: bool, is_private: bool, expected: bool
) -> None:
    addrs = (((host, 1)),)
    taken = take_addrs(addrs, hears_loopback=hears_loopback, is_private=is_private)
    assert bool(taken) is expected


def test_two_that_share_nothing_but_a_name_meet() -> None:
    world = World(12)
    world.run(10)
    one, other, stranger = (
        world.add_peer("one"),
        world.add_peer("other"),
        world.add_peer("stranger", network="another"),
    )
    world.until(lambda: len(one.found) == 1 and len(other.found) == 1, 30)
    assert [one.chain.own is not None, other.chain.own is not None] == [True, True]
    assert one.chain.own != other.chain.own
    assert stranger.found == {}


@pytest.mark.parametrize("seed", range(2))
def test_all_that_start_at_once_meet(seed: int) -> None:
    world = World(16, seed=seed, loss=0.05)
    world.run(10)
    peers = [world.add_peer(f"{seed} {n}", secrets=(b"a secret",)) for n in range(5)]

    def all_meet() -> bool:
        for one in peers:
            one.chain.note_reached(one.found.keys())
        return all(len(one.found) == 4 for one in peers)

    world.until(all_meet, 200)
    assert len({one.chain.own for one in peers}) == 5


def test_stranger_cannot_read_what_is_sealed() -> None:
    world = World(12)
    world.run(20)
    world.add_peer("one", secrets=(b"secret",))
    without = world.add_peer("other")
    with_another = world.add_peer("third", secrets=(b"wrong",))
    world.run(30)
    assert (without.found, with_another.found) == ({}, {})
