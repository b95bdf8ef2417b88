"""The messages of the actor that owns the links between actors' nodes."""

from __future__ import annotations

import msgspec
from thespian.actors import ActorAddress

from ..node import Node
from .node import RemoteNode


class StartRemote(msgspec.Struct, frozen=True):
    """Serve other nodes from now on; the sender gets `ProtocolServed`. The first message."""

    node: Node
    remote: RemoteNode
    catalog: ActorAddress
