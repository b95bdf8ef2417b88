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
from ..mesh.handshake import Credentials
from ..mesh.key import GroupKey
from ..mesh.mesh import Allow, Mesh
from ..mesh.standing_bonds import JoinHeartbeats
from ..wire.status import Status
from .events import GroupEvent, Logged, Notify
from .saving import Saving


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberSpec:
    """What a member is made of."""

    me: PeerId
    network_id: NetworkId
    group_id: GroupId
    key: GroupKey
    consensus: ConsensusConfig  # what all members agree on
    settings: GroupsConfig  # this member's own settings
    host: Host  # the machine, new
    client: CommandClient  # this node's commands
    sync: StateSync  # how state is synchronised
    is_durable: bool  # whether the storage survives a crash
    is_observer: bool  # it does not vote, until `GroupMember.take_part`
    factor: float  # how reluctant it is to lead; 1 is not at all
    allow: Allow  # why a peer is refused although it has the key; None if it is not
    is_in_reach: Callable[[PeerId], bool] = lambda _peer: False  # whether it is here and answers
    # Whether it is certain that a peer may not be a member any more.
    is_excluded: Callable[[PeerId], bool] = lambda _peer: False


class Context:
    """What the pieces of one member share, for as long as it lives; see also `MemberSpec`."""

    def __init__(self, spec: MemberSpec, rng: Random, join_heartbeats: JoinHeartbeats) -> None:
        self.me = spec.me
        self.consensus: ConsensusConfig = spec.consensus
        self.settings: GroupsConfig = spec.settings
        self.rng = rng
        self.mesh = Mesh(
            Credentials(spec.me, spec.network_id, spec.group_id, spec.key),
            spec.consensus,
            rng,
            status=Status(),
            is_in_reach=spec.is_in_reach,
            allow=spec.allow,
            join_heartbeats=join_heartbeats,
        )
        self.host: Host = spec.host
        self.client: CommandClient = spec.client
        self.reads = Reads(spec.consensus.heartbeat_interval)  # this node's strong reads
        self.sync: StateSync = spec.sync
        self.is_durable = spec.is_durable
        self.saving = Saving(is_durable=spec.is_durable, patience_s=spec.consensus.election_timeout)
        self.is_observer = spec.is_observer
        self.factor = spec.factor
        self.is_excluded = spec.is_excluded
        self.statuses: dict[PeerId, Status] = {}  # of those that are bonded with this member
        self.status_count = 0  # how often that has changed
        self.status: Callable[[], Status] = Status  # what this member says of itself
        self.keeps_log: Callable[[], bool] = lambda: False  # the log must not be compacted now
        self.events: deque[Any] = deque()  # what the caller is to do
        self.out: dict[int, list[bytes]] = {}  # the frames that wait, by link

    def send(self, peer: PeerId, data: bytes) -> None:
        """Send a frame to a bonded member; without a bond it is lost, as frames may be."""
        link_id = self.mesh.link_of(peer)
        if link_id is not None:
            self.out.setdefault(link_id, []).append(data)

    def emit(self, event: Any) -> None:
        """Have the caller do something, after all that it was told before."""
        self.events.append(event)

    def notify(self, event: GroupEvent) -> None:
        """Notify the users of the group."""
        self.events.append(Notify(event))

    def inform(self, text: str) -> None:
        """Log a line about what is as it should be."""
        self.events.append(Logged(False, text))

    def warn(self, text: str, peer: PeerId | None = None) -> None:
        """Log a line about something that is wrong; `peer` as in `Logged`."""
        self.events.append(Logged(True, text, peer))
