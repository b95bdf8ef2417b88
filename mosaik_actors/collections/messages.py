"""The messages of the collection actors."""

from __future__ import annotations

from dataclasses import dataclass

from thespian.actors import ActorAddress

from ..ids import GroupId


@dataclass(frozen=True, slots=True)
class StartCollection:
    """The first message of a collection actor.

    Attributes:
        catalog: The catalog actor.
        group_id: The collection's group.
        name: What that is advertised as.
    """

    catalog: ActorAddress
    group_id: GroupId
    name: str
