"""The bonds that stand: what goes over them, and how long silence is tolerated.

Part of `mesh`, which decides who is bonded; here is what bonded members tell
each other. Heartbeats with the status go over all bonds at the same time, so that one encoding
and one timer serve them all; the jitter keeps members from beating together. While nothing
changes there are none, and the heartbeats of the nodes (`peer_heartbeats`) show who lives.

Two followers do not even need these of each other, as long as they agree who leads and the leader
says that it is bonded with both: it looks after them, and says when it has lost one. Such a bond
rests, so that what a group says by itself grows with its members and not with their pairs.

Invariants:
    * Each bond has one peer and one link, and is known by both.
    * `take` never raises for a frame of the right form and size, except for
      frames that have no place on a bond.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from math import inf
from operator import attrgetter
from random import Random
from typing import Final

from ...errors import RemoteError
from ...ids import PeerId
from ...transport.close import CloseReason
from ..config import ConsensusConfig
from ..wire.status import Status
from .bond import BondFormed, BondLost, BondState, MeshEvent, SendBondFrame, StatusChanged
from .peer_heartbeats import BondHeartbeats
from .topology import Topology
from .wire import Beat, MeshFrame, Peers, encode_frame

NEWS_DELAY_S: Final = 0.05  # bonds come and go together; this collects what to tell of them
_BEATS_AT_REST: Final = 4
# What others may have to act on at once, of a status.
_act_on = attrgetter(
    "standing", "history", "leader", "is_leaving", "is_catching_up", "closed_into", "merged"
)
# What two followers must agree on to leave it to their leader to see that the other lives.
_agree_on = attrgetter("history", "leader", "term", "is_catching_up")

JoinHeartbeats = Callable[[int], BondHeartbeats | None]


class StandingBonds:
    """The bonds of one member; what is to be done and published goes to `events`.

    `join_heartbeats` is called with each bond's link when it forms: it has the bond take part in
    the heartbeats of its connection, and returns its share; None where there are none.
    """

    def __init__(
        self,
        me: PeerId,
        config: ConsensusConfig,
        rng: Random,
        events: deque[MeshEvent],
        status: Status,
        join_heartbeats: JoinHeartbeats,
    ) -> None:
        self._me = me
        self.status = status  # what this member says of itself
        self._join_heartbeats = join_heartbeats
        self.by_peer: dict[PeerId, BondState] = {}  # the bonds by peer, the oldest first
        self.by_link: dict[int, BondState] = {}
        self.topology = Topology(me)
        self._config = config
        self._rng = rng
        self._events = events
        self._beat_at = inf
        self._changed_beat_at = 0.0  # when to say next what has changed
        self._moved_beat_at = 0.0  # and when, if a follower has only moved on
        self._news_at: float | None = None

    def add(self, peer: PeerId, link_id: int, status: Status, *, now: float) -> None:
        """Let a link be the bond with a peer, who has none."""
        beat_at = now + self._config.heartbeat_interval
        self._changed_beat_at = max(self._changed_beat_at, beat_at)
        self._beat_at = min(self._beat_at, beat_at) if self.by_peer else beat_at
        bond = BondState(peer, link_id, status, now, now, self._join_heartbeats(link_id))
        self.by_peer[peer] = self.by_link[link_id] = bond
        self._events.append(BondFormed(peer, link_id, status))
        told = self.topology.add(peer)
        if told.added:
            self._events.append(SendBondFrame(link_id, encode_frame(told)))
        self._note_own_change(now)

    def remove(
        self, bond: BondState, reason: CloseReason, *, now: float, was_graceful: bool
    ) -> None:
        """Forget a bond that has ended."""
        del self.by_peer[bond.peer]
        del self.by_link[bond.link_id]
        self.topology.remove(bond.peer)
        self._events.append(BondLost(bond.peer, reason, was_graceful))
        self._note_own_change(now)

    def take(self, bond: BondState, frame: MeshFrame, *, now: float) -> None:
        """Take in a frame that came over a bond; a `Leave` is for the caller.

        Raises `RemoteError` where it has no place here, or tells too much.
        """
        match frame:
            case Beat(status):
                if status != bond.status:
                    before, bond.status = bond.status, status
                    self._events.append(StatusChanged(bond.peer, status))
                    if _agree_on(before) != _agree_on(status):
                        self._let_rest(now)
            case Peers():
                self.topology.receive(bond.peer, frame)
                if bond.peer == self.status.leader:
                    self._let_rest(now)
            case _:
                raise RemoteError(f"a frame {type(frame).__name__} on a bond that stands")

    def set_status(self, status: Status, *, now: float) -> None:
        """Take in what this member says of itself; `list_due_times` may change."""
        before, self.status = self.status, status
        if status == before or not self.by_peer:
            return
        if _agree_on(before) != _agree_on(status):
            self._let_rest(now)
        if _act_on(before) != _act_on(status):
            self._beat(now)
        else:
            is_follower = status.leader not in (None, self._me)
            has_moved = is_follower and status.has_only_moved_on(before)
            beat_at = self._moved_beat_at if has_moved else self._changed_beat_at
            self._beat_at = min(self._beat_at, beat_at)

    def tell(self, now: float) -> None:
        """Send what is due: what changed in our bonds, heartbeats."""
        if self._news_at is not None and self._news_at <= now:
            self._news_at = None
            if (news := self.topology.take_news()) is not None:
                self._send_all(encode_frame(news))
        if self.by_peer and self._beat_at <= now:
            self._beat(now)

    def list_silent(self, now: float) -> list[BondState]:
        """Return the bonds over which nothing came for too long."""
        timeout_s = self._config.bond_timeout_s
        return [bond for bond in self._list_awaited() if bond.last_heard_at + timeout_s <= now]

    def forgive(self, seconds: float, *, now: float) -> None:
        """Bear so much more silence from all of them."""
        for bond in self.by_peer.values():
            bond.heard_at = min(now, bond.last_heard_at + seconds)

    def list_due_times(self) -> Iterator[float]:
        """Yield when `tell` and `list_silent` are due next."""
        if self._news_at is not None:
            yield self._news_at
        if self.by_peer:
            yield self._beat_at
            heard_at = min([bond.last_heard_at for bond in self._list_awaited()], default=inf)
            yield heard_at + self._config.bond_timeout_s

    def _list_awaited(self) -> list[BondState]:
        """Return the bonds of which it is to be seen how long they are silent."""
        return [b for b in self.by_peer.values() if not (b.is_watched or b.is_resting)]

    def _let_rest(self, now: float) -> None:
        """Note which bonds rest from now on, and which do not any more: see the head."""
        mine = self.status
        watched = self.topology.told_by.get(mine.leader or self._me, {})
        for bond in self.by_peer.values():
            is_alike = _agree_on(bond.status) == _agree_on(mine) and not mine.is_catching_up
            is_needed = bond.peer not in watched or not is_alike
            if bond.heartbeats is not None and bond.heartbeats.is_needed is not is_needed:
                bond.heartbeats.need(is_needed)
                bond.heard_at = now  # what it does not say counts from here

    def _beat(self, now: float) -> None:
        """Say what this member is, and set when the next heartbeat is due.

        All members beat over all bonds, and a link loses nothing: `_BEATS_AT_REST` of them in
        the time after which a bond counts as silent are enough. Where the nodes of all the
        others send heartbeats, for all groups at once, or need not, only what is new is said.
        """
        self._send_all(encode_frame(Beat(self.status)))
        now += self._rng.random() * self._config.heartbeat_jitter
        interval_s, timeout_s = self._config.heartbeat_interval, self._config.bond_timeout_s
        self._changed_beat_at, self._moved_beat_at = now + interval_s, now + timeout_s
        is_heard = all(bond.has_heartbeats or bond.is_resting for bond in self.by_peer.values())
        self._beat_at = inf if is_heard else now + max(interval_s, timeout_s / _BEATS_AT_REST)

    def _send_all(self, data: bytes) -> None:
        self._events += [SendBondFrame(link_id, data) for link_id in self.by_link]

    def _note_own_change(self, now: float) -> None:
        if self._news_at is None:
            self._news_at = now + NEWS_DELAY_S
        self._let_rest(now)
