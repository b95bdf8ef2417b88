"""The groups actor: passes each incoming bond on to the replica it is for.

It also sends the heartbeats that all groups of this node share, one for each connection.

Receives: `StartGroups`; `RegisterReplica`, `UnregisterReplica`, `HeartbeatsDue` from
    replicas; `LinkOffered` from the transport.
Sends: `ServeProtocol` to the transport; `BondOffered` to replicas.
Owns: which replica serves which group; the `PeerHeartbeats`, which replicas add their bonds to.
Failure: a header that is not one closes the link with 30400, an unknown group
    with 30404; nothing else is disturbed.
"""

from __future__ import annotations

import logging
from functools import partial

from thespian.actors import ActorAddress, WakeupMessage

from ..errors import RemoteError
from ..groups.mesh.handshake import group_of
from ..groups.mesh.peer_heartbeats import PeerHeartbeats
from ..groups.messages import (
    BondOffered,
    HeartbeatsDue,
    RegisterReplica,
    StartGroups,
    UnregisterReplica,
)
from ..groups.wire.frames import PROTOCOL
from ..ids import GroupId
from ..node import Node
from ..runtime import TypeDispatcher
from ..transport.close import CloseCode, CloseReason
from ..transport.interface import FramesReceived, LinkClosed
from ..transport.messages import LinkOffered, ServeProtocol

logger = logging.getLogger(__name__)


class GroupsActor(TypeDispatcher):
    """Serves the one protocol that all groups of a node share."""

    def __init__(self) -> None:
        self._node: Node
        self._replicas: dict[GroupId, ActorAddress] = {}
        self._heartbeats = PeerHeartbeats()
        self._armed: float | None = None

    # Lifecycle.

    def receiveMsg_StartGroups(self, message: StartGroups, _sender: ActorAddress) -> None:
        """Serve the protocol from now on."""
        self._node = message.node
        self.send(
            message.node.transport, ServeProtocol(PROTOCOL, self.myAddress, is_essential=True)
        )

    # Commands.

    def receiveMsg_RegisterReplica(self, message: RegisterReplica, _sender: ActorAddress) -> None:
        """Take in a replica."""
        self._replicas[message.group_id] = message.replica
        if not message.heartbeats.done():
            message.heartbeats.set_result(self._heartbeats)

    def receiveMsg_UnregisterReplica(
        self, message: UnregisterReplica, _sender: ActorAddress
    ) -> None:
        """Forget a replica."""
        if self._replicas.get(message.group_id) == message.replica:
            del self._replicas[message.group_id]

    def receiveMsg_LinkOffered(self, message: LinkOffered, _sender: ActorAddress) -> None:
        """Pass a link on, or refuse it."""
        link = message.link
        try:
            group_id = group_of(link.header)
        except RemoteError as exc:
            now = self._node.clock.monotonic()
            self._node.peer_log.warning(
                logger, link.peer_id, "peer %s: %s", link.peer_id.short, exc, now=now
            )
            link.close(CloseReason(CloseCode.GROUP_INVALID_HANDSHAKE, str(exc)[:200]))
            return
        replica = self._replicas.get(group_id)
        if replica is None:
            text = f"group {group_id.short} has no member here"
            link.close(CloseReason(CloseCode.GROUP_NOT_FOUND, text))
            return
        link.attach(partial(self._node.system.tell, replica))
        self.send(replica, BondOffered(link))

    # Heartbeats.

    def receiveMsg_HeartbeatsDue(self, _message: HeartbeatsDue, _sender: ActorAddress) -> None:
        """Send the first heartbeat to a peer, or send them more often."""
        self._arm()

    def receiveMsg_WakeupMessage(self, message: WakeupMessage, _sender: ActorAddress) -> None:
        """Send the heartbeats that are due."""
        if message.payload != self._armed:
            return
        self._armed = None
        self._heartbeats.handle_timer(now=self._node.clock.monotonic())
        self._arm()

    def _arm(self) -> None:
        due_at = self._heartbeats.get_timer()
        if due_at is None or (self._armed is not None and self._armed <= due_at):
            return
        self._armed = due_at
        self.wakeupAfter(max(0.0, due_at - self._node.clock.monotonic()), due_at)

    # Links that have no replica.

    def receiveMsg_FramesReceived(self, _message: FramesReceived, _sender: ActorAddress) -> None:
        """Ignore frames: links that still report here were never accepted."""

    def receiveMsg_LinkClosed(self, _message: LinkClosed, _sender: ActorAddress) -> None:
        """Ignore the end of a link that was refused, or was passed on just now."""
