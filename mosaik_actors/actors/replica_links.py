"""How a replica meets the other members of its group; a part of `replica`.

`ReplicaPresence` makes it known: the groups actor hands over the links of the group, the
catalog shows the membership to other nodes and tells who else has one, and the tickets tell
whose membership is to be judged anew. `ReplicaLinks` has the links of its bonds, and the numbers
that its core, which has no links, knows them by: they are never used again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from thespian.actors import ActorAddress

from ..discovery.entry import EntryTooLarge, GroupInfo
from ..discovery.messages import AdvertiseGroup, UnwatchCatalog, WatchCatalog, WithdrawGroup
from ..discovery.view import CatalogSnapshot
from ..groups.config import ConsensusConfig
from ..groups.mesh.peer_heartbeats import (
    ANSWER_FRAME,
    HEARTBEAT_FRAME,
    BondHeartbeats,
    PeerHeartbeats,
)
from ..groups.messages import RegisterReplica, StartReplica, UnregisterReplica
from ..ids import PeerId
from ..tickets.messages import UnwatchTickets, WatchTickets
from ..transport.address import PeerAddr
from ..transport.close import CloseReason
from ..transport.interface import Link, Sink

logger = logging.getLogger(__name__)

# Several times what Raft, commands and state sync may have on their way to one member.
_UNSENT_BYTES_MAX = 64 * 1024 * 1024

_NEAR_MISS_TEXT = (
    "group %s: peer %s is in a group of the same name with another id, so the two never meet; "
    "key, ConsensusConfig, the machine's signature and state_sync must be the same"
)


class ReplicaPresence:
    """What one replica has told the other actors of its node.

    Args:
        start: What the replica was started with.
        me: The replica.
        send: Sends a message of the replica.
    """

    def __init__(
        self, start: StartReplica, me: ActorAddress, send: Callable[[ActorAddress, Any], None]
    ) -> None:
        self._start = start
        self._group_id = start.spec.group_id
        self._me = me
        self._send = send
        self._has_near_miss = False

    async def register(self) -> PeerHeartbeats:
        """Get the links of the group from now on; return the heartbeats that all groups share."""
        heartbeats: asyncio.Future[PeerHeartbeats] = asyncio.get_running_loop().create_future()
        self._send(self._start.groups, RegisterReplica(self._group_id, self._me, heartbeats))
        return await heartbeats

    async def advertise(self) -> None:
        """Put the membership into the own entry; a member that nobody can see must not begin."""
        outcome: asyncio.Future[EntryTooLarge | None] = asyncio.get_running_loop().create_future()
        group = GroupInfo(self._group_id, self._start.shown_name)
        self._send(self._start.catalog, AdvertiseGroup(group, outcome))
        if (error := await outcome) is not None:
            raise EntryTooLarge(f"the group cannot be advertised: {error}")

    def watch(self) -> None:
        """Hear of other members from now on."""
        self._send(self._start.catalog, WatchCatalog(self._me))
        if (tickets := self._start.tickets) is not None:
            self._send(tickets.actor, WatchTickets(self._me))

    def withdraw(self) -> None:
        """Take all of it back."""
        start = self._start
        self._send(start.groups, UnregisterReplica(self._group_id, self._me))
        self._send(start.catalog, UnwatchCatalog(self._me))
        if (tickets := start.tickets) is not None:
            self._send(tickets.actor, UnwatchTickets(self._me, tickets.requirement))
        self._send(start.catalog, WithdrawGroup(self._group_id))

    def list_members(self, snapshot: CatalogSnapshot) -> dict[PeerId, PeerAddr]:
        """Return who else advertises the group, and where; log a near miss, once."""
        name, me = self._start.shown_name, self._start.spec.me
        members: dict[PeerId, PeerAddr] = {}
        for peer, info in snapshot.items():
            if self._group_id in info.groups and peer != me:
                members[peer] = info.addr
            is_missed = name and not self._has_near_miss and info.is_reachable
            if is_missed and any(
                other_name == name and other_id != self._group_id
                for other_id, other_name in info.groups.items()
            ):
                self._has_near_miss = True
                label = self._start.name or self._group_id.short
                logger.warning(_NEAR_MISS_TEXT, label, peer.short)
        return members


class ReplicaLinks:
    """The links of one replica.

    Args:
        sink: Gets the events of all of them.

    Attributes:
        heartbeats: Those that all groups of the node share.
    """

    def __init__(self, sink: Sink) -> None:
        self.heartbeats = PeerHeartbeats()
        self._sink = sink
        self._links: dict[int, Link] = {}
        self._ids: dict[Link, int] = {}
        self._number = 0

    def add(self, link: Link) -> int:
        """Attach a new link, and return its number."""
        self._number += 1
        self._links[self._number] = link
        self._ids[link] = self._number
        link.attach(self._sink)
        return self._number

    def get(self, link_id: int) -> Link | None:
        """Return the link with a number, None when it has ended."""
        return self._links.get(link_id)

    def write(self, link_id: int, frames: list[bytes], *, is_lone: bool) -> Link | None:
        """Write what leaves over a link, at once if it is lone; return the link if it is slow."""
        link = self._links.get(link_id)
        if link is None:
            return None
        if is_lone and len(frames) == 1:
            link.write_now(frames[0])
        else:
            link.write_many(frames)
        return link if link.unsent_bytes > _UNSENT_BYTES_MAX else None

    def id_of(self, link: Link) -> int | None:
        """Return the number of a link, None when it has ended."""
        return self._ids.get(link)

    def forget(self, link: Link) -> int | None:
        """Take in that a link ended; return its number, None when that is known."""
        link_id = self._ids.pop(link, None)
        if link_id is not None:
            del self._links[link_id]
            self.heartbeats.remove(link)
        return link_id

    def join_heartbeats(
        self, link_id: int, consensus: ConsensusConfig, wake: Callable[[], None], now: float
    ) -> BondHeartbeats | None:
        """Have a bond take part in the heartbeats of its connection; None when it has ended."""
        if (link := self._links.get(link_id)) is None:
            return None
        return self.heartbeats.add(link, consensus, wake, now=now)

    def take_heartbeats(self, link: Link, frames: list[bytes], *, now: float) -> list[bytes]:
        """Take in the heartbeats among some frames; return the others."""
        others = []
        for frame in frames:
            if frame in (HEARTBEAT_FRAME, ANSWER_FRAME):
                self.heartbeats.receive(link, frame, now=now)
            else:
                others.append(frame)
        return others

    def close(self, link_id: int, reason: CloseReason) -> None:
        """Close a link, unless it has ended."""
        link = self._links.get(link_id)
        if link is not None:
            self.forget(link)
            link.close(reason)

    def close_all(self, reason: CloseReason) -> None:
        """Close all links."""
        for link in self._links.values():
            self.heartbeats.remove(link)
            link.close(reason)
        self._links.clear()
        self._ids.clear()
