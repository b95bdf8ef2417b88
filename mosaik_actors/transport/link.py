"""What all links share: their states, and the order of what their owner sees.

A link is opening (the opener waits), offered (the acceptor has not answered),
open, or closed. `FramedLink` holds the state and the sink; how bytes or frames
leave is the subclass's, in `_send_frame`, `_send_control` and `_abandon`.

Invariants:
    * The sink sees frames in order, then at most one `LinkClosed`, then nothing.
    * Before a sink is attached nothing is lost and little is held: the other
      side may not send data before it is accepted.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterable
from enum import Enum

from ..errors import RemoteError
from ..ids import PeerId
from .close import SUCCESS, CloseReason
from .frames import AcceptFrame, CloseFrame, ControlFrame, OpenFrame
from .interface import FramesReceived, Link, LinkClosed, LinkDrained, LinkEvent, Sink

logger = logging.getLogger(__name__)


class LinkState(Enum):
    """Where a link stands."""

    OPENING = "opening"
    OFFERED = "offered"
    OPEN = "open"
    CLOSED = "closed"


class FramedLink(Link):
    """The part of a link that does not depend on what carries it."""

    def __init__(
        self, peer_id: PeerId, protocol: str, header: bytes, state: LinkState, frame_bytes_max: int
    ) -> None:
        self._peer_id = peer_id
        self._protocol = protocol
        self._header = header
        self._reply = b""
        self._state = state
        self._frame_bytes_max = frame_bytes_max
        self.taken_bytes_max = frame_bytes_max
        self._sink: Sink | None = None
        self._unseen: list[LinkEvent] = []
        self._inbox: list[bytes] = []

    @property
    def peer_id(self) -> PeerId:
        """Who is at the other end; proven, not claimed."""
        return self._peer_id

    @property
    def protocol(self) -> str:
        """The protocol's name."""
        return self._protocol

    @property
    def header(self) -> bytes:
        """What the opener sent as the protocol's own header."""
        return self._header

    @property
    def reply(self) -> bytes:
        """What the acceptor answered; empty before it did."""
        return self._reply

    @property
    def state(self) -> LinkState:
        """Where the link stands."""
        return self._state

    @property
    def is_open(self) -> bool:
        """Whether writes still go anywhere."""
        return self._state is not LinkState.CLOSED

    @property
    def heard_at(self) -> float:
        """Return 0: it is not known."""
        return 0.0

    def attach(self, sink: Sink) -> None:
        """Send this link's events to `sink` from now on, those that waited first."""
        self._sink = sink
        unseen, self._unseen = self._unseen, []
        for event in unseen:
            sink(event)

    def accept(self, reply: bytes = b"", *, frame_bytes_max: int | None = None) -> None:
        """Accept: notify the opener. Only the acceptor calls this, once."""
        self.taken_bytes_max = min(frame_bytes_max or self._frame_bytes_max, self._frame_bytes_max)
        if self._state is LinkState.CLOSED:
            return
        assert self._state is LinkState.OFFERED, f"cannot accept a link that is {self._state.value}"
        self._state = LinkState.OPEN
        self._reply = reply
        self._send_control(AcceptFrame(reply))

    def write(self, frame: bytes) -> None:
        """Append one frame. Dropped when the link is closed."""
        if len(frame) > self._frame_bytes_max:
            raise ValueError(f"a frame of {len(frame)} bytes, at most {self._frame_bytes_max}")
        if self._state is LinkState.OPEN:
            self._send_frame(frame)

    def write_now(self, frame: bytes) -> None:
        """Append one frame; it leaves with the turn of the loop."""
        self.write(frame)

    def after_read(self, call: Callable[[], None]) -> bool:
        """Return False: it is not known when something is read."""
        return False

    def write_many(self, frames: Iterable[bytes]) -> None:
        """Append several frames at once."""
        for frame in frames:
            self.write(frame)

    def close(self, reason: CloseReason = SUCCESS) -> None:
        """Send what was written, then end the link with `reason`. May be repeated."""
        was_opening = self._state is LinkState.OPENING
        if self._state is not LinkState.CLOSED:
            self._send_control(CloseFrame(reason))
            self._end()
        if was_opening:
            self.on_refused(reason)

    def receive_frames(self, frames: list[bytes | ControlFrame]) -> None:
        """Take in frames from the peer; call `flush_inbox` when the loop turn has no more.

        Raises:
            RemoteError: The peer broke the order of frames.
        """
        for frame in frames:
            if self._state is LinkState.CLOSED:
                return
            if type(frame) is bytes:
                if self._state is not LinkState.OPEN:
                    raise RemoteError("data before the link was accepted")
                self._inbox.append(frame)
            elif isinstance(frame, CloseFrame):
                self.end_by_peer(frame.reason)
            elif isinstance(frame, AcceptFrame) and self._state is LinkState.OPENING:
                self._state = LinkState.OPEN
                self._reply = frame.reply
                self.on_accepted()
            else:
                kind = "open" if isinstance(frame, OpenFrame) else "accept"
                raise RemoteError(f"a second {kind} frame")

    def flush_inbox(self) -> None:
        """Hand the frames of this loop turn to the sink as one event."""
        if self._inbox:
            event = FramesReceived(self, self._inbox)
            self._inbox = []
            if self._sink is None:
                self._unseen.append(event)
            else:
                self._sink(event)

    def end_by_peer(self, reason: CloseReason) -> None:
        """End the link because the peer, or the connection, ended it."""
        if self._state is LinkState.CLOSED:
            return
        was_opening = self._state is LinkState.OPENING
        self.flush_inbox()
        self._end()
        if was_opening:
            self.on_refused(reason)
        else:
            self._emit(LinkClosed(self, reason))

    def violate(self, error: RemoteError) -> None:
        """End the link because the peer broke a rule; it and the sink are notified."""
        self.disconnect(CloseReason(error.close_code, str(error)))

    def disconnect(self, reason: CloseReason) -> None:
        """End the link over its owner's head: notify the peer, and unlike `close` the sink too."""
        if self._state is not LinkState.CLOSED:
            self._send_control(CloseFrame(reason))
            self.end_by_peer(reason)

    def on_accepted(self) -> None:
        """React to the acceptor's yes; for the opening side's endpoint."""

    def on_refused(self, reason: CloseReason) -> None:
        """React to the acceptor's no; for the opening side's endpoint."""

    def emit_drained(self) -> None:
        """Notify the sink that there is room to write again."""
        if self._state is LinkState.OPEN:
            self._emit(LinkDrained(self))

    def _emit(self, event: LinkEvent) -> None:
        if self._sink is None:
            self._unseen.append(event)
        else:
            self._sink(event)

    def _end(self) -> None:
        self._state = LinkState.CLOSED
        self._inbox.clear()
        self._abandon()

    @abstractmethod
    def _send_frame(self, frame: bytes) -> None:
        """Append one data frame to what leaves with this loop turn."""

    @abstractmethod
    def _send_control(self, frame: ControlFrame) -> None:
        """Append a control frame to what leaves with this loop turn."""

    @abstractmethod
    def _abandon(self) -> None:
        """Finish sending, and forget the link once the peer has too."""


def call_each(calls: Iterable[Callable[[], None]]) -> None:
    """Call what wants to write before a flush; one that fails costs the flush nothing."""
    for call in calls:
        try:
            call()
        except Exception:
            logger.exception("what a turn of the loop sends could not be written")
