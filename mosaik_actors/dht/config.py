"""The settings of the DHT.

All of them are local: nodes with different settings still meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..errors import ConfigError
from ..transport.address import SocketAddr, parse_socket_addr

PUBLIC_NODES: Final = (
    "router.bittorrent.com:6881",
    "dht.transmissionbt.com:6881",
    "dht.libtorrent.org:25401",
    "relay.pkarr.org:6881",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DhtConfig:
    """How a node uses the Mainline DHT.

    Attributes:
        bootstrap: Nodes of the DHT to begin with, as ``host:port``; a host may be a name.
            The default is public ones. Name your own for a DHT of your own.
        bind: Where to speak from, as ``host:port``. An IPv6 address means the DHT of IPv6.
        serves: Whether to answer others, and to keep their items. Only of use where `bind`
            can be reached from everywhere and the node stays for hours.
        claims: Whether to write where this node is. A node that does not is found by nobody
            through the DHT, and finds others all the same.
    """

    bootstrap: tuple[str, ...] = PUBLIC_NODES
    bind: str = "0.0.0.0:0"
    serves: bool = False
    claims: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "bootstrap", tuple(self.bootstrap))
        for text in (*self.bootstrap, self.bind):
            try:
                parse_host_port(text)
            except ValueError as exc:
                raise ConfigError(f"dht: {exc}") from exc


def parse_host_port(text: str) -> SocketAddr:
    """Return host and port of ``host:port``, where the host may be a name.

    Raises:
        ValueError: It is something else.
    """
    host, port = parse_socket_addr(text)
    if not host or port > 65_535:
        raise ValueError(f"{text!r} is not host:port")
    return host, port


def own_config(dht: bool | DhtConfig) -> DhtConfig | None:
    """Return the settings that the argument `dht` of a network means."""
    return (DhtConfig() if dht else None) if isinstance(dht, bool) else dht


def require_dnspython() -> None:
    """Raise ConfigError when the package for records is not installed; says how to get it."""
    try:
        import dns.message  # noqa: F401
    except ImportError as exc:
        raise ConfigError(
            "dht is set, and the package dnspython is not installed: "
            "install mosaik-actors with its extra, as in 'mosaik-actors[dht]'"
        ) from exc
