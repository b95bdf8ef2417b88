"""The sixteen places in the DHT where the peers of a network write where they are.

A place is an Ed25519 key that everybody derives who knows the network: its seed is the
network's id, or with a secret a key of both, and that of each next one is ``id.derive(id)``.
The first place's seed is the start itself. A network with several secrets has sixteen places
for each. A core.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..ids import UniqueId
from ..transport.admission import NetworkKeys
from .items import mutable_target

SLOT_COUNT: Final = 16

_SEED_CONTEXT: Final = "mosaik_actors 2026 dht slots"
_SEAL_CONTEXT: Final = "mosaik_actors 2026 dht record seal"


@dataclass(frozen=True, slots=True)
class DhtSlot:
    """One place.

    Attributes:
        number: Which of the sixteen it is, from 0.
        private_key: What its records are signed with: all peers of the network have it.
        seal_key: What its records are sealed with; None in a network without a secret.
    """

    number: int
    private_key: Ed25519PrivateKey
    seal_key: bytes | None

    @property
    def public_key(self) -> bytes:
        """What its records are found under, 32 bytes."""
        return self.private_key.public_key().public_bytes_raw()

    @property
    def target(self) -> bytes:
        """Where its records are stored, 20 bytes."""
        return mutable_target(self.public_key)


def derive_slots(keys: NetworkKeys) -> tuple[DhtSlot, ...]:
    """Return the places of a network: sixteen for each of its secrets, those of the first first."""
    if not keys.has_secret:
        return _slots_from(keys.network_id, None)
    pairs = zip(keys.derive(_SEED_CONTEXT), keys.derive(_SEAL_CONTEXT), strict=True)
    return tuple(slot for seed, seal in pairs for slot in _slots_from(UniqueId(seed), seal))


def _slots_from(start: UniqueId, seal_key: bytes | None) -> tuple[DhtSlot, ...]:
    slots, seed = [], start
    for number in range(SLOT_COUNT):
        slots.append(DhtSlot(number, Ed25519PrivateKey.from_private_bytes(seed), seal_key))
        seed = seed.derive(seed)
    return tuple(slots)
