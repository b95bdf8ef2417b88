"""A network's slots on a node of the DHT: the two cores together.

    meeting = Meeting(node, chain)
    meeting.begin(entry_addrs, now=now)
    meeting.receive_data(...); meeting.handle_timer(...)
    for effect in meeting.take_effects(): ...   # `SendDatagram` and `PeersFound`

A core; ``now`` is monotonic, ``wall`` wall-clock time in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import Final

from ..transport.address import SocketAddr
from .chain import PeersFound, ReadSlot, SlotChain, WriteSlot
from .node import DhtNode, LookupDone, PutDone, SendDatagram
from .slots import DhtSlot

GIVE_UP_JOINING_S: Final = 5.0


class Meeting:
    """Reads and writes slots through a node.

    Args:
        node: A node of the DHT.
        chain: What is to be read and written.
        slots: The slots of `chain`.

    Attributes:
        rounds_count: How often all slots have been read.
    """

    def __init__(self, node: DhtNode, chain: SlotChain, slots: Sequence[DhtSlot]) -> None:
        self.node = node
        self.chain = chain
        self.rounds_count = 0
        self._slots = tuple(slots)
        self._lookups: dict[int, int] = {}
        self._puts: dict[int, int] = {}
        self._joined_at: float | None = None
        self._effects: list[SendDatagram | PeersFound] = []

    @property
    def timer_s(self) -> float:
        """When to call `handle_timer`, in monotonic seconds."""
        mine = self.chain.timer_s if self._has_joined else self._joined_at
        return min(self.node.timer_s, inf if mine is None else mine)

    def take_effects(self) -> list[SendDatagram | PeersFound]:
        """Return what is to be done, in order, each once."""
        effects, self._effects = self._effects, []
        return effects

    def begin(self, entry_addrs: Iterable[SocketAddr], *, now: float, wall: float) -> None:
        """Join the DHT through the nodes at these addresses; slots are read once it answers."""
        if self._joined_at is None:
            self._joined_at = now + GIVE_UP_JOINING_S
        self.node.join(entry_addrs, now=now)
        self._go_on(now, wall)

    def receive_data(self, data: bytes, addr: SocketAddr, *, now: float, wall: float) -> None:
        """Take in a datagram."""
        self.node.receive_data(data, addr, now=now)
        self._go_on(now, wall)

    def handle_timer(self, *, now: float, wall: float) -> None:
        """Do what is due."""
        self.node.handle_timer(now=now)
        if self._joined_at is not None and self._joined_at <= now:
            self._joined_at = now + GIVE_UP_JOINING_S
        if self._has_joined:
            self.chain.handle_timer(now=now, wall=wall)
        self._go_on(now, wall)

    # Helpers.

    @property
    def _has_joined(self) -> bool:
        return len(self.node.table) > 0

    def _go_on(self, now: float, wall: float) -> None:
        """Hand effects from one core to the other until nothing is left."""
        if self._has_joined and self.chain.timer_s <= now:
            self.chain.handle_timer(now=now, wall=wall)
        while True:
            wanted, done = self.chain.take_effects(), self.node.take_effects()
            if not wanted and not done:
                return
            for effect in wanted:
                match effect:
                    case ReadSlot(index):
                        target = self._slots[index].target
                        self._lookups[self.node.find(target, now=now)] = index
                    case WriteSlot(index, item, expected):
                        number = self.node.put(item, expected=expected, now=now)
                        self._puts[number] = index
                    case PeersFound():
                        self._effects.append(effect)
            for result in done:
                self._take_result(result, now, wall)

    def _take_result(
        self, result: SendDatagram | LookupDone | PutDone, now: float, wall: float
    ) -> None:
        match result:
            case SendDatagram():
                self._effects.append(result)
            case LookupDone(number, item, answered_count):
                index = self._lookups.pop(number)
                self.chain.receive_item(index, item, answered_count, now=now, wall=wall)
                self.rounds_count += not self._lookups
            case PutDone(number, stored_count):
                self.chain.receive_written(self._puts.pop(number), stored_count, now=now)
