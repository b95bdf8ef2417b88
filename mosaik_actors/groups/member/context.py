"""What one member is made of, and what all its pieces share."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from ...ids import GroupId, NetworkId, PeerId
from ..client.client import CommandClient
from ..client.reads import Reads
from ..config import ConsensusConfig, GroupsConfig
from ..machine.host import Host
from ..machine.state_sync import StateSync
from ..mesh.key import GroupKey
from ..mesh.mesh import Allow, Mesh
from ..mesh.standing_bonds import JoinHeartbeats
from ..wire.status import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberSpec:
    """What a member is made of.

    Attributes:
        me: This peer.
        network_id: The network.
        group_id: The group.
        key: The group's key.
        consensus: What all members agree on.
        settings: This member's own settings.
        host: The machine, new.
        client: This node's commands.
        sync: How state is synchronised.
        is_durable: Whether the storage survives a crash.
        is_observer: It does not vote, until `GroupMember.take_part`.
        factor: How reluctant it is to lead; 1 is not at all.
        allow: Why a peer is refused although it has the key; None for join_accepted.
        is_in_reach: Whether a peer is connected and answers.
        is_excluded: Whether it is certain that a peer may not be a member any more.
    """

    me: PeerId
    network_id: NetworkId
    group_id: GroupId
    key: GroupKey
    consensus: ConsensusConfig
    settings: GroupsConfig
    host: Host
    client: CommandClient
    sync: StateSync
    is_durable: bool
    is_observer: bool
    factor: float
    allow: Allow
    is_in_reach: Callable[[PeerId], bool] = lambda _peer: False
    is_excluded: Callable[[PeerId], bool] = lambda _peer: False


class Context:
    """What the pieces of one member share, for as long as it lives.

    Args:
        spec: What it is made of.
        rng: Draws timeouts, nonces and ids.
        join_heartbeats: See `StandingBonds`.

    Attributes:
        me: This member.
        consensus: What all members agree on.
        settings: This member's own settings.
        rng: Draws timeouts, nonces and ids.
        mesh: The bonds.
        host: The machine.
        client: This node's commands.
        reads: This node's strong reads.
        sync: How state is synchronised.
        is_durable: Whether anything is saved.
        is_observer: Whether this member wants only to observe.
        factor: How reluctant this member is to lead.
        is_excluded: Whether it is certain that a peer may not be a member any more.
        statuses: Who is bonded with this member, and what they say.
        status_count: How often that has changed.
        status: What this member says of itself.
        keeps_log: Whether the log must not be compacted at the moment.
        events: What the caller is to do.
        out: The frames that wait, by link.
    """

    def __init__(
        self, spec: MemberSpec, rng: Random, join_heartbeats: JoinHeartbeats, *, now: float
    ) -> None:
        self.me = spec.me
        self.consensus: ConsensusConfig = spec.consensus
        self.settings: GroupsConfig = spec.settings
        self.rng = rng
        self.mesh = Mesh(
            spec.me,
            spec.network_id,
            spec.group_id,
            spec.key,
            spec.consensus,
            rng,
            now=now,
            status=Status(),
            is_in_reach=spec.is_in_reach,
            allow=spec.allow,
            join_heartbeats=join_heartbeats,
        )
        self.host: Host = spec.host
        self.client: CommandClient = spec.client
        self.reads = Reads(spec.consensus.heartbeat_interval)
        self.sync: StateSync = spec.sync
        self.is_durable = spec.is_durable
        self.is_observer = spec.is_observer
        self.factor = spec.factor
        self.is_excluded = spec.is_excluded
        self.statuses: dict[PeerId, Status] = {}
        self.status_count = 0
        self.status: Callable[[], Status] = Status
        self.keeps_log: Callable[[], bool] = lambda: False
        self.events: deque[Any] = deque()
        self.out: dict[int, list[bytes]] = {}

    def send(self, peer: PeerId, data: bytes) -> None:
        """Send a frame to a bonded member; without a bond it is lost, as frames may be."""
        link_id = self.mesh.link_of(peer)
        if link_id is not None:
            self.out.setdefault(link_id, []).append(data)

    def emit(self, event: Any) -> None:
        """Have the caller do something, after all that it was told before."""
        self.events.append(event)
