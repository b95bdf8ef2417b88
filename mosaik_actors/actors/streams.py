"""The streams actor: passes each incoming subscription to the producer it is for.

Receives: `StartStreams`; `RegisterProducer`, `UnregisterProducer` from handles;
    `LinkOffered` from the transport.
Sends: `ServeProtocol` to the transport; `SubscriberOffered` to producers.
Owns: which producer serves which stream.
Failure: a header that is not one closes the link with 400, an unknown stream
    with 10404; nothing else is disturbed.
"""

from __future__ import annotations

import logging
from functools import partial

from thespian.actors import ActorAddress

from ..errors import RemoteError
from ..ids import StreamId
from ..node import Node
from ..runtime import TypeDispatcher
from ..streams.gate import clip
from ..streams.messages import (
    RegisterProducer,
    StartStreams,
    SubscriberOffered,
    UnregisterProducer,
)
from ..streams.wire import PROTOCOL, decode_subscribe
from ..transport.close import CloseCode, CloseReason
from ..transport.interface import FramesReceived, LinkClosed
from ..transport.messages import LinkOffered, ServeProtocol

logger = logging.getLogger(__name__)


class StreamsActor(TypeDispatcher):
    """Serves the one protocol that all streams of a node share."""

    def __init__(self) -> None:
        self._node: Node | None = None
        self._producers: dict[StreamId, ActorAddress] = {}

    # Lifecycle.

    def receiveMsg_StartStreams(self, message: StartStreams, _sender: ActorAddress) -> None:
        """Serve the protocol from now on."""
        self._node = message.node
        self.send(message.node.transport, ServeProtocol(PROTOCOL, self.myAddress))

    # Commands.

    def receiveMsg_RegisterProducer(self, message: RegisterProducer, _sender: ActorAddress) -> None:
        """Take in a producer."""
        self._producers[message.stream_id] = message.producer

    def receiveMsg_UnregisterProducer(
        self, message: UnregisterProducer, _sender: ActorAddress
    ) -> None:
        """Forget a producer."""
        if self._producers.get(message.stream_id) == message.producer:
            del self._producers[message.stream_id]

    def receiveMsg_LinkOffered(self, message: LinkOffered, _sender: ActorAddress) -> None:
        """Pass a subscription on, or refuse it."""
        assert self._node is not None, "StartStreams comes first"
        link = message.link
        try:
            header = decode_subscribe(link.header)
        except RemoteError as exc:
            now = self._node.clock.monotonic()
            self._node.peer_log.warning(
                logger, link.peer_id, "peer %s: %s", link.peer_id.short, exc, now=now
            )
            link.close(CloseReason(exc.close_code, clip(str(exc))))
            return
        producer = self._producers.get(header.stream_id)
        if producer is None:
            text = clip(f"{header.name or header.stream_id.short} is not produced here")
            link.close(CloseReason(CloseCode.STREAM_NOT_FOUND, text))
            return
        # What the link says from here on is the producer's. A link that closed
        # before this is seen there by `is_open`.
        link.attach(partial(self._node.system.tell, producer))
        self.send(producer, SubscriberOffered(link, header))

    def receiveMsg_FramesReceived(self, _message: FramesReceived, _sender: ActorAddress) -> None:
        """Ignore frames: links that still report here were never accepted."""

    def receiveMsg_LinkClosed(self, _message: LinkClosed, _sender: ActorAddress) -> None:
        """Ignore the end of a link that was refused, or was passed on just now."""
