"""The messages of the actor that owns the links between actors' nodes."""

from __future__ import annotations

from dataclasses import dataclass

from thespian.actors import ActorAddress

from ..node import Node
from .node import RemoteNode


@dataclass(frozen=True, slots=True)
class StartRemote:
    """Serve other nodes from now on; the sender gets `ProtocolServed`. The first message."""

    node: Node
    remote: RemoteNode
    catalog: ActorAddress
