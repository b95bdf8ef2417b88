"""Candidates: where a peer may be reached directly, as it says itself.

A pure core. Two peers that are connected through a relay exchange a `PathOffer` each on that
connection, so it is sealed, and who makes it has proven who it is. Still it is a peer's word,
and may name anybody: what is not worth a probe is left out here, and the number is bounded.

Not probed: what is no one node's address (multicast, broadcast, unspecified, link-local, see
`address.is_unicast`), the loopback interface (except by a node that hears nothing else).
Private addresses are: they are how two nodes of one
LAN find each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Annotated, Final

import msgspec

from ...errors import DecodeError
from ...wire_encoding import BoundedDecoder, encode
from ..address import SocketAddr, is_loopback, is_unicast
from .probes import SECRET_BYTES

CANDIDATES_MAX: Final = 8
OFFER_BYTES_MAX: Final = 1024
_HOST_CHARACTERS_MAX: Final = 64

_Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
_Host = Annotated[str, msgspec.Meta(max_length=_HOST_CHARACTERS_MAX)]
_Nonce = Annotated[bytes, msgspec.Meta(min_length=SECRET_BYTES, max_length=SECRET_BYTES)]


class PathOffer(msgspec.Struct, frozen=True, array_like=True):
    """What one peer tells the other: its share of the secret, and where it may be reached."""

    nonce: _Nonce
    candidates: Annotated[tuple[tuple[_Host, _Port], ...], msgspec.Meta(max_length=CANDIDATES_MAX)]

    def encode(self) -> bytes:
        """Return it for the wire."""
        return encode(self)


_decoder: BoundedDecoder[PathOffer] = BoundedDecoder(
    PathOffer, "an offer of paths", OFFER_BYTES_MAX
)


def decode_offer(data: bytes) -> PathOffer:
    """Return an offer.

    Raises:
        DecodeError: It is none, too long, or an address in it is none.
    """
    offer = _decoder.decode(data)
    for host, _ in offer.candidates:
        try:
            is_unicast(host)
        except ValueError as exc:
            raise DecodeError(f"not an offer of paths: {exc}") from exc
    return offer


def make_secret(opener: PathOffer, answerer: PathOffer) -> bytes:
    """Return what the two have in common by their offers."""
    return blake2b(opener.nonce + answerer.nonce, digest_size=SECRET_BYTES).digest()


def pick_own(observed: Iterable[SocketAddr], local: Iterable[SocketAddr]) -> tuple[SocketAddr, ...]:
    """Return what to offer: as others see this node first, then as it sees itself."""
    return tuple(dict.fromkeys([*observed, *local]))[:CANDIDATES_MAX]


def is_worth_probing(addr: SocketAddr, *, hears_loopback: bool) -> bool:
    """Return whether to send probes to an address that a peer names.

    Args:
        addr: It.
        hears_loopback: Whether this node hears nothing but its own machine.
    """
    return is_unicast(addr[0]) and is_loopback(addr[0]) == hears_loopback
