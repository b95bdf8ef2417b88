"""One heartbeat per connection for all groups that have a bond over it.

A node is one process with one loop, so what shows that a peer's process lives and that the
connection works shows it for every bond over that connection. Groups that have nothing to
say rely on it (`StandingBonds`, and `raft.quiescence` for leaders and followers): an idle
group then costs next to nothing (coalesced heartbeats, as CockroachDB and TiKV have them).

It is kept per connection and not per peer: where a second connection to the same peer
works, the first may be dead all the same, and with it the bonds over it. A peer that
restarts has another connection.

A heartbeat is a frame of one byte over any one of the bonds' links. Members that do not know
it ignore it, and are never relied on this way: they send none.
"""

from __future__ import annotations

from collections.abc import Hashable
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
class ConnectionHeartbeats:
    """The heartbeats over one connection."""

    heard_at: float = NEVER  # when the peer's last one came
    due_at: float = 0.0  # when to send the next one
    interval_s: float = 0.0  # the seconds between two: the shortest that any of its groups wants
    _intervals_s: dict[HeartbeatLink, float] = field(default_factory=dict)

    @property
    def link(self) -> HeartbeatLink | None:
        """The link to send over, one over which nothing is on its way; None without a bond.

        Where one group sends a snapshot, the heartbeat of the others must not wait behind it.
        """
        for link in self._intervals_s:
            if not link.unsent_bytes:
                return link
        return min(self._intervals_s, key=lambda link: link.unsent_bytes, default=None)

    def add(self, link: HeartbeatLink, interval_s: float, *, now: float) -> None:
        """Take in a bond's link."""
        self._intervals_s[link] = interval_s
        self.interval_s = min(self._intervals_s.values())
        self.due_at = min(self.due_at, now + self.interval_s) if self.due_at else now

    def remove(self, link: HeartbeatLink) -> bool:
        """Forget a link; return whether it was the last one."""
        self._intervals_s.pop(link, None)
        self.interval_s = min(self._intervals_s.values(), default=0.0)
        return not self._intervals_s


class PeerHeartbeats:
    """The heartbeats of one node, to all peers with which it has bonds."""

    def __init__(self) -> None:
        self._connections: dict[Hashable, ConnectionHeartbeats] = {}

    def add(self, link: HeartbeatLink, interval_s: float, *, now: float) -> ConnectionHeartbeats:
        """Send heartbeats over the connection of a bond's link, at the interval its group wants.

        Afterwards re-read `get_timer`.
        """
        connection = self._connections.setdefault(link.connection, ConnectionHeartbeats())
        connection.add(link, interval_s, now=now)
        return connection

    def remove(self, link: HeartbeatLink) -> None:
        """Forget the link of a bond that has ended. May be repeated."""
        connection = self._connections.get(link.connection)
        if connection is not None and connection.remove(link):
            del self._connections[link.connection]

    def receive(self, link: HeartbeatLink, *, now: float) -> None:
        """Take in a peer's heartbeat."""
        if (connection := self._connections.get(link.connection)) is not None:
            connection.heard_at = now

    def get_timer(self) -> float | None:
        """Return when to call `handle_timer`, in monotonic seconds; None for never."""
        return min([each.due_at for each in self._connections.values()], default=None)

    def handle_timer(self, *, now: float) -> None:
        """Send what is due."""
        for connection in self._connections.values():
            if connection.due_at <= now:
                connection.due_at = now + connection.interval_s
                if (link := connection.link) is not None:
                    link.write(HEARTBEAT_FRAME)


HEARTBEAT_FRAME: Final = bytes((PEER_HEARTBEAT,))
