"""What goes over the link between a node and its relay.

One frame is one datagram: `PEER_BYTES` bytes that name a peer, then the datagram. From a
node they name whom it is for, from the relay whom it is from, which the relay has proof of.
The relay looks no further: what two peers exchange is QUIC between the two, sealed for
them as on any path.

Two names are no peer's, and mean the relay:

    * `RELAY_ITSELF`: a secret of `SECRET_BYTES`, by which the relay then answers the node's
      probes over UDP (`paths.observed`).
    * `RELAY_TICKETS`: the tickets that the node shows from now on, in place of those in the
      header of the link. A relay that requires none ignores both.

The link is a reliable stream, so what is lost is lost at a full queue only; and it can be
carried by whatever carries links.
"""

from __future__ import annotations

from typing import Final

from ...errors import DecodeError
from ...ids import NetworkId

RELAY_NETWORK: Final = NetworkId("mosaik-actors relay")
PROTOCOL: Final = "relay/1"
PEER_BYTES: Final = 32
RELAY_ITSELF: Final = bytes(PEER_BYTES)
RELAY_TICKETS: Final = bytes(PEER_BYTES - 1) + b"\1"
FRAME_BYTES_MAX: Final = 16_384  # what TLS encrypts with others at once is no larger
DATAGRAM_BYTES_MAX: Final = FRAME_BYTES_MAX - PEER_BYTES
TICKETS_BYTES_MAX: Final = 64 * 1024
TICKETS_FRAME_BYTES_MAX: Final = PEER_BYTES + TICKETS_BYTES_MAX


def check_frame(frame: bytes) -> None:
    """Raise `DecodeError` unless a frame has a peer and a datagram, or is one of tickets."""
    if not PEER_BYTES < len(frame) <= FRAME_BYTES_MAX:
        if len(frame) > PEER_BYTES and frame.startswith(RELAY_TICKETS):
            return  # the link bounds it
        raise DecodeError(
            f"a relay frame of {len(frame)} bytes, expected {PEER_BYTES + 1} to {FRAME_BYTES_MAX}"
        )
