"""How a node's snapshot travels: one frame on a link of the protocol ``status``.

Whoever opens the link gets the frame, and the link ends. The snapshot is encoded at
most twice a second, however many ask, and one peer is answered at most four times a
second, so that asking costs a node next to nothing. Only nodes that were admitted to
the network can open links at all.
"""

from __future__ import annotations

from typing import Final

from ..wire_encoding import BoundedDecoder, encode
from .records import NodeStatus

PROTOCOL: Final = "status"
STATUS_BYTES_MAX: Final = 1 << 20
FRESH_S: Final = 0.5
PAUSE_S: Final = 0.25
ASKERS_MAX: Final = 1024

_DECODER: Final[BoundedDecoder[NodeStatus]] = BoundedDecoder(
    NodeStatus, "a node's status", STATUS_BYTES_MAX
)


class Answers:
    """What is sent to whom: the newest encoded snapshot, to those who did not ask just now.

    A core: `now` is monotonic.
    """

    def __init__(self) -> None:
        self._frame = b""
        self._made_at = float("-inf")
        self._answered_at: dict[object, float] = {}

    def may_ask(self, peer_id: object, *, now: float) -> bool:
        """Return whether a peer gets an answer, and note that it does."""
        last = self._answered_at.pop(peer_id, None)
        if last is not None and now < last + PAUSE_S:
            self._answered_at[peer_id] = last
            return False
        if len(self._answered_at) >= ASKERS_MAX:
            del self._answered_at[next(iter(self._answered_at))]  # asked longest ago
        self._answered_at[peer_id] = now
        return True

    def is_stale(self, *, now: float) -> bool:
        """Return whether `receive_status` is due before `frame` is sent."""
        return now >= self._made_at + FRESH_S

    def receive_status(self, status: NodeStatus, *, now: float) -> None:
        """Take in a new snapshot."""
        self._frame, self._made_at = encode(status), now

    @property
    def frame(self) -> bytes:
        """The frame to send."""
        return self._frame


def decode_status(frame: bytes) -> NodeStatus:
    """Return what a peer says of itself. Raises `DecodeError`."""
    return _DECODER.decode(frame)
