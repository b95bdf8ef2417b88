"""Ids, and the keys that peers prove themselves with.

Every id is 32 bytes of BLAKE3. An id is an intent: two programs that write
down the same name hold the same id without ever having talked, so whatever
both sides must agree on goes into the id, and a disagreement shows as "never
met" instead of as corruption.

    * `UniqueId` names networks, streams, groups, stores and tags. From a
      string it is the BLAKE3 hash of its UTF-8 bytes, unless the string is 64
      hexadecimal digits, which are the id itself.
    * `PeerId` is a node's Ed25519 public key (RFC 8032).
    * `SecretKey` is the other half. It never shows in ``repr``, errors or logs,
      and it is never made from a name by accident: see `SecretKey.from_seed`.

Ids are immutable, ordered and hashable; ``str`` gives all 64 digits, `short`
the first ten, ``bytes`` the 32 bytes. They are bytes to the interpreter, so
that dictionaries of them cost what dictionaries of bytes cost.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from .errors import ConfigError

ID_BYTES = 32
SHORT_DIGITS = 10

_INTERNED_MAX = 8192  # the same few ids come again and again, from everybody
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
        value: 64 hexadecimal digits, as `hex` gives them. For a key in a file
            use `load_or_create`, for one made of a text `from_seed`.

    Raises:
        ConfigError: `value` is anything else. Its text does not repeat `value`.
    """

    __slots__ = ("_key", "_peer_id", "_seed")

    def __init__(self, value: str) -> None:
        # A name or an empty text would be a key that anybody can guess.
        if not _is_digits(value):
            raise ConfigError(
                f"a secret key is 64 hexadecimal digits, got {_describe(value)}; use "
                "SecretKey.load_or_create(path) for a key in a file, SecretKey.from_seed(text) "
                "for one made of a text"
            )
        self._seed = bytes.fromhex(value)
        self._key = Ed25519PrivateKey.from_private_bytes(self._seed)
        self._peer_id = PeerId(self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> Self:
        """Return a new key from the system's entropy."""
        return cls.from_bytes(os.urandom(ID_BYTES))

    @classmethod
    def from_seed(cls, seed: str) -> Self:
        """Return the key whose bytes are the BLAKE3 hash of `seed`: only as secret as `seed` is.

        Raises:
            ConfigError: `seed` is empty, or no text.
        """
        if not _is_text(seed):
            raise ConfigError(f"a seed is a text that is not empty, got {_describe(seed)}")
        return cls.from_bytes(blake3(seed.encode()).digest())

    @classmethod
    def from_bytes(cls, value: bytes) -> Self:
        """Return the key with these 32 bytes.

        Raises:
            ConfigError: They are not 32 bytes.
        """
        if not _is_32_bytes(value):
            raise ConfigError(f"a secret key has {ID_BYTES} bytes, got {_describe(value)}")
        return cls(bytes(value).hex())

    @classmethod
    def load_or_create(cls, path: str | os.PathLike[str]) -> Self:
        """Return the key in the file at `path`; without a file, make one with a new key.

        The file is readable by this user alone, and is there whole or not at
        all. Two processes that call this at once get the same key; a node must
        not run twice, though. Blocks for the time of a small write.

        Raises:
            ConfigError: The file cannot be read or made, is empty or torn,
                belongs to another user, or is open to others; says which.
        """
        from .key_file import create_key_file, read_key_file  # it uses files, ids do not

        file = Path(path)
        while (digits := read_key_file(file)) is None:
            key = cls.generate()
            if create_key_file(file, key.hex):
                return key
        return cls(digits)

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


# Callers without a type checker hand in anything, above all what an environment lacks: None.


def _is_digits(value: object) -> bool:
    return isinstance(value, str) and _HEX_ID.fullmatch(value) is not None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_32_bytes(value: object) -> bool:
    return isinstance(value, bytes | bytearray | memoryview) and len(value) == ID_BYTES


def _describe(value: object) -> str:
    """Return what an error may say of something that may be a secret."""
    match value:
        case "":
            return "an empty text"
        case str():
            return f"a text of {len(value)} characters"
        case bytes() | bytearray() | memoryview():
            return f"{len(value)} bytes"
    return f"an object of type {type(value).__name__}"


# Hooks of msgspec, which does not know ids: on the wire they are their bytes.


def id_as_bytes(value: Any) -> bytes:
    """Return an id as the bytes it is encoded as (an encoding hook of msgspec)."""
    if isinstance(value, UniqueId | PeerId):
        return bytes(value)
    raise TypeError(
        f"{type(value).__name__} is not a type that can be sent, expected a msgspec.Struct, a "
        "dataclass or one of Python's own"
    )


@lru_cache(maxsize=_INTERNED_MAX)
def _interned(type_: type[_Id32], value: bytes) -> _Id32:
    """Return the id with these bytes, while it is kept the same object each time."""
    return type_(value)


def id_from_bytes(type_: type, value: Any) -> Any:
    """Return the id of `type_` that was encoded as `value` (a decoding hook of msgspec)."""
    if type_ in (UniqueId, PeerId) and isinstance(value, bytes):
        return _interned(type_, value)
    raise ValueError(f"expected {type_.__name__}, got {type(value).__name__}")
