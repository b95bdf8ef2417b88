"""How a relay starts, and how a node comes to use relays.

Both are an endpoint of the network of relays (`transport.relay`), beside the one of the
node's own network.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ...environment import Environment
from ...errors import ConfigError
from ...ids import SecretKey
from ...network_secret import load_secrets
from ...tickets.requirement import Validators, as_validators
from ...tickets.ticket import Ticket
from ...transport.address import SocketAddr
from ...transport.config import UNDELIVERED_BYTES_MIN, TransportConfig
from ...transport.endpoint import QuicEndpoint
from ...transport.interface import Endpoint
from ...transport.relay.client import RelayClient
from ...transport.relay.config import RelayConfig, RelayLimits
from ...transport.relay.frames import RELAY_NETWORK
from ...transport.relay.server import RelayServer
from .tickets import RelayTickets, encode_tickets

# Both, so that a network that drops UDP keeps nobody from a relay.
RELAY_CARRIERS: Final = ("tcp", "quic")


async def start_relay(
    environment: Environment,
    secret_key: SecretKey,
    bind: Sequence[SocketAddr],
    *,
    limits: RelayLimits | None = None,
    secrets: Sequence[bytes] = (),
    require_ticket: Validators = (),
) -> RelayServer:
    """Return a relay that listens; close it in the end.

    Args:
        environment: Where it lives.
        secret_key: Its identity, which is part of its address.
        bind: Where to listen, at most one address for each family.
        limits: What each peer gets; the defaults when None.
        secrets: Of which peers have to know one; none to serve everybody.
        require_ticket: Validators of tickets, one or several, all of which must accept a
            peer before it is served. It is served no longer when they expire.

    Raises:
        TransportError: An address cannot be bound.
        ConfigError: `require_ticket` is neither a validator nor several.
    """
    limits = limits or RelayLimits()
    validators = as_validators(require_ticket)
    config = TransportConfig(
        carriers=RELAY_CARRIERS,
        connections_max=2 * limits.peers_max,
        undelivered_bytes_max=UNDELIVERED_BYTES_MIN,
    )
    endpoint = await environment.open_endpoint(RELAY_NETWORK, secret_key, bind, config, secrets)
    admission = RelayTickets(validators, environment.clock) if validators else None
    server = RelayServer(endpoint, limits, environment.clock, admission)
    if isinstance(endpoint, QuicEndpoint):
        endpoint.reflect(server.reflect)
    return server


def relay_secrets(config: RelayConfig) -> tuple[bytes, ...]:
    """Return what a node's relays want to know. Raises `ConfigError`."""
    if config.secret is None:
        return ()
    try:
        return load_secrets(config.secret, {})
    except ConfigError as exc:
        raise ConfigError(f"relay: {exc}") from exc


async def use_relays(
    environment: Environment,
    endpoint: Endpoint,
    secret_key: SecretKey,
    bind: Sequence[SocketAddr],
    config: RelayConfig,
    tickets: Iterable[Ticket] = (),
) -> RelayClient:
    """Have a node's endpoint use relays; return what holds the links to them.

    Those of `tickets`, which the node shows, that are meant for relays are shown to them.

    Raises:
        ConfigError: The endpoint sends no datagrams, as in a simulation of links.
        TransportError: No socket can be had.
    """
    if not isinstance(endpoint, QuicEndpoint):
        raise ConfigError("relay needs datagrams: in a simulation, those of fidelity='quic'")
    secrets = relay_secrets(config)
    client = RelayClient(
        await environment.open_endpoint(
            RELAY_NETWORK,
            secret_key,
            [(host, 0) for host, _ in bind],
            TransportConfig(carriers=RELAY_CARRIERS),
            secrets,
        ),
        config,
        environment.randomness.branch("relays"),
    )
    show_tickets(client, config, tickets)
    try:
        await client.start()
    except BaseException:
        client.crash()
        raise
    endpoint.use_relays(client.port, client.home, environment.randomness.secret("paths"))
    return client


def show_tickets(client: RelayClient, config: RelayConfig, tickets: Iterable[Ticket]) -> None:
    """Show relays those of a node's tickets that are meant for them."""
    if config.tickets:
        client.show(encode_tickets(one for one in tickets if one.class_id in config.tickets))
