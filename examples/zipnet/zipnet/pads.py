"""The pads: what hides an envelope until every server has taken its part of the mask away.

A client shares a secret with each server (X25519, then HKDF). Of it and the number of the
round both compute the same pad, and nobody else does (BLAKE3 as a keyed extendable output).
An envelope is the client's slots with the pads of all servers XORed over them, so whoever
lacks one server's pads sees noise: that is Chaum's DC-net with the key graph of Dissent and
ZIPNet, where clients share keys with servers only.

Invariants:
    * A pad depends on the deployment, the two keys and the round: on nothing that repeats.
    * A `Blinder` masks one envelope in each round. Two of one round would differ by what was said.
    * An `Unblinder` opens one set of participants in each round. Two sets that differ by one
      client would give that client's pads away, and with them what it said.

Sources: Chaum, "The dining cryptographers problem" (1988); Rosenberg, Shih, Zhao, Wang,
Miers, Zhang, "ZIPNet" (eprint 2024/1227), algorithms 1 to 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES: Final = 32
ROUND_BYTES: Final = 8


class Refused(Exception):
    """Something that is not done, because it would give somebody away or is malformed."""


def xor(parts: Iterable[bytes], size: int) -> bytes:
    """Return the XOR of some texts of `size` bytes each; zeros when there are none."""
    total = 0
    for part in parts:
        if len(part) != size:
            raise Refused(f"{len(part)} bytes, expected {size}")
        total ^= int.from_bytes(part)
    return total.to_bytes(size)


def agree(own: bytes, other: bytes, context: bytes) -> bytes:
    """Return the secret of two keys: the same one on both sides, another in each deployment.

    Args:
        own: The private key of this side.
        other: The public key of the other one.
        context: The id of the deployment.

    Raises:
        Refused: `other` is no key that a secret can be agreed with.
    """
    private = X25519PrivateKey.from_private_bytes(own)
    try:
        shared = private.exchange(X25519PublicKey.from_public_bytes(other))
    except ValueError as exc:
        raise Refused(f"no secret can be agreed with the key {other.hex()[:10]}: {exc}") from exc
    both = b"".join(sorted((private.public_key().public_bytes_raw(), other)))
    return HKDF(SHA256(), KEY_BYTES, salt=context, info=b"zipnet pad v1" + both).derive(shared)


def make_pad(secret: bytes, round_: int, size: int) -> bytes:
    """Return the pad of a secret in a round."""
    return blake3(round_.to_bytes(ROUND_BYTES), key=secret).digest(length=size)


class _Pads:
    """Agrees on a secret with each peer once."""

    def __init__(self, key: bytes, context: bytes) -> None:
        self._key = key
        self._context = context
        self._secrets: dict[bytes, bytes] = {}

    def sum(self, others: Sequence[bytes], round_: int, size: int) -> bytes:
        if len(self._secrets) > 2 * len(others):
            self._secrets = {o: s for o, s in self._secrets.items() if o in set(others)}
        for other in others:
            if other not in self._secrets:
                self._secrets[other] = agree(self._key, other, self._context)
        return xor((make_pad(self._secrets[other], round_, size) for other in others), size)


class Blinder:
    """A client's half: masks what it says.

    Args:
        key: Its private key, a new one for each run: then no pad repeats when it begins anew.
        context: The id of the deployment.
    """

    def __init__(self, key: bytes, context: bytes) -> None:
        self._pads = _Pads(key, context)
        self.last_round = 0

    def blind(self, round_: int, servers: Sequence[bytes], slots: bytes) -> bytes:
        """Return the masked slots.

        Raises:
            Refused: It has masked in this round or a later one already.
        """
        if round_ <= self.last_round:
            raise Refused(f"round {round_} is not after {self.last_round}: its pads are used")
        if len(set(servers)) != len(servers) or not servers:
            raise Refused(f"{len(servers)} servers of which some are the same, or none")
        masked = xor([slots, self._pads.sum(servers, round_, len(slots))], len(slots))
        self.last_round = round_
        return masked


class Unblinder:
    """A server's half: the pads to take away from the sum of all envelopes.

    Args:
        key: Its private key.
        context: The id of the deployment.
        minimum: The smallest set of participants that it opens.
        opened: What `opened` was before a restart.
    """

    def __init__(self, key: bytes, context: bytes, minimum: int, opened: bytes = b"") -> None:
        self._pads = _Pads(key, context)
        self._minimum = minimum
        self.opened = opened or bytes(ROUND_BYTES + KEY_BYTES)

    def unblind(self, round_: int, participants: Sequence[bytes], size: int) -> bytes:
        """Return the XOR of the pads of all participants. Then keep `opened`, then send it.

        May be repeated for the same participants.

        Raises:
            Refused: The participants are too few, or others than in an earlier call for
                this round, or the round is over.
        """
        if len(set(participants)) < max(1, self._minimum):
            raise Refused(f"{len(set(participants))} participants, expected {self._minimum}")
        if len(set(participants)) != len(participants):
            raise Refused("a participant that is counted twice")
        digest = blake3(b"".join(participants)).digest()
        last, known = int.from_bytes(self.opened[:ROUND_BYTES]), self.opened[ROUND_BYTES:]
        if round_ < last or (round_ == last and digest != known):
            raise Refused(f"round {round_} was opened for others, or is over (at {last})")
        pads = self._pads.sum(participants, round_, size)
        self.opened = round_.to_bytes(ROUND_BYTES) + digest
        return pads
