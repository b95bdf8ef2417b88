"""The status actor: shows this node's snapshot to peers that ask for it.

Receives: `StartStatus`; `LinkOffered` from the transport.
Sends: `ServeProtocol` to the transport.
Owns: `Answers`, which says who gets one, and when a new snapshot is due.
Failure: a peer that asks too often is refused with 429. A snapshot that could not be
    taken ends the link with 103; the next one who asks causes another attempt.
"""

from __future__ import annotations

import logging

from thespian.actors import ActorAddress

from ..metrics.messages import StartStatus
from ..metrics.wire import PROTOCOL, Answers
from ..runtime import TypeDispatcher
from ..transport.close import CloseCode, CloseReason
from ..transport.interface import FramesReceived, LinkClosed, LinkDrained
from ..transport.messages import LinkOffered, ServeProtocol

logger = logging.getLogger(__name__)

_TOO_OFTEN = CloseReason(CloseCode.TOO_MANY_LINKS, "asked for the status too often")
_NOT_SHARED = CloseReason(CloseCode.INVALID_PROTOCOL, "it does not share its status")
_FAILED = CloseReason(CloseCode.UNEXPECTED_CLOSE, "the status could not be taken")


class StatusActor(TypeDispatcher):
    """Answers each link with one frame."""

    def __init__(self) -> None:
        self._answers = Answers()
        self._start: StartStatus

    def receiveMsg_StartStatus(self, message: StartStatus, _sender: ActorAddress) -> None:
        """Serve the protocol from now on."""
        self._start = message
        self.send(message.node.transport, ServeProtocol(PROTOCOL, self.myAddress))

    def receiveMsg_LinkOffered(self, message: LinkOffered, _sender: ActorAddress) -> None:
        """Write the snapshot and end the link, or refuse it."""
        link, answers, read = message.link, self._answers, self._start.read
        if read is None:
            link.close(_NOT_SHARED)
            return
        now = self._start.node.clock.monotonic()
        if not answers.may_ask(link.peer_id, now=now):
            link.close(_TOO_OFTEN)
            return
        if answers.is_stale(now=now):
            try:
                answers.receive_status(read(), now=now)
            except Exception:
                logger.exception("the status could not be taken")
                link.close(_FAILED)
                return
        link.accept(frame_bytes_max=1)
        link.write(answers.frame)
        link.close()

    def receiveMsg_FramesReceived(self, _message: FramesReceived, _sender: ActorAddress) -> None:
        """Ignore frames: there is nothing to say."""

    def receiveMsg_LinkDrained(self, _message: LinkDrained, _sender: ActorAddress) -> None:
        """Ignore marks."""

    def receiveMsg_LinkClosed(self, _message: LinkClosed, _sender: ActorAddress) -> None:
        """Ignore the end of a link, which was ended here."""
