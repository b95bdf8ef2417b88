"""The remote actor: owns the links over which nodes talk about their actors.

Receives: `StartRemote` first; `CatalogChanged`; the events of its links, frames without a turn
    in the mailbox where nothing waits in it.
Sends: `ServeProtocol` and `OpenLink` to the transport actor; `WatchCatalog`.
Owns: the links. What they carry is decided by the `RemotePeer` of each node, which
    delivers straight into the mailboxes of its actors, and writes to its link itself: one
    frame for all that one turn of the loop sends.
Failure: a link whose frames cannot be decoded is closed with the reason. A dial that fails
    makes dead letters of what waits for it.
"""

from __future__ import annotations

import logging
from functools import partial

from thespian.actors import ActorAddress, ActorExitRequest

from ..discovery.messages import CatalogChanged, UnwatchCatalog, WatchCatalog
from ..errors import RemoteError
from ..ids import PeerId
from ..remote.messages import StartRemote
from ..remote.wire import PROTOCOL, check_incarnation
from ..runtime import TypeDispatcher
from ..transport.address import PeerAddr
from ..transport.close import SHUTDOWN, CloseCode, CloseReason
from ..transport.interface import FramesReceived, Link, LinkClosed, LinkDrained, LinkEvent
from ..transport.messages import LinkFailed, LinkOffered, LinkOpened, OpenLink, ServeProtocol

logger = logging.getLogger(__name__)


class RemoteActor(TypeDispatcher):
    """Serves the one protocol that all actors of a node share."""

    _start: StartRemote

    def __init__(self) -> None:
        self._links: dict[Link, None] = {}

    # Lifecycle.

    def receiveMsg_StartRemote(self, message: StartRemote, sender: ActorAddress) -> None:
        """Serve the protocol from now on."""
        self._start = message
        message.remote.open_link = self._open_link
        self.send(message.node.transport, ServeProtocol(PROTOCOL, self.myAddress, sender))
        self.send(message.catalog, WatchCatalog(self.myAddress))

    def receiveMsg_ActorExitRequest(
        self, _message: ActorExitRequest, _sender: ActorAddress
    ) -> None:
        """Close the links."""
        self.send(self._start.catalog, UnwatchCatalog(self.myAddress))
        for link in self._links:
            link.close(SHUTDOWN)

    # Who is there.

    def receiveMsg_CatalogChanged(self, message: CatalogChanged, _sender: ActorAddress) -> None:
        """Pass it on."""
        self._start.remote.take_catalog(message.snapshot)

    # Links.

    def receiveMsg_LinkOffered(self, message: LinkOffered, _sender: ActorAddress) -> None:
        """Accept a link of another node."""
        link = message.link
        try:
            incarnation = check_incarnation(link.header)
        except RemoteError as error:
            self._refuse(link, error)
            return
        self._links[link] = None
        link.attach(self._take_event)
        link.accept(self._start.remote.incarnation)
        self._start.remote.peer(link.peer_id).link_offered(link, incarnation)

    def receiveMsg_LinkOpened(self, message: LinkOpened, _sender: ActorAddress) -> None:
        """Send over a link that was dialled."""
        link = message.link
        peer = self._start.remote.peer(link.peer_id)
        try:
            incarnation = check_incarnation(link.reply)
        except RemoteError as error:
            self._refuse(link, error)
            peer.lost(str(error))
            return
        self._links[link] = None
        link.attach(self._take_event)
        peer.link_opened(link, incarnation)

    def receiveMsg_LinkFailed(self, message: LinkFailed, _sender: ActorAddress) -> None:
        """Give up what waits for a node."""
        peer = self._start.remote.peer(message.to.peer_id)
        peer.lost(f"its node cannot be reached: {message.error.reason.why}")

    def receiveMsg_FramesReceived(self, message: FramesReceived, _sender: ActorAddress) -> None:
        """Let the frames be taken in."""
        link = message.link
        if link not in self._links:
            return
        peer = self._start.remote.peer(link.peer_id)
        try:
            for frame in message.frames:
                peer.receive(frame)
        except RemoteError as error:
            self._refuse(link, error)
            self._links.pop(link, None)
            peer.link_closed(link, str(error))

    def receiveMsg_LinkDrained(self, message: LinkDrained, _sender: ActorAddress) -> None:
        """Go on writing."""
        self._start.remote.peer(message.link.peer_id).drained(message.link)

    def receiveMsg_LinkClosed(self, message: LinkClosed, _sender: ActorAddress) -> None:
        """Take in that a link is gone."""
        link = message.link
        self._links.pop(link, None)
        self._start.remote.peer(link.peer_id).link_closed(link, message.reason.why)

    def _take_event(self, event: LinkEvent) -> None:
        """Take in frames without a turn in the mailbox, unless something waits there.

        What waits may be what the link said before: nothing overtakes it.
        """
        system = self._start.node.system
        if type(event) is not FramesReceived or not system.run_now(
            self.myAddress, partial(self._take_frames, event)
        ):
            self.send(self.myAddress, event)

    def _take_frames(self, event: FramesReceived) -> None:
        try:
            self.receiveMsg_FramesReceived(event, self.myAddress)
        except Exception:
            link = event.link
            logger.exception("peer %s: a frame could not be handled", link.peer_id.short)
            link.close(CloseReason(CloseCode.UNEXPECTED_CLOSE, "an internal error"))
            self._links.pop(link, None)
            self._start.remote.peer(link.peer_id).link_closed(link, "an internal error")

    # Helpers.

    def _open_link(self, peer_id: PeerId) -> None:
        remote = self._start.remote
        info = remote.catalog.get(peer_id)
        to = PeerAddr(peer_id, ()) if info is None else info.addr
        request = OpenLink(to, PROTOCOL, remote.incarnation, timeout_s=remote.config.dial_timeout)
        self.send(self._start.node.transport, request)

    def _refuse(self, link: Link, error: RemoteError) -> None:
        node = self._start.node
        now = node.clock.monotonic()
        node.peer_log.warning(
            logger, link.peer_id, "peer %s: %s", link.peer_id.short, error, now=now
        )
        link.close(CloseReason(error.close_code, str(error)[:200]))
