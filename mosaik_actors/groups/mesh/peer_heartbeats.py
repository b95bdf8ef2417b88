"""One heartbeat per connection for all groups that have a bond over it.

A node is one process with one loop, so what shows that a peer's process lives and that the
connection works shows it for every bond over that connection. Groups that have nothing to
say rely on it (`StandingBonds`, and `raft.quiescence` for leaders and followers): an idle
group then costs next to nothing (coalesced heartbeats, as CockroachDB and TiKV have them).
They need no timers for it: they are woken when a connection has been silent for long.

A bond that does without (`BondHeartbeats.is_needed`, `StandingBonds`) is no reason for heartbeats.
Each one says whether the sender needs to hear those of the other, too; where neither does, none
are sent.

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
    interval_s: float  # the seconds between two
    patience_s: float  # it is woken before the peer's node was silent for so long
    wake: Callable[[], None]
    is_needed: bool = True  # whether it needs to hear the peer's node

    @property
    def is_watched(self) -> bool:
        """Whether there is nothing to look for before it is woken."""
        return self.is_needed and not self.connection.is_silent

    def need(self, is_needed: bool) -> None:
        """Rely on the peer's heartbeats, from the next one on; or do without."""
        connection = self.connection
        connection.is_silent = connection.is_silent or not connection.needs_peer
        self.is_needed = is_needed


@dataclass(slots=True, eq=False)
class ConnectionHeartbeats:
    """The heartbeats over one connection."""

    heard_at: float = NEVER  # when the peer's last one came
    is_silent: bool = True  # whether none has come since its bonds were woken, or first needed one
    due_at: float = 0.0  # when to send the next one
    interval_s: float = 0.0  # the seconds between two: the shortest that any of its groups wants
    is_wanted: bool = True  # whether the peer needs to hear this node, as it said last
    _said: bool | None = None  # what this node said of itself, None when that may be lost
    _bonds: dict[HeartbeatLink, BondHeartbeats] = field(default_factory=dict)

    @property
    def needs_peer(self) -> bool:
        """Whether any of its bonds needs to hear the peer's node."""
        return any([bond.is_needed for bond in self._bonds.values()])

    @property
    def _link(self) -> HeartbeatLink:
        """The link to send over, one over which nothing is on its way.

        Where one group sends a snapshot, the heartbeat of the others must not wait behind it.
        """
        for link in self._bonds:
            if not link.unsent_bytes:
                return link
        return min(self._bonds, key=lambda link: link.unsent_bytes)

    def add(self, link: HeartbeatLink, bond: BondHeartbeats, *, now: float) -> None:
        """Take in a bond's link."""
        self.is_silent = self.is_silent or not self.needs_peer
        self._bonds[link] = bond
        self.interval_s = min([each.interval_s for each in self._bonds.values()])
        self.due_at = min(self.due_at, now + self.interval_s) if self.due_at else now

    def remove(self, link: HeartbeatLink) -> bool:
        """Forget a link; return whether it was the last one."""
        self._bonds.pop(link, None)
        self.interval_s = min([bond.interval_s for bond in self._bonds.values()], default=0.0)
        self._said = None
        return not self._bonds

    def handle_timer(self, *, now: float) -> None:
        """Send one if it is of use; wake the bonds that may have to act before the next is due."""
        self.due_at = now + self.interval_s
        needs_peer = self.needs_peer
        if needs_peer or self.is_wanted or self._said is not needs_peer:
            self._said = needs_peer
            self._link.write(HEARTBEAT_FRAME if needs_peer else RESTING_FRAME)
        if self.is_silent or not needs_peer:
            return
        bonds = [bond for bond in self._bonds.values() if bond.is_needed]
        if self.heard_at + min([bond.patience_s for bond in bonds]) < self.due_at:
            self.is_silent = True
            for bond in bonds:
                bond.wake()


class PeerHeartbeats:
    """The heartbeats of one node, to all peers with which it has bonds."""

    def __init__(self) -> None:
        self._connections: dict[Hashable, ConnectionHeartbeats] = {}

    def add(
        self,
        link: HeartbeatLink,
        interval_s: float,
        patience_s: float,
        wake: Callable[[], None],
        *,
        now: float,
    ) -> BondHeartbeats:
        """Have a bond take part in the heartbeats of its link's connection.

        Afterwards re-read `get_timer`.
        """
        connection = self._connections.setdefault(link.connection, ConnectionHeartbeats())
        bond = BondHeartbeats(connection, interval_s, patience_s, wake)
        connection.add(link, bond, now=now)
        return bond

    def remove(self, link: HeartbeatLink) -> None:
        """Forget the link of a bond that has ended. May be repeated."""
        connection = self._connections.get(link.connection)
        if connection is not None and connection.remove(link):
            del self._connections[link.connection]

    def receive(self, link: HeartbeatLink, frame: bytes, *, now: float) -> None:
        """Take in a peer's heartbeat."""
        if (connection := self._connections.get(link.connection)) is not None:
            connection.heard_at, connection.is_silent = now, False
            connection.is_wanted = frame == HEARTBEAT_FRAME

    def get_timer(self) -> float | None:
        """Return when to call `handle_timer`, in monotonic seconds; None for never."""
        return min([each.due_at for each in self._connections.values()], default=None)

    def handle_timer(self, *, now: float) -> None:
        """Send what is due, also what will be soon: one timer serves all connections.

        Our own standstill is not taken for the silence of others: what they sent still waits.
        """
        due_at = self.get_timer()
        late_s = 0.0 if due_at is None else now - due_at
        for each in self._connections.values():
            if late_s > each.interval_s:
                each.heard_at = min(now, each.heard_at + late_s)
            if each.due_at <= now + each.interval_s / 2:
                each.handle_timer(now=now)


HEARTBEAT_FRAME: Final = bytes((PEER_HEARTBEAT,))
RESTING_FRAME: Final = bytes((PEER_HEARTBEAT, 0))  # one of a node that does not need the other's
HEARTBEATS: Final = frozenset((HEARTBEAT_FRAME, RESTING_FRAME))
