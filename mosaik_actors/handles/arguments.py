"""The arguments of `Network`: from what users may write to what the parts take.

Each function raises `ConfigError`, which begins with the argument's name.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any, TypeVar

from ..errors import ConfigError
from ..ids import NetworkId, PeerId, SecretKey, Tag
from ..tickets.ticket import Ticket
from ..transport.address import PeerAddr, SocketAddr, is_loopback, parse_socket_addr

T = TypeVar("T")


def as_settings(name: str, value: T | None, kind: type[T]) -> T:
    """Return settings as they are given, or the default ones for None."""
    if value is not None and not isinstance(value, kind):
        raise ConfigError(f"{name} is {value!r}, expected a {kind.__name__}")
    return kind() if value is None else value


def as_secret_key(value: SecretKey | str | bytes | None) -> SecretKey | None:
    """Return the identity given as a key, its bytes or its digits."""
    if value is None or isinstance(value, SecretKey):
        return value
    try:
        return SecretKey.from_bytes(value) if isinstance(value, bytes) else SecretKey(value)
    except ConfigError as exc:
        raise ConfigError(f"secret_key: {exc}") from exc


def as_network_id(value: NetworkId | str) -> NetworkId:
    """Return the network's id, given as such or by its name."""
    if value == "":
        raise ConfigError("network_id is empty, expected the network's name or its id")
    try:
        return NetworkId(value)
    except (TypeError, ValueError) as exc:
        raise ConfigError(f"network_id: {exc}; expected the network's name or its id") from exc


def as_peer_ids(name: str, value: Any) -> list[PeerId]:
    """Return peers given as ids or their digits; `name` is the argument."""
    if isinstance(value, PeerId | str):
        value = [value]
    if not isinstance(value, Iterable):
        raise ConfigError(f"{name} is {value!r}, expected a PeerId, or several")
    try:
        return [one if isinstance(one, PeerId) else PeerId(one) for one in value]
    except (TypeError, ValueError) as exc:
        raise ConfigError(f"{name}: {exc}; expected a PeerId, or its 64 digits") from exc


def as_peer_addrs(value: Any) -> list[PeerAddr]:
    """Return the addresses to begin with."""
    if isinstance(value, PeerAddr | str):
        value = [value]
    if not isinstance(value, Iterable):
        raise ConfigError(f"bootstrap is {value!r}, expected an address's text, or several")
    try:
        addrs = list(value)
        return [addr if isinstance(addr, PeerAddr) else PeerAddr.parse(addr) for addr in addrs]
    except (TypeError, ValueError) as exc:
        raise ConfigError(f"bootstrap: {exc}") from exc


def as_tags(value: Tag | str | Iterable[Tag | str]) -> list[Tag]:
    """Return tags given as such or by their names."""
    try:
        return [Tag(tag) for tag in ([value] if isinstance(value, str | bytes) else value)]
    except (TypeError, ValueError) as exc:
        raise ConfigError(f"tags: {exc}") from exc


def as_tickets(value: Any) -> tuple[Ticket, ...]:
    """Return the tickets that a node shows."""
    is_one = isinstance(value, str) or not isinstance(value, Iterable)
    tickets = (value,) if is_one else tuple(value)
    for one in tickets:
        if not isinstance(one, Ticket):
            raise ConfigError(
                f"tickets is {value!r}, expected a Ticket or several; what makes them, such as a "
                "JwtTicketBuilder, is asked with builder.build(secret_key.peer_id), or given to "
                "net.discovery.keep_ticket"
            )
    return tickets


def as_socket_addrs(value: Any) -> list[SocketAddr]:
    """Return where to listen."""
    if isinstance(value, Iterable) and not isinstance(value, str):
        several = list(value)
        is_one = len(several) == 2 and (isinstance(several[1], int) or ":" not in several[1])
        if not is_one:
            return [as_socket_addr(addr) for addr in several]
        value = tuple(several)
    return [as_socket_addr(value)]


def as_socket_addr(addr: Any) -> SocketAddr:
    """Return one address given as text or as a pair."""
    try:
        match addr:
            case str():
                host, port = parse_socket_addr(addr)
                if port <= 65_535:
                    return host, port
            case (str(host), int(port)) if 0 <= port <= 65_535:
                return host, port
    except ValueError as exc:
        raise ConfigError(f"bind: {exc}") from exc
    raise ConfigError(
        f"bind: {addr!r} is neither 'host:port' nor (host, port), with a port of 0 to 65535"
    )


def as_metrics_addr(value: Any) -> SocketAddr:
    """Return where to serve metrics."""
    if find_spec("prometheus_client") is None:
        raise ConfigError(
            "metrics_addr needs the package prometheus-client: pip install 'mosaik-actors[metrics]'"
        )
    if isinstance(value, str) and value.removeprefix(":").isdecimal():
        value = int(value.removeprefix(":"))
    if isinstance(value, int) and not isinstance(value, bool):
        value = ("127.0.0.1", value)
    try:
        return as_socket_addr(value)
    except ConfigError as exc:
        raise ConfigError(f"metrics_addr{str(exc).removeprefix('bind')}") from exc


def default_bind(bootstrap: list[PeerAddr], is_wide: bool) -> list[SocketAddr]:
    """Return where to listen when nobody said: as far as the peers to be found are."""
    hosts = [host for addr in bootstrap for host, _ in addr.direct]
    return [("127.0.0.1", 0) if all(map(is_loopback, hosts)) and not is_wide else ("0.0.0.0", 0)]
