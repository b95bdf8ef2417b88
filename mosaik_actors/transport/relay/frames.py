"""What goes over the link between a node and its relay.

One frame is one datagram: `PEER_BYTES` bytes that name a peer, then the datagram. From a
node they name whom it is for, from the relay whom it is from, which the relay has proof of.
The relay looks no further: what two peers exchange is QUIC between the two, sealed for
them as on any path.

A frame from a node that names nobody (`RELAY_ITSELF`) is a request to the relay: a secret of
`SECRET_BYTES`, by which it then answers the node's probes over UDP (`paths.observed`). A relay
that knows no such request takes it for a datagram to nobody.

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
FRAME_BYTES_MAX: Final = 16_384  # what TLS encrypts with others at once is no larger
DATAGRAM_BYTES_MAX: Final = FRAME_BYTES_MAX - PEER_BYTES


def check_frame(frame: bytes) -> None:
    """Raise `DecodeError` unless a frame has a peer and a datagram."""
    if not PEER_BYTES < len(frame) <= FRAME_BYTES_MAX:
        raise DecodeError(
            f"a relay frame of {len(frame)} bytes, expected {PEER_BYTES + 1} to {FRAME_BYTES_MAX}"
        )
