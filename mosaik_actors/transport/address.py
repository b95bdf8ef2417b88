"""Where a peer can be reached: its id, its direct addresses, its relay.

The text form is one line that can be pasted into ``bootstrap=[...]``, a
command line or a chat::

    <64 hex digits>@192.0.2.7:4433,[2001:db8::7]:4433?relay=<64 hex digits>@...

The id alone (no ``@``) is valid too: somebody else may know the rest.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Self

from ..ids import PeerId
from ..peer_text import printable

DIRECT_COUNT_MAX = 32
DIALLED_COUNT_MAX = 4
TEXT_CHARACTERS_MAX = 4096

SocketAddr = tuple[str, int]

# Of peers behind relays (`relay.paths`): no socket gives, and no text of an address holds, one.
RELAYED_PREFIX = "fd6d:6f73:616b:"
RELAYED_FAMILY = -1
_ZONE_LENGTH = 64  # a peer id; twice what the zone of an address may have

_INTERFACE = re.compile(r"[A-Za-z0-9._-]{1,32}")


@dataclass(frozen=True, slots=True)
class PeerAddr:
    """A peer and the ways to it.

    Attributes:
        peer_id: Who must answer there. A connection to anybody else is refused.
        direct: Socket addresses (numeric host, UDP port), the most likely first.
        relay: The relay it listens at, as another address's text, or None.
        carriers: What it listens with at the direct addresses, as it says itself; empty
            where it does not say. No part of what makes two addresses equal, or of the text.
    """

    peer_id: PeerId
    direct: tuple[SocketAddr, ...] = ()
    relay: str | None = None
    carriers: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if len(self.direct) > DIRECT_COUNT_MAX:
            raise ValueError(f"{len(self.direct)} direct addresses, at most {DIRECT_COUNT_MAX}")
        for host, port in self.direct:
            _parse_ip(host)  # raises ValueError, and says what it got
            if not 1 <= port <= 65535:
                raise ValueError(f"port is {port}, expected 1 to 65535")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the address that `str` wrote as `text`.

        Raises:
            ValueError: `text` is not an address; says which part is wrong.
        """
        if len(text) > TEXT_CHARACTERS_MAX:
            raise ValueError(
                f"a peer address of {len(text)} characters, at most {TEXT_CHARACTERS_MAX}"
            )
        rest, _, query = text.strip().partition("?relay=")
        peer, at, hosts = rest.partition("@")
        if not at and ":" in peer:
            raise ValueError(
                f"{text.strip()!r} names no peer: an address is PEER_ID@HOST:PORT, "
                "as str(net.addr) and `mosaik-actors peers` show it"
            )
        direct = tuple(parse_socket_addr(part) for part in hosts.split(",") if part)
        return cls(PeerId(peer), direct, query or None)

    def __str__(self) -> str:
        text = str(self.peer_id)
        if self.direct:
            text += "@" + ",".join(format_socket_addr(addr) for addr in self.direct)
        if self.relay:
            text += f"?relay={printable(self.relay)}"  # any text, and a peer's
        return text


def parse_socket_addr(text: str) -> SocketAddr:
    """Return (host, port) of ``1.2.3.4:5`` or ``[::1]:5``."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit():
        raise ValueError(f"{text!r} is not host:port")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    return host, int(port)


def format_socket_addr(addr: SocketAddr) -> str:
    """Return ``1.2.3.4:5`` or ``[::1]:5``."""
    host, port = addr[0], addr[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Return whether a numeric address is of the loopback interface."""
    return not is_relayed(host) and _parse_ip(host).is_loopback


def is_relayed(host: str) -> bool:
    """Return whether an address is that of a peer behind a relay."""
    return host.startswith(RELAYED_PREFIX) and len(host.partition("%")[2]) == _ZONE_LENGTH


def is_unicast(host: str) -> bool:
    """Return whether a numeric address may be one node's that is reached through routers.

    False for what reaches many (broadcast, multicast), nobody (unspecified, reserved)
    or whoever is on the same wire (link-local), also when it is written as IPv6.
    """
    address = _parse_ip(host)
    if address.is_multicast or address.is_unspecified or address.is_link_local:
        return False
    if address.version == 6:
        # Of what is reserved only the loopback address is anybody's: the rest of ::/8
        # holds other ways to write IPv4 addresses (RFC 4291 section 2.5.5.1, RFC 6052).
        return address.is_loopback or not address.is_reserved
    # "This network" (RFC 791 section 3.2), and what was never given out with the
    # limited broadcast at its end (RFC 1112 section 4). The broadcast address of a
    # subnet looks like any other; the kernel refuses it to sockets like ours.
    first = address.packed[0]
    return 0 < first < 240


def pick_dialable(direct: tuple[SocketAddr, ...]) -> tuple[SocketAddr, ...]:
    """Return those of the addresses that a stranger names which are worth a datagram.

    Each once, in the form of an IPv4 address where it is one, `DIALLED_COUNT_MAX` at most.

    Raises:
        ValueError: A host is not a numeric address.
    """
    found: dict[SocketAddr, None] = {}
    for host, port in direct:
        if is_unicast(host):
            found[str(_parse_ip(host)), port] = None
    return tuple(found)[:DIALLED_COUNT_MAX]


def without_loopback(addr: PeerAddr) -> PeerAddr:
    """Return an address without what only this machine itself can reach."""
    direct = _without_loopback(addr.direct)
    return addr if direct == addr.direct else replace(addr, direct=direct)


@lru_cache(maxsize=4096)
def _without_loopback(direct: tuple[SocketAddr, ...]) -> tuple[SocketAddr, ...]:
    return tuple(one for one in direct if not is_loopback(one[0]))


def _parse_ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    ip, percent, scope = host.partition("%")
    address = ipaddress.ip_address(ip)
    if percent and (address.version == 4 or not _INTERFACE.fullmatch(scope)):
        raise ValueError(f"{host!r} is not an address of an interface")
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
