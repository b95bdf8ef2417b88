"""The messages of the status actor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..node import Node
from .records import NodeStatus


@dataclass(frozen=True, slots=True)
class StartStatus:
    """Answer peers that ask for this node's status.

    Attributes:
        node: The node.
        read: Takes the snapshot; None: refuse, for this node does not share it.
    """

    node: Node
    read: Callable[[], NodeStatus] | None
