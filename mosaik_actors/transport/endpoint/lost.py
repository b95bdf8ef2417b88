"""The hint that a connection is lost: what a restarted peer says to its former self's friends.

A process that restarts at its old port gets datagrams of connections that it
knows nothing of. It answers with a short datagram that is not QUIC and repeats
the connection id. Whoever sent to that id dials the peer anew: if it proves the
same key as another *instance*, the old connection ends at once instead of at
its idle timeout.

The hint proves nothing and ends nothing by itself, so a forged one costs a
dial. It is shorter than what it answers, so that nobody's traffic grows by it.
(QUIC's own answer, the stateless reset of RFC 9000 section 10.3, needs a token
that survives the restart.)
"""

from __future__ import annotations

from typing import Final

CID_BYTES: Final = 8
ANSWERED_BYTES_MIN: Final = 32

_HINT: Final = b"\x03mosaik-lost"


def encode_hint(data: bytes) -> bytes | None:
    """Return the hint to answer a datagram of an unknown connection with, None for none."""
    is_short_header = len(data) >= ANSWERED_BYTES_MIN and data[0] & 0xC0 == 0x40
    return _HINT + data[1 : 1 + CID_BYTES] if is_short_header else None


def decode_hint(data: bytes) -> bytes | None:
    """Return the connection id that a hint is about, None when `data` is no hint."""
    cid = data.removeprefix(_HINT)
    return cid if cid != data and len(cid) == CID_BYTES else None
