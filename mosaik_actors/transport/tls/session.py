"""One TLS 1.3 session without its socket. The only module that knows pyOpenSSL.

Encrypted bytes go in and plain ones come out, and the other way round, through OpenSSL's
memory buffers. Both ends show the certificate that they show over QUIC (`identity`): it is
made for their Ed25519 key, and TLS has its key sign the handshake's transcript (RFC 8446
section 4.4.3). No authority is asked, so that the callback takes any certificate; whose it
is, is read off it afterwards.

The binding is the exporter of RFC 9266: the same at the two ends of this session, and
nowhere else. It covers what both have sent up to the server's Finished; the client's
identity is not in it, but in what is proven with it (`admission`).

There are no tickets and no resumption: each connection proves anew who is there. TLS 1.3
alone is spoken, with its AEAD ciphers.

A session gives up (`RemoteError`) on whatever is no TLS, or has no end: no more than
`HANDSHAKE_BYTES_MAX` come in before the handshake is done. OpenSSL itself bounds how many
changes of keys may follow one another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from typing import Final

from OpenSSL import SSL

from ...errors import RemoteError
from ...ids import SecretKey
from ..close import CloseCode
from ..engine_events import HandshakeDone
from ..engine_face import ALPN, UNPROVEN_BYTES_MAX
from ..identity import UNREADABLE, make_certificate, read_certificate

HANDSHAKE_BYTES_MAX: Final = UNPROVEN_BYTES_MAX
RECORD_BYTES_MAX: Final = 16 * 1024  # of plain text (RFC 8446 section 5.1)
RECORD_OVERHEAD_BYTES: Final = 22  # its head, its kind, and what authenticates it
ANSWER_BYTES: Final = 64  # a change of keys that the peer asked for may go before a record
HEAD_BYTES: Final = 5
SEALED_BYTES_MAX: Final = RECORD_BYTES_MAX + 256  # without the head (RFC 8446 section 5.2)
BINDING_LABEL: Final = b"EXPORTER-Channel-Binding"  # RFC 9266
BINDING_BYTES: Final = 32
CIPHERS: Final = b"TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"

_ALPN: Final = ALPN.encode()
_PIECE_BYTES: Final = 64 * 1024
# SSL_MODE_ENABLE_PARTIAL_WRITE of OpenSSL's ssl.h, which pyOpenSSL sets and has no name for: with
# it each write is one record. A memory buffer takes all that is written.
_PARTIAL_WRITE: Final = 1
_COPIED_BYTES_MAX: Final = 16 * 1024


def make_context(secret_key: SecretKey, instance: int) -> SSL.Context:
    """Return what all sessions of one endpoint share.

    Args:
        secret_key: The identity that every session proves.
        instance: Which run of the endpoint this is; a random positive number.
    """
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_tls13_ciphersuites(CIPHERS)
    context.set_options(SSL.OP_NO_TICKET)
    context.clear_mode(_PARTIAL_WRITE)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.use_certificate(make_certificate(secret_key, instance))
    context.use_privatekey(secret_key.private_key)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
    context.set_alpn_protos([_ALPN])
    context.set_alpn_select_callback(
        lambda _, offered: _ALPN if _ALPN in offered else SSL.NO_OVERLAPPING_PROTOCOLS
    )
    return context


@cache
def _without_callbacks() -> SSL.Context:
    return SSL.Context(SSL.TLS_METHOD)


class RecordCounter:
    """Counts the records of a session that have come in whole (RFC 8446 section 5.1)."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0  # of the record that is coming in, behind its head

    def receive_data(self, data: bytes) -> int:
        """Take in the next bytes; return how many records they complete.

        One that is longer than it may be counts at once: who reads it is told so.
        """
        if self._head:
            data, self._head = self._head + data, b""
        at, end = self._left, len(data)
        count = 1 if 0 < at <= end else 0
        while end - at >= HEAD_BYTES:
            length = data[at + 3] << 8 | data[at + 4]
            at += HEAD_BYTES + length
            if at <= end or length > SEALED_BYTES_MAX:
                count += 1
        if at < end:
            self._head = data[at:]
        self._left = at - end if at > end else 0
        return count


class TlsSession:
    """The state machine of this module's docstring.

    Args:
        context: What `make_context` returned.
        is_initiator: Whether this side dialled.

    Attributes:
        is_done: Whether the handshake is done, so that `encrypt` may be called.
    """

    def __init__(self, context: SSL.Context, *, is_initiator: bool) -> None:
        self.is_done = False
        self._ssl = SSL.Connection(context, None)
        self._records = RecordCounter()
        self._is_fresh = True
        self._handshake_bytes = 0
        if is_initiator:
            self._ssl.set_connect_state()
        else:
            self._ssl.set_accept_state()

    def shake_hands(self, data: bytes = b"") -> HandshakeDone | None:
        """Take in the peer's part of the handshake; return who is there once that is proven.

        Afterwards send what `take_output` returns. Plain bytes that came with the end of
        the handshake are for `decrypt`.

        Raises:
            RemoteError: It is no handshake, or one that proves nothing.
        """
        self._handshake_bytes += len(data)
        self._records.receive_data(data)
        if self._handshake_bytes > HANDSHAKE_BYTES_MAX:
            raise RemoteError("more than a handshake, before it was done")
        try:
            if data:
                self._ssl.bio_write(data)
            self._ssl.do_handshake()
        except SSL.WantReadError:
            return None
        except SSL.Error as exc:
            raise RemoteError(f"no TLS handshake: {_explain(exc)}", CloseCode.UNKNOWN_PEER) from exc
        if self._ssl.get_alpn_proto_negotiated() != _ALPN:
            raise RemoteError("the peer speaks another protocol", CloseCode.INVALID_PROTOCOL)
        try:
            peer = read_certificate(self._ssl.get_peer_certificate(as_cryptography=True))
        except UNREADABLE as exc:  # of which OpenSSL thinks otherwise
            raise RemoteError(f"no certificate: {exc}", CloseCode.UNKNOWN_PEER) from exc
        binding = self._ssl.export_keying_material(BINDING_LABEL, BINDING_BYTES, b"")
        # No callback of a handshake may fail any more, which is asked at each call otherwise.
        self._ssl.set_context(_without_callbacks())
        self.is_done = True
        return HandshakeDone(peer, binding)

    def decrypt(self, data: bytes) -> bytes:
        """Return what the peer wrote, as far as it is whole.

        Raises:
            RemoteError: It is not what the peer of this session wrote.
        """
        # A read gives one record at most, and to find out that there is no more costs as much.
        record_count = self._records.receive_data(data)
        if self._is_fresh:
            self._is_fresh = False
            record_count = HANDSHAKE_BYTES_MAX  # what came with the handshake is not known
        pieces: list[bytes] = []
        try:
            if data:
                self._ssl.bio_write(data)
            if record_count == 1:
                return self._ssl.recv(RECORD_BYTES_MAX)
            for _ in range(record_count):
                pieces.append(self._ssl.recv(RECORD_BYTES_MAX))  # noqa: PERF401  # up to an error
        except (SSL.WantReadError, SSL.ZeroReturnError):
            pass
        except SSL.Error as exc:
            raise RemoteError(f"broken TLS: {_explain(exc)}") from exc
        return b"".join(pieces)

    def encrypt(self, pieces: Sequence[bytes | memoryview]) -> bytes:
        """Return what the peer can decrypt; only after the handshake.

        Raises:
            RemoteError: The session has failed before.
        """
        sealed_bytes_max = 0
        is_one = len(pieces) == 1 and pieces[0]
        try:
            for piece in pieces if is_one else _in_few(pieces):
                sent = self._ssl.send(piece)
                sealed_bytes_max += sent + (sent // RECORD_BYTES_MAX + 1) * RECORD_OVERHEAD_BYTES
        except SSL.Error as exc:
            raise RemoteError(f"broken TLS: {_explain(exc)}") from exc
        return self._ssl.bio_read(sealed_bytes_max + ANSWER_BYTES) if sealed_bytes_max else b""

    def take_output(self) -> bytes:
        """Return what the session itself has to say: the handshake, an alert, new keys."""
        output = b""
        with suppress(SSL.WantReadError):
            while True:
                output += self._ssl.bio_read(_PIECE_BYTES)
        return output


def _in_few(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Yield the same bytes in few pieces, of which none but the last is short.

    A write and a record have a cost of their own, and so has copying: short pieces are
    joined, with the begin of a long one after them to one full record. The rest of that
    one is not copied.
    """
    short: list[bytes | memoryview] = []
    short_bytes = 0
    for piece in pieces:
        if len(piece) <= _COPIED_BYTES_MAX:
            short.append(piece)
            short_bytes += len(piece)
            continue
        if short_bytes:
            missing = -short_bytes % RECORD_BYTES_MAX
            view = memoryview(piece)
            short.append(view[:missing])
            yield b"".join(short)
            short, short_bytes = [], 0
            piece = view[missing:]
        if piece:
            yield piece
    if short_bytes:
        yield b"".join(short)


def _explain(error: SSL.Error) -> str:
    """Return what OpenSSL says of an error, as far as that is anything."""
    reasons = error.args[0] if error.args else ()
    if isinstance(reasons, list):
        return ", ".join(str(one[-1]) for one in reasons) or "an unknown error"
    return str(error) or "an unknown error"
