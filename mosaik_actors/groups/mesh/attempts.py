"""Handshakes that are under way: of one mesh, in both directions.

At most one in each direction for each peer; what comes in is bounded, as
anybody may begin a handshake. Which of them becomes a bond is decided by `mesh`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ...ids import PeerId
from ..wire.status import Status
from .handshake import AcceptorHandshake, OpenerHandshake

INCOMING_MAX: Final = 256


@dataclass(slots=True, eq=False)
class OutgoingLink:
    """A link that this member opens."""

    peer: PeerId
    token: int  # by which the caller names it until it is open
    handshake: OpenerHandshake
    late_at: float  # when it is given up
    link_id: int | None = None  # once it is open: then our proof is on its way
    told: Status | None = None  # what we have said of ourselves with the proof


@dataclass(slots=True, eq=False)
class IncomingLink:
    """A link that a peer has opened, and that waits for the peer's proof."""

    peer: PeerId
    link_id: int
    handshake: AcceptorHandshake
    late_at: float  # when it is given up


Attempt = OutgoingLink | IncomingLink


class Attempts:
    """All handshakes of a mesh that are under way; the mappings are to be read only."""

    def __init__(self) -> None:
        self.outgoing: dict[PeerId, OutgoingLink] = {}
        self.incoming: dict[PeerId, IncomingLink] = {}
        self.by_token: dict[int, OutgoingLink] = {}  # those of ours that are not open yet
        self.by_link: dict[int, Attempt] = {}
        self._token_count = 0

    def all_with(self, peer: PeerId) -> list[Attempt]:
        """Return those with this peer."""
        both = (self.outgoing.get(peer), self.incoming.get(peer))
        return [attempt for attempt in both if attempt is not None]

    def add_outgoing(self, peer: PeerId, handshake: OpenerHandshake, late_at: float) -> int:
        """Begin one; return its token."""
        self._token_count += 1
        attempt = OutgoingLink(peer, self._token_count, handshake, late_at)
        self.outgoing[peer] = self.by_token[attempt.token] = attempt
        return attempt.token

    def add_incoming(self, attempt: IncomingLink) -> None:
        """Take in one that a peer has begun."""
        self.incoming[attempt.peer] = self.by_link[attempt.link_id] = attempt

    def set_link(self, attempt: OutgoingLink, link_id: int, late_at: float) -> None:
        """Note that one of ours has its link; it has until `late_at` from here."""
        del self.by_token[attempt.token]
        self.by_link[link_id] = attempt
        attempt.link_id, attempt.late_at = link_id, late_at

    def remove(self, attempt: Attempt) -> None:
        """Forget one; whether its link is closed or a bond is for the caller to know."""
        if isinstance(attempt, OutgoingLink):
            del self.outgoing[attempt.peer]
            self.by_token.pop(attempt.token, None)
        else:
            del self.incoming[attempt.peer]
        if attempt.link_id is not None:
            del self.by_link[attempt.link_id]

    def clear(self) -> list[int]:
        """Forget all; return their links."""
        links = list(self.by_link)
        for attempt in self._list_all():
            self.remove(attempt)
        return links

    def next_late_at(self) -> float | None:
        """Return when the first one is to be given up, None for never."""
        return min([attempt.late_at for attempt in self._list_all()], default=None)

    def list_late(self, now: float) -> list[Attempt]:
        """Return those that have taken too long."""
        return [attempt for attempt in self._list_all() if attempt.late_at <= now]

    def postpone(self, seconds: float) -> None:
        """Give all of them so much more time."""
        for attempt in self._list_all():
            attempt.late_at += seconds

    def _list_all(self) -> list[Attempt]:
        return [*self.outgoing.values(), *self.incoming.values()]
