"""The messages of the collection actors."""

from __future__ import annotations

from dataclasses import dataclass

from thespian.actors import ActorAddress

from ..ids import GroupId
from ..node import Node
from .naming import CollectionName, NearMisses


@dataclass(frozen=True, slots=True)
class StartCollection:
    """The first message of a collection actor.

    Attributes:
        catalog: The catalog actor.
        group_id: The collection's group.
        name: What it is called.
        near_misses: Where the actor says whom it has found.
        node: The node.
    """

    catalog: ActorAddress
    group_id: GroupId
    name: CollectionName
    near_misses: NearMisses
    node: Node
