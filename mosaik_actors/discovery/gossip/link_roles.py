"""What each discovery link of this node is for, and who looks after it.

A pure bookkeeper. A peer may have several links at once, one for each role. Who looks after one is
an actor, for this module any value that can be a key.

Invariant: a peer has one actor at most in each role.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import Generic, TypeVar

from ...ids import PeerId

A = TypeVar("A", bound=Hashable)


class LinkRole(Enum):
    """What a link is for."""

    NEIGHBOUR = "an edge of the overlay"
    DIAL = "a neighbour that is being dialled"
    PROBE = "a measurement"
    VERIFICATION = "to see whether the peer answers"
    SYNC = "an exchange of entries that somebody asked for"


class LinkRoles(Generic[A]):
    """Who looks after the links to which peers."""

    def __init__(self) -> None:
        self._actors: dict[LinkRole, dict[PeerId, A]] = {role: {} for role in LinkRole}

    def put(self, role: LinkRole, peer_id: PeerId, actor: A) -> A | None:
        """Note who looks after a link; return who did before."""
        older = self._actors[role].get(peer_id)
        self._actors[role][peer_id] = actor
        return older

    def get(self, role: LinkRole, peer_id: PeerId) -> A | None:
        """Return who looks after a link, None when there is none."""
        return self._actors[role].get(peer_id)

    def pop(self, role: LinkRole, peer_id: PeerId) -> A:
        """Forget a link, which must be there; return who looked after it."""
        return self._actors[role].pop(peer_id)

    def find(self, peer_id: PeerId, actor: A) -> LinkRole | None:
        """Return the role in which an actor looks after a link to a peer, None for none."""
        for role, actors in self._actors.items():
            if actors.get(peer_id) == actor:
                return role
        return None

    def held_by(self, actor: A) -> list[tuple[LinkRole, PeerId]]:
        """Return all that an actor looks after."""
        return [
            (role, peer_id)
            for role, actors in self._actors.items()
            for peer_id, one in actors.items()
            if one == actor
        ]
