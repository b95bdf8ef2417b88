"""One stream of a `StreamEngine`: what waits to be sent, and which ends are still to come."""

from __future__ import annotations

from collections import deque


class EngineStream:
    """What an engine knows of one stream.

    Attributes:
        pieces: What waits to be sent, in order.
        waiting: How many bytes that is.
        is_finishing: Whether nothing is to be written behind it.
        is_ended_here: Whether all of this side has been given to the socket.
        is_ended_there: Whether the peer has said that no more comes.
        sent_at: How much the engine had sent of all, with the last of this stream.
    """

    __slots__ = ("is_ended_here", "is_ended_there", "is_finishing", "pieces", "sent_at", "waiting")

    def __init__(self) -> None:
        self.pieces: deque[bytes | memoryview] = deque()
        self.waiting = 0
        self.is_finishing = False
        self.is_ended_here = False
        self.is_ended_there = False
        self.sent_at = 0

    def next_part_bytes(self, bytes_max: int) -> int:
        """Return how many bytes the next part takes: whole pieces, where one is not too large.

        So frames are not cut for no reason, and the reader has less to put together.
        """
        if self.waiting <= bytes_max:
            return self.waiting
        count = 0
        for piece in self.pieces:
            if count + len(piece) > bytes_max:
                break
            count += len(piece)
        return count if count >= bytes_max // 4 else bytes_max

    def move(self, count: int, into: list[bytes | memoryview]) -> None:
        """Move the first bytes of what waits to `into`; nothing is copied."""
        self.waiting -= count
        while count:
            piece = self.pieces[0]
            if len(piece) <= count:
                into.append(piece)
                count -= len(piece)
                self.pieces.popleft()
            else:
                view = memoryview(piece)
                into.append(view[:count])
                self.pieces[0] = view[count:]
                return
