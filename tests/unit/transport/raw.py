"""A peer that is not ours: bare aioquic, to send what no endpoint of ours would."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import (
    ConnectionTerminated,
    HandshakeCompleted,
    QuicEvent,
    StreamDataReceived,
)
from aioquic.tls import Epoch
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

from mosaik_actors.ids import NetworkId, PeerId, SecretKey
from mosaik_actors.transport.admission import Admission, NetworkKeys, bind_channel
from mosaik_actors.transport.close import CloseReason
from mosaik_actors.transport.connection.proving import PROOF_STREAM
from mosaik_actors.transport.engine_face import ALPN
from mosaik_actors.transport.frames import (
    CloseFrame,
    ControlFrame,
    FrameDecoder,
    OpenFrame,
    encode_control,
)
from mosaik_actors.transport.identity import make_certificate, read_certificate
from tests.waiting import until

MALLORY = SecretKey.from_seed("mallory")


@dataclass(frozen=True)
class Ended:
    """How an endpoint ended a connection."""

    error_code: int
    reason_phrase: str


class Answers:
    """What an endpoint answers to a raw peer, over whichever carrier."""

    def __init__(self) -> None:
        self.frames: dict[int, list[bytes | ControlFrame]] = {}
        self.ended: Ended | None = None
        self.proof = b""  # what the endpoint answered to ours
        self._decoders: dict[int, FrameDecoder] = {}

    def take(self, stream_id: int, data: bytes) -> None:
        """Take in bytes of a stream."""
        decoder = self._decoders.setdefault(stream_id, FrameDecoder(1 << 24))
        self.frames.setdefault(stream_id, []).extend(decoder.receive_data(data))

    async def close_reason(self, stream_id: int) -> CloseReason:
        """Wait until the endpoint closes a stream and return why."""

        def closing() -> list[CloseFrame]:
            got = self.frames.get(stream_id, [])
            return [frame for frame in got if isinstance(frame, CloseFrame)]

        await until(closing)
        return closing()[0].reason

    async def end(self) -> Ended:
        """Wait until the endpoint ends the connection and return how."""
        await until(lambda: self.ended)
        assert self.ended is not None
        return self.ended


class RawPeer(QuicConnectionProtocol, Answers):
    """One raw connection: streams of bytes, and what the endpoint answers on them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        QuicConnectionProtocol.__init__(self, *args, **kwargs)
        Answers.__init__(self)

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, HandshakeCompleted):
            self.prove()
        elif isinstance(event, StreamDataReceived) and event.stream_id == PROOF_STREAM:
            self.proof += event.data
        elif isinstance(event, StreamDataReceived):
            self.take(event.stream_id, event.data)
        elif isinstance(event, ConnectionTerminated):
            self.ended = Ended(event.error_code, event.reason_phrase)

    def prove(self) -> None:
        """Prove, as a dialler, that this peer belongs to the network; before anything else."""
        if self._quic.configuration.is_client and self._quic.tls.certificate is not None:
            assert self.send(self.admission().begin(), is_end=True) == PROOF_STREAM

    def admission(
        self, network: str = "net", *secrets: bytes, dialler: PeerId | None = None
    ) -> Admission:
        """Return what this peer can prove on this connection, that it dialled unless told who did.

        As a server it does not learn that by itself.
        """
        is_dialler = dialler is None
        own = self._quic.tls.certificate
        assert own is not None
        if dialler is None:
            certificate = self._quic.tls._peer_certificate
            assert certificate is not None
            there = read_certificate(certificate).peer_id
        else:
            there = dialler
        pair = self._quic._cryptos[Epoch.ONE_RTT]
        assert pair.send.secret
        assert pair.recv.secret
        traffic = (pair.send.secret, pair.recv.secret)
        return Admission(
            NetworkKeys(NetworkId(network), secrets),
            binding=bind_channel(*(traffic if is_dialler else traffic[::-1])),
            here=read_certificate(own).peer_id,
            there=there,
            is_dialler=is_dialler,
        )

    def send(self, data: bytes, stream_id: int | None = None, *, is_end: bool = False) -> int:
        """Write raw bytes to a stream, a new one by default, and return its id."""
        if stream_id is None:
            stream_id = self._quic.get_next_available_stream_id()
        self._quic.send_stream_data(stream_id, data, end_stream=is_end)
        self.transmit()
        return stream_id

    def reset(self, stream_id: int, code: int) -> None:
        """Give a stream up."""
        self._quic.reset_stream(stream_id, code)
        self.transmit()

    def make_answer(self) -> None:
        """Make the endpoint answer, which asks nothing of it."""
        self._quic.send_ping(1)
        self.transmit()


class Stranger(RawPeer):
    """A raw peer that proves only who it is."""

    def prove(self) -> None:
        """Say nothing."""


def open_bytes(protocol: str = "p", header: bytes = b"") -> bytes:
    """Return a well-formed open frame."""
    return encode_control(OpenFrame(protocol, header))


class OddCertificate:
    """A certificate of Mallory's with a version that does not exist; looks like a certificate."""

    def public_bytes(self, encoding: Encoding) -> bytes:
        """Return it as it is sent."""
        sound = make_certificate(MALLORY, 7).public_bytes(encoding)
        at = sound.index(_VERSION_3) + len(_VERSION_3)
        return sound[: at - 1] + b"\x03" + sound[at:]


_VERSION_3 = b"\xa0\x03\x02\x01\x02"  # as in RFC 5280 section 4.1, in DER


def configuration(
    certificate: x509.Certificate | None = None,
    key: CertificateIssuerPrivateKeyTypes | None = None,
    *,
    is_client: bool = True,
    is_anonymous: bool = False,
    **settings: Any,
) -> QuicConfiguration:
    """Return the settings of a raw peer: Mallory's own identity unless told otherwise."""
    made = QuicConfiguration(
        alpn_protocols=[ALPN], is_client=is_client, verify_mode=ssl.CERT_NONE, **settings
    )
    if not is_anonymous:
        made.certificate = certificate or make_certificate(MALLORY, 7)
        made.private_key = key or MALLORY.private_key
    return made


@asynccontextmanager
async def raw_client(
    addr: tuple[str, int],
    config: QuicConfiguration | None = None,
    kind: type[RawPeer] = RawPeer,
) -> AsyncIterator[RawPeer]:
    """Connect a raw client."""
    async with connect(
        *addr,
        configuration=config or configuration(),
        create_protocol=kind,
        wait_connected=False,
    ) as protocol:
        client = cast(RawPeer, protocol)
        client.transmit()
        yield client


@asynccontextmanager
async def raw_server(
    config: QuicConfiguration, kind: type[RawPeer] = RawPeer
) -> AsyncIterator[tuple[str, int]]:
    """Run a raw server and give its address."""
    server = await serve("127.0.0.1", 0, configuration=config, create_protocol=kind)
    transport = cast(Any, server)._transport
    try:
        yield transport.get_extra_info("sockname")[:2]
    finally:
        server.close()
        await asyncio.sleep(0)


def forged_certificate(claimed: PeerId, signer: SecretKey) -> x509.Certificate:
    """Return a certificate that carries `claimed`'s public key but is signed by another."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    real = make_certificate(signer, 7)
    return (
        x509.CertificateBuilder()
        .subject_name(real.subject)
        .issuer_name(real.issuer)
        .public_key(Ed25519PublicKey.from_public_bytes(bytes(claimed)))
        .serial_number(7)
        .not_valid_before(real.not_valid_before_utc)
        .not_valid_after(real.not_valid_after_utc)
        .sign(signer.private_key, algorithm=None)
    )
