"""What goes over the link between a node and its relay.

One frame is one datagram or several for the same peer, as they leave in one turn of the loop:

    PEER_BYTES   a peer: from a node whom they are for, from the relay whom they are from,
                 which the relay has proof of
    2 bytes      how long each datagram is, the last one excepted, which may be shorter
    the rest     the datagrams, at most `DATAGRAMS_MAX`

So what a frame costs, here and at the relay, is shared by as many as go at once; a kernel takes
them in this form, too (UDP_SEGMENT). The relay looks no further: what two peers exchange is QUIC
between the two, sealed for them as on any path.

Two names are no peer's, and mean the relay; what follows is no datagram:

    * `RELAY_ITSELF`: a secret of `SECRET_BYTES`, by which the relay then answers the node's
      probes over UDP (`paths.observed`).
    * `RELAY_TICKETS`: the tickets that the node shows from now on, in place of those in the
      header of the link. A relay that requires none ignores both.

The link is a reliable stream, so what is lost is lost at a full queue only; and it can be
carried by whatever carries links.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ...errors import DecodeError
from ...ids import NetworkId

RELAY_NETWORK: Final = NetworkId("mosaik-actors relay")
PROTOCOL: Final = "relay/2"
PEER_BYTES: Final = 32
RELAY_ITSELF: Final = bytes(PEER_BYTES)
RELAY_TICKETS: Final = bytes(PEER_BYTES - 1) + b"\1"
HEAD_BYTES: Final = PEER_BYTES + 2
FRAME_BYTES_MAX: Final = 16_384  # what TLS encrypts with others at once is no larger
DATAGRAM_BYTES_MAX: Final = FRAME_BYTES_MAX - HEAD_BYTES
DATAGRAMS_MAX: Final = 64
TICKETS_BYTES_MAX: Final = 64 * 1024
TICKETS_FRAME_BYTES_MAX: Final = PEER_BYTES + TICKETS_BYTES_MAX


def encode_frames(peer: bytes, datagrams: list[bytes]) -> list[bytes]:
    """Return the frames of datagrams that go to a peer, in order and in as few as there can be."""
    frames = []
    start, end = 0, len(datagrams)
    while start < end:
        size = len(datagrams[start])
        limit = min(end, start + max(1, min(DATAGRAMS_MAX, DATAGRAM_BYTES_MAX // (size or 1))))
        stop = start + 1
        while stop < limit and len(datagrams[stop]) == size:
            stop += 1
        if stop < limit and len(datagrams[stop]) < size:
            stop += 1
        frames.append(b"".join((peer, size.to_bytes(2), *datagrams[start:stop])))
        start = stop
    return frames


def read_sizes(frame: bytes) -> tuple[int, int]:
    """Return how long each datagram of a frame is, and how many there are.

    Raises:
        DecodeError: It has no peer and datagram, or too many.
    """
    length = len(frame) - HEAD_BYTES
    size = int.from_bytes(frame[PEER_BYTES:HEAD_BYTES])
    if 0 < size <= length <= DATAGRAM_BYTES_MAX:
        count = -(-length // size)
        if count <= DATAGRAMS_MAX:
            return size, count
    raise DecodeError(
        f"a relay frame of {len(frame)} bytes in datagrams of {size}, expected at most "
        f"{FRAME_BYTES_MAX} and {DATAGRAMS_MAX} datagrams"
    )


def split_datagrams(frame: bytes, size: int) -> Iterator[bytes]:
    """Return the datagrams of a frame, each of that many bytes but the last."""
    return (frame[at : at + size] for at in range(HEAD_BYTES, len(frame), size))
