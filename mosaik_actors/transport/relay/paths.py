"""Addresses of peers behind a relay, as the rest of the transport takes them.

QUIC knows peers by host and port. A peer that is reached through a relay has such an
address on this node alone: an IPv6 address of no network, whose zone is the peer's id, and
the number of the relay as its port. So nothing has to be kept to send back to where a
datagram came from. No text of an address can mean one (`PeerAddr` refuses the zone), and
no socket ever gives one.
"""

from __future__ import annotations

from functools import lru_cache

from ...ids import PeerId
from ..address import RELAYED_PREFIX, SocketAddr


@lru_cache(maxsize=4096)
def relayed_addr(peer: bytes, number: int) -> SocketAddr:
    """Return the address of a peer, by its id, behind the relay of that number, from 1."""
    digits = peer.hex()
    # The address proper differs as well: what QUIC seals into its tokens has no zone.
    groups = ":".join(digits[at : at + 4] for at in range(0, 20, 4))
    return f"{RELAYED_PREFIX}{groups}%{digits}", number


@lru_cache(maxsize=4096)
def relayed_peer(host: str) -> PeerId:
    """Return whose the host of such an address is."""
    return PeerId(host.partition("%")[2])
