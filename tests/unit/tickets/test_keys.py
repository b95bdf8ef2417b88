"""Keys of tokens, in all the forms that they are given in."""

from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from mosaik_actors import (
    ConfigError,
    EdDsa,
    EdDsaSigningKey,
    Es256,
    Es256k,
    Es256kSigningKey,
    Es256SigningKey,
    Es384,
    Es384SigningKey,
    Es512,
    Es512SigningKey,
    Hs256,
    Hs256SigningKey,
    Hs384,
    Hs512,
)

PEM = serialization.Encoding.PEM
CURVES: list[tuple[Any, Any, ec.EllipticCurve]] = [
    (Es256, Es256SigningKey, ec.SECP256R1()),
    (Es256k, Es256kSigningKey, ec.SECP256K1()),
    (Es384, Es384SigningKey, ec.SECP384R1()),
    (Es512, Es512SigningKey, ec.SECP521R1()),
]


def pem_of(key: Any) -> bytes:
    if hasattr(key, "private_bytes"):
        secret: bytes = key.private_bytes(
            PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return secret
    found: bytes = key.public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return found


@pytest.mark.parametrize(("public", "private", "curve"), CURVES)
def test_a_curves_keys_in_all_forms(public: Any, private: Any, curve: ec.EllipticCurve) -> None:
    raw = (12345).to_bytes((curve.key_size + 7) // 8)
    key = ec.derive_private_key(12345, curve)
    point = key.public_key()
    forms = [
        point.public_bytes(serialization.Encoding.X962, one)
        for one in (
            serialization.PublicFormat.CompressedPoint,
            serialization.PublicFormat.UncompressedPoint,
        )
    ]
    given = [*forms, *(one.hex() for one in forms), pem_of(point), pem_of(point).decode()]
    publics = [public(one) for one in given]
    secrets = [private(one) for one in (raw, raw.hex(), pem_of(key), pem_of(key).decode())]
    sec1 = key.private_bytes(
        PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    secrets += [private(sec1), private(secrets[0].pem)]
    assert len({*publics, *(one.verifying_key for one in secrets)}) == 1
    assert len({one.fingerprint for one in publics}) == 1
    assert private.generate().verifying_key != publics[0]


def test_ed25519_in_all_forms() -> None:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(b"\7" * 32)
    raw, point = b"\7" * 32, key.public_key()
    publics = [EdDsa(one) for one in (point.public_bytes_raw(), point.public_bytes_raw().hex(),
                                      pem_of(point), pem_of(point).decode())]  # fmt: skip
    secrets = [EdDsaSigningKey(one) for one in (raw, raw.hex(), pem_of(key))]
    secrets.append(EdDsaSigningKey(secrets[0].pem))
    assert len({*publics, *(one.verifying_key for one in secrets)}) == 1


def test_shared_secrets_have_the_length_of_their_hash() -> None:
    """RFC 7518 section 3.2; and what can be guessed could be tried against the fingerprint."""
    for kind, size in ((Hs256, 32), (Hs384, 48), (Hs512, 64)):
        assert kind(b"x" * size) == kind((b"x" * size).hex())
        with pytest.raises(ConfigError, match=f"expected {size}"):
            kind(b"x" * (size - 1))
    assert Hs256SigningKey is Hs256
    assert Hs256(b"x" * 64) != Hs512(b"x" * 64)


P256 = ec.derive_private_key(5, ec.SECP256R1())
P384 = ec.derive_private_key(5, ec.SECP384R1())
ED448 = ed448.Ed448PrivateKey.generate()
RSA = rsa.generate_private_key(65_537, 2048)
WRONG: list[tuple[Any, Any]] = [
    (Hs256, "not hexadecimal"),
    (Hs256, None),
    (Hs256, pem_of(P256.public_key())),
    (Hs256, b"# the issuer's\n" + pem_of(P256.public_key())),
    (Hs256, b"\xef\xbb\xbf" + pem_of(P256.public_key())),
    (Hs256, b"ssh-ed25519 " + b"A" * 68),
    (Es256, pem_of(P384.public_key())),
    (Es256, pem_of(RSA.public_key())),
    (Es256, pem_of(P256)),
    (Es256, b"\2" + b"\xff" * 32),
    (Es256, b"\4" + bytes(64)),
    (Es256, bytes(33)),
    (Es256, b""),
    (Es256, 5),
    (Es256, "-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----"),
    (Es256SigningKey, bytes(32)),
    (Es256SigningKey, b"\xff" * 32),
    (Es256SigningKey, bytes(31)),
    (Es256SigningKey, pem_of(P384)),
    (Es256SigningKey, pem_of(RSA)),
    (Es256SigningKey, pem_of(P256.public_key())),
    (EdDsa, bytes(31)),
    (EdDsa, pem_of(ED448.public_key())),
    (EdDsaSigningKey, bytes(33)),
    (EdDsaSigningKey, pem_of(ED448)),
    (EdDsaSigningKey, pem_of(P256)),
]


@pytest.mark.parametrize(("kind", "given"), WRONG)
def test_what_is_no_key_of_the_algorithm_is_refused(kind: Any, given: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        kind(given)
    if isinstance(given, str | bytes) and len(given) > 8:
        assert str(given)[2:-2] not in str(refused.value)


def test_a_key_with_a_passphrase_is_refused() -> None:
    locked = P256.private_bytes(
        PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"pass")
    )
    with pytest.raises(ConfigError, match="open private key"):
        Es256SigningKey(locked)
