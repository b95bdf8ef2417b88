"""The group control actor: does for the node's own operator what nobody else may ask for.

Receives: `StartGroupControl`; `LinkOffered` from the transport.
Sends: `ServeProtocol` to the transport.
Owns: the requests that are being carried out, at most `REQUESTS_MAX`.
Failure: a request over the network, and one that could not be read, is refused with a
    reason; what fails while it is carried out is answered as an error.

Who asks has to be a process of the user who runs the node, on its machine: the kernel says
so of whoever is at the other end of a Unix socket (`transport.local`). Such a process could
as well end the node, so no new power is given away. A peer that has the network's secret,
or the key of the group, may take part; that does not mean that it may say who leads.
"""

from __future__ import annotations

import asyncio
import logging

from thespian.actors import ActorAddress, ActorExitRequest

from ..errors import DecodeError
from ..groups.messages import StartGroupControl
from ..groups.wire.control import ANSWER_BYTES_MAX, PROTOCOL, ControlRequest, decode_request
from ..runtime import TypeDispatcher
from ..transport.close import CloseCode, CloseReason
from ..transport.interface import FramesReceived, Link, LinkClosed, LinkDrained
from ..transport.messages import LinkOffered, ServeProtocol
from ..wire_encoding import encode

logger = logging.getLogger(__name__)

REQUESTS_MAX = 16
_NOT_LOCAL = CloseReason(
    CloseCode.GROUP_NOT_ALLOWED,
    "groups are controlled on the node's machine, by the user who runs it, not over the network",
)
_TOO_MANY = CloseReason(CloseCode.TOO_MANY_LINKS, "too many requests are being carried out")


class GroupControlActor(TypeDispatcher):
    """Carries out one request for each link."""

    def __init__(self) -> None:
        self._start: StartGroupControl
        self._tasks: set[asyncio.Task[None]] = set()

    def receiveMsg_StartGroupControl(
        self, message: StartGroupControl, _sender: ActorAddress
    ) -> None:
        """Serve the protocol from now on."""
        self._start = message
        self.send(message.node.transport, ServeProtocol(PROTOCOL, self.myAddress))

    def receiveMsg_ActorExitRequest(
        self, _message: ActorExitRequest, _sender: ActorAddress
    ) -> None:
        """Carry out nothing any more."""
        for task in self._tasks:
            task.cancel()

    def receiveMsg_LinkOffered(self, message: LinkOffered, _sender: ActorAddress) -> None:
        """Begin to carry out a request, or refuse it."""
        link, node = message.link, self._start.node
        if link.carrier != "unix":
            text, peer, now = (
                "peer %s asks to control a group",
                link.peer_id,
                node.clock.monotonic(),
            )
            node.peer_log.warning(logger, peer, text, peer.short, now=now)
            link.close(_NOT_LOCAL)
            return
        if len(self._tasks) >= REQUESTS_MAX:
            link.close(_TOO_MANY)
            return
        try:
            request = decode_request(link.header)
        except DecodeError as exc:
            link.close(CloseReason(CloseCode.GROUP_INVALID_HANDSHAKE, str(exc)[:200]))
            return
        link.accept(frame_bytes_max=1)
        task = asyncio.get_running_loop().create_task(
            self._carry_out(link, request), name="group control"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def receiveMsg_FramesReceived(self, _message: FramesReceived, _sender: ActorAddress) -> None:
        """Ignore frames: there is nothing to say."""

    def receiveMsg_LinkDrained(self, _message: LinkDrained, _sender: ActorAddress) -> None:
        """Ignore marks."""

    def receiveMsg_LinkClosed(self, _message: LinkClosed, _sender: ActorAddress) -> None:
        """Go on: what was begun is seen through, whoever waits for it."""

    async def _carry_out(self, link: Link, request: ControlRequest) -> None:
        answer = encode(await self._start.carry_out(request))
        assert len(answer) <= ANSWER_BYTES_MAX
        link.write(answer)
        link.close()
