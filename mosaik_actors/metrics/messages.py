"""The messages of the status actor."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ..node import Node
from .records import NodeStatus


class StartStatus(msgspec.Struct, frozen=True):
    """Answer peers that ask for this node's status.

    Attributes:
        node: The node.
        read: Takes the snapshot; None: refuse, for this node does not share it.
    """

    node: Node
    read: Callable[[], NodeStatus] | None
