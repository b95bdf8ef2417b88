"""Handshakes that are under way: of one mesh, in both directions.

At most one in each direction for each peer; what comes in is bounded, as
anybody may begin a handshake. Which of them becomes a bond is decided by `mesh`.
"""

from __future__ import annotations

from typing import Final

from ...ids import PeerId
from ..wire.status import Status
from .handshake import AcceptorHandshake, OpenerHandshake

INCOMING_MAX: Final = 256


class OutgoingLink:
    """A link that this member opens.

    Attributes:
        peer: To whom.
        token: By which the caller names it until it is open.
        handshake: Our side of the handshake.
        late_at: When it is given up, in monotonic seconds.
        link_id: The link, once it is open: then our proof is on its way.
        told: What we have said of ourselves with the proof.
    """

    __slots__ = ("handshake", "late_at", "link_id", "peer", "token", "told")

    def __init__(
        self, peer: PeerId, token: int, handshake: OpenerHandshake, late_at: float
    ) -> None:
        self.peer = peer
        self.token = token
        self.handshake = handshake
        self.late_at = late_at
        self.link_id: int | None = None
        self.told: Status | None = None


class IncomingLink:
    """A link that a peer has opened, and that waits for the peer's proof.

    Attributes:
        peer: Whose.
        handshake: Our side of the handshake.
        late_at: When it is given up, in monotonic seconds.
        link_id: The link.
    """

    __slots__ = ("handshake", "late_at", "link_id", "peer")

    def __init__(
        self, peer: PeerId, link_id: int, handshake: AcceptorHandshake, late_at: float
    ) -> None:
        self.peer = peer
        self.handshake = handshake
        self.late_at = late_at
        self.link_id = link_id


class Attempts:
    """All handshakes of a mesh that are under way."""

    def __init__(self) -> None:
        self._outgoing: dict[PeerId, OutgoingLink] = {}
        self._incoming: dict[PeerId, IncomingLink] = {}
        self._by_token: dict[int, OutgoingLink] = {}
        self._by_link: dict[int, OutgoingLink | IncomingLink] = {}
        self._token_count = 0

    @property
    def has_room(self) -> bool:
        """Whether one more peer may begin a handshake."""
        return len(self._incoming) < INCOMING_MAX

    @property
    def outgoing_count(self) -> int:
        """How many links are being opened."""
        return len(self._outgoing)

    def is_with(self, peer: PeerId) -> bool:
        """Return whether one with this peer is under way, in either direction."""
        return peer in self._outgoing or peer in self._incoming

    def all_with(self, peer: PeerId) -> list[OutgoingLink | IncomingLink]:
        """Return those with this peer."""
        both = (self._outgoing.get(peer), self._incoming.get(peer))
        return [attempt for attempt in both if attempt is not None]

    def outgoing_of(self, peer: PeerId) -> OutgoingLink | None:
        """Return ours to this peer."""
        return self._outgoing.get(peer)

    def incoming_of(self, peer: PeerId) -> IncomingLink | None:
        """Return this peer's to us."""
        return self._incoming.get(peer)

    def outgoing_with(self, token: int) -> OutgoingLink | None:
        """Return ours with a token; None when it is given up, or open already."""
        return self._by_token.get(token)

    def on_link(self, link_id: int) -> OutgoingLink | IncomingLink | None:
        """Return the one on a link."""
        return self._by_link.get(link_id)

    def add_outgoing(self, peer: PeerId, handshake: OpenerHandshake, late_at: float) -> int:
        """Begin one; return its token."""
        self._token_count += 1
        attempt = OutgoingLink(peer, self._token_count, handshake, late_at)
        self._outgoing[peer] = self._by_token[attempt.token] = attempt
        return attempt.token

    def add_incoming(self, attempt: IncomingLink) -> None:
        """Take in one that a peer has begun."""
        self._incoming[attempt.peer] = self._by_link[attempt.link_id] = attempt

    def set_link(self, attempt: OutgoingLink, link_id: int, late_at: float) -> None:
        """Note that one of ours has its link; it has until `late_at` from here."""
        del self._by_token[attempt.token]
        self._by_link[link_id] = attempt
        attempt.link_id = link_id
        attempt.late_at = late_at

    def remove(self, attempt: OutgoingLink | IncomingLink) -> None:
        """Forget one; whether its link is closed or a bond is for the caller to know."""
        if isinstance(attempt, OutgoingLink):
            del self._outgoing[attempt.peer]
            self._by_token.pop(attempt.token, None)
        else:
            del self._incoming[attempt.peer]
        if attempt.link_id is not None:
            del self._by_link[attempt.link_id]

    def clear(self) -> list[int]:
        """Forget all; return their links."""
        links = list(self._by_link)
        for attempt in self._list_all():
            self.remove(attempt)
        return links

    def next_late_at(self) -> float | None:
        """Return when the first one is to be given up, None for never."""
        return min([attempt.late_at for attempt in self._list_all()], default=None)

    def list_late(self, now: float) -> list[OutgoingLink | IncomingLink]:
        """Return those that have taken too long."""
        return [attempt for attempt in self._list_all() if attempt.late_at <= now]

    def postpone(self, seconds: float) -> None:
        """Give all of them so much more time."""
        for attempt in self._list_all():
            attempt.late_at += seconds

    def _list_all(self) -> list[OutgoingLink | IncomingLink]:
        return [*self._outgoing.values(), *self._incoming.values()]
