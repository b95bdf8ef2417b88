"""API keys as tickets: a data vendor sells keys, and who has bought one gets the data."""

import hmac
from collections.abc import Mapping

from blake3 import blake3

from mosaik_actors import (
    Expiration,
    InvalidTicket,
    PeerId,
    PeerInfo,
    Record,
    Ticket,
    UniqueId,
    unique_id,
)

CLASS_ID = unique_id("example.api-key")


class Quote(Record, frozen=True):
    symbol: str
    price: float


def show(customer: str, api_key: bytes, peer_id: PeerId) -> Ticket:
    """Return a ticket for one node: all can read it, and none can use it for another node."""
    return Ticket(CLASS_ID, b"%s:%s" % (customer.encode(), blake3(peer_id, key=api_key).digest()))


class ApiKeys:
    """Accepts tickets of customers, whose API keys it knows."""

    class_id = CLASS_ID

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = dict(keys)
        digests = (blake3(key, derive_key_context="example").digest() for key in keys.values())
        self.signature = UniqueId.from_parts(*sorted(digests))

    def validate(self, data: bytes, peer: PeerInfo) -> Expiration:
        customer, _, proof = data.partition(b":")
        key = self._keys.get(customer.decode(errors="replace"))
        if key is None or not hmac.compare_digest(proof, blake3(peer.peer_id, key=key).digest()):
            raise InvalidTicket("no such customer, or another key than the customer's")
        return Expiration.NEVER
