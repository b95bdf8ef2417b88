"""The transport actor: the bridge between the endpoint and everybody else.

Receives: `StartTransport` first; `ServeProtocol`, `OpenLink`, `WatchConnections`,
    `DisconnectPeer`.
Sends: `LinkOpened` or `LinkFailed` to whoever asked; `LinkOffered` to the owner
    of a protocol; `ProtocolServed` to who waits for it; `PeerConnected` and
    `PeerDisconnected` to the watchers. The events of a link (`FramesReceived`,
    `LinkDrained`, `LinkClosed`) go from the link straight to its owner and do not
    pass through here.
Owns: nothing but its dials. The endpoint belongs to the network, which closes it.
Failure: a dial that fails is a `LinkFailed`. When the actor exits, the dials it
    still has are cancelled, and their links are closed as cancelled.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from thespian.actors import ActorAddress, ActorExitRequest

from ..runtime import TypeDispatcher
from ..transport.close import CloseCode, CloseReason
from ..transport.interface import ConnectionEvent, Endpoint, Link, LinkRefused
from ..transport.messages import (
    DisconnectPeer,
    LinkFailed,
    LinkOffered,
    LinkOpened,
    OpenLink,
    ProtocolServed,
    ServeProtocol,
    StartTransport,
    WatchConnections,
)

logger = logging.getLogger(__name__)


class TransportActor(TypeDispatcher):
    """Opens links for actors, and brings them the links that peers open."""

    def __init__(self) -> None:
        self._endpoint: Endpoint | None = None
        self._dials: dict[asyncio.Task[None], None] = {}
        self._watchers: list[ActorAddress] = []

    # Lifecycle.

    def receiveMsg_StartTransport(self, message: StartTransport, _sender: ActorAddress) -> None:
        """Take the endpoint to bridge."""
        self._endpoint = message.endpoint
        message.endpoint.on_connection_event(self._tell_watchers)

    def receiveMsg_ActorExitRequest(
        self, _message: ActorExitRequest, _sender: ActorAddress
    ) -> None:
        """Give up what is still being dialled."""
        for dial in self._dials:
            dial.cancel()

    # Commands.

    def receiveMsg_ServeProtocol(self, message: ServeProtocol, _sender: ActorAddress) -> None:
        """Offer the links of a protocol to its owner from now on."""
        self._started.serve(
            message.protocol,
            partial(self._offer, message.owner),
            is_essential=message.is_essential,
        )
        if message.asker is not None:
            self.send(message.asker, ProtocolServed(message.protocol))

    def receiveMsg_OpenLink(self, message: OpenLink, sender: ActorAddress) -> None:
        """Open a link; others go on meanwhile."""
        opening = asyncio.get_running_loop().create_task(
            self._open(self._started, message, sender), name=f"open {message.protocol}"
        )
        self._dials[opening] = None
        opening.add_done_callback(self._dials.pop)

    def receiveMsg_WatchConnections(self, message: WatchConnections, _sender: ActorAddress) -> None:
        """Notify one more actor of peers that come and go."""
        if message.watcher not in self._watchers:
            self._watchers.append(message.watcher)

    def receiveMsg_DisconnectPeer(self, message: DisconnectPeer, _sender: ActorAddress) -> None:
        """End all connections to a peer."""
        self._started.disconnect(message.peer_id, message.reason)

    # Helpers.

    @property
    def _started(self) -> Endpoint:
        assert self._endpoint is not None, "StartTransport comes first"
        return self._endpoint

    def _offer(self, owner: ActorAddress, link: Link) -> None:
        link.attach(partial(self.send, owner))
        self.send(owner, LinkOffered(link))

    async def _open(self, endpoint: Endpoint, request: OpenLink, asker: ActorAddress) -> None:
        try:
            link = await endpoint.open_link(
                request.to,
                request.protocol,
                request.header,
                timeout=request.timeout_s,
                is_essential=request.is_essential,
            )
        except LinkRefused as error:
            self.send(asker, LinkFailed(error, request.to, request.token))
        except ValueError as error:
            refusal = LinkRefused(CloseReason(CloseCode.PROTOCOL_VIOLATION, str(error)))
            self.send(asker, LinkFailed(refusal, request.to, request.token))
        except Exception as error:
            # A mistake of ours. The asker must not wait for ever because of it.
            logger.exception("opening a link failed")
            refusal = LinkRefused(CloseReason(CloseCode.UNEXPECTED_CLOSE, repr(error)[:200]))
            self.send(asker, LinkFailed(refusal, request.to, request.token))
        else:
            self.send(asker, LinkOpened(link, request.token))
            link.attach(partial(self.send, asker))

    def _tell_watchers(self, event: ConnectionEvent) -> None:
        for watcher in self._watchers:
            self.send(watcher, event)
