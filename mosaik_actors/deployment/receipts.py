"""Receipts: sealed boxes of one size on a public stream, which only the addressee can open.

    key = ReceiptKey.generate()                       # of who asks; `key.public` is published
    box = seal(b"slot 7: landed", to=key.public, size=64, context=mixer.fingerprint())
    key.open(box, context=mixer.fingerprint())        # bytes, or None: it is somebody else's

A box is HPKE's single-shot encryption (RFC 9180 section 6.1) in base mode, with
DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20-Poly1305, an empty `aad`, and as `info`
a fixed text and the context. It is the 32 bytes of the encapsulated key, then the
ciphertext. `size` bytes are encrypted: two bytes of length, what is said, zeros. So all
boxes of a stream have `size` + 48 bytes and, to anybody but the addressee, look random.

Nothing says whose a box is: everybody tries every box, for about 0.1 ms each, and the
authentication tag tells. Base mode does not say who sealed a box: anybody could have. Let the
stream require tickets of its producers, or sign what is inside.
"""

from __future__ import annotations

from typing import Any, Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from ..errors import ConfigError

KEY_BYTES: Final = 32
OVERHEAD_BYTES: Final = 32 + 16  # the encapsulated key, and the tag
LENGTH_BYTES: Final = 2
SIZE_MAX: Final = 1 << 16

_INFO: Final = b"mosaik_actors receipt v1\0"


def box_size(size: int) -> int:
    """Return how many bytes a box takes in which `size` bytes are encrypted."""
    if not LENGTH_BYTES < size <= SIZE_MAX:
        raise ConfigError(f"size is {size}, expected {LENGTH_BYTES + 1} to {SIZE_MAX}")
    return size + OVERHEAD_BYTES


def seal(text: bytes, *, to: bytes, size: int, context: str | bytes = b"") -> bytes:
    """Return a box that only the holder of the key behind `to` can open.

    Args:
        text: What it says: at most `size` - 2 bytes.
        to: The addressee's public key, 32 bytes.
        size: How many bytes are encrypted, the same for all boxes of a stream.
        context: What both sides know, such as the deployment's fingerprint.

    Raises:
        ConfigError: `text` is too long, or `to` or `size` is wrong.
    """
    box_size(size)
    if len(text) > size - LENGTH_BYTES:
        raise ConfigError(f"a receipt of {len(text)} bytes, at most {size - LENGTH_BYTES}")
    padded = (len(text).to_bytes(LENGTH_BYTES) + text).ljust(size, b"\0")
    try:
        box: bytes = _suite().encrypt(padded, X25519PublicKey.from_public_bytes(to), _info(context))
    except (ValueError, TypeError) as exc:
        raise ConfigError(f"to is no public key that a box can be sealed for: {exc}") from exc
    return box


class ReceiptKey:
    """The key of who opens receipts (X25519). It shows in no ``repr``.

    Args:
        value: Its 32 bytes.

    Raises:
        ConfigError: They are not 32 bytes.
    """

    __slots__ = ("_key",)

    def __init__(self, value: bytes) -> None:
        if len(value) != KEY_BYTES:
            raise ConfigError(f"a receipt key has {KEY_BYTES} bytes, got {len(value)}")
        self._key = X25519PrivateKey.from_private_bytes(value)

    @classmethod
    def generate(cls) -> Self:
        """Return a new key from the system's entropy."""
        return cls(X25519PrivateKey.generate().private_bytes_raw())

    @property
    def public(self) -> bytes:
        """The public half, for who seals."""
        return self._key.public_key().public_bytes_raw()

    def open(self, box: bytes, *, context: str | bytes = b"") -> bytes | None:
        """Return what a box says; None when it is not for this key, or was changed."""
        if not OVERHEAD_BYTES + LENGTH_BYTES < len(box) <= SIZE_MAX + OVERHEAD_BYTES:
            return None
        try:
            padded: bytes = _suite().decrypt(box, self._key, _info(context))
        except (InvalidTag, ValueError):
            return None
        length = int.from_bytes(padded[:LENGTH_BYTES])
        text, rest = padded[LENGTH_BYTES:][:length], padded[LENGTH_BYTES + length :]
        return text if len(text) == length and not any(rest) else None

    def __bytes__(self) -> bytes:
        return self._key.private_bytes_raw()

    def __repr__(self) -> str:
        return f"ReceiptKey(public {self.public.hex()[:10]})"


def _info(context: str | bytes) -> bytes:
    return _INFO + (context.encode() if isinstance(context, str) else context)


def _suite() -> Any:
    try:
        from cryptography.hazmat.primitives import hpke
    except ImportError:
        text = "receipts need a newer cryptography: pip install 'mosaik-actors[receipts]'"
        raise ConfigError(text) from None
    return hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
