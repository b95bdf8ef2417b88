"""Streams of links that ended here, and of which the peer has not taken all."""

from __future__ import annotations

from ..close import CloseCode
from ..engine_face import ConnectionEngine

LINGER_S = 30.0


class EndedStreams(dict[int, tuple[float, int]]):
    """Streams of links that ended here, with when that was and how much was unsent then."""

    def drop_stalled(self, engine: ConnectionEngine, *, now: float) -> bool:
        """Give up those of which the peer takes nothing; return whether there were any."""
        is_any = False
        for stream_id, (since, unsent_bytes) in list(self.items()):
            if now - since < LINGER_S:
                break  # in the order in which they ended
            del self[stream_id]
            left_bytes = engine.unacked_bytes(stream_id)
            if left_bytes >= unsent_bytes:
                engine.abort_stream(stream_id, int(CloseCode.CANCELLED))
                is_any = True
            if left_bytes or engine.may_receive(stream_id):
                self[stream_id] = (now, left_bytes)
        return is_any
