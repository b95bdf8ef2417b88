"""mDNS: what a node says of itself on the local network, and what it believes there.

A node advertises a service of type `SERVICE_TYPE` (RFC 6763) and looks for those
of others. The service's name is 32 random digits and the network's tag; its TXT
record holds::

    v=1            this form
    n=<tag>        the network's tag
    p=<peer id>
    a0=<host:port> and so on: where the node hears, the most likely first

The tag is a hash, so that the network's name or id is not shown to bystanders; who
knows the name can tell. What is heard is only a hint, and anybody on the local
network can say anything: who answers at an address proves its identity. Names of
other networks are dropped before anything is asked about them, the rest is
limited in size and number.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from random import Random

from blake3 import blake3

from ..errors import DecodeError
from ..ids import NetworkId, PeerId
from ..transport.address import PeerAddr, SocketAddr, parse_socket_addr

SERVICE_TYPE = "_mosaik._udp.local."
ADDR_COUNT_MAX = 8
SIGHTED_MAX = 256

_FORM = "1"
_NAME = re.compile(r"[0-9a-f]{32}-([0-9a-f]{16})\._mosaik\._udp\.local\.")
_VALUE_BYTES_MAX = 128


def make_tag(network_id: NetworkId) -> str:
    """Return what stands for a network in public."""
    return blake3(b"mosaik mdns " + str(network_id).encode()).hexdigest()[:16]


def make_service_name(network_id: NetworkId, rng: Random) -> str:
    """Return a service name that was never used before.

    It does not depend on the peer: a restarted node must not collide with what
    others still remember of it.
    """
    return f"{rng.getrandbits(128):032x}-{make_tag(network_id)}.{SERVICE_TYPE}"


def is_of_network(name: str, network_id: NetworkId) -> bool:
    """Return whether a service's name is one of that network."""
    match = _NAME.fullmatch(name)
    return match is not None and match.group(1) == make_tag(network_id)


def choose_addrs(addr: PeerAddr) -> list[SocketAddr]:
    """Return those addresses that make sense to others.

    Loopback ones are told only by a node that has no others, and addresses with
    a scope mean nothing elsewhere.
    """
    told = [(host, port) for host, port in addr.direct if "%" not in host]
    told = [one for one in told if not ipaddress.ip_address(one[0]).is_link_local]
    wide = [one for one in told if not ipaddress.ip_address(one[0]).is_loopback]
    return (wide or told)[:ADDR_COUNT_MAX]


def choose_interfaces(addr: PeerAddr) -> list[str]:
    """Return the IPv4 addresses of the interfaces to speak on: those where the node hears.

    A node that hears this machine only speaks to this machine only.
    """
    hosts = [host for host, _ in choose_addrs(addr) if ":" not in host]
    return list(dict.fromkeys(hosts))


def format_properties(network_id: NetworkId, addr: PeerAddr) -> dict[str, str]:
    """Return the TXT record of a node."""
    properties = {"v": _FORM, "n": make_tag(network_id), "p": str(addr.peer_id)}
    for number, (host, port) in enumerate(choose_addrs(addr)):
        properties[f"a{number}"] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return properties


def parse_properties(network_id: NetworkId, properties: Mapping[bytes, bytes | None]) -> PeerAddr:
    """Return the peer of a TXT record; what only newer versions understand is skipped.

    Raises:
        DecodeError: The record is of another form or network, or wrong.
    """
    try:
        if _take(properties, b"v") != _FORM or _take(properties, b"n") != make_tag(network_id):
            raise ValueError("it is of another form or network")
        keys = [f"a{number}".encode() for number in range(ADDR_COUNT_MAX)]
        direct = [parse_socket_addr(_take(properties, key)) for key in keys if key in properties]
        if not direct:
            raise ValueError("it has no address")
        return PeerAddr(PeerId(_take(properties, b"p")), tuple(direct))
    except (ValueError, TypeError) as exc:
        raise DecodeError(f"not the service of a peer: {exc}") from exc


class Sightings:
    """The peers whose services are there at present, at most `SIGHTED_MAX`.

    Args:
        network_id: Services of other networks are skipped.
        own_name: This node's own service.
    """

    def __init__(self, network_id: NetworkId, own_name: str) -> None:
        self._network_id = network_id
        self._own_name = own_name
        self._addrs: dict[str, PeerAddr | None] = {}

    @property
    def addrs(self) -> tuple[PeerAddr, ...]:
        """Where they are, the longest known first."""
        return tuple(addr for addr in self._addrs.values() if addr is not None)

    def receive_name(self, name: str) -> bool:
        """Take in that a service is there; return whether to ask for its record."""
        if name == self._own_name or not is_of_network(name, self._network_id):
            return False
        if name not in self._addrs and len(self._addrs) >= SIGHTED_MAX:
            return False
        self._addrs.setdefault(name, None)
        return True

    def receive_record(self, name: str, properties: Mapping[bytes, bytes | None]) -> bool:
        """Take in a service's record; return whether `addrs` has changed.

        Raises:
            DecodeError: The record is wrong; what was known before stays.
        """
        if name not in self._addrs:
            return False
        addr = parse_properties(self._network_id, properties)
        has_changed = self._addrs[name] != addr
        self._addrs[name] = addr
        return has_changed

    def receive_goodbye(self, name: str) -> bool:
        """Take in that a service is gone; return whether `addrs` has changed."""
        return self._addrs.pop(name, None) is not None


def join_hosts(addrs: Iterable[SocketAddr]) -> list[str]:
    """Return the hosts of addresses, each once."""
    return list(dict.fromkeys(host for host, _ in addrs))


def _take(properties: Mapping[bytes, bytes | None], key: bytes) -> str:
    value = properties.get(key)
    if value is None:
        raise ValueError(f"{key.decode()} is missing")
    if len(value) > _VALUE_BYTES_MAX:
        raise ValueError(f"{key.decode()} has {len(value)} bytes, at most {_VALUE_BYTES_MAX}")
    return value.decode("ascii")
