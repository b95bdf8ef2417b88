"""One measurement: the SHA-384 digest that a register of a trusted domain holds.

A `Measurement` is a SHA-384 digest. MRTD is of the firmware, before the first instruction
runs. The four RTMRs begin as zeros, and are only ever extended: SHA-384 of the register's
value followed by a digest (Intel TDX module specification, "Measurement and attestation").
"""

from __future__ import annotations

import hashlib
from typing import Final, Self

from ..errors import ConfigError

MEASUREMENT_BYTES: Final = 48
_SHORT_DIGITS = 10


class Measurement(bytes):
    """A SHA-384 digest.

    Args:
        value: 48 bytes, or 96 hexadecimal digits.

    Raises:
        ConfigError: It is neither.
    """

    __slots__ = ()

    def __new__(cls, value: str | bytes) -> Self:  # noqa: D102  # the class says it
        if isinstance(value, str):
            try:
                value = bytes.fromhex(value)
            except ValueError:
                raise ConfigError(
                    f"a measurement is 96 hexadecimal digits, got {value!r}"
                ) from None
        if len(value) != MEASUREMENT_BYTES:
            raise ConfigError(f"a measurement is {MEASUREMENT_BYTES} bytes, got {value!r}")
        return super().__new__(cls, value)

    @classmethod
    def zero(cls) -> Self:
        """Return what an RTMR begins with."""
        return cls(bytes(MEASUREMENT_BYTES))

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return the digest of `data`."""
        return cls(hashlib.sha384(data).digest())

    def extend(self, digest: bytes) -> Measurement:
        """Return what the register holds after `digest` was put on top."""
        return Measurement(hashlib.sha384(self + Measurement(digest)).digest())

    @property
    def short(self) -> str:
        """The first ten hexadecimal digits, for people."""
        return bytes.hex(self)[:_SHORT_DIGITS]

    def __str__(self) -> str:
        return bytes.hex(self)

    def __repr__(self) -> str:
        return f"Measurement({self.short})"

    def __reduce__(self) -> tuple[type[Self], tuple[bytes]]:
        return type(self), (bytes(self),)
