"""The messages of the groups actor and the replica actors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from thespian.actors import ActorAddress

from ..ids import GroupId, PeerId
from ..tickets.messages import RequiredTickets
from ..transport.interface import Link
from .member.context import MemberSpec
from .mesh.peer_heartbeats import PeerHeartbeats
from .shared import GroupState
from .storage.interface import LogStorage
from .wire.control import ControlAnswer, ControlRequest

if TYPE_CHECKING:
    from ..node import Node


@dataclass(frozen=True, slots=True)
class StartGroups:
    """The first message of the groups actor."""

    node: Node


@dataclass(frozen=True, slots=True)
class RegisterReplica:
    """Hand the links for a group to this replica from now on.

    Attributes:
        group_id: The group.
        replica: The replica.
        heartbeats: Gets the heartbeats that all groups of the node share.
    """

    group_id: GroupId
    replica: ActorAddress
    heartbeats: asyncio.Future[PeerHeartbeats]


@dataclass(frozen=True, slots=True)
class HeartbeatsDue:
    """A bond has formed: look when the next heartbeat to a peer is due."""


@dataclass(frozen=True, slots=True)
class UnregisterReplica:
    """Refuse links for a group from now on, if they go to this replica."""

    group_id: GroupId
    replica: ActorAddress


@dataclass(frozen=True, slots=True)
class BondOffered:
    """To a replica: a peer opened a link for its group. The link reports to it already."""

    link: Link


@dataclass(frozen=True, slots=True)
class StartReplica:
    """The first message of a replica actor.

    Attributes:
        node: The node.
        catalog: The catalog actor.
        groups: The groups actor.
        spec: What the member is made of.
        storage: Its log.
        state: What its handles read.
        name: The group's name, for people at this node.
        shown_name: Its name in the catalog.
        tickets: What tickets other members need; None is none.
        after: Done when this node's last member of the group is gone, or will not go;
            None when there was none.
    """

    node: Node
    catalog: ActorAddress
    groups: ActorAddress
    spec: MemberSpec
    storage: LogStorage
    state: GroupState
    name: str
    shown_name: str
    tickets: RequiredTickets | None = None
    after: Any = None


@dataclass(frozen=True, slots=True)
class CommandsQueued:
    """There are submissions in the shared state."""


@dataclass(frozen=True, slots=True)
class ReadAsked:
    """A strong read: `future` gets the answer, which the state has, when it may be given."""

    future: Any
    timeout_s: float


@dataclass(frozen=True, slots=True)
class CallCancelled:
    """Nobody waits for `future` any more."""

    future: Any


@dataclass(frozen=True, slots=True)
class TakePart:
    """Be an observer no more."""


@dataclass(frozen=True, slots=True)
class TransferLeadership:
    """Hand leadership to another voter; the sender gets `TransferBegun`."""

    to: PeerId


@dataclass(frozen=True, slots=True)
class TransferBegun:
    """The leader takes no commands until another one is elected; or `has_begun` is False."""

    has_begun: bool


@dataclass(frozen=True, slots=True)
class StartGroupControl:
    """Do for the node's operator what `carry_out` does. First message of that actor."""

    node: Node
    carry_out: Callable[[ControlRequest], Awaitable[ControlAnswer]]


@dataclass(frozen=True, slots=True)
class ForceNewGroup:
    """Begin a new history from the state here; the sender gets `GroupWasForced`."""


@dataclass(frozen=True, slots=True)
class GroupWasForced:
    """The new history has begun, or `error` says why not."""

    error: Exception | None


@dataclass(frozen=True, slots=True)
class LeaveGroup:
    """Leave the group; the sender gets `GroupLeft`.

    Attributes:
        is_final: Whether the member does not mean to come back with its log.
    """

    is_final: bool


@dataclass(frozen=True, slots=True)
class GroupLeft:
    """The member has left, its storage is closed."""
