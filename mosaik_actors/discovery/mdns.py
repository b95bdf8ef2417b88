"""mDNS: what a node says of itself on the local network, and what it believes there.

A node advertises a service of type `SERVICE_TYPE` (RFC 6763) and looks for those
of others. The service's name is 32 random digits and a tag; its TXT record holds::

    v=2            this form
    n=<tag>        another tag
    p=<peer id>
    a0=<host:port> and so on: where the node hears, the most likely first

Both tags are keyed hashes under a key of the network: the first of the hour and the
random digits, the second of the peer and its addresses as well. So a bystander can
neither follow a network for longer than an hour, nor have its nodes dial him: what he
copies names the peer it is of, which he is not. Without a secret the key is as good as
the network's name, and names can be tried out against a tag; with one they cannot.

What is heard is only a hint: who answers at an address proves its identity, and its
network. Names of other networks are dropped before anything is asked about them, the
rest is limited in size and number. A node with several secrets has a service for each.
Tags of the hours before and after are taken as well, for clocks that differ.

``now`` is wall-clock time in seconds.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Iterable, Mapping
from random import Random

import msgspec
from blake3 import blake3

from ..errors import DecodeError
from ..ids import PeerId
from ..transport.address import PeerAddr, SocketAddr, format_socket_addr, parse_socket_addr
from ..transport.admission import NetworkKeys

SERVICE_TYPE = "_mosaik._udp.local."
ADDR_COUNT_MAX = 8
SIGHTED_MAX = 256
HOUR_S = 3600
NAME_TAG_DIGITS = 16
RECORD_TAG_DIGITS = 24

_FORM = "2"
_TAG_CONTEXT = "mosaik_actors 2026 mdns tags"
_NAME = re.compile(r"([0-9a-f]{32})-([0-9a-f]{16})\._mosaik\._udp\.local\.")
_VALUE_BYTES_MAX = 128


class Seal(msgspec.Struct, frozen=True):
    """What makes the tags of one hour under one key of a network."""

    key: bytes
    hour: int

    def tag_name(self, digits: str) -> str:
        """Return the tag of a service's name, by its random digits."""
        return self._tag("name", digits)[:NAME_TAG_DIGITS]

    def tag_record(self, name: str, peer: str, addrs: Iterable[str]) -> str:
        """Return the tag of a service's record, by what else is in it."""
        return self._tag("record", name, peer, *addrs)[:RECORD_TAG_DIGITS]

    def _tag(self, *parts: str) -> str:
        text = "\0".join((str(self.hour), *parts))
        return blake3(text.encode(), key=self.key).hexdigest()


def own_seals(keys: NetworkKeys, *, now: float) -> list[Seal]:
    """Return what a node makes its tags with at present: one seal for each key."""
    hour = int(now // HOUR_S)
    return [Seal(key, hour) for key in keys.derive(_TAG_CONTEXT)]


def make_service_name(seal: Seal, rng: Random) -> str:
    """Return a service name that was never used before.

    It does not depend on the peer: a restarted node must not collide with what
    others still remember of it.
    """
    digits = f"{rng.getrandbits(128):032x}"
    return f"{digits}-{seal.tag_name(digits)}.{SERVICE_TYPE}"


def find_seal(name: str, keys: NetworkKeys, *, now: float) -> Seal | None:
    """Return what a service's name was made with, None when it is not of that network."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    for shift in (0, -1, 1):
        for seal in own_seals(keys, now=now + shift * HOUR_S):
            if seal.tag_name(match.group(1)) == match.group(2):
                return seal
    return None


def choose_addrs(addr: PeerAddr) -> list[SocketAddr]:
    """Return those addresses that make sense to others.

    Loopback ones are published only by a node that has no others, and addresses with
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


def format_properties(seal: Seal, name: str, addr: PeerAddr) -> dict[str, str]:
    """Return the TXT record of the service with that name."""
    peer = str(addr.peer_id)
    addrs = [format_socket_addr(one) for one in choose_addrs(addr)]
    properties = {"v": _FORM, "n": seal.tag_record(name, peer, addrs), "p": peer}
    return properties | {f"a{number}": one for number, one in enumerate(addrs)}


def parse_properties(seal: Seal, name: str, properties: Mapping[bytes, bytes | None]) -> PeerAddr:
    """Return the peer of a TXT record; what only newer versions understand is skipped.

    Raises:
        DecodeError: The record is of another form, wrong, or made by somebody without the key.
    """
    try:
        if _take(properties, b"v") != _FORM:
            raise ValueError("it is of another form")
        keys = [f"a{number}".encode() for number in range(ADDR_COUNT_MAX)]
        peer = _take(properties, b"p")
        addrs = [_take(properties, key) for key in keys if key in properties]
        if not addrs:
            raise ValueError("it has no address")
        if not hmac.compare_digest(_take(properties, b"n"), seal.tag_record(name, peer, addrs)):
            raise ValueError("its tag is not of this network")
        return PeerAddr(PeerId(peer), tuple(map(parse_socket_addr, addrs)))
    except (ValueError, TypeError) as exc:
        raise DecodeError(f"not the service of a peer: {exc}") from exc


class Sightings:
    """The peers whose services are there at present, at most `SIGHTED_MAX`.

    Args:
        keys: Services of other networks are skipped.
        own_id: Services of this peer are too.
    """

    def __init__(self, keys: NetworkKeys, own_id: PeerId) -> None:
        self._keys = keys
        self._own_id = own_id
        self._seals: dict[str, Seal] = {}
        self._addrs: dict[str, PeerAddr] = {}

    @property
    def addrs(self) -> tuple[PeerAddr, ...]:
        """Where they are, each once, the longest known first."""
        return tuple(dict.fromkeys(self._addrs.values()))

    def receive_name(self, name: str, *, now: float) -> bool:
        """Take in that a service is there; return whether to ask for its record."""
        if name in self._seals:
            return True
        seal = find_seal(name, self._keys, now=now)
        if seal is None or len(self._seals) >= SIGHTED_MAX:
            return False
        self._seals[name] = seal
        return True

    def receive_record(self, name: str, properties: Mapping[bytes, bytes | None]) -> bool:
        """Take in a service's record; return whether `addrs` has changed.

        Raises:
            DecodeError: The record is wrong; what was known before stays.
        """
        seal = self._seals.get(name)
        if seal is None:
            return False
        addr = parse_properties(seal, name, properties)
        if addr.peer_id == self._own_id or self._addrs.get(name) == addr:
            return False
        before = self.addrs
        self._addrs[name] = addr
        return self.addrs != before

    def receive_goodbye(self, name: str) -> bool:
        """Take in that a service is gone; return whether `addrs` has changed."""
        before = self.addrs
        self._seals.pop(name, None)
        self._addrs.pop(name, None)
        return self.addrs != before


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
