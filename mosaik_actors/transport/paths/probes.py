"""Probes of paths: small datagrams that prove that whoever answers is the peer, and is there.

A pure core. Two parties share a `PathKey`, which they agreed on over a connection where both
have proven who they are. Then, over bare UDP::

    probe    magic 12, path id 8, sequence 8, padding, MAC 16      at least `PROBE_BYTES_MIN`
    answer   magic 12, path id 8, sequence 8, size 2, port 2, address 16, MAC 16    64 bytes

The answer echoes the sequence, and says how large the probe was when it came and from where.

Invariants:
    * An answer is never larger than its probe, and there is one for each at most.
    * Whoever does not have the key can make neither; the MAC is over the whole datagram and who
      made it, so none can be turned back to its maker or grow.
    * A probe counts once (`ReplayWindow`), so that one that is sent again from elsewhere
      brings nobody an answer.

Neither is QUIC: the fixed bit 0x40 is clear (RFC 9000 section 17, RFC 9443).
"""

from __future__ import annotations

import ipaddress
from hashlib import blake2b
from hmac import compare_digest
from typing import Final

import msgspec

from ..address import SocketAddr

SECRET_BYTES: Final = 32
ID_BYTES: Final = 8
PROBE_BYTES_MIN: Final = 64
ANSWER_BYTES: Final = 64
WINDOW: Final = 256

_PROBE: Final = b"\x04mosaik-path"
_ANSWER: Final = b"\x05mosaik-path"
_MAGIC_BYTES: Final = len(_PROBE)
_MAC_BYTES: Final = 16
_SEQUENCE_AT: Final = _MAGIC_BYTES + ID_BYTES
_HEAD_BYTES: Final = _SEQUENCE_AT + 8


def path_id(data: bytes) -> bytes | None:
    """Return which path a datagram says that it is about, None when it is of no path."""
    is_probe = data.startswith(_PROBE) and len(data) >= PROBE_BYTES_MIN
    if not is_probe and not (data.startswith(_ANSWER) and len(data) == ANSWER_BYTES):
        return None
    return data[_MAGIC_BYTES:_SEQUENCE_AT]


class PathProbe(msgspec.Struct, frozen=True):
    """A probe of the other party's; `size` is how many bytes came."""

    sequence: int
    size: int


class ProbeAnswer(msgspec.Struct, frozen=True):
    """The answer to a probe of ours: how much of it came, and from where it seemed to come."""

    sequence: int
    size: int
    observed: SocketAddr


class PathKey:
    """What two parties make and check probes with.

    Args:
        secret: What only the two know.
        own: Names this party, `other` the other one. They differ.
    """

    def __init__(self, secret: bytes, own: bytes, other: bytes) -> None:
        self.id = blake2b(secret, digest_size=ID_BYTES, person=b"mosaik-path-id").digest()
        self._own = blake2b(secret + own, digest_size=32, person=b"mosaik-path").digest()
        self._other = blake2b(secret + other, digest_size=32, person=b"mosaik-path").digest()

    def probe(self, sequence: int, size: int = PROBE_BYTES_MIN) -> bytes:
        """Return a probe of `size` bytes."""
        head = _PROBE + self.id + sequence.to_bytes(8)
        body = head.ljust(size - _MAC_BYTES, b"\0")
        return body + _mac(self._own, body)

    def answer(self, probe: PathProbe, source: SocketAddr) -> bytes:
        """Return the answer to a probe that came from `source`."""
        ip = ipaddress.ip_address(source[0].partition("%")[0])
        if isinstance(ip, ipaddress.IPv4Address):
            ip = ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + ip.packed)
        body = (
            _ANSWER
            + self.id
            + probe.sequence.to_bytes(8)
            + min(probe.size, 0xFFFF).to_bytes(2)
            + source[1].to_bytes(2)
            + ip.packed
        )
        return body + _mac(self._own, body)

    def read(self, data: bytes) -> PathProbe | ProbeAnswer | None:
        """Return what the other party sent, None when it did not send this."""
        if path_id(data) != self.id:
            return None
        body = data[:-_MAC_BYTES]
        if not compare_digest(_mac(self._other, body), data[-_MAC_BYTES:]):
            return None
        sequence = int.from_bytes(body[_SEQUENCE_AT:_HEAD_BYTES])
        if body.startswith(_PROBE):
            return PathProbe(sequence, len(data))
        size, port = int.from_bytes(body[28:30]), int.from_bytes(body[30:32])
        ip = ipaddress.IPv6Address(body[32:])
        return ProbeAnswer(sequence, size, (str(ip.ipv4_mapped or ip), port))


class ReplayWindow:
    """Which sequence numbers were seen already, of the last `WINDOW` (RFC 4303 section 3.4.3)."""

    def __init__(self) -> None:
        self._highest = 0
        self._seen = 0

    def take(self, sequence: int) -> bool:
        """Return whether a number is new, and take it as seen. Too old is as if seen."""
        ahead = sequence - self._highest
        if ahead > 0:
            self._seen = ((self._seen << ahead) | 1) & ((1 << WINDOW) - 1) if ahead < WINDOW else 1
            self._highest = sequence
            return True
        if -ahead >= WINDOW or self._seen >> -ahead & 1:
            return False
        self._seen |= 1 << -ahead
        return True


def _mac(key: bytes, body: bytes) -> bytes:
    return blake2b(body, digest_size=_MAC_BYTES, key=key).digest()
