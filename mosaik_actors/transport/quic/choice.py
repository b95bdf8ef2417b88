"""Which of the two QUIC engines a connection has, which sockets an endpoint, and when they load.

The engines, with TLS and certificates under them, take a sixth of a node's start and 8 MB. A node
whose peers are all reached by local sockets needs none: so they are loaded with the first
datagram or dial, or at once where strangers may come at any moment.
"""

from __future__ import annotations

import socket
from asyncio import AbstractEventLoop
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from random import Random
from typing import TYPE_CHECKING

from ...errors import ConfigError
from ...ids import SecretKey
from ..address import SocketAddr, is_loopback
from ..config import TransportConfig
from ..sockets import UdpPort
from .path_mtu import BASE

if TYPE_CHECKING:
    from .engine import EngineFactory


def choose_engine(config: TransportConfig) -> Callable[[SocketAddr], bool]:
    """Return what says whether the connection with an address is one of `native_engine`.

    Raises:
        ConfigError: qh3 is asked for, and not installed.
    """
    is_there = find_spec("qh3") is not None
    if config.quic_engine == "qh3" and not is_there:
        raise ConfigError(
            "quic_engine is 'qh3', and the package is not installed: install mosaik-actors "
            "with its extra, as in 'mosaik-actors[quic-native]'"
        )
    if config.quic_engine == "qh3":
        return lambda _remote: True
    if config.quic_engine == "aioquic" or not is_there:
        return lambda _remote: False
    has_large_datagrams = config.datagram_bytes_loopback > BASE
    # What goes through a relay may go directly in a moment, over a network.
    return lambda remote: not (has_large_datagrams and is_loopback(remote[0]))


def factory_on_demand(
    secret_key: SecretKey, instance: int, config: TransportConfig, rng: Random
) -> Callable[[], EngineFactory]:
    """Return what returns the factory of an endpoint: the same one each time.

    Raises:
        ConfigError: qh3 is asked for, and not installed.
    """
    is_native = choose_engine(config)

    @cache
    def load() -> EngineFactory:
        from .engine import EngineFactory

        return EngineFactory(
            secret_key,
            instance,
            config.idle_timeout,
            rng,
            config.undelivered_bytes_max,
            is_native,
        )

    return load


def choose_port(config: TransportConfig) -> Callable[[socket.socket, AbstractEventLoop], UdpPort]:
    """Return what makes the port of a bound UDP socket."""
    is_native = choose_engine(config)

    def make(sock: socket.socket, loop: AbstractEventLoop) -> UdpPort:
        if not is_native(sock.getsockname()[:2]):
            return UdpPort(sock, loop)  # a few large datagrams are as quick one by one
        from ..batched_sockets import BatchedUdpPort  # its package is optional

        return BatchedUdpPort(sock, loop)

    return make
