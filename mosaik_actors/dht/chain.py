"""What a node does with the slots of its network: reads them, and keeps one of its own.

    1. It reads all slots, every `POLL_ALONE_S` while it knows no other peer and every
       `POLL_S` afterwards, both jittered.
    2. Once it has read them all it claims a random one that is *free* or *dead*: nothing is
       there, or a record that is older than `LIFE_S`, no record at all, or of a peer that
       nobody could reach for `UNREACHED_S`. Where all are taken by others it claims none.
    3. Its own record it writes again every `REFRESH_S`, at once when its addresses change, and
       when it finds it gone. Another peer's record in its slot means that the slot is lost: two
       claimed it at once. Then it claims another one.

Each write names the sequence number that it replaces, so of two that claim a slot at once one
is refused by most nodes; where both go through, the higher number stays, and the other finds
out when it reads next.

**Whom to believe.** Whoever knows an open network's name can write into its slots, also
nonsense. What he can do is bounded by `take_addrs`: a record names few addresses, and none that
only a machine or a private network knows, unless the record proves a secret or the DHT itself
is a private one.

A core; ``now`` is monotonic, ``wall`` wall-clock time in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from enum import Enum
from math import inf
from random import Random
from typing import Final

from ..errors import DecodeError
from ..ids import PeerId
from ..transport.address import PeerAddr, SocketAddr, is_loopback, pick_dialable
from .items import SEQUENCE_MAX, Item, MutableItem
from .record import ADDR_COUNT_MAX, NONCE_BYTES, decode_record, encode_record
from .routing import is_global
from .slots import SLOT_COUNT, DhtSlot

POLL_ALONE_S: Final = 5.0
POLL_S: Final = 60.0
JITTER: Final = 0.25
LIFE_S: Final = 600.0
REFRESH_S: Final = 240.0
RETRY_S: Final = 10.0
UNREACHED_S: Final = 90.0
DRIFT_S: Final = 300.0

_MICROSECONDS: Final = 1_000_000


class SlotState(Enum):
    """What is in a slot.

    UNKNOWN: nobody has answered so far.
    FREE: nothing.
    ALIVE: the record of another peer, written lately.
    UNREACHED: such a record, of a peer that could not be reached.
    EXPIRED: a record that was not written again in time.
    INVALID: something else than a record.
    OWN: this node's record.
    """

    UNKNOWN = "unknown"
    FREE = "free"
    ALIVE = "alive"
    UNREACHED = "unreached"
    EXPIRED = "expired"
    INVALID = "invalid"
    OWN = "own"


CLAIMABLE: Final = (SlotState.FREE, SlotState.EXPIRED, SlotState.INVALID, SlotState.UNREACHED)


@dataclass(frozen=True, slots=True)
class SlotReading:
    """What was read in a slot last.

    Attributes:
        state: What it is.
        addr: The record's peer, None when there is none.
        written_s: When it was written, in wall-clock seconds by the writer's clock.
        sequence: The item's sequence number, None when nothing is there.
        reason: Why it is no record.
    """

    state: SlotState = SlotState.UNKNOWN
    addr: PeerAddr | None = None
    written_s: float = 0.0
    sequence: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ReadSlot:
    """Look for the item of the slot at this index."""

    index: int


@dataclass(frozen=True, slots=True)
class WriteSlot:
    """Store this item in the slot at this index, in place of the one with that number."""

    index: int
    item: MutableItem
    expected: int | None


@dataclass(frozen=True, slots=True)
class PeersFound:
    """Here are the other peers whose records are alive, instead of those before."""

    addrs: tuple[PeerAddr, ...]


ChainEffect = ReadSlot | WriteSlot | PeersFound


def read_slot(slot: DhtSlot, item: Item | None, *, wall: float) -> SlotReading:
    """Return what an item that was found in a slot means; None for an empty slot."""
    if not isinstance(item, MutableItem):
        return SlotReading(SlotState.FREE)
    written_s = item.sequence / _MICROSECONDS
    try:
        addr = decode_record(item.value, slot.public_key, slot.seal_key)
    except DecodeError as error:
        reading = SlotReading(SlotState.INVALID, None, written_s, item.sequence, str(error))
    else:
        is_alive = wall - LIFE_S < written_s < wall + DRIFT_S
        state = SlotState.ALIVE if is_alive else SlotState.EXPIRED
        reading = SlotReading(state, addr, written_s, item.sequence)
    return reading


def take_addrs(
    direct: Sequence[SocketAddr], *, hears_loopback: bool, is_private: bool
) -> tuple[SocketAddr, ...]:
    """Return those addresses of a record that are dialled.

    Args:
        direct: What the record says.
        hears_loopback: Whether this node hears its own machine and nothing else.
        is_private: Whether private addresses are believed.
    """

    def is_taken(host: str) -> bool:
        return hears_loopback if is_loopback(host) else is_private or is_global(host)

    return tuple(one for one in pick_dialable(tuple(direct)) if is_taken(one[0]))


class SlotChain:
    """The slots of one network, as one node sees and uses them.

    Args:
        slots: The slots.
        me: This node's peer.
        rng: What the slot, the jitter and nonces are drawn from.
        is_private: Whether private addresses are believed and published: see the module.
        is_claiming: Whether to claim a slot at all.
    """

    def __init__(
        self,
        slots: Sequence[DhtSlot],
        me: PeerId,
        *,
        rng: Random,
        is_private: bool,
        is_claiming: bool = True,
    ) -> None:
        self._slots = tuple(slots)
        self._me = me
        self._rng = rng
        self._is_private = is_private
        self._is_claiming = is_claiming
        self._direct: tuple[SocketAddr, ...] = ()
        self._relay: str | None = None
        self._hears_loopback = False
        self._readings = [SlotReading() for _ in slots]
        self._first_seen: dict[PeerId, float] = {}
        self._reached: Set[PeerId] = frozenset()
        self._reading: set[int] = set()
        self._own: int | None = None
        self._is_writing = False
        self._has_changed = False
        self._poll_at = -inf
        self._write_at = inf
        self._found: tuple[PeerAddr, ...] = ()
        self._effects: list[ChainEffect] = []

    @property
    def readings(self) -> tuple[SlotReading, ...]:
        """What was read in each slot last."""
        return tuple(self._readings)

    @property
    def own(self) -> int | None:
        """The index of the slot that this node has claimed; None for none."""
        return self._own

    @property
    def timer_s(self) -> float:
        """When to call `handle_timer`, in monotonic seconds."""
        return min(self._poll_at, self._write_at)

    def take_effects(self) -> list[ChainEffect]:
        """Return what is to be done, in order, each once."""
        effects, self._effects = self._effects, []
        return effects

    def set_addr(self, addr: PeerAddr, *, now: float) -> None:
        """Take in where this node is now; its record is written anew when that differs."""
        self._hears_loopback = all(is_loopback(host) for host, _ in addr.direct)
        direct = tuple(filter(self._is_told, addr.direct))[:ADDR_COUNT_MAX]
        if (direct, addr.relay) == (self._direct, self._relay):
            return
        self._direct, self._relay = direct, addr.relay
        self._has_changed = True
        if self._own is not None and not self._is_writing:
            self._write_at = now

    def believe_private(self) -> None:
        """Believe and publish private addresses: the DHT is a private one."""
        self._is_private = True

    def note_reached(self, peers: Set[PeerId]) -> None:
        """Take in which other peers this node knows to be there: all of them."""
        self._reached = peers

    def handle_timer(self, *, now: float, wall: float) -> None:
        """Read the slots, or write the own one, when it is time."""
        if self._write_at <= now:
            self._write_at = inf
            self._write_own(now, wall)
        if self._poll_at <= now:
            pause = POLL_S if self._reached else POLL_ALONE_S
            self._poll_at = now + pause * self._rng.uniform(1 - JITTER, 1 + JITTER)
            self._poll()

    def receive_item(
        self, index: int, item: Item | None, answered_count: int, *, now: float, wall: float
    ) -> None:
        """Take in what was found in a slot.

        Args:
            index: The slot.
            item: Its item, None for none.
            answered_count: How many nodes have said so.
            now: Monotonic time.
            wall: Wall-clock time.
        """
        self._reading.discard(index)
        if answered_count:
            self._take_reading(index, read_slot(self._slots[index], item, wall=wall), now)
        if not self._reading:
            self._finish_round(now, wall)

    def receive_written(self, index: int, stored_count: int, *, now: float) -> None:
        """Take in how many nodes have stored the own record."""
        self._is_writing = False
        if index != self._own:
            return
        if stored_count:
            self._write_at = now if self._has_changed else now + REFRESH_S
        else:
            # Nobody took it: another peer was faster, or nobody is in reach.
            self._own = None
            self._poll_at = min(self._poll_at, now + RETRY_S * self._rng.uniform(0.5, 1))

    # Helpers.

    def _is_told(self, addr: SocketAddr) -> bool:
        return self._is_private or is_loopback(addr[0]) or is_global(addr[0])

    def _poll(self) -> None:
        for index in range(len(self._slots)):
            if index not in self._reading:
                self._reading.add(index)
                self._effects.append(ReadSlot(index))

    def _take_reading(self, index: int, reading: SlotReading, now: float) -> None:
        peer = None if reading.addr is None else reading.addr.peer_id
        if peer == self._me and reading.state is SlotState.ALIVE:
            state = SlotState.OWN
        elif peer is not None and reading.state is SlotState.ALIVE:
            seen_at = self._first_seen.setdefault(peer, now)
            is_reached = peer in self._reached or now < seen_at + UNREACHED_S
            state = SlotState.ALIVE if is_reached else SlotState.UNREACHED
        else:
            state = reading.state
        self._readings[index] = SlotReading(
            state, reading.addr, reading.written_s, reading.sequence, reading.reason
        )
        if index != self._own or self._is_writing:
            return
        if state is SlotState.ALIVE:
            self._own, self._write_at = None, inf  # two claimed it, and the other one has it
        elif state is not SlotState.OWN:
            self._write_at = now  # it was lost

    def _finish_round(self, now: float, wall: float) -> None:
        self._tell_found()
        seen = {one.addr.peer_id for one in self._readings if one.addr is not None}
        self._first_seen = {peer: at for peer, at in self._first_seen.items() if peer in seen}
        if self._own is None and self._is_claiming and self._direct:
            self._claim(now, wall)

    def _tell_found(self) -> None:
        found: dict[PeerId, PeerAddr] = {}
        for reading in self._readings:
            addr = reading.addr
            if addr is None or reading.state not in (SlotState.ALIVE, SlotState.UNREACHED):
                continue
            direct = take_addrs(
                addr.direct, hears_loopback=self._hears_loopback, is_private=self._is_private
            )
            if direct or addr.relay:
                found[addr.peer_id] = PeerAddr(addr.peer_id, direct, addr.relay)
        if tuple(found.values()) != self._found:
            self._found = tuple(found.values())
            self._effects.append(PeersFound(self._found))

    def _claim(self, now: float, wall: float) -> None:
        # Those of the first secret, the one that is meant to stay; this node's own of a life
        # before first, which nobody else will take.
        count = min(len(self._slots), SLOT_COUNT)
        former = [n for n in range(count) if self._readings[n].state is SlotState.OWN]
        free = former or [n for n in range(count) if self._is_claimable(self._readings[n])]
        if free:
            self._own = self._rng.choice(free)
            self._write_own(now, wall)

    @staticmethod
    def _is_claimable(reading: SlotReading) -> bool:
        return reading.state in CLAIMABLE and (reading.sequence or 0) < SEQUENCE_MAX

    def _write_own(self, now: float, wall: float) -> None:
        if self._own is None or self._is_writing or not self._direct:
            return
        slot, reading = self._slots[self._own], self._readings[self._own]
        # Numbers only rise, whatever the clocks of others say.
        sequence = max(int(wall * _MICROSECONDS), (reading.sequence or 0) + 1)
        addr = PeerAddr(self._me, self._direct, self._relay)
        nonce = self._rng.randbytes(NONCE_BYTES) if slot.seal_key is not None else b""
        value = encode_record(addr, slot.public_key, slot.seal_key, nonce)
        item = MutableItem.sign(slot.private_key, sequence, value)
        self._readings[self._own] = SlotReading(
            SlotState.OWN, addr, sequence / _MICROSECONDS, sequence
        )
        self._is_writing = True
        self._has_changed = False
        # A claim must not overtake another one; what is one's own only has to be the latest.
        expected = None if reading.state is SlotState.OWN else reading.sequence
        self._effects.append(WriteSlot(self._own, item, expected))
