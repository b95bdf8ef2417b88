"""One heartbeat per connection for all groups that have a bond over it.

A node is one process with one loop, so what shows that a peer's process lives and that the
connection works shows it for every bond over that connection. Groups that have nothing to
say rely on it (`StandingBonds`, and `raft.quiescence` for leaders and followers): an idle
group then costs next to nothing (coalesced heartbeats, as CockroachDB and TiKV have them).
They need no timers for it: they are woken when a connection has been silent for long.

A node sends them as long as a bond of its own needs to hear the other one (`StandingBonds`), and
answers those of one that it does not need: where neither side does, nothing is sent.

It is kept per connection and not per peer: where a second connection to the same peer
works, the first may be dead all the same, and with it the bonds over it. A peer that
restarts has another connection.

A heartbeat is a frame of one or two bytes over any one of the bonds' links. Members that do not
know it ignore it, and are never relied on this way: they send none.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Protocol

from ..config import ConsensusConfig
from ..wire.frames import PEER_HEARTBEAT

NEVER: Final = float("-inf")


class HeartbeatLink(Protocol):
    """What is needed of a link."""

    @property
    def connection(self) -> Hashable:
        """The same for all links over one connection."""

    @property
    def unsent_bytes(self) -> int:
        """What was written and has not arrived yet."""

    def write(self, frame: bytes) -> None:
        """Append one frame."""


@dataclass(slots=True, eq=False)
class BondHeartbeats:
    """What one bond wants of the heartbeats over its connection."""

    connection: ConnectionHeartbeats
    config: ConsensusConfig  # its group's
    wake: Callable[[], None]  # to be called before it has to act on the silence of the peer's node
    is_needed: bool = True  # whether it needs to hear the peer's node

    @property
    def is_watched(self) -> bool:
        """Whether there is nothing to look for before it is woken."""
        return self.is_needed and not self.connection.is_silent

    def need(self, is_needed: bool) -> None:
        """Rely on the peer's heartbeats, from the next one on; or do without."""
        self.connection.is_silent |= not self.connection.needs_peer
        self.is_needed = is_needed


@dataclass(slots=True, eq=False)
class ConnectionHeartbeats:
    """The heartbeats over one connection."""

    due_at: float  # when to send the next one
    heard_at: float = NEVER  # when the peer's last one came
    is_silent: bool = True  # whether none has come since its bonds were woken, or first needed one
    bonds: dict[HeartbeatLink, BondHeartbeats] = field(default_factory=dict)

    @property
    def needs_peer(self) -> bool:
        """Whether any of its bonds needs to hear the peer's node."""
        return any(bond.is_needed for bond in self.bonds.values())

    @property
    def interval_s(self) -> float:
        """The seconds between two: the shortest that any of its groups wants."""
        return min([bond.config.heartbeat_interval for bond in self.bonds.values()])

    def handle_timer(self, interval_s: float, *, now: float) -> None:
        """Send one if need be; wake the bonds that may have to act before the next is due."""
        self.due_at = now + interval_s
        if self.needs_peer:
            # Where one group sends a snapshot, the others must not wait.
            min(self.bonds, key=lambda link: link.unsent_bytes).write(HEARTBEAT_FRAME)
        bonds = [bond for bond in self.bonds.values() if bond.is_watched]
        waits_s = [min(b.config.election_timeout, b.config.bond_timeout_s) for b in bonds]
        if bonds and self.heard_at + min(waits_s) < self.due_at:
            self.is_silent = True
            for bond in bonds:
                bond.wake()


class PeerHeartbeats:
    """The heartbeats of one node, to all peers with which it has bonds."""

    def __init__(self) -> None:
        self._connections: dict[Hashable, ConnectionHeartbeats] = {}

    def add(
        self, link: HeartbeatLink, config: ConsensusConfig, wake: Callable[[], None], *, now: float
    ) -> BondHeartbeats:
        """Have a bond take part in the heartbeats of its connection; re-read `get_timer`."""
        each = self._connections.setdefault(link.connection, ConnectionHeartbeats(now))
        each.is_silent |= not each.needs_peer
        each.due_at = min(each.due_at, now + config.heartbeat_interval)
        each.bonds[link] = bond = BondHeartbeats(each, config, wake)
        return bond

    def remove(self, link: HeartbeatLink) -> None:
        """Forget the link of a bond that has ended. May be repeated."""
        if (each := self._connections.get(link.connection)) is not None:
            each.bonds.pop(link, None)
            if not each.bonds:
                del self._connections[link.connection]

    def receive(self, link: HeartbeatLink, frame: bytes, *, now: float) -> None:
        """Take in a peer's heartbeat; answer it where this node does not send any by itself."""
        if (each := self._connections.get(link.connection)) is not None:
            is_flood = now < each.heard_at + each.interval_s / 2
            if frame == HEARTBEAT_FRAME and not each.needs_peer and not is_flood:
                link.write(ANSWER_FRAME)
            each.heard_at, each.is_silent = now, False

    def get_timer(self) -> float | None:
        """Return when to call `handle_timer`, in monotonic seconds; None for never."""
        return min([each.due_at for each in self._connections.values()], default=None)

    def handle_timer(self, *, now: float) -> None:
        """Send what is due, also what will be soon: one timer serves all connections.

        Our own standstill is not taken for the silence of others: what they sent still waits.
        """
        due_at = self.get_timer()
        for each in self._connections.values():
            interval_s = each.interval_s
            if due_at is not None and (late_s := now - due_at) > interval_s:
                each.heard_at = min(now, each.heard_at + late_s)
            if each.due_at <= now + interval_s / 2:
                each.handle_timer(interval_s, now=now)


HEARTBEAT_FRAME: Final = bytes((PEER_HEARTBEAT,))
ANSWER_FRAME: Final = bytes((PEER_HEARTBEAT, 0))  # calls for none
