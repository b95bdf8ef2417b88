"""Streams of the peer's whose first frame, which opens a link, is not complete."""

from __future__ import annotations

from ...errors import DecodeError
from ..engine_events import StreamData
from ..frames import ControlFrame, FrameDecoder, OpenFrame


class UnopenedStreams:
    """What has come of open frames so far, by stream.

    Attributes:
        held_bytes: How many bytes that is in all.
    """

    def __init__(self) -> None:
        self.held_bytes = 0
        self._decoders: dict[int, FrameDecoder] = {}

    def receive(
        self, event: StreamData
    ) -> tuple[FrameDecoder, OpenFrame, list[bytes | ControlFrame]] | None:
        """Return the frame that opens a link, what decoded it, and what came behind it.

        None while it is not complete.

        Raises:
            RemoteError: Something else came first, or what cannot be decoded.
        """
        decoder = self._pop(event.stream_id) or FrameDecoder(0)
        frames = decoder.receive_data(event.data)
        if not frames and not event.is_end:
            self._decoders[event.stream_id] = decoder
            self.held_bytes += decoder.held_bytes
            return None
        if not frames or not isinstance(opening := frames[0], OpenFrame):
            raise DecodeError("the first frame does not open a link")
        return decoder, opening, frames[1:]

    def drop(self, stream_id: int) -> None:
        """Forget a stream, which opens nothing any more."""
        self._pop(stream_id)

    def clear(self) -> None:
        """Forget all."""
        self._decoders.clear()
        self.held_bytes = 0

    def __len__(self) -> int:
        return len(self._decoders)

    def _pop(self, stream_id: int) -> FrameDecoder | None:
        decoder = self._decoders.pop(stream_id, None)
        if decoder is not None:
            self.held_bytes -= decoder.held_bytes
        return decoder
