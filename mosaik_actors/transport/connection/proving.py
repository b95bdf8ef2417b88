"""What comes on a connection before its peer has proven that it is of the network."""

from __future__ import annotations

from ...errors import RemoteError
from ..admission import Admission
from ..engine_events import StreamAborted, StreamData

PROOF_STREAM = 0  # the dialler's first (RFC 9000 section 2.1)


class Proving:
    """What the peer sends between the handshake and its proof.

    Attributes:
        early: What was quicker than the proof of an acceptor, for after it.
    """

    def __init__(self, admission: Admission, *, is_initiator: bool) -> None:
        self.admission = admission
        self.early: list[StreamData | StreamAborted] = []
        self._is_initiator = is_initiator

    def receive(self, event: StreamData | StreamAborted) -> bytes | None:
        """Return as `Admission.receive_data` does, and raise as that."""
        if event.stream_id != PROOF_STREAM and self._is_initiator:
            self.early.append(event)
            return None
        if event.stream_id != PROOF_STREAM or isinstance(event, StreamAborted):
            raise RemoteError("something else than a proof of the network")
        return self.admission.receive_data(bytes(event.data), is_end=event.is_end)
