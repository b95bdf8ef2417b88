"""What all endpoints have in common: who they are, whom they refuse, who gets which link.

An endpoint brings links; what is decided about them before anybody else sees them is here, so
that it is decided the same over sockets and in memory.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import Context

from ..ids import NetworkId, PeerId
from ..peer_log import PeerLog
from .address import PeerAddr
from .admission import NetworkKeys
from .apart import Apart
from .close import CloseCode, CloseReason
from .config import TransportConfig
from .counters import TransportCounters
from .frames import OpenFrame
from .gate import Gate, Standing
from .interface import ConnectionEvent, Link
from .link_limit import why_too_many

logger = logging.getLogger(__name__)

CLOSING = CloseReason(CloseCode.GRACEFUL_SHUTDOWN, "this endpoint is closing")


class EndpointBase(ABC):
    """One node's presence on the network, whatever carries its links.

    Args:
        peer_id: The identity that every connection proves.
        keys: What connections prove besides.
        config: The settings.
        now: The monotonic clock.
        context: What is called later runs in it; None is whatever is in force then.

    Attributes:
        keys: What connections prove, and what else is derived from the same.
        config: The settings.
        counters: What it has seen so far.
        gate: Who may be connected; `ban` and `allow` change it and act on it.
        peer_log: Where it, and all of its node, logs what peers did.
        apart: With which peers it has no carrier in common.
    """

    def __init__(
        self,
        peer_id: PeerId,
        keys: NetworkKeys,
        config: TransportConfig,
        now: Callable[[], float],
        context: Context | None = None,
    ) -> None:
        self.keys = keys
        self.config = config
        self.counters = TransportCounters()
        self.gate = Gate(config)
        self.peer_log = PeerLog()
        self.apart = Apart((), self.peer_log, lambda _to: True)
        self._peer_id = peer_id
        self._addr = PeerAddr(peer_id)
        self._now = now
        self._context = context
        self._acceptors: dict[str, Callable[[Link], None]] = {}
        self._essential: set[str] = set()
        self._listeners: list[Callable[[ConnectionEvent], None]] = []
        self._is_closing = False

    # Who it is.

    @property
    def network_id(self) -> NetworkId:
        """The network whose links are accepted here."""
        return self.keys.network_id

    @property
    def peer_id(self) -> PeerId:
        """The identity that every connection proves."""
        return self._peer_id

    @property
    def addr(self) -> PeerAddr:
        """Where others can reach this endpoint."""
        return self._addr

    @property
    def may_move(self) -> bool:
        """Whether its addresses may change: see `look_where`."""
        return False

    def look_where(self, addr_of: Callable[[PeerId], PeerAddr | None] = lambda _: None) -> bool:
        """Look where others can reach it by now; return whether `addr` has changed.

        Args:
            addr_of: Says where a peer is that has to be dialled anew; None where nobody knows.
        """
        del addr_of
        return False

    def receive_peer_move(self, before: PeerAddr, addr: PeerAddr) -> None:
        """Take in that a peer says that it is at other addresses than before."""
        del before, addr

    @property
    def frame_bytes_max(self) -> int:
        """The largest frame that is sent or taken in, in bytes."""
        return self.config.frame_bytes_max

    # Who gets what.

    def serve(
        self, protocol: str, acceptor: Callable[[Link], None], *, is_essential: bool = False
    ) -> None:
        """Hand every incoming link of `protocol` to `acceptor`, which attaches and accepts it."""
        self._acceptors[protocol] = acceptor
        if is_essential:
            self._essential.add(protocol)

    def unserve(self, protocol: str) -> None:
        """Refuse links of `protocol` from now on."""
        self._acceptors.pop(protocol, None)

    def answer(self, link: Link, opening: OpenFrame, *, peer_link_count: int) -> None:
        """Hand a link that a peer opened to its protocol's acceptor, or say no.

        Args:
            link: It.
            opening: What it is for.
            peer_link_count: How many other links the peer has open on the connection.
        """
        acceptor = self._acceptors.get(opening.protocol)
        if self._is_closing:
            link.close(CLOSING)
        elif acceptor is None:
            text = f"nothing serves {opening.protocol[:64]!r} here"
            self._refuse(link, CloseReason(CloseCode.INVALID_PROTOCOL, text))
        elif reason := why_too_many(
            peer_link_count,
            self.config.links_max,
            is_essential=opening.protocol in self._essential,
        ):
            self._refuse(link, reason)
        else:
            self.counters.links_accepted += 1
            acceptor(link)

    def on_connection_event(self, listener: Callable[[ConnectionEvent], None]) -> None:
        """Call `listener` when peers connect and disconnect."""
        self._listeners.append(listener)

    def notify(self, event: ConnectionEvent) -> None:
        """Notify all listeners."""
        for listener in self._listeners:
            listener(event)

    # Who may be connected.

    def ban(self, peer_id: PeerId, *, for_s: float | None = None, why: str = "") -> None:
        """Refuse a peer from now on, and end what there is with it."""
        self.gate.ban(peer_id, for_s=for_s, why=why, now=self._now())
        self._recheck_gate(peer_id)

    def allow(self, peer_id: PeerId) -> None:
        """Refuse a peer no longer, whatever it was refused for."""
        self.gate.allow(peer_id)

    def note_fault(self, peer_id: PeerId, text: str) -> None:
        """Take in that a peer broke a rule; too many end what there is with it."""
        self.counters.violations += 1
        log, who, now = self.peer_log, peer_id.short, self._now()
        log.warning(logger, peer_id, "peer %s broke a rule: %s", who, text, now=now)
        if reason := self.gate.receive_fault(peer_id, now=now):
            log.warning(logger, peer_id, "peer %s is refused: %s", who, reason.text, now=now)
            loop = asyncio.get_running_loop()
            # Not in the midst of what it sent.
            loop.call_soon(self._recheck_gate, peer_id, context=self._context)

    def standings(self) -> list[Standing]:
        """Return what there is against whom: bans, and broken rules."""
        return self.gate.standings(now=self._now())

    @abstractmethod
    def disconnect(self, peer_id: PeerId, reason: CloseReason) -> None:
        """End all connections to a peer with `reason`."""

    def _recheck_gate(self, peer_id: PeerId) -> None:
        """End the connections to a peer that is refused by now."""
        if reason := self.gate.objection(peer_id, now=self._now()):
            self.disconnect(peer_id, reason)

    def _refuse(self, link: Link, reason: CloseReason) -> None:
        self.counters.links_refused += 1
        self.peer_log.warning(
            logger,
            link.peer_id,
            "refused a link of peer %s: %s",
            link.peer_id.short,
            reason.text or reason.name,
            now=self._now(),
            about=reason.code,
        )
        link.close(reason)
