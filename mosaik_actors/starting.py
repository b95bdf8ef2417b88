"""How a node starts: its actor system, and the bridge to its endpoint."""

from __future__ import annotations

from .actors.transport import TransportActor
from .clock import Clock, Randomness
from .ids import SecretKey
from .node import Node
from .runtime import AsyncActorSystem
from .transport.interface import Endpoint
from .transport.messages import StartTransport


async def start_node(
    endpoint: Endpoint,
    secret_key: SecretKey,
    *,
    clock: Clock,
    randomness: Randomness,
) -> Node:
    """Start an actor system and bridge `endpoint` to it.

    In the end shut the node's `system` down, then close the endpoint.
    """
    system = await AsyncActorSystem.start(name=secret_key.peer_id.short)
    transport = system.createActor(TransportActor)
    system.tell(transport, StartTransport(endpoint))
    return Node(
        network_id=endpoint.network_id,
        secret_key=secret_key,
        clock=clock,
        randomness=randomness,
        system=system,
        endpoint=endpoint,
        transport=transport,
    )
