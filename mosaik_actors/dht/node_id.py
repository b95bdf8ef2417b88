"""Ids of nodes that follow from their addresses (BEP 42, for IPv4 and IPv6).

A node that may choose any id can sit around whichever item it wants to hide or to watch. So 21
bits of an id are a hash of the node's address, and of three bits that it draws: a host has
eight places in the DHT to choose from, a network of an organisation few more, since the mask
leaves only some bits of each octet. Of an IPv6 address the first 64 bits count: whoever has a
network of that size has all addresses in it.

Addresses that are not global have no such id: nodes there may have any. A node behind a NAT
has one that does not fit: it does not know its address before others have told it, by when they
know its id. Such a node should not serve in any case.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from random import Random
from typing import Final

from .krpc import NodeId

_MASK_V4: Final = bytes.fromhex("030f3fff")
_MASK_V6: Final = bytes.fromhex("0103070f1f3f7fff")
_POLYNOMIAL: Final = 0x82F63B78  # of Castagnoli, its bits reversed (RFC 3720 appendix B.4)
_PREFIX_MASK: Final = bytes.fromhex("fffff8")


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of a few bytes."""
    crc = 0xFFFFFFFF
    for octet in data:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@lru_cache(maxsize=4096)
def _prefix(host: str, drawn: int) -> bytes | None:
    """Return the first bits of an id at a host, in three bytes; None where any will do."""
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if not address.is_global:
        return None
    mask = _MASK_V4 if address.version == 4 else _MASK_V6
    masked = bytearray(octet & bits for octet, bits in zip(address.packed, mask, strict=False))
    masked[0] |= (drawn & 7) << 5
    hashed = crc32c(bytes(masked)).to_bytes(4)
    return bytes(octet & bits for octet, bits in zip(hashed, _PREFIX_MASK, strict=False))


def draw_id(hosts: Iterable[str], rng: Random) -> NodeId:
    """Return a new id for a node, which fits the first of its addresses that is global.

    Args:
        hosts: The addresses of the node, as far as it knows them itself.
        rng: What the rest is drawn from.
    """
    drawn = bytearray(rng.randbytes(20))
    prefixes = (_prefix(host, drawn[-1]) for host in hosts)
    if (prefix := next(filter(None, prefixes), None)) is not None:
        drawn[:3] = prefix[0], prefix[1], prefix[2] | drawn[2] & 7
    return bytes(drawn)


def fits(node_id: NodeId, host: str) -> bool:
    """Return whether a node at a host may have an id."""
    prefix = _prefix(host, node_id[-1])
    head = bytes(octet & bits for octet, bits in zip(node_id, _PREFIX_MASK, strict=False))
    return prefix is None or head == prefix
