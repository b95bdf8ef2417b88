"""Items of the Mainline DHT: values that are stored under a hash, or signed by a key (BEP 44).

    * An *immutable* item is stored under the SHA-1 of its bencoded value.
    * A *mutable* item is stored under the SHA-1 of an Ed25519 public key and a salt. It has a
      sequence number, which only rises, and a signature over salt, number and value.

Nodes keep what checks out and nothing else, so an item is checked where it is made of bytes
from the network, in `check_item`. A core: no time.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from .bencode import Value, encode

VALUE_BYTES_MAX: Final = 1000
SALT_BYTES_MAX: Final = 64
KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
SEQUENCE_MAX: Final = 2**63 - 1

# What a node answers to a `put` that it refuses (BEP 44, "Errors").
TOO_BIG: Final = 205
INVALID_SIGNATURE: Final = 206
SALT_TOO_BIG: Final = 207
MISMATCH: Final = 301
SEQUENCE_BELOW: Final = 302


class ItemRefused(ValueError):
    """An item breaks a rule; `code` is the number that BEP 44 has for it."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ImmutableItem:
    """A value that its hash names."""

    value: Value

    @property
    def target(self) -> bytes:
        """Where it is stored: 20 bytes."""
        return sha1(encode(self.value), usedforsecurity=False).digest()


@dataclass(frozen=True, slots=True)
class MutableItem:
    """A signed value, of which the one with the highest sequence number counts.

    Attributes:
        key: The Ed25519 public key, 32 bytes.
        sequence: Its sequence number.
        value: Its value.
        signature: By `key`, 64 bytes.
        salt: Which of the items of that key it is.
    """

    key: bytes
    sequence: int
    value: Value
    signature: bytes
    salt: bytes = b""

    @classmethod
    def sign(
        cls, key: Ed25519PrivateKey, sequence: int, value: Value, salt: bytes = b""
    ) -> MutableItem:
        """Return an item that `key` signs."""
        signature = key.sign(signed_bytes(sequence, value, salt))
        return cls(key.public_key().public_bytes_raw(), sequence, value, signature, salt)

    @property
    def target(self) -> bytes:
        """Where it is stored: 20 bytes."""
        return mutable_target(self.key, self.salt)


Item = ImmutableItem | MutableItem


def mutable_target(key: bytes, salt: bytes = b"") -> bytes:
    """Return where the item of a key and a salt is stored: 20 bytes."""
    return sha1(key + salt, usedforsecurity=False).digest()


def signed_bytes(sequence: int, value: Value, salt: bytes = b"") -> bytes:
    """Return what the signature of an item is over (BEP 44, "Signature Verification")."""
    salted = b"4:salt%d:%b" % (len(salt), salt) if salt else b""
    return salted + b"3:seqi%de1:v" % sequence + encode(value)


def check_item(item: Item) -> None:
    """Raise `ItemRefused` unless an item from the network is what it says.

    The signature comes last, as it costs most.
    """
    size = len(encode(item.value))
    if size > VALUE_BYTES_MAX:
        raise ItemRefused(TOO_BIG, f"the value has {size} bytes, at most {VALUE_BYTES_MAX}")
    if isinstance(item, ImmutableItem):
        return
    if len(item.salt) > SALT_BYTES_MAX:
        raise ItemRefused(SALT_TOO_BIG, f"the salt has more than {SALT_BYTES_MAX} bytes")
    if not 0 <= item.sequence <= SEQUENCE_MAX:
        raise ItemRefused(INVALID_SIGNATURE, "the sequence number has more than 63 bits")
    if len(item.key) != KEY_BYTES or len(item.signature) != SIGNATURE_BYTES:
        raise ItemRefused(INVALID_SIGNATURE, "the key or the signature has another length")
    try:
        Ed25519PublicKey.from_public_bytes(item.key).verify(
            item.signature, signed_bytes(item.sequence, item.value, item.salt)
        )
    except (InvalidSignature, ValueError):
        raise ItemRefused(INVALID_SIGNATURE, "the signature is not of the key") from None
