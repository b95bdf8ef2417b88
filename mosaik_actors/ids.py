"""Ids, and the keys that peers prove themselves with.

Every id is 32 bytes of BLAKE3. An id is an intent: two programs that write
down the same name hold the same id without ever having talked, so whatever
both sides must agree on goes into the id, and a disagreement shows as "never
met" instead of as corruption.

    * `UniqueId` names networks, streams, groups, stores and tags. From a
      string it is the BLAKE3 hash of its UTF-8 bytes, unless the string is 64
      hexadecimal digits, which are the id itself.
    * `PeerId` is a node's Ed25519 public key (RFC 8032).
    * `SecretKey` is the other half. It never shows in ``repr`` or in logs.

Ids are immutable, ordered and hashable; ``str`` gives all 64 digits, `short`
the first ten, ``bytes`` the 32 bytes. They are bytes to the interpreter, so
that dictionaries of them cost what dictionaries of bytes cost.
"""

from __future__ import annotations

import os
import re
from typing import Self

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ID_BYTES = 32
SHORT_DIGITS = 10

_HEX_ID = re.compile(r"[0-9a-fA-F]{64}")


class _Id32(bytes):
    """Thirty-two bytes with a name of their own."""

    __slots__ = ()

    @property
    def hex(self) -> str:  # type: ignore[override]  # a name for people, as on SecretKey
        """All 64 hexadecimal digits."""
        return bytes.hex(self)

    @property
    def short(self) -> str:
        """The first ten hexadecimal digits, for people."""
        return bytes.hex(self)[:SHORT_DIGITS]

    def __str__(self) -> str:
        return bytes.hex(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.short})"

    def __reduce__(self) -> tuple[type[Self], tuple[bytes]]:
        return type(self), (bytes(self),)


class UniqueId(_Id32):
    """A name's id, the same on every machine that writes the same name.

    Args:
        value: A name, which is hashed; 64 hexadecimal digits, which are
            decoded; 32 bytes or another id, which are taken as they are.

    Raises:
        ValueError: `value` is bytes of another length than 32.
        TypeError: `value` is neither text nor bytes.
    """

    __slots__ = ()

    def __new__(cls, value: str | bytes) -> Self:  # noqa: D102  # the class says it
        if isinstance(value, str):
            if _HEX_ID.fullmatch(value):
                return super().__new__(cls, bytes.fromhex(value))
            return super().__new__(cls, blake3(value.encode()).digest())
        if not isinstance(value, bytes | bytearray | memoryview):
            raise TypeError(f"an id is made from str or bytes, got {type(value).__name__}")
        if len(value) != ID_BYTES:
            raise ValueError(f"an id has {ID_BYTES} bytes, got {len(value)}")
        return super().__new__(cls, value)

    @classmethod
    def random(cls) -> Self:
        """Return an id that nobody else has, from the system's entropy."""
        return cls(os.urandom(ID_BYTES))

    @classmethod
    def zero(cls) -> Self:
        """Return the id of 32 zero bytes."""
        return cls(bytes(ID_BYTES))

    @classmethod
    def from_parts(cls, *parts: str | bytes) -> Self:
        """Return the hash of all `parts`, one after the other.

        Text counts as its UTF-8 bytes. The parts are not separated: where
        ``("ab", "c")`` and ``("a", "bc")`` must differ, put ids or parts of a
        fixed length in between, or use `derive`.
        """
        hasher = blake3()
        for part in parts:
            hasher.update(part.encode() if isinstance(part, str) else part)
        return cls(hasher.digest())

    def derive(self, info: str | bytes) -> Self:
        """Return the id of `info` below this one: BLAKE3 of this id followed by `info`."""
        return self.from_parts(self, info)

    def hashed(self) -> Self:
        """Return the hash of this id: it can be shown where this id must stay secret."""
        return self.from_parts(self)


NetworkId = UniqueId
StreamId = UniqueId
GroupId = UniqueId
StoreId = UniqueId
Tag = UniqueId


def unique_id(value: str) -> UniqueId:
    """Return the id of a name; for constants at the head of a module."""
    return UniqueId(value)


class PeerId(_Id32):
    """A node's identity: its Ed25519 public key.

    Args:
        value: 32 bytes, or 64 hexadecimal digits.

    Raises:
        ValueError: `value` is not 32 bytes.
    """

    __slots__ = ()

    def __new__(cls, value: str | bytes) -> Self:  # noqa: D102  # the class says it
        if isinstance(value, str):
            if not _HEX_ID.fullmatch(value):
                raise ValueError(f"a peer id has 64 hexadecimal digits, got {value!r}")
            value = bytes.fromhex(value)
        if len(value) != ID_BYTES:
            raise ValueError(f"a peer id has {ID_BYTES} bytes, got {len(value)}")
        return super().__new__(cls, value)

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Return whether this peer signed `data`."""
        try:
            Ed25519PublicKey.from_public_bytes(bytes(self)).verify(signature, data)
        except (InvalidSignature, ValueError):
            return False
        return True


class SecretKey:
    """A node's private key (Ed25519).

    Args:
        value: 32 bytes; 64 hexadecimal digits; or any other text, which is a
            seed and is hashed (`from_seed`).

    Raises:
        ValueError: `value` is bytes of another length than 32.
    """

    __slots__ = ("_key", "_peer_id", "_seed")

    def __init__(self, value: str | bytes) -> None:
        seed = bytes(UniqueId(value))
        self._seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._peer_id = PeerId(self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> Self:
        """Return a new key from the system's entropy."""
        return cls(os.urandom(ID_BYTES))

    @classmethod
    def from_seed(cls, seed: str) -> Self:
        """Return the key whose bytes are the BLAKE3 hash of `seed`: only as secret as `seed` is."""
        return cls(blake3(seed.encode()).digest())

    @classmethod
    def from_bytes(cls, value: bytes) -> Self:
        """Return the key with these 32 bytes."""
        return cls(value)

    @property
    def hex(self) -> str:
        """The key itself as 64 hexadecimal digits: as secret as the key."""
        return self._seed.hex()

    @property
    def peer_id(self) -> PeerId:
        """The public half."""
        return self._peer_id

    @property
    def private_key(self) -> Ed25519PrivateKey:
        """The key as the cryptography library knows it, for certificates."""
        return self._key

    def sign(self, data: bytes) -> bytes:
        """Return the 64-byte signature of `data`."""
        return self._key.sign(data)

    def __bytes__(self) -> bytes:
        return self._seed

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretKey) and self._seed == other._seed

    def __hash__(self) -> int:
        return hash(self._peer_id)

    def __repr__(self) -> str:
        return f"SecretKey(of peer {self._peer_id.short})"
