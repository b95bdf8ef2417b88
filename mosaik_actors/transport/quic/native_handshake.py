"""The handshake of a connection with native packets: aioquic's TLS, and QUIC's parameters in it.

TLS says what to send in which epoch and what the keys are; both go to the core of qh3. What the
peer says of itself is checked as RFC 9000 sections 7.3, 7.4 and 18.2 demand. A core: no time.
"""

from __future__ import annotations

from typing import Final

from aioquic import tls
from aioquic._buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.crypto import CIPHER_SUITES, derive_key_iv_hp
from aioquic.quic.packet import (
    QuicErrorCode,
    QuicTransportParameters,
    pull_quic_transport_parameters,
    push_quic_transport_parameters,
)
from aioquic.tls import Epoch
from cryptography import x509
from qh3._hazmat import QuicConnectionCore

from ..address import SocketAddr
from ..admission import bind_channel
from .certificates import refuse_unreadable

DATAGRAM_BYTES: Final = 1200
STREAMS_MAX: Final = 1024
CID_LIMIT: Final = 8
ACK_DELAY_EXPONENT: Final = 3
MAX_ACK_DELAY_S: Final = 0.025

_INITIAL_RTT_S: Final = 0.1
_CRYPTO_BUFFER_BYTES: Final = 16 * 1024
_STREAM_COUNT_MAX: Final = 1 << 60


def make_core(
    configuration: QuicConfiguration,
    *,
    remote: SocketAddr,
    cids: tuple[bytes, bytes],
    is_client: bool,
    is_proven: bool,
    probes_sizes: bool,
    window_bytes: int,
    now: float,
) -> QuicConnectionCore:
    """Return the core of a connection to `remote`, with our id and the one that it is called by.

    `is_proven`: whether the address is known to be the peer's own. `probes_sizes`: whether larger
    datagrams than `DATAGRAM_BYTES` are tried.
    """
    return QuicConnectionCore(
        is_client,
        int(configuration.supported_versions[0]),
        ("::" if ":" in remote[0] else "0.0.0.0", 0),
        remote,
        *cids,
        is_proven,
        CID_LIMIT,
        DATAGRAM_BYTES,
        probes_sizes,
        configuration.idle_timeout,
        ACK_DELAY_EXPONENT,
        None,
        None,
        window_bytes,
        0,
        window_bytes,
        0,
        0,
        0,
        window_bytes,
        STREAMS_MAX,
        0,
        0,
        0,
        _INITIAL_RTT_S,
        MAX_ACK_DELAY_S,
        now,
    )


class HandshakeBroken(Exception):
    """The peer's handshake breaks a rule of QUIC or TLS."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class NativeHandshake:
    """One side of a handshake.

    Args:
        core: What its keys and messages are handed to.
        configuration: The certificate, key, protocol and idle timeout.
        is_client: Whether this side dials.
        host_cid: The connection id that datagrams for this side carry first.
        original_cid: The id that the newcomer chose first.
        retry_source_cid: The id that a retry told the newcomer to use; None without one.
        window_bytes: How much the peer may have waiting for the rest.

    Attributes:
        is_done: Whether both sides have all keys, and have proven their certificates.
        peer_source_cid: The connection id that the peer's first packet came from.
    """

    def __init__(
        self,
        core: QuicConnectionCore,
        configuration: QuicConfiguration,
        *,
        is_client: bool,
        host_cid: bytes,
        original_cid: bytes,
        retry_source_cid: bytes | None,
        window_bytes: int,
    ) -> None:
        self.is_done = False
        self.peer_source_cid: bytes | None = None
        self._core = core
        self._configuration = configuration
        self._is_client = is_client
        self._host_cid = host_cid
        self._original_cid = original_cid
        self._retry_source_cid = retry_source_cid
        self._window_bytes = window_bytes
        self._secrets: dict[tls.Direction, bytes] = {}
        self._offsets = dict.fromkeys((Epoch.INITIAL, Epoch.HANDSHAKE, Epoch.ONE_RTT), 0)
        self._tls = tls.Context(
            alpn_protocols=configuration.alpn_protocols,
            is_client=is_client,
            verify_mode=configuration.verify_mode,
        )
        self._tls.certificate = configuration.certificate
        self._tls.certificate_private_key = configuration.private_key
        self._tls._request_client_certificate = not is_client
        refuse_unreadable(self._tls)
        parameters = self._own_parameters()
        self._tls.handshake_extensions = [(tls.ExtensionType.QUIC_TRANSPORT_PARAMETERS, parameters)]
        self._tls.alpn_cb = self._receive_parameters
        self._tls.update_traffic_key_cb = self._install_key

    @property
    def certificate(self) -> x509.Certificate | None:
        """The certificate that the peer has proven."""
        return self._tls._peer_certificate

    @property
    def binding(self) -> bytes:
        """What tells this connection from all others, the same at both ends."""
        sent, received = (
            self._secrets[tls.Direction.ENCRYPT],
            self._secrets[tls.Direction.DECRYPT],
        )
        return bind_channel(*((sent, received) if self._is_client else (received, sent)))

    def note_source_cid(self, cid: bytes) -> None:
        """Take in which id a packet with a long header came from; the first one counts."""
        if self.peer_source_cid is None:
            self.peer_source_cid = cid

    def receive_data(self, data: bytes) -> None:
        """Take in what the peer's TLS says; with nothing, begin as the dialler.

        Raises:
            HandshakeBroken: It breaks a rule.
        """
        buffers = {epoch: Buffer(capacity=_CRYPTO_BUFFER_BYTES) for epoch in self._offsets}
        try:
            self._tls.handle_message(data, buffers)
        except tls.Alert as alert:
            code = QuicErrorCode.CRYPTO_ERROR + int(alert.description)
            raise HandshakeBroken(code, str(alert)) from alert
        for epoch, buffer in buffers.items():
            if said := buffer.data:
                self._core.send_crypto(epoch.value, self._offsets[epoch], said)
                self._offsets[epoch] += len(said)
        states = (tls.State.CLIENT_POST_HANDSHAKE, tls.State.SERVER_POST_HANDSHAKE)
        self.is_done = self.is_done or self._tls.state in states

    # Helpers.

    def _own_parameters(self) -> bytes:
        parameters = QuicTransportParameters(
            ack_delay_exponent=ACK_DELAY_EXPONENT,
            active_connection_id_limit=CID_LIMIT,
            max_idle_timeout=int(self._configuration.idle_timeout * 1000),
            initial_max_data=self._window_bytes,
            initial_max_stream_data_bidi_local=self._window_bytes,
            initial_max_stream_data_bidi_remote=self._window_bytes,
            initial_max_stream_data_uni=0,
            initial_max_streams_bidi=STREAMS_MAX,
            initial_max_streams_uni=0,
            initial_source_connection_id=self._host_cid,
            max_ack_delay=int(MAX_ACK_DELAY_S * 1000),
        )
        if not self._is_client:
            parameters.original_destination_connection_id = self._original_cid
            parameters.retry_source_connection_id = self._retry_source_cid
        buffer = Buffer(capacity=1024)
        push_quic_transport_parameters(buffer, parameters)
        return buffer.data

    def _receive_parameters(self, _alpn: str) -> None:
        """Check what the peer says of itself, and let the core have it (RFC 9000 section 7.4)."""
        if not self._is_client and self._tls.legacy_session_id:
            raise HandshakeBroken(QuicErrorCode.PROTOCOL_VIOLATION, "a legacy session id")
        given = dict(self._tls.received_extensions or ())
        data = given.get(tls.ExtensionType.QUIC_TRANSPORT_PARAMETERS)
        if data is None:
            code = QuicErrorCode.CRYPTO_ERROR + tls.AlertDescription.missing_extension
            raise HandshakeBroken(code, "no transport parameters")
        try:
            found = pull_quic_transport_parameters(Buffer(data=data))
        except ValueError:
            found = None
        why = "they cannot be read" if found is None else self._find_fault(found)
        if found is None or why is not None:
            raise HandshakeBroken(
                QuicErrorCode.TRANSPORT_PARAMETER_ERROR, f"transport parameters: {why}"
            )
        idle_ms = found.max_idle_timeout
        self._core.apply_peer_transport_parameters(
            found.initial_max_data or 0,
            found.initial_max_stream_data_bidi_local or 0,
            found.initial_max_stream_data_bidi_remote or 0,
            found.initial_max_stream_data_uni or 0,
            found.initial_max_streams_bidi or 0,
            found.initial_max_streams_uni or 0,
            ACK_DELAY_EXPONENT if found.ack_delay_exponent is None else found.ack_delay_exponent,
            MAX_ACK_DELAY_S if found.max_ack_delay is None else found.max_ack_delay / 1000,
            idle_ms / 1000 if idle_ms else None,
            None,
            found.stateless_reset_token,
            found.active_connection_id_limit or 2,
            bool(found.disable_active_migration),
            found.max_udp_payload_size,
        )

    def _find_fault(self, found: QuicTransportParameters) -> str | None:
        """Return what is wrong with a peer's transport parameters (RFC 9000 section 18.2)."""
        from_server = (
            found.original_destination_connection_id,
            found.preferred_address,
            found.retry_source_connection_id,
            found.stateless_reset_token,
        )
        if not self._is_client and any(one is not None for one in from_server):
            return "a client has some of a server"
        if found.initial_source_connection_id != self.peer_source_cid:
            return "the source id is another one"
        if self._is_client and (
            found.original_destination_connection_id != self._original_cid
            or found.retry_source_connection_id != self._retry_source_cid
        ):
            return "the original id or that of the retry is another one"
        numbers = (
            (found.ack_delay_exponent, 0, 20),
            (found.max_ack_delay, 0, 2**14 - 1),
            (found.active_connection_id_limit, 2, 2**62),
            (found.initial_max_streams_bidi, 0, _STREAM_COUNT_MAX),
            (found.initial_max_streams_uni, 0, _STREAM_COUNT_MAX),
            (found.max_udp_payload_size, DATAGRAM_BYTES, 2**62),
        )
        if any(one is not None and not low <= one <= high for one, low, high in numbers):
            return "a number is out of its range"
        return None

    def _install_key(
        self, direction: tls.Direction, epoch: Epoch, cipher_suite: tls.CipherSuite, secret: bytes
    ) -> None:
        version = self._core.version
        key, iv, header_key = derive_key_iv_hp(
            cipher_suite=cipher_suite, secret=secret, version=version
        )
        header_name, packet_name = CIPHER_SUITES[cipher_suite]
        if epoch is Epoch.ONE_RTT:
            self._secrets.setdefault(direction, secret)
        self._core.install_packet_key(
            "send" if direction is tls.Direction.ENCRYPT else "receive",
            epoch.value,
            (packet_name.decode(), header_name.decode()),
            key,
            iv,
            header_key,
            0,
            secret,
            version,
        )
