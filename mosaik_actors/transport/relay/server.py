"""A relay: forwards datagrams between the peers that are linked to it.

It is an endpoint of a network of relays, to which anybody belongs who knows its secret where it
has one. Who is at the other end of a link is proven, so a peer can neither get nor send what
is another's. The `forwarding` decides; here is what it is joined to.
"""

from __future__ import annotations

import logging
from functools import partial

from ...clock import Clock
from ...errors import RemoteError
from ..address import PeerAddr, SocketAddr
from ..close import SHUTDOWN, CloseCode, CloseReason
from ..interface import Endpoint, FramesReceived, Link, LinkClosed, LinkEvent
from ..paths.observed import Reflector
from ..paths.probes import SECRET_BYTES
from .config import RelayLimits
from .forwarding import Forwarding, RelayCounters
from .frames import FRAME_BYTES_MAX, PROTOCOL, RELAY_ITSELF

logger = logging.getLogger(__name__)

_REPLACED = CloseReason(CloseCode.SUCCESS, "another link of this peer is used")


class RelayServer:
    """A relay.

    Args:
        endpoint: Where peers are linked to it; closed with the relay.
        limits: What each peer gets.
        clock: Where `now` comes from.
    """

    def __init__(self, endpoint: Endpoint, limits: RelayLimits, clock: Clock) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._reflector = Reflector()
        self._forwarding = Forwarding(limits)
        self._links: dict[bytes, Link] = {}
        endpoint.serve(PROTOCOL, self._accept)

    @property
    def addr(self) -> PeerAddr:
        """What nodes name it by."""
        return self._endpoint.addr

    @property
    def peer_count(self) -> int:
        """Peers that are served now."""
        return self._forwarding.peer_count

    @property
    def counters(self) -> RelayCounters:
        """What it has done so far."""
        return self._forwarding.counters

    def reflect(self, data: bytes, remote: SocketAddr, now: float) -> bytes | None:
        """Return the answer to a datagram of a peer that asks where it is seen, None for none."""
        return self._reflector.receive_datagram(data, remote, now=now)

    async def close(self) -> None:
        """End all links, and the endpoint."""
        await self._endpoint.close(SHUTDOWN)

    def _accept(self, link: Link) -> None:
        peer = bytes(link.peer_id)
        if reason := self._forwarding.join(peer, now=self._clock.monotonic()):
            link.close(reason)
            return
        former = self._links.pop(peer, None)
        self._links[peer] = link
        if former is not None:
            former.close(_REPLACED)
        link.attach(partial(self._take, peer))
        link.accept(frame_bytes_max=FRAME_BYTES_MAX)

    def _take(self, peer: bytes, event: LinkEvent) -> None:
        match event:
            case FramesReceived(link, frames) if self._links.get(peer) is link:
                self._forward(peer, link, frames)
            case LinkClosed(link, _) if self._links.get(peer) is link:
                self._leave(peer)

    def _forward(self, peer: bytes, link: Link, frames: list[bytes]) -> None:
        try:
            found = self._forwarding.receive_frames(peer, frames, now=self._clock.monotonic())
        except RemoteError as error:
            self._leave(peer)
            link.close(CloseReason(error.close_code, error.text))
            return
        for request in found.pop(RELAY_ITSELF, ()):
            if len(request) == SECRET_BYTES:
                self._reflector.receive_secret(peer, request, now=self._clock.monotonic())
        for target, sent in found.items():
            to = self._links[target]
            if self._forwarding.note_sent(sent, to.unsent_bytes):
                to.write_many(sent)

    def _leave(self, peer: bytes) -> None:
        del self._links[peer]
        self._forwarding.leave(peer)
        self._reflector.leave(peer)
