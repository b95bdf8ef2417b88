"""The messages of the groups actor and the replica actors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from thespian.actors import ActorAddress

from ..errors import MosaikError
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
    """Hand the links for a group to this replica from now on."""

    group_id: GroupId
    replica: ActorAddress
    heartbeats: asyncio.Future[PeerHeartbeats]  # gets those that all groups of the node share


@dataclass(frozen=True, slots=True)
class HeartbeatsDue:
    """A bond has formed: look when the next heartbeat to a peer is due."""


@dataclass(frozen=True, slots=True)
class PeerFellSilent:
    """No heartbeats come over a connection: look how long its bonds may tolerate that."""


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
    """The first message of a replica actor."""

    node: Node
    catalog: ActorAddress  # the catalog actor
    groups: ActorAddress  # the groups actor
    spec: MemberSpec  # what the member is made of
    storage: LogStorage  # its log
    state: GroupState  # what its handles read
    name: str  # the group's name, for people at this node
    shown_name: str  # its name in the catalog
    tickets: RequiredTickets | None = None  # what tickets other members need; None is none
    after: Any = None  # done when this node's last member of the group is gone, or will not go


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
    """Leave the group; the sender gets `GroupLeft`."""

    is_final: bool  # whether the member does not mean to come back with its log


@dataclass(frozen=True, slots=True)
class GroupLeft:
    """The member has left, its storage is closed."""


class CallFailed(MosaikError):
    """A call was not served in its time, and whether it may still take effect.

    The actor knows why a call failed, the handle knows what was asked: it makes the error that
    its caller sees, with the value.
    """

    def __init__(self, reason: str, may_take_effect: bool = False) -> None:
        super().__init__(reason, may_take_effect)
        self.reason = reason
        self.may_take_effect = may_take_effect
