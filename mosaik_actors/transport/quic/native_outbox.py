"""What was written to streams and the core of qh3 has not been given yet.

The core plans which frames the next packets carry, up to 16 at a time, and where its congestion
window has no room they stay planned. When a stream is over meanwhile, which a late
acknowledgement or the peer's reset makes it, and its frame leaves after that, the core raises
"reserved stream is missing": the packet is lost, and with it the connection. It lets go of a
stream when the event that says so is taken out. So:

    * While there is no room, something may be planned. Then no events are taken out, if there
      is a stream that the core may let go of (`must_wait`).
    * So that there is room soon, the core never holds more than two windows of what is unsent,
      and with such a stream no more than its window has room for. What it sends again by
      itself can be too much all the same.

A core: no time.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any, Final

from qh3._hazmat import QuicConnectionCore

DATAGRAM_BYTES_MAX: Final = 1472
"""The largest datagram that the core sends: with less room it waits, whatever is planned."""

HELD_BYTES_MAX: Final = 256 * 1024
"""How much is received at most while events wait: after that they are taken out all the same."""

LIVE: Final = ("first_flight", "connected")

_HEAD_BYTES: Final = 16


class NativeOutbox:
    """Streams with what waits for room in the core, the one whose turn it is first.

    Attributes:
        ending: Streams that this side has ended, and that the core has not let go of.
        received_bytes: What was received while events wait.
    """

    def __init__(self) -> None:
        self.ending: set[int] = set()
        self.received_bytes = 0
        self._has_room = True  # after the last packets, so that nothing is planned
        self._pieces: dict[int, deque[bytes | memoryview]] = {}
        self._sizes: dict[int, int] = {}
        self._ends: set[int] = set()

    def unsent_bytes(self, core: QuicConnectionCore, stream_id: int) -> int:
        """Return how many bytes of a stream wait, here or in the core."""
        given: int = core.get_send_buffer_size(stream_id)
        return self._sizes.get(stream_id, 0) + given

    def must_wait(self, core: QuicConnectionCore) -> bool:
        """Return whether events may not be taken out of the core now."""
        if self._has_room:
            self.received_bytes = 0
            return False
        is_little = self.received_bytes < HELD_BYTES_MAX
        return bool(self.ending) and is_little and core.state in LIVE

    def poll(self, core: QuicConnectionCore, now: float) -> list[tuple[Any, ...]]:
        """Return the packets that may leave now, each with where it goes."""
        found: list[tuple[Any, ...]] = []
        self._has_room = False
        count = -1
        # The core raises where so little may be answered that a frame does not fit: more can
        # leave when more has come (RFC 9000 section 8.1).
        with suppress(RuntimeError):
            while True:
                found.extend(iter(lambda: core.poll_transmit(now), None))
                room = core.congestion_window - core.bytes_in_flight
                self._has_room = room >= DATAGRAM_BYTES_MAX
                if len(found) == count or not self._pieces or not self._feed(core, now):
                    break
                count = len(found)
        return found

    def append(
        self, core: QuicConnectionCore, stream_id: int, data: bytes, *, is_end: bool
    ) -> None:
        """Take in what was written to a stream."""
        self._pieces.setdefault(stream_id, deque()).append(data)
        self._sizes[stream_id] = self._sizes.get(stream_id, 0) + len(data)
        if is_end:
            self._ends.add(stream_id)
            if core.can_send_stream(stream_id):
                self.ending.add(stream_id)

    def drop(self, stream_id: int) -> None:
        """Forget what waits of a stream."""
        self._pieces.pop(stream_id, None)
        self._sizes.pop(stream_id, None)
        self._ends.discard(stream_id)

    def clear(self) -> None:
        """Forget everything."""
        self.ending.clear()
        self._pieces.clear()
        self._sizes.clear()
        self._ends.clear()

    # Helpers.

    def _feed(self, core: QuicConnectionCore, now: float) -> bool:
        """Give the core some of what waits; return whether it was given anything.

        Each stream gets its share, so that a large one does not keep the rest waiting. A
        stream of which the core still has something waits until that is sent.
        """
        timer = core.get_timer()
        if core.state not in LIVE or (timer and timer[0] == "pacing" and timer[1] > now):
            return False  # more would be planned too early
        window: int = core.congestion_window
        if not self.ending:
            left = 2 * window
        else:  # a part is for heads of packets
            left = (window - core.bytes_in_flight - DATAGRAM_BYTES_MAX) * 9 // 10
        if left <= 0:
            return False
        share = max(DATAGRAM_BYTES_MAX, left // len(self._pieces))
        has_fed = False
        for stream_id in list(self._pieces):
            if left <= 0:
                break
            if core.get_send_buffer_size(stream_id):
                continue
            data, is_end = self._take(stream_id, min(share, left))
            left -= len(data) + _HEAD_BYTES
            has_fed = True
            with suppress(ValueError):  # it has ended, and a late reset made it look new
                core.send_stream(stream_id, data, is_end)
        return has_fed

    def _take(self, stream_id: int, bytes_max: int) -> tuple[bytes, bool]:
        """Take out the first bytes of a stream, and whether they are its last."""
        pieces = self._pieces.pop(stream_id)
        taken, size = [], 0
        while pieces and size < bytes_max:
            piece = pieces.popleft()
            taken.append(piece)
            size += len(piece)
        if size > bytes_max:
            rest = memoryview(taken[-1])[bytes_max - size :]
            taken[-1] = taken[-1][: bytes_max - size]
            pieces.appendleft(rest)
            size = bytes_max
        if pieces:
            self._pieces[stream_id] = pieces  # behind the others
            self._sizes[stream_id] -= size
            return b"".join(taken), False
        is_end = stream_id in self._ends
        self.drop(stream_id)
        return b"".join(taken), is_end
