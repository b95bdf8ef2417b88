"""A relay: forwards datagrams between the peers that are linked to it.

It is an endpoint of a network of relays, to which anybody belongs who knows its secret where it
has one. Who is at the other end of a link is proven, so a peer can neither get nor send what
is another's. The `forwarding` decides; here is what it is joined to.

Where tickets are required a link is not accepted, and nothing of it read, before those in its
header were validated (`RelayAdmission`). A peer may show others at any time; when none holds any
more its link ends. Of links that wait there are at most `WAITING_MAX`: the oldest ends for
a newcomer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from ...clock import Clock
from ...errors import RemoteError
from ...ids import PeerId
from ..address import PeerAddr, SocketAddr
from ..close import SHUTDOWN, CloseCode, CloseReason
from ..interface import Endpoint, FramesReceived, Link, LinkClosed, LinkEvent
from ..paths.observed import Reflector
from ..paths.probes import SECRET_BYTES
from .config import RelayLimits
from .forwarding import Forwarding, RelayCounters
from .frames import PROTOCOL, RELAY_ITSELF, RELAY_TICKETS, TICKETS_FRAME_BYTES_MAX

logger = logging.getLogger(__name__)

WAITING_MAX: Final = 256

_REPLACED = CloseReason(CloseCode.SUCCESS, "another link of this peer is used")
_NOT_JUDGED = CloseReason(CloseCode.TOO_MANY_LINKS, "too many peers wait for their tickets")


class RelayAdmission(Protocol):
    """Says who may use a relay, by what each peer shows."""

    def start(self, take: Callable[[PeerId, str | None, bool], None]) -> None:
        """Begin. `take` is called with each verdict: whose, why not, and whether one follows.

        Why not is None where the peer is allowed.
        """

    def receive_shown(self, peer_id: PeerId, data: bytes) -> None:
        """Take in what a peer shows; its verdict follows, or has come by now.

        Raises:
            RemoteError: It cannot be decoded.
        """

    def receive_end(self, peer_id: PeerId) -> None:
        """Take in that a peer is gone."""

    def close(self) -> None:
        """Stop."""


class RelayServer:
    """A relay.

    Args:
        endpoint: Where peers are linked to it; closed with the relay.
        limits: What each peer gets.
        clock: Where `now` comes from.
        admission: Who is served; None for everybody.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        limits: RelayLimits,
        clock: Clock,
        admission: RelayAdmission | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._reflector = Reflector()
        self._forwarding = Forwarding(limits)
        self._links: dict[bytes, Link] = {}
        self._admission = admission
        self._waiting: dict[bytes, Link] = {}  # the oldest first
        if admission is not None:
            admission.start(self._take_verdict)
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
        if self._admission is not None:
            self._admission.close()
        await self._endpoint.close(SHUTDOWN)

    def _accept(self, link: Link) -> None:
        if self._admission is None:
            self._admit(link)
            return
        peer = bytes(link.peer_id)
        if reason := self._forwarding.why_full(peer):
            link.close(reason)
            return
        if (former := self._waiting.pop(peer, None)) is not None:
            former.close(_REPLACED)
        if len(self._waiting) >= WAITING_MAX:
            self._stop_waiting(next(iter(self._waiting)), _NOT_JUDGED)
        self._waiting[peer] = link
        try:
            self._admission.receive_shown(link.peer_id, link.header)
        except RemoteError as error:
            self._forwarding.counters.violations += 1
            self._stop_waiting(peer, CloseReason(error.close_code, error.text))

    def _stop_waiting(self, peer: bytes, reason: CloseReason) -> None:
        self._waiting.pop(peer).close(reason)
        self._forget_tickets(peer)

    def _forget_tickets(self, peer: bytes) -> None:
        if self._admission and peer not in self._links and peer not in self._waiting:
            self._admission.receive_end(PeerId(peer))

    def _take_verdict(self, peer_id: PeerId, why_not: str | None, is_awaited: bool) -> None:
        """Take in whether a peer may use this relay, and whether more is to be heard of that."""
        peer, counters = bytes(peer_id), self._forwarding.counters
        reason = CloseReason(CloseCode.NO_TICKET, f"no valid ticket: {why_not}")
        if why_not is not None and (link := self._links.get(peer)) is not None:
            counters.tickets_expired += 1
            self._log_refusal(peer_id, "peer %s is served no longer: %s", why_not)
            self._leave(peer)
            link.close(reason)
        waiting = self._waiting.get(peer)
        if waiting is None or (why_not is not None and is_awaited):
            return
        if not waiting.is_open:
            self._stop_waiting(peer, reason)
        elif why_not is None:
            del self._waiting[peer]
            self._admit(waiting)
            self._forget_tickets(peer)  # there may have been no place
        else:
            counters.tickets_refused += 1
            self._log_refusal(peer_id, "peer %s is not served: %s", why_not)
            self._stop_waiting(peer, reason)

    def _log_refusal(self, peer_id: PeerId, text: str, why_not: str) -> None:
        now = self._clock.monotonic()
        self._endpoint.peer_log.warning(logger, peer_id, text, peer_id.short, why_not, now=now)

    def _admit(self, link: Link) -> None:
        peer = bytes(link.peer_id)
        if reason := self._forwarding.join(peer, now=self._clock.monotonic()):
            link.close(reason)
            return
        former = self._links.pop(peer, None)
        self._links[peer] = link
        if former is not None:
            former.close(_REPLACED)
        link.attach(partial(self._take, peer))
        link.accept(frame_bytes_max=TICKETS_FRAME_BYTES_MAX)

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
            self._end(peer, link, error)
            return
        shown = found.pop(RELAY_TICKETS, ())
        for request in found.pop(RELAY_ITSELF, ()):
            if len(request) == SECRET_BYTES:
                self._reflector.receive_secret(peer, request, now=self._clock.monotonic())
        for target, sent in found.items():
            to = self._links[target]
            if self._forwarding.note_sent(sent, to.unsent_bytes):
                to.write_many(sent)
        if shown and self._admission is not None:
            try:
                self._admission.receive_shown(link.peer_id, shown[-1])
            except RemoteError as error:
                self._forwarding.counters.violations += 1
                self._end(peer, link, error)

    def _end(self, peer: bytes, link: Link, error: RemoteError) -> None:
        self._leave(peer)
        link.close(CloseReason(error.close_code, error.text))

    def _leave(self, peer: bytes) -> None:
        del self._links[peer]
        self._forwarding.leave(peer)
        self._reflector.leave(peer)
        self._forget_tickets(peer)
