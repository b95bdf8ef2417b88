"""How a node proves its `PeerId` in the TLS handshake.

Each endpoint makes a self-signed certificate for its Ed25519 key when it
starts (RFC 8410). TLS 1.3 has both sides sign the handshake's transcript
(RFC 8446 section 4.4.3), so the key is proven for this very connection and a
recorded proof is worth nothing. No authority is asked: who a certificate
belongs to is its key, and the dialler knows which key must answer.

The serial number is the endpoint's *instance*: random, new at each start. Two
connections that prove the same key and the same instance come from one running
process; another instance means that the peer restarted.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509.oid import NameOID

from ..errors import RemoteError
from ..ids import PeerId, SecretKey
from .close import CloseCode
from .proven_peer import ProvenPeer

# Not checked by anybody: a certificate lives as long as its endpoint.
_VALID_FROM = datetime(2020, 1, 1, tzinfo=UTC)
_VALID_UNTIL = datetime(2120, 1, 1, tzinfo=UTC)

INSTANCE_MAX: Final = 2**64 - 1
UNREADABLE: Final = (ValueError, UnsupportedAlgorithm, x509.InvalidVersion)
"""What is raised for a certificate that a TLS library has let pass, and that cannot be read."""


def make_certificate(secret_key: SecretKey, instance: int) -> x509.Certificate:
    """Return a self-signed certificate of a key, for one run of an endpoint.

    Args:
        secret_key: The key that the certificate carries the public half of.
        instance: A random number of 1 to 2**64 - 1.
    """
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(secret_key.peer_id))])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret_key.private_key.public_key())
        .serial_number(instance)
        .not_valid_before(_VALID_FROM)
        .not_valid_after(_VALID_UNTIL)
        .sign(secret_key.private_key, algorithm=None)
    )


def read_certificate(certificate: x509.Certificate | None) -> ProvenPeer:
    """Return whose certificate this is, its key having signed the handshake.

    Raises:
        RemoteError: There is none, it cannot be read, its key is not an Ed25519 key, or its
            serial number is no instance.
    """
    if certificate is None:
        raise RemoteError("no certificate: the peer did not say who it is", CloseCode.UNKNOWN_PEER)
    try:
        key, instance = certificate.public_key(), certificate.serial_number
    except UNREADABLE as exc:
        raise RemoteError(f"no certificate: {exc}", CloseCode.UNKNOWN_PEER) from exc
    if not isinstance(key, Ed25519PublicKey):
        raise RemoteError("the certificate's key is not an Ed25519 key", CloseCode.UNKNOWN_PEER)
    if not 1 <= instance <= INSTANCE_MAX:
        raise RemoteError("the certificate's serial number is no instance", CloseCode.UNKNOWN_PEER)
    return ProvenPeer(PeerId(key.public_bytes_raw()), instance)
