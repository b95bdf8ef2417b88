"""One TLS session without its socket: who is there, what it is bound to, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from OpenSSL.crypto import FILETYPE_ASN1, load_certificate

from mosaik_actors.errors import RemoteError
from mosaik_actors.ids import SecretKey
from mosaik_actors.transport.close import CloseCode
from mosaik_actors.transport.engine_events import HandshakeDone
from mosaik_actors.transport.identity import make_certificate
from mosaik_actors.transport.tls.session import (
    HANDSHAKE_BYTES_MAX,
    RECORD_BYTES_MAX,
    RecordCounter,
    TlsSession,
    make_context,
)

from .raw import MALLORY, OddCertificate

ALICE, BOB = SecretKey.from_seed("alice"), SecretKey.from_seed("bob")


class Pair:
    """Two sessions; what one says the other gets."""

    def __init__(
        self, client: SSL.Context | None = None, server: SSL.Context | None = None
    ) -> None:
        self.client = TlsSession(client or make_context(ALICE, 1), is_initiator=True)
        self.server = TlsSession(server or make_context(BOB, 2), is_initiator=False)
        self.done: dict[TlsSession, HandshakeDone] = {}

    def shake_hands(self) -> None:
        """Let both talk until neither has more to say."""
        waiting = {self.client: b"", self.server: b""}
        other = {self.client: self.server, self.server: self.client}
        for _ in range(8):
            for side in (self.client, self.server):
                data, waiting[side] = waiting[side], b""
                if not side.is_done and (done := side.shake_hands(data)) is not None:
                    self.done[side] = done
                elif side.is_done and data:
                    assert side.decrypt(data) == b""
                waiting[other[side]] += side.take_output()
        assert self.client.is_done
        assert self.server.is_done


def changed(change: Callable[[SSL.Context], object]) -> SSL.Context:
    """Return a context of alice's, that breaks some rule."""
    context = make_context(ALICE, 1)
    change(context)
    return context


def test_both_sides_know_who_is_there_and_bind_to_the_same() -> None:
    pair, other = Pair(), Pair()
    for one in (pair, other):
        one.shake_hands()
    here, there = pair.done[pair.client], pair.done[pair.server]
    assert (here.peer.peer_id, here.peer.instance) == (BOB.peer_id, 2)
    assert (there.peer.peer_id, there.peer.instance) == (ALICE.peer_id, 1)
    assert here.binding == there.binding
    assert other.done[other.client].binding != here.binding


@pytest.mark.parametrize("size", [1, RECORD_BYTES_MAX, RECORD_BYTES_MAX + 1, 1_000_003])
def test_what_was_written_arrives_whole_in_both_directions(size: int) -> None:
    pair = Pair()
    pair.shake_hands()
    data = bytes(range(251)) * (size // 251 + 1)
    for sender, receiver in ((pair.client, pair.server), (pair.server, pair.client)):
        sealed = sender.encrypt([data[: size // 2], memoryview(data)[size // 2 : size]])
        assert data[:16] not in sealed or size < 16
        half = len(sealed) // 2
        got = receiver.decrypt(sealed[:half]) + receiver.decrypt(sealed[half:])
        assert got == data[:size]


@given(st.lists(st.sampled_from([0, 1, 9, 5000, 16_383, 16_384, 16_385, 70_000]), max_size=12))
@settings(max_examples=40, deadline=None)
def test_pieces_of_any_size_arrive_as_one_and_none_is_left_behind(sizes: list[int]) -> None:
    pieces = [bytes([number]) * size for number, size in enumerate(sizes)]
    got = _JOINED.server.decrypt(_JOINED.client.encrypt(pieces))
    assert got == b"".join(pieces)
    assert _JOINED.client.take_output() == b""


@given(st.lists(st.integers(0, 300), max_size=9), st.lists(st.integers(1, 40), min_size=1))
def test_records_are_counted_however_they_are_cut(sizes: list[int], cuts: list[int]) -> None:
    data = b"".join(b"\x17\x03\x03" + size.to_bytes(2) + bytes(size) for size in sizes)
    counter, count, at = RecordCounter(), 0, 0
    for number in range(len(data)):
        size = cuts[number % len(cuts)]
        count += counter.receive_data(data[at : at + size])
        at += size
    assert count == len(sizes)


def test_a_record_that_is_too_long_is_not_waited_for() -> None:
    pair = Pair()
    pair.shake_hands()
    with pytest.raises(RemoteError):
        pair.server.decrypt(b"\x17\x03\x03\xff\xff")


def test_a_byte_that_was_changed_ends_the_session() -> None:
    pair = Pair()
    pair.shake_hands()
    sealed = bytearray(pair.client.encrypt([b"what is said"]))
    sealed[-1] ^= 1
    with pytest.raises(RemoteError, match="broken TLS"):
        pair.server.decrypt(bytes(sealed))


def test_a_record_of_another_session_is_refused() -> None:
    pair, other = Pair(), Pair()
    for one in (pair, other):
        one.shake_hands()
    with pytest.raises(RemoteError, match="broken TLS"):
        pair.server.decrypt(other.client.encrypt([b"what is said"]))


def anonymous() -> SSL.Context:
    """Return a context of somebody who shows no certificate."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_alpn_protos([b"mosaik/2"])
    context.set_verify(SSL.VERIFY_NONE)
    return context


def with_another_kind_of_key() -> SSL.Context:
    """Return a context whose certificate is of an elliptic curve key that is no PeerId."""
    key = ec.generate_private_key(ec.SECP256R1())
    template = make_certificate(ALICE, 7)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(template.subject)
        .issuer_name(template.issuer)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(template.not_valid_before_utc)
        .not_valid_after(template.not_valid_after_utc)
        .sign(key, SHA256())
    )
    context = anonymous()
    context.use_certificate(certificate)
    context.use_privatekey(key)
    return context


def with_an_unreadable_certificate() -> SSL.Context:
    """Return a context with a certificate of a version that does not exist."""
    der = OddCertificate().public_bytes(Encoding.DER)
    context = anonymous()
    with pytest.deprecated_call():  # the class that is not deprecated cannot hold such a one
        context.use_certificate(load_certificate(FILETYPE_ASN1, der))
    context.use_privatekey(MALLORY.private_key)
    return context


def of_instance(serial: int) -> SSL.Context:
    """Return a context whose certificate has a serial number that is no instance."""
    context = anonymous()
    context.use_certificate(make_certificate(ALICE, serial))
    context.use_privatekey(ALICE.private_key)
    return context


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (anonymous, CloseCode.UNKNOWN_PEER),
        (with_an_unreadable_certificate, CloseCode.UNKNOWN_PEER),
        (lambda: of_instance(2**64), CloseCode.UNKNOWN_PEER),
        (with_another_kind_of_key, CloseCode.UNKNOWN_PEER),
        (
            lambda: changed(lambda context: context.set_alpn_protos([b"h2"])),
            CloseCode.INVALID_PROTOCOL,
        ),
        (
            lambda: changed(
                lambda context: (
                    context.set_min_proto_version(SSL.TLS1_2_VERSION),
                    context.set_max_proto_version(SSL.TLS1_2_VERSION),
                )
            ),
            CloseCode.UNKNOWN_PEER,
        ),
    ],
    ids=[
        "no certificate",
        "unreadable certificate",
        "no instance",
        "another kind of key",
        "another protocol",
        "TLS 1.2",
    ],
)
def test_who_does_not_keep_to_the_rules_is_refused(
    make: Callable[[], SSL.Context], code: CloseCode
) -> None:
    pair = Pair(client=make())
    with pytest.raises(RemoteError) as caught:
        pair.shake_hands()
    assert caught.value.close_code == code
    assert not pair.server.is_done


def test_a_server_without_our_protocol_is_refused() -> None:
    context = make_context(BOB, 2)
    context.set_alpn_select_callback(lambda _, _offered: SSL.NO_OVERLAPPING_PROTOCOLS)
    pair = Pair(server=context)
    with pytest.raises(RemoteError):
        pair.shake_hands()
    assert not pair.client.is_done


@given(st.binary(max_size=2000), st.booleans())
@settings(max_examples=60)
def test_random_bytes_are_refused_or_waited_for(data: bytes, is_initiator: bool) -> None:
    session = TlsSession(_CONTEXT, is_initiator=is_initiator)
    with suppress(RemoteError):
        assert session.shake_hands(data) is None


def test_a_handshake_has_an_end() -> None:
    session = TlsSession(_CONTEXT, is_initiator=False)
    # The head of a handshake record whose message says that it is very long.
    record = b"\x16\x03\x01\x40\x00" + b"\x01\x00\xff\xff" + bytes(0x4000 - 4)

    def go_on() -> None:
        for _ in range(HANDSHAKE_BYTES_MAX // len(record) + 1):
            session.shake_hands(record)

    with pytest.raises(RemoteError):
        go_on()


_CONTEXT = make_context(ALICE, 1)
_JOINED = Pair()
_JOINED.shake_hands()
