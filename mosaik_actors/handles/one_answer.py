"""One question to a peer: a link with a header, one frame back."""

from __future__ import annotations

import asyncio

from ..errors import TransportError
from ..node import Node
from ..transport.address import PeerAddr
from ..transport.interface import FramesReceived, LinkClosed, LinkEvent


async def ask_once(
    node: Node, addr: PeerAddr, protocol: str, header: bytes = b"", *, timeout_s: float
) -> bytes:
    """Return the frame that a peer answers a link of `protocol` with. May be cancelled.

    Raises:
        LinkRefused: It does not answer, or could not be reached.
        TransportError: It ended the link without an answer.
        TimeoutError: No answer in time.
    """
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def take(event: LinkEvent) -> None:
        if answer.done():
            return
        if isinstance(event, FramesReceived):
            answer.set_result(event.frames[0])
        elif isinstance(event, LinkClosed):
            answer.set_exception(TransportError(f"no answer from peer: {event.reason}"))

    async with asyncio.timeout(timeout_s):
        link = await node.endpoint.open_link(addr, protocol, header, timeout=timeout_s)
        try:
            link.attach(take)
            return await answer
        finally:
            answer.cancel()
            link.close()
