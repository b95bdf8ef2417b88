"""One QUIC connection without its socket. With `bounded`, the only module that knows aioquic.

Datagrams and time go in, datagrams and events come out, so that another QUIC
implementation can take this one's place and be measured against it. The caller
drives it: after `receive_datagram`, a write or `handle_timer`, drain
`events`, send what `datagrams_to_send` returns, and re-read `get_timer`.

``now`` is monotonic time in seconds.

Where it reaches past aioquic's documented interface, a test pins the attribute
(`tests/unit/transport/test_engine.py`):

    * what `bounded` changes and looks at;
    * both sides read the certificate that the other proved (``tls._peer_certificate``),
      and the first secrets of both directions (``_cryptos``): aioquic has no exporter;
    * the peer may send little until it has proven that it is of our network
      (``max_data`` and `set_held_bytes`);
    * the id that datagrams to the peer carry (``_peer_cid``);
    * the keys of first datagrams (``CryptoContext``);
    * bytes not acknowledged, round-trip time and probe count, which aioquic
      keeps but does not show;
    * the size of datagrams, which follows the path;
    * when an acknowledgement leaves (``ack_at``): with the next data, if that is
      earlier than aioquic's timer, so that a request and its answer take one
      datagram each way and not two (RFC 9000 section 13.2.1).
"""

from __future__ import annotations

import logging
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any

from aioquic._buffer import Buffer
from aioquic._crypto import CryptoError
from aioquic.quic import events as quic_events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.congestion.base import K_INITIAL_WINDOW
from aioquic.quic.crypto import (
    INITIAL_CIPHER_SUITE,
    INITIAL_SALT_VERSION_1,
    CryptoContext,
)
from aioquic.quic.packet import (
    QuicPacketType,
    QuicProtocolVersion,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.quic.retry import QuicRetryTokenHandler
from aioquic.quic.stream import QuicStreamSender
from aioquic.tls import Epoch, cipher_suite_hash, hkdf_expand_label, hkdf_extract
from cryptography import x509

from ...errors import RemoteError
from ...ids import SecretKey
from ..address import SocketAddr
from ..admission import bind_channel
from ..close import CloseReason
from ..config import UNDELIVERED_BYTES_MAX
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
from ..engine_face import ALPN, UNPROVEN_BYTES_MAX
from ..frames import clip_text
from ..identity import make_certificate, read_certificate
from .bounded import WINDOW_BYTES_MIN, BoundedConnection

if TYPE_CHECKING:
    from ..engine_face import QuicEngine

CID_BYTES = 8
DATAGRAM_BYTES_INITIAL_MIN = 1200

# aioquic warns of every malformed packet that anybody sends. Here such packets
# are counted and end in a `ConnectionEnded`; whoever wants the detail sets a level.
if logging.getLogger("quic").level == logging.NOTSET:
    logging.getLogger("quic").setLevel(logging.CRITICAL)


class EngineFactory:
    """Makes the connections of one endpoint, and reads the heads of its datagrams.

    Args:
        secret_key: The identity that every connection proves.
        instance: Which run of the endpoint this is; a random positive number.
        idle_timeout: Seconds of silence after which a connection ends.
        rng: Where connection ids made here are drawn from.
        undelivered_bytes_max: How many bytes that came one connection may hold.
        is_native: Whether the connection with this address is one of `native_engine`.
    """

    def __init__(
        self,
        secret_key: SecretKey,
        instance: int,
        idle_timeout: float,
        rng: Random,
        undelivered_bytes_max: int = UNDELIVERED_BYTES_MAX,
        is_native: Callable[[SocketAddr], bool] = lambda _remote: False,
    ) -> None:
        self._rng = rng
        self._is_native = is_native
        self._undelivered_bytes_max = undelivered_bytes_max
        self._configuration = QuicConfiguration(
            alpn_protocols=[ALPN],
            connection_id_length=CID_BYTES,
            idle_timeout=idle_timeout,
            max_data=UNPROVEN_BYTES_MAX,
            max_stream_data=WINDOW_BYTES_MIN,
            supported_versions=[QuicProtocolVersion.VERSION_1],
            verify_mode=ssl.CERT_NONE,
        )
        self._configuration.certificate = make_certificate(secret_key, instance)
        self._configuration.private_key = secret_key.private_key
        self._retry_tokens = QuicRetryTokenHandler()

    def dial(self, remote: SocketAddr, *, now: float) -> QuicEngine:
        """Return a new connection to `remote`, its first datagram ready to send."""
        if self._is_native(remote):
            return self._make_native(remote, self._rng.randbytes(CID_BYTES), None, now=now)
        connection = BoundedConnection(
            window_bytes_max=self._undelivered_bytes_max, configuration=self._configured(True)
        )
        connection.connect(remote, now=now)
        return Engine(connection)

    def accept(self, head: DatagramHead, remote: SocketAddr, *, now: float) -> QuicEngine:
        """Return the connection that the datagram with this head opens; feed it next."""
        retry_cid = head.cid if head.original_cid != head.cid else None
        if self._is_native(remote):
            return self._make_native(remote, head.original_cid, retry_cid, head.cid, now=now)
        connection = BoundedConnection(
            window_bytes_max=self._undelivered_bytes_max,
            configuration=self._configured(False),
            original_destination_connection_id=head.original_cid,
            retry_source_connection_id=retry_cid,
        )
        return Engine(connection)

    def _make_native(
        self,
        remote: SocketAddr,
        original_cid: bytes,
        retry_cid: bytes | None,
        first_cid: bytes | None = None,
        *,
        now: float,
    ) -> QuicEngine:
        from .native import NativeEngine  # its package is optional

        return NativeEngine(
            self._configuration,
            is_client=first_cid is None,
            host_cid=self._rng.randbytes(CID_BYTES),
            remote=remote,
            original_cid=original_cid,
            first_cid=first_cid or original_cid,
            retry_source_cid=retry_cid,
            window_bytes=self._undelivered_bytes_max,
            now=now,
        )

    def retry_packet(self, head: DatagramHead, remote: SocketAddr, *, now: float) -> bytes:
        """Return what makes a newcomer show that its address is real."""
        source_cid = self._rng.randbytes(CID_BYTES)
        token = self._retry_tokens.create_token(
            address=remote,
            original_destination_connection_id=head.cid,
            retry_source_connection_id=source_cid,
            now=now,
        )
        return encode_quic_retry(
            version=head.version,
            source_cid=source_cid,
            destination_cid=head.source_cid,
            original_destination_cid=head.cid,
            retry_token=token,
        )

    def check_token(
        self, head: DatagramHead, remote: SocketAddr, *, now: float
    ) -> DatagramHead | None:
        """Return the head with its original id, None when its token proves nothing."""
        try:
            original = self._retry_tokens.validate_token(
                address=remote, destination_cid=head.cid, token=head.token, now=now
            )
        except ValueError:
            return None
        return replace(head, original_cid=original)

    def version_packet(self, head: DatagramHead) -> bytes:
        """Return what tells a peer which QUIC versions are spoken here."""
        return encode_quic_version_negotiation(
            source_cid=head.cid,
            destination_cid=head.source_cid,
            supported_versions=self._configuration.supported_versions,
        )

    def read_head(self, data: bytes) -> DatagramHead | None:
        """Return the head of a datagram, None when it is not QUIC."""
        buffer = Buffer(data=data)
        try:
            header = pull_quic_header(buffer, host_cid_length=CID_BYTES)
        except ValueError:
            return None
        kind = header.packet_type
        known = header.version is None or header.version in self._configuration.supported_versions
        return DatagramHead(
            cid=header.destination_cid,
            source_cid=header.source_cid,
            version=header.version or 0,
            token=header.token,
            original_cid=header.destination_cid,
            packet_bytes=header.packet_length,
            encrypted_at=buffer.tell(),
            is_known_version=known or kind is QuicPacketType.VERSION_NEGOTIATION,
            opens_connection=known
            and kind is QuicPacketType.INITIAL
            and len(data) >= DATAGRAM_BYTES_INITIAL_MIN,
        )

    def can_decrypt(self, head: DatagramHead, data: bytes) -> bool:
        """Return whether a datagram that may open a connection was made by a QUIC client.

        Its first keys follow from the connection id that it names (RFC 9001 section 5.2),
        so this costs no state, and a fraction of what a connection costs.
        """
        # As `CryptoPair.setup_initial` does for both directions, of which one is enough.
        algorithm = cipher_suite_hash(INITIAL_CIPHER_SUITE)
        shared = hkdf_extract(algorithm, INITIAL_SALT_VERSION_1, head.cid)
        secret = hkdf_expand_label(algorithm, shared, b"client in", b"", algorithm.digest_size)
        context = CryptoContext()
        context.setup(cipher_suite=INITIAL_CIPHER_SUITE, secret=secret, version=head.version)
        try:
            context.decrypt_packet(data[: head.packet_bytes], head.encrypted_at, 0)
        except CryptoError:
            return False
        return True

    def _configured(self, is_client: bool) -> QuicConfiguration:
        return replace(
            self._configuration, is_client=is_client, max_datagram_size=DATAGRAM_BYTES_INITIAL_MIN
        )


@dataclass(frozen=True, slots=True)
class DatagramHead:
    """What an endpoint needs to know to route a datagram.

    Attributes:
        cid: The connection id it is for.
        source_cid: The connection id to answer to.
        version: Its QUIC version; 0 for a short header.
        token: Its address token, empty for none.
        original_cid: The id the newcomer chose first; differs after a retry.
        packet_bytes: How much of the datagram is its first packet.
        encrypted_at: Where in it the encrypted part begins.
        is_known_version: Whether its version is spoken here.
        opens_connection: Whether it may open a new connection.
    """

    cid: bytes
    source_cid: bytes
    version: int
    token: bytes
    original_cid: bytes
    packet_bytes: int
    encrypted_at: int
    is_known_version: bool
    opens_connection: bool


class Engine:
    """One QUIC connection."""

    def __init__(self, connection: BoundedConnection) -> None:
        self._quic = connection
        self._events: deque[EngineEvent] = deque()
        self._has_written = False
        self._is_over = False
        self.set_held_bytes(WINDOW_BYTES_MIN - UNPROVEN_BYTES_MAX)

    @property
    def host_cid(self) -> bytes:
        """The first connection id that datagrams for this connection carry."""
        return self._quic.host_cid

    @property
    def peer_cid(self) -> bytes:
        """The connection id that datagrams to the peer carry at present."""
        return self._quic._peer_cid.cid

    @property
    def remote(self) -> SocketAddr | None:
        """Where datagrams go at present; follows a peer that moves."""
        addr = self._quic.get_peer_address()
        return None if addr is None else (addr[0], addr[1])

    @property
    def rtt(self) -> float | None:
        """The smoothed round-trip time in seconds (RFC 9002 section 5), None while unmeasured."""
        loss = self._quic._loss
        return loss._rtt_smoothed if loss._rtt_initialized else None

    @property
    def probe_count(self) -> int:
        """How many probe timeouts in a row went unanswered (RFC 9002 section 6.2)."""
        return self._quic._loss._pto_count

    @property
    def datagram_bytes(self) -> int:
        """The largest datagram sent."""
        return self._quic._max_datagram_size

    def set_datagram_bytes(self, datagram_bytes: int) -> None:
        """Send datagrams of up to so many bytes from now on."""
        self._quic._max_datagram_size = datagram_bytes
        self._quic._loss._cc._max_datagram_size = datagram_bytes  # type: ignore[attr-defined]
        self._quic._loss._pacer._max_datagram_size = datagram_bytes

    def set_first_datagram_bytes(self, datagram_bytes: int) -> None:
        """As `set_datagram_bytes`, right after the handshake: the window begins anew with it."""
        self.set_datagram_bytes(datagram_bytes)
        control = self._quic._loss._cc
        control.congestion_window = max(
            control.congestion_window, K_INITIAL_WINDOW * datagram_bytes
        )

    def receive_datagram(self, data: bytes, remote: SocketAddr, *, now: float) -> None:
        """Take in a datagram that `read_head` routed here."""
        self._quic.receive_datagram(data, remote, now)

    def receive_datagrams(self, datagrams: list[bytes], remote: SocketAddr, *, now: float) -> None:
        """Take in several at once, in order."""
        for data in datagrams:
            self._quic.receive_datagram(data, remote, now)

    def datagrams_to_send(self, *, now: float) -> list[tuple[bytes, Any]]:
        """Return the datagrams that may leave now, each with where it goes."""
        if not self._has_written:
            return [] if self._quic.is_idle(now) else self._quic.datagrams_to_send(now)
        self._has_written = False
        space = self._quic._spaces.get(Epoch.ONE_RTT)
        ack_at = None if space is None else space.ack_at
        if space is None or ack_at is None or ack_at <= now:
            return self._quic.datagrams_to_send(now)
        space.ack_at = now
        datagrams = self._quic.datagrams_to_send(now)
        if space.ack_at is not None:
            space.ack_at = ack_at  # nothing could leave yet that would have carried it
        return datagrams

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due, None for never."""
        return self._quic.get_timer()

    def handle_timer(self, *, now: float) -> None:
        """Do what is due."""
        self._quic.handle_timer(now)

    @property
    def events(self) -> deque[EngineEvent]:
        """What happened next, for who takes it out; empty when there is nothing left."""
        events = self._events
        while not events and (event := self._quic.next_event()) is not None:
            translated = self._translate(event)
            if translated is not None:
                events.append(translated)
        return events

    def open_stream(self) -> int:
        """Return the id of a new bidirectional stream; it exists with its first write."""
        stream_id = self._quic.get_next_available_stream_id()
        if not self._is_over:
            self._quic.send_stream_data(stream_id, b"")
        return stream_id

    def write(self, stream_id: int, data: bytes, *, is_end: bool = False) -> None:
        """Append to a stream. Dropped when the peer refused to hear more of it."""
        stream = self._quic._streams.get(stream_id)
        if stream is None or stream.sender._buffer_fin is not None:
            return
        if stream.sender._reset_error_code is None:
            stream.sender.write(data, end_stream=is_end)
            self._quic.touch(stream_id)
            self._has_written = True

    def write_many(self, stream_id: int, pieces: list[bytes], *, is_end: bool = False) -> None:
        """Append several pieces to a stream at once."""
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self.write(stream_id, data, is_end=is_end)

    def unacked_bytes(self, stream_id: int) -> int:
        """Return how much of what was written to a stream the peer has not acknowledged."""
        stream = self._quic._streams.get(stream_id)
        if stream is None or stream.sender._reset_error_code is not None:
            return 0
        return len(stream.sender._buffer)

    @property
    def blocked_stream_count(self) -> int:
        """How many streams wait until the peer lets more be opened."""
        return len(self._quic._streams_blocked_bidi)

    def may_receive(self, stream_id: int) -> bool:
        """Return whether more of a stream may come."""
        stream = self._quic._streams.get(stream_id)
        return stream is not None and not stream.receiver.is_finished

    def abort_stream(self, stream_id: int, code: int) -> None:
        """Send no more and hear no more of a stream, and drop what was not acknowledged."""
        stream = self._quic._streams.get(stream_id)
        if stream is not None and stream.is_blocked:
            # The peer does not let it be open yet: to name it in any frame would break its rule.
            # It takes its turn all the same, and then is empty.
            stream.sender = QuicStreamSender(stream_id, writable=True)
            stream.sender.write(b"", end_stream=True)
        elif stream is not None:
            self._quic.reset_stream(stream_id, code)
            self._quic.stop_stream(stream_id, code)
            self._quic.drop_unsent(stream_id)
            self._has_written = True

    def set_link_count(self, count: int) -> None:
        """Let the peer open more streams: so many of those it opened are links of it."""
        self._quic.stream_allowance.link_count = count

    def set_held_bytes(self, count: int) -> None:
        """Let the peer send no more than is right while so many bytes wait for the rest.

        In the beginning it may send `UNPROVEN_BYTES_MAX` in all, until this is set to less.
        """
        self._quic.held_bytes = count

    def release(self) -> None:
        """Drop all streams and what they hold: the connection is over, nothing is written."""
        self._is_over = True
        self._quic.release()

    def ping(self, *, now: float) -> None:
        """Make the peer answer, which keeps the connection alive."""
        self._quic.send_ping(0)

    def close(self, reason: CloseReason) -> None:
        """End the connection; the peer learns it with the next datagram."""
        self._quic.close(error_code=int(reason.code), reason_phrase=clip_text(reason.text))

    def _translate(self, event: quic_events.QuicEvent) -> EngineEvent | None:
        if isinstance(event, quic_events.StreamDataReceived):
            return StreamData(event.stream_id, event.data, event.end_stream)
        if isinstance(event, quic_events.StreamReset):
            return StreamAborted(event.stream_id, event.error_code, is_reset=True)
        if isinstance(event, quic_events.StopSendingReceived):
            self._quic.drop_unsent(event.stream_id)
            return StreamAborted(event.stream_id, event.error_code, is_reset=False)
        if isinstance(event, quic_events.HandshakeCompleted):
            return self._prove_peer()
        if isinstance(event, quic_events.ConnectionIdIssued):
            return CidIssued(event.connection_id)
        if isinstance(event, quic_events.ConnectionIdRetired):
            return CidRetired(event.connection_id)
        if isinstance(event, quic_events.ConnectionTerminated):
            is_application = event.frame_type is None  # it has its own codes
            return ConnectionEnded(
                reason_of_end(event.error_code, event.reason_phrase, is_application=is_application)
            )
        return None

    def _prove_peer(self) -> EngineEvent | None:
        certificate: x509.Certificate | None = self._quic.tls._peer_certificate
        try:
            peer = read_certificate(certificate)
        except RemoteError as error:
            self.close(CloseReason(error.close_code, str(error)))
            return None
        keys = self._quic._cryptos[Epoch.ONE_RTT]
        secrets = (keys.send.secret, keys.recv.secret)
        if not self._quic._is_client:
            secrets = secrets[::-1]
        one, other = secrets
        assert one is not None, "the handshake is done, so both directions have keys"
        assert other is not None, "the handshake is done, so both directions have keys"
        return HandshakeDone(peer, bind_channel(one, other))
