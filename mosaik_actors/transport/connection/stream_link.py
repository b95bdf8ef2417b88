"""One end of a link on a stream of a connection.

What is written in one turn of the loop waits here and is given to the connection's engine at
once. The connection is known as `LinkConnection`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Final, Protocol

from ...errors import RemoteError
from ...ids import PeerId
from ..close import SUCCESS, CloseCode, CloseReason
from ..config import TransportConfig
from ..engine_face import ConnectionEngine
from ..frames import ControlFrame, FrameDecoder, OpenFrame, encode_control, encode_word
from ..interface import Link, LinkRefused
from ..link import FramedLink, LinkState

ALONE_BYTES_MAX: Final = 16 * 1024  # a larger frame may as well wait for others


class LinkConnection(Hashable, Protocol):
    """What a link asks of its connection."""

    engine: ConnectionEngine
    config: TransportConfig
    carrier: str

    last_heard_at: float

    @property
    def carried_by(self) -> str:
        """What carries its bytes now."""

    @property
    def peer_link_count(self) -> int:
        """Links that the peer has opened and that are not closed."""

    def mark_dirty(self, link: StreamLink) -> None:
        """Flush `link` with this loop turn."""

    def call_before_flush(self, call: Callable[[], None]) -> None:
        """Call this once, at the begin of the flush of this loop turn."""

    def send_now(self, stream_id: int, data: bytes) -> bool:
        """Send bytes of a stream now where that can be; return whether they left."""

    def after_read(self, call: Callable[[], None]) -> bool:
        """Call this when all that was read is taken in; return whether something is being read."""

    def note_accepted(self, link: StreamLink) -> None:
        """Note that a link is in use from now on."""

    def note_half_received(self, change: int) -> None:
        """Note that links hold so many bytes more of frames that are not complete."""

    def note_violation(self, error: RemoteError) -> None:
        """Note that the peer broke a rule."""

    def forget(self, link: StreamLink) -> None:
        """Note that a link ended; what it wrote may still be on its way."""


class StreamLink(FramedLink):
    """One end of a link on a stream."""

    def __init__(
        self,
        connection: LinkConnection,
        stream_id: int,
        protocol: str,
        header: bytes,
        state: LinkState,
        peer: PeerId,
    ) -> None:
        super().__init__(peer, protocol, header, state, connection.config.frame_bytes_max)
        self.connection = connection
        self.after_read = connection.after_read  # type: ignore[method-assign]  # saves a call
        self.stream_id = stream_id
        self.decoder = FrameDecoder(connection.config.frame_bytes_max)
        self.opened: asyncio.Future[Link] | None = None
        self._outbox: list[bytes] = []
        self._outbox_bytes = 0
        self._is_finishing = False

    @property
    def carrier(self) -> str:
        """What carries its bytes now."""
        return self.connection.carried_by

    @property
    def unsent_bytes(self) -> int:
        """Bytes written here that the peer has not acknowledged yet."""
        return self._outbox_bytes + self.connection.engine.unacked_bytes(self.stream_id)

    @property
    def rtt(self) -> float | None:
        """The smoothed round-trip time of the connection in seconds."""
        return self.connection.engine.rtt

    def send_open(self, opening: OpenFrame) -> None:
        """Send the opener's first frame."""
        self._send_control(opening)

    def accept(self, reply: bytes = b"", *, frame_bytes_max: int | None = None) -> None:
        """Notify the opener that its link is accepted, and take in data from now on."""
        super().accept(reply, frame_bytes_max=frame_bytes_max)
        self.decoder.frame_bytes_max = self.taken_bytes_max
        if self._state is LinkState.OPEN:
            self.connection.note_accepted(self)

    def on_accepted(self) -> None:
        """Resolve the opener's wait."""
        self.connection.note_accepted(self)
        if self.opened is not None and not self.opened.done():
            self.opened.set_result(self)

    def on_refused(self, reason: CloseReason) -> None:
        """Fail the opener's wait."""
        if self.opened is not None and not self.opened.done():
            self.opened.set_exception(LinkRefused(reason))

    def close(self, reason: CloseReason = SUCCESS) -> None:
        """Send what was written, then end the link with `reason`. May be repeated."""
        if self.is_open and reason.code == CloseCode.PROTOCOL_VIOLATION:
            # Found by whoever owns the link, and the peer's fault as much as any other.
            self.connection.note_violation(RemoteError(reason.text))
        super().close(reason)

    def call_before_flush(self, call: Callable[[], None]) -> None:
        """Call this once, right before what was written in this turn of the loop leaves."""
        self.connection.call_before_flush(call)

    @property
    def heard_at(self) -> float:
        """When anything came over the connection last, in monotonic seconds."""
        return self.connection.last_heard_at

    def write_now(self, frame: bytes) -> None:
        """Append one frame, and let it leave now where that can be."""
        length = len(frame)
        is_open = self._state is LinkState.OPEN
        may_leave = is_open and length <= ALONE_BYTES_MAX and not self._outbox
        if may_leave and self.connection.send_now(self.stream_id, encode_word(length) + frame):
            return
        self.write(frame)

    def flush(self, engine: ConnectionEngine) -> None:
        """Give the engine what was written in this loop turn."""
        pieces, self._outbox = self._outbox, []
        self._outbox_bytes = 0
        engine.write_many(self.stream_id, pieces, is_end=self._is_finishing)

    def _send_frame(self, frame: bytes) -> None:
        if not self._outbox:
            self.connection.mark_dirty(self)
        self._outbox.append(encode_word(len(frame)))
        self._outbox.append(frame)
        self._outbox_bytes += len(frame) + 4

    def _send_control(self, frame: ControlFrame) -> None:
        data = encode_control(frame)
        if not self._outbox:
            self.connection.mark_dirty(self)
        self._outbox.append(data)
        self._outbox_bytes += len(data)

    def _abandon(self) -> None:
        self._is_finishing = True
        self.connection.note_half_received(-self.decoder.held_bytes)
        self.decoder.clear()
        self.connection.mark_dirty(self)
        self.connection.forget(self)
