"""Where a node lives: its clock, its randomness, its way onto a network.

A node takes these from its environment and from nowhere else, so that the same
node runs on the real machine and in a simulation.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Protocol

from .clock import Clock, LoopClock, Randomness
from .ids import NetworkId, SecretKey
from .transport.address import SocketAddr
from .transport.config import TransportConfig
from .transport.endpoint import QuicEndpoint
from .transport.interface import Endpoint
from .transport.relay.frames import RELAY_NETWORK


class Environment(Protocol):
    """What a node is given."""

    @property
    def clock(self) -> Clock:
        """Its clocks."""

    @property
    def randomness(self) -> Randomness:
        """Where its decisions draw from."""

    @property
    def has_machine(self) -> bool:
        """Whether it may use what the machine's processes share, such as files."""

    async def open_endpoint(
        self,
        network_id: NetworkId,
        secret_key: SecretKey,
        bind: Sequence[SocketAddr],
        config: TransportConfig,
        secrets: Sequence[bytes],
    ) -> Endpoint:
        """Return a new presence on the network. Raises `TransportError`."""


class Machine:
    """The real one: the event loop's clock, the system's entropy, QUIC over UDP."""

    has_machine = True

    def __init__(self) -> None:
        self.clock: Clock = LoopClock(asyncio.get_running_loop())
        self.randomness = Randomness(os.urandom(32))

    async def open_endpoint(
        self,
        network_id: NetworkId,
        secret_key: SecretKey,
        bind: Sequence[SocketAddr],
        config: TransportConfig,
        secrets: Sequence[bytes],
    ) -> Endpoint:
        """Bind UDP sockets and listen. Raises `TransportError`."""
        return await QuicEndpoint.start(
            network_id,
            secret_key,
            bind=bind,
            clock=self.clock,
            rng=self.randomness.branch("transport" if network_id != RELAY_NETWORK else "relay"),
            config=config,
            secrets=secrets,
        )
