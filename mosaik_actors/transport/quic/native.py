"""A QUIC connection whose packets are made and read in native code, by `qh3`.

At datagrams of 1,200 to 1,472 bytes, as real networks carry them, aioquic spends its time in
packets: qh3's core needs a tenth of the CPU. Only the packets are its own: the handshake is
aioquic's TLS, as in `engine`, since qh3 asks no client for a certificate and so could not tell
who dials. Both engines speak the same protocol; at each end either may be.

Two things are different from `engine`:

    * Datagrams have 1,200 bytes, and where this side dialled up to 1,472 once the core has
      found that the path carries them. So where the path is this machine, with datagrams of 16
      KiB, the other engine is the faster one.
      Through a relay they have 1,200: a path past it carries these whatever it is.
    * The window of the connection is fixed. It moves with what was delivered, so a peer can
      have all of it waiting for the rest, as with the other engine at most; and a peer
      that has proven nothing is cut off when it sends more than `UNPROVEN_DATAGRAM_BYTES_MAX`
      in datagrams, since a window cannot grow later.

What is written reaches the core through `native_outbox`, which says why.

The parts that this stands on are pinned by tests (`tests/unit/transport/test_engine.py`):
``qh3._hazmat.QuicConnectionCore``, aioquic's ``tls.Context`` and its transport parameters.

``now`` is monotonic time in seconds.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from hmac import compare_digest
from typing import Any, Final

from aioquic._buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.packet import (
    QuicFrameType,
    QuicPacketType,
    get_retry_integrity_tag,
    pull_quic_header,
)

from ...errors import RemoteError
from ..address import SocketAddr, is_relayed
from ..close import CloseCode, CloseReason
from ..engine_events import (
    CidIssued,
    CidRetired,
    ConnectionEnded,
    EngineEvent,
    HandshakeDone,
    StreamAborted,
    StreamData,
    reason_of_end,
)
from ..frames import clip_text
from ..identity import read_certificate
from .native_handshake import (
    DATAGRAM_BYTES,
    HandshakeBroken,
    NativeHandshake,
    make_core,
)
from .native_outbox import LIVE, NativeOutbox

UNPROVEN_DATAGRAM_BYTES_MAX: Final = 64 * 1024


class NativeEngine:
    """One QUIC connection; the face is that of `engine.Engine`.

    Args:
        configuration: The certificate, key, protocol and idle timeout.
        is_client: Whether this side dials.
        host_cid: The connection id that datagrams for this side carry first.
        remote: Where the peer is.
        original_cid: The id that the newcomer chose first.
        first_cid: The id that the first datagram here carries; another one after a retry.
        retry_source_cid: For that side: the id it was told to use, None without a retry.
        window_bytes: How much the peer may have waiting for the rest.
    """

    datagram_bytes = DATAGRAM_BYTES

    def __init__(
        self,
        configuration: QuicConfiguration,
        *,
        is_client: bool,
        host_cid: bytes,
        remote: SocketAddr,
        original_cid: bytes,
        first_cid: bytes,
        retry_source_cid: bytes | None = None,
        window_bytes: int,
        now: float,
    ) -> None:
        self.host_cid = host_cid
        self._window_bytes = window_bytes
        self._configuration = configuration
        self._is_client = is_client
        self._remote = remote
        self._is_relayed = is_relayed(remote[0])
        self._core_host = remote[0].partition("%")[0] if self._is_relayed else remote[0]
        self._original_cid = original_cid
        self._retry_source_cid = retry_source_cid
        self._has_retried = False
        self.events: deque[EngineEvent] = deque()  # what happened, for who takes it out
        self._received_bytes = 0
        self._is_proven = False
        self._is_over = False
        self._has_ended = False
        self._local_reason: CloseReason | None = None
        self._peer_reason: CloseReason | None = None
        self._heard: set[int] = set()  # streams that the peer may still write to
        self._written: set[int] = set()  # streams that this side may still write to
        self._unsettled: dict[int, int] = {}  # bytes written and not known to be there
        self._outbox = NativeOutbox()
        # Streams that the peer does not let be open yet, with what was written to each.
        self._unopened: dict[int, list[tuple[bytes, bool]]] = {}
        self._next_stream_id = 0 if is_client else 1
        self._begin(first_cid, now)

    # The handshake.

    def _begin(self, first_cid: bytes, now: float) -> None:
        configuration, is_client = self._configuration, self._is_client
        self._core = make_core(
            configuration,
            remote=(self._core_host, self._remote[1]),
            cids=(self.host_cid, first_cid),
            is_client=is_client,
            is_proven=is_client or self._retry_source_cid is not None,
            probes_sizes=is_client and not self._is_relayed,
            window_bytes=self._window_bytes,
            now=now,
        )
        self._handshake = NativeHandshake(
            self._core,
            configuration,
            is_client=is_client,
            host_cid=self.host_cid,
            original_cid=self._original_cid,
            retry_source_cid=self._retry_source_cid,
            window_bytes=self._window_bytes,
        )
        if is_client:
            self._feed_handshake(b"")

    def _feed_handshake(self, data: bytes) -> None:
        handshake = self._handshake
        was_done = handshake.is_done
        try:
            handshake.receive_data(data)
        except HandshakeBroken as error:
            self._core.close(error.code, int(QuicFrameType.CRYPTO), error.reason.encode())
            return
        if was_done or not handshake.is_done:
            return
        self._core.handshake_complete()
        try:
            peer = read_certificate(handshake.certificate)
        except RemoteError as error:
            self.close(CloseReason(error.close_code, str(error)))
            return
        self.events.append(HandshakeDone(peer, handshake.binding))

    def _receive_retry(self, data: bytes, now: float) -> None:
        """Dial again as the peer asks, once (RFC 9000 section 17.2.5)."""
        header = pull_quic_header(Buffer(data=data), host_cid_length=len(self.host_cid))
        version = int(self._configuration.supported_versions[0])
        tag = get_retry_integrity_tag(data[:-16], self._original_cid, version=version)
        if (
            self._has_retried
            or self._core.received_authenticated_packet
            or header.version != version
            or header.destination_cid != self.host_cid
            or not compare_digest(header.integrity_tag, tag)
        ):
            return
        self._has_retried = True
        self._retry_source_cid = header.source_cid
        self._begin(header.source_cid, now)
        self._core.set_initial_token(header.token)
        # What TLS said was queued before the token: it goes with each first packet.

    # Datagrams and time.

    @property
    def peer_cid(self) -> bytes:
        """The connection id that datagrams to the peer carry; empty before it has answered."""
        return self._handshake.peer_source_cid or b""

    @property
    def remote(self) -> SocketAddr | None:
        """Where datagrams go at present; follows a peer that moves."""
        return self._remote

    @property
    def rtt(self) -> float | None:
        """The smoothed round-trip time in seconds, None while unmeasured."""
        rtt: float | None = self._core.smoothed_rtt
        return rtt

    @property
    def probe_count(self) -> int:
        """How many probe timeouts in a row went unanswered."""
        count: int = self._core.pto_count
        return count

    def set_datagram_bytes(self, datagram_bytes: int) -> None:
        """Nothing: the core looks for the size of the path itself."""

    def set_first_datagram_bytes(self, datagram_bytes: int) -> None:
        """Nothing: the core looks for the size of the path itself."""

    def receive_datagram(self, data: bytes, remote: SocketAddr, *, now: float) -> None:
        """Take in a datagram that `read_head` routed here."""
        if self._is_over:
            return
        if not self._is_proven:
            self._received_bytes += len(data)
            if self._received_bytes > UNPROVEN_DATAGRAM_BYTES_MAX:
                self.close(CloseReason(CloseCode.PROTOCOL_VIOLATION, "too much before the proof"))
        remote = self._as_core_addr(remote)
        if self._handshake.is_done:
            self._outbox.received_bytes += len(data)
            self._core.receive_datagram(data, remote, now)
            self._drain(now)
            return
        # Keys come out of one packet for the next one in the same datagram.
        at = 0
        while at < len(data):
            buffer = Buffer(data=data[at:])
            try:
                header = pull_quic_header(buffer, host_cid_length=len(self.host_cid))
            except ValueError:
                return
            if header.packet_type is QuicPacketType.RETRY:
                if self._is_client:
                    self._receive_retry(data, now)
                return
            if header.packet_type is QuicPacketType.VERSION_NEGOTIATION:
                return  # there is one version only
            if header.packet_type is not QuicPacketType.ONE_RTT:
                self._handshake.note_source_cid(header.source_cid)
            end = at + header.packet_length
            if not any(data[end : end + 1]):
                end = len(data)  # padding counts for how much may be answered
            self._core.receive_datagram(data[at:end], remote, now, len(data))
            self._drain(now)
            at = max(end, at + 1)

    def receive_datagrams(self, datagrams: list[bytes], remote: SocketAddr, *, now: float) -> None:
        """Take in several at once, in order."""
        if self._is_over:
            return
        if not (self._handshake.is_done and self._is_proven):
            for data in datagrams:
                self.receive_datagram(data, remote, now=now)
            return
        self._outbox.received_bytes += sum(map(len, datagrams))
        self._core.receive_many_datagrams(datagrams, self._as_core_addr(remote), now)
        self._drain(now)

    def _as_core_addr(self, remote: SocketAddr) -> SocketAddr:
        """Return an address as the core takes it: behind a relay the peer's id is no part of it."""
        return (self._core_host, remote[1]) if self._is_relayed else remote

    def datagrams_to_send(self, *, now: float) -> list[tuple[bytes, Any]]:
        """Return the datagrams that may leave now, each with where it goes."""
        found, there = [], None
        for transmit in self._outbox.poll(self._core, now):
            if transmit[1] != there:
                there = transmit[1]
                host, port = there[:2]  # of IPv6 it has four parts
                self._remote = (self._remote[0] if self._is_relayed else host), port
            found.append((transmit[0], self._remote))
        self._drain(now)
        return found

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due, None for never."""
        timer = self._core.get_timer()
        return None if timer is None else timer[1]

    def handle_timer(self, *, now: float) -> None:
        """Do what is due."""
        self._core.handle_timer(now)
        self._drain(now)

    def _drain(self, now: float) -> None:
        if self._handshake.is_done and self._outbox.must_wait(self._core):
            return
        while (event := self._core.next_event()) is not None:
            self._take(event)
        if self._unopened:
            self._open_waiting()
        if self._unsettled and self._core.bytes_in_flight == 0:
            for stream_id in self._unsettled.keys() - self._unopened.keys():
                if not self._outbox.unsent_bytes(self._core, stream_id):
                    del self._unsettled[stream_id]

    def _take(self, event: tuple[Any, ...]) -> None:
        match event:
            case ("stream_data", int(stream_id), data, bool(is_end)):
                if stream_id not in self._heard and not self._is_own(stream_id):
                    self._heard.add(stream_id)
                    self._written.add(stream_id)
                if is_end:
                    self._heard.discard(stream_id)
                self.events.append(StreamData(stream_id, data, is_end))
            case ("crypto_data", _, _, data):
                self._feed_handshake(data)
            case ("stream_reset", int(stream_id), int(code), *_):
                if not self._is_own(stream_id) and stream_id not in self._heard:
                    self._written.add(stream_id)
                self._heard.discard(stream_id)
                self.events.append(StreamAborted(stream_id, code, is_reset=True))
            case ("stop_sending", int(stream_id), int(code)):
                self._drop(stream_id, code)
                self.events.append(StreamAborted(stream_id, code, is_reset=False))
            case ("stream_finished", int(stream_id)):
                self._heard.discard(stream_id)
                self._written.discard(stream_id)
                self._unsettled.pop(stream_id, None)
                self._outbox.ending.discard(stream_id)
            case ("handshake_done", *_):
                self._core.handshake_confirmed()
            case ("connection_id_issued", cid, *_):
                self.events.append(CidIssued(cid))
            case ("connection_id_retired", cid, *_):
                self.events.append(CidRetired(cid))
            case ("peer_closed", bool(is_own), int(code), _, reason):  # a code of ours, or QUIC's
                # At once: until the core lets go of it, nothing would be sent any more.
                self._end(reason_of_end(code, _as_text(reason), is_application=is_own))
            case ("protocol_error", int(code), _, reason):
                self._peer_reason = reason_of_end(code, _as_text(reason), is_application=False)
            case ("connection_terminated", int(code), frame_type, reason):
                text, is_application = _as_text(reason), frame_type is None
                self._end(reason_of_end(code, text, is_application=is_application))

    def _end(self, reason: CloseReason) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        if self._local_reason is not None:
            reason = CloseReason(self._local_reason.code, self._local_reason.text, remote=True)
        elif self._peer_reason is not None:
            reason = self._peer_reason
        self.events.append(ConnectionEnded(reason))

    # Streams.

    def _is_own(self, stream_id: int) -> bool:
        return stream_id & 1 == (0 if self._is_client else 1)

    def open_stream(self) -> int:
        """Return the id of a new bidirectional stream; it exists with its first write."""
        stream_id = self._next_stream_id
        self._next_stream_id += 4
        if not self._is_over:
            self._heard.add(stream_id)
            self._written.add(stream_id)
            self._unopened[stream_id] = []
            self._open_waiting()
        return stream_id

    def _open_waiting(self) -> None:
        """Open what waits for the peer's leave, in order, as far as it goes."""
        while self._unopened and self._core.state in LIVE:
            try:
                opened = self._core.open_stream(False)
            except ValueError:
                return  # the peer lets no more be open at present
            stream_id, writes = next(iter(self._unopened.items()))
            assert opened == stream_id, "the core counts streams as this side does"
            del self._unopened[stream_id]
            for data, is_end in writes:
                self._outbox.append(self._core, stream_id, data, is_end=is_end)

    def write(self, stream_id: int, data: bytes, *, is_end: bool = False) -> None:
        """Append to a stream. Dropped when the peer refused to hear more of it."""
        if stream_id not in self._written or self._is_over or self._core.state not in LIVE:
            return
        if stream_id in self._unopened:
            self._unopened[stream_id].append((data, is_end))
        else:
            self._outbox.append(self._core, stream_id, data, is_end=is_end)
        if is_end:
            self._written.discard(stream_id)
        self._unsettled[stream_id] = self._unsettled.get(stream_id, 0) + len(data)

    def write_many(self, stream_id: int, pieces: list[bytes], *, is_end: bool = False) -> None:
        """Append several pieces to a stream at once."""
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self.write(stream_id, data, is_end=is_end)

    def unacked_bytes(self, stream_id: int) -> int:
        """Return how much of what was written to a stream may not have got to the peer.

        The core does not tell which stream's bytes are on their way, so each stream that was
        written to lately counts all that are, up to what was written to it.
        """
        written = self._unsettled.get(stream_id)
        if written is None or self._is_over:
            return 0
        if stream_id in self._unopened:
            return written
        unsent = self._outbox.unsent_bytes(self._core, stream_id)
        return unsent + min(written - unsent, self._core.bytes_in_flight)

    @property
    def blocked_stream_count(self) -> int:
        """How many streams wait until the peer lets more be opened."""
        return len(self._unopened)

    def may_receive(self, stream_id: int) -> bool:
        """Return whether more of a stream may come."""
        return stream_id in self._heard

    def abort_stream(self, stream_id: int, code: int) -> None:
        """Send no more and hear no more of a stream, and drop what was not acknowledged."""
        if self._is_over or self._core.state not in LIVE:
            return
        if stream_id in self._unopened:
            # Its number is taken all the same: the next ones must not wait for it.
            self._unopened[stream_id] = [(b"", True)]
        elif stream_id in self._heard:
            with suppress(ValueError):  # all of it has come
                self._core.stop_sending(stream_id, code)
        self._drop(stream_id, code)

    def _drop(self, stream_id: int, code: int) -> None:
        if stream_id not in self._unopened:
            with suppress(RuntimeError, ValueError):  # all of it was acknowledged
                self._core.reset_stream(stream_id, code)
                self._outbox.ending.add(stream_id)
            self._outbox.drop(stream_id)
        self._written.discard(stream_id)
        self._unsettled.pop(stream_id, None)

    def set_link_count(self, count: int) -> None:
        """Nothing: a peer may have `STREAMS_MAX` streams open at a time."""

    def set_held_bytes(self, count: int) -> None:
        """Take in that the peer has proven itself; the window itself does not change."""
        self._is_proven = self._is_proven or count <= 0

    def release(self) -> None:
        """Drop all streams and what they hold: the connection is over, nothing is written."""
        self._is_over = True
        self._heard.clear()
        self._written.clear()
        self._unsettled.clear()
        self._unopened.clear()
        self._outbox.clear()

    def ping(self, *, now: float) -> None:
        """Make the peer answer, which keeps the connection alive."""
        if self._core.state in LIVE:
            self._core.send_ping(0)

    def close(self, reason: CloseReason) -> None:
        """End the connection; the peer learns it with the next datagram."""
        if self._local_reason is None and self._core.local_error is None:
            self._local_reason = reason
            self._core.close(int(reason.code), None, clip_text(reason.text).encode())


def _as_text(reason: bytes | str) -> str:
    return reason if isinstance(reason, str) else reason.decode("utf-8", "replace")
