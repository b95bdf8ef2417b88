"""Keys of JSON Web Tokens: what verifies a token, and what signs one.

Each algorithm has classes of its own (RFC 7518, RFC 8037, RFC 8812), so that a key
is never used with another algorithm than the one it was meant for: a token's own
header chooses nothing.

A key is made of:
    * bytes: a shared secret; a scalar, or a point as SEC1 writes it, compressed or
      not; the 32 bytes of Ed25519.
    * the same in hexadecimal digits, as text.
    * PEM, as text or bytes, for the algorithms with two keys.

The *fingerprint* stands for what a key verifies, whatever form it was given in. It
is a one-way hash, and that of a shared secret does not give the secret away. It
can be shown, so a secret must be too long to be tried out: it has as many bytes as
the hash that it is used with, or more (RFC 7518 section 3.2).
"""

from __future__ import annotations

import binascii
from typing import Any, ClassVar, Final, Self

from blake3 import blake3
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from jwt.algorithms import HMACAlgorithm
from jwt.exceptions import InvalidKeyError

from ..errors import ConfigError

_SECRET_CONTEXT: Final = "mosaik_actors 2026 fingerprint of a shared secret of tokens"
_PUBLIC_CONTEXT: Final = "mosaik_actors 2026 fingerprint of a public key of tokens"
_PEM_START: Final = b"-----BEGIN"


class TokenKey:
    """What verifies the tokens of one algorithm.

    Attributes:
        algorithm: Its name in a token's header.
        fingerprint: 32 bytes that stand for the key and the algorithm.
    """

    algorithm: ClassVar[str] = ""
    fingerprint: bytes
    _key: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenKey) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(fingerprint {self.fingerprint.hex()[:10]})"


class TokenSigningKey:
    """What signs tokens with one algorithm. Nothing shows it.

    Attributes:
        algorithm: Its name in a token's header.
    """

    algorithm: ClassVar[str] = ""
    _signing_key: Any

    @property
    def verifying_key(self) -> TokenKey:
        """The key that verifies what this one signs."""
        raise NotImplementedError


class _SharedSecret(TokenKey, TokenSigningKey):
    """A secret that both signs and verifies: who can check such tokens can make them."""

    _secret_bytes_min: ClassVar[int]

    def __init__(self, secret: bytes | str) -> None:
        name = type(self).__name__
        raw = _as_bytes(name, secret)
        if raw.lstrip().startswith(_PEM_START):
            # A public key as the secret of an HMAC is a secret that everybody has.
            raise ConfigError(f"the secret of {name} is PEM, expected bytes or hexadecimal digits")
        try:
            HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(raw)
        except InvalidKeyError:  # what it does not sign with it would refuse as a bad signature
            raise ConfigError(
                f"the secret of {name} is a public key or a certificate, which everybody has"
            ) from None
        if len(raw) < self._secret_bytes_min:
            raise ConfigError(
                f"the secret of {name} has {len(raw)} bytes, expected {self._secret_bytes_min} "
                "or more (RFC 7518 section 3.2)"
            )
        self._key = self._signing_key = raw
        named = self.algorithm.encode() + b"\0" + raw
        self.fingerprint = blake3(named, derive_key_context=_SECRET_CONTEXT).digest()

    @property
    def verifying_key(self) -> TokenKey:
        """This key."""
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}(fingerprint {self.fingerprint.hex()[:10]})"


class Hs256(_SharedSecret):
    """HMAC with SHA-256, of a secret of 32 bytes or more."""

    algorithm = "HS256"
    _secret_bytes_min = 32


class Hs384(_SharedSecret):
    """HMAC with SHA-384, of a secret of 48 bytes or more."""

    algorithm = "HS384"
    _secret_bytes_min = 48


class Hs512(_SharedSecret):
    """HMAC with SHA-512, of a secret of 64 bytes or more."""

    algorithm = "HS512"
    _secret_bytes_min = 64


# With a shared secret the two are one; the names are for who writes all of them alike.
Hs256SigningKey = Hs256
Hs384SigningKey = Hs384
Hs512SigningKey = Hs512


class _PublicPoint(TokenKey):
    """A public key on an elliptic curve."""

    _curve: ClassVar[ec.EllipticCurve]

    def __init__(self, key: bytes | str) -> None:
        name = type(self).__name__
        raw = _as_bytes(name, key)
        if raw.lstrip().startswith(_PEM_START):
            loaded = _load_public_pem(name, raw)
            if not isinstance(loaded, ec.EllipticCurvePublicKey):
                raise ConfigError(f"{name} was given another kind of key than its own")
        else:
            try:
                loaded = ec.EllipticCurvePublicKey.from_encoded_point(self._curve, raw)
            except ValueError as exc:
                raise ConfigError(f"{name}: not a point of {self._curve.name}: {exc}") from exc
        if loaded.curve.name != self._curve.name:
            raise ConfigError(
                f"{name} was given a key on {loaded.curve.name}, expected {self._curve.name}"
            )
        self._key = loaded
        point = loaded.public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
        )
        self.fingerprint = _fingerprint(self.algorithm, point)


class _SecretScalar(TokenSigningKey):
    """A private key on an elliptic curve."""

    _public: ClassVar[type[_PublicPoint]]

    def __init__(self, key: bytes | str) -> None:
        name, curve = type(self).__name__, self._public._curve
        raw = _as_bytes(name, key)
        scalar_bytes = (curve.key_size + 7) // 8
        if raw.lstrip().startswith(_PEM_START):
            loaded = _load_private_pem(name, raw)
            if not isinstance(loaded, ec.EllipticCurvePrivateKey):
                raise ConfigError(f"{name} was given another kind of key than its own")
        elif len(raw) != scalar_bytes:
            raise ConfigError(f"{name} was given {len(raw)} bytes, expected {scalar_bytes}")
        else:
            try:
                loaded = ec.derive_private_key(int.from_bytes(raw), curve)
            except ValueError as exc:
                raise ConfigError(f"{name}: not a scalar of {curve.name}") from exc
        if loaded.curve.name != curve.name:
            raise ConfigError(
                f"{name} was given a key on {loaded.curve.name}, expected {curve.name}"
            )
        self._signing_key = loaded

    @classmethod
    def generate(cls) -> Self:
        """Return a new key from the system's entropy."""
        fresh = ec.generate_private_key(cls._public._curve)
        return cls(_private_pem(fresh))

    @property
    def pem(self) -> str:
        """The key itself as PEM: as secret as the key."""
        return _private_pem(self._signing_key).decode()

    @property
    def verifying_key(self) -> TokenKey:
        """The public half."""
        return self._public(_public_pem(self._signing_key))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(for {self.verifying_key!r})"


class Es256(_PublicPoint):
    """ECDSA on P-256 with SHA-256."""

    algorithm = "ES256"
    _curve = ec.SECP256R1()


class Es256k(_PublicPoint):
    """ECDSA on secp256k1 with SHA-256."""

    algorithm = "ES256K"
    _curve = ec.SECP256K1()


class Es384(_PublicPoint):
    """ECDSA on P-384 with SHA-384."""

    algorithm = "ES384"
    _curve = ec.SECP384R1()


class Es512(_PublicPoint):
    """ECDSA on P-521 with SHA-512."""

    algorithm = "ES512"
    _curve = ec.SECP521R1()


class Es256SigningKey(_SecretScalar):
    """The private half of `Es256`."""

    algorithm = "ES256"
    _public = Es256


class Es256kSigningKey(_SecretScalar):
    """The private half of `Es256k`."""

    algorithm = "ES256K"
    _public = Es256k


class Es384SigningKey(_SecretScalar):
    """The private half of `Es384`."""

    algorithm = "ES384"
    _public = Es384


class Es512SigningKey(_SecretScalar):
    """The private half of `Es512`."""

    algorithm = "ES512"
    _public = Es512


class EdDsa(TokenKey):
    """Ed25519 (RFC 8037)."""

    algorithm = "EdDSA"

    def __init__(self, key: bytes | str) -> None:
        raw = _as_bytes("EdDsa", key)
        if raw.lstrip().startswith(_PEM_START):
            loaded = _load_public_pem("EdDsa", raw)
            if not isinstance(loaded, ed25519.Ed25519PublicKey):
                raise ConfigError("EdDsa was given another kind of key than Ed25519")
        else:
            try:
                loaded = ed25519.Ed25519PublicKey.from_public_bytes(raw)
            except ValueError as exc:
                raise ConfigError(f"EdDsa was given {len(raw)} bytes, expected 32") from exc
        self._key = loaded
        self.fingerprint = _fingerprint(self.algorithm, loaded.public_bytes_raw())


class EdDsaSigningKey(TokenSigningKey):
    """The private half of `EdDsa`."""

    algorithm = "EdDSA"

    def __init__(self, key: bytes | str) -> None:
        raw = _as_bytes("EdDsaSigningKey", key)
        if raw.lstrip().startswith(_PEM_START):
            loaded = _load_private_pem("EdDsaSigningKey", raw)
            if not isinstance(loaded, ed25519.Ed25519PrivateKey):
                raise ConfigError("EdDsaSigningKey was given another kind of key than Ed25519")
        else:
            try:
                loaded = ed25519.Ed25519PrivateKey.from_private_bytes(raw)
            except ValueError as exc:
                text = f"EdDsaSigningKey was given {len(raw)} bytes, expected 32"
                raise ConfigError(text) from exc
        self._signing_key = loaded

    @classmethod
    def generate(cls) -> Self:
        """Return a new key from the system's entropy."""
        return cls(ed25519.Ed25519PrivateKey.generate().private_bytes_raw())

    @property
    def pem(self) -> str:
        """The key itself as PEM: as secret as the key."""
        return _private_pem(self._signing_key).decode()

    @property
    def verifying_key(self) -> TokenKey:
        """The public half."""
        return EdDsa(_public_pem(self._signing_key))

    def __repr__(self) -> str:
        return f"EdDsaSigningKey(for {self.verifying_key!r})"


VERIFYING_KEYS: Final[dict[str, type[_SharedSecret | _PublicPoint | EdDsa]]] = {
    one.algorithm: one for one in (Hs256, Hs384, Hs512, Es256, Es256k, Es384, Es512, EdDsa)
}
SIGNING_KEYS: Final[dict[str, type[_SharedSecret | _SecretScalar | EdDsaSigningKey]]] = {
    one.algorithm: one
    for one in (
        Hs256, Hs384, Hs512,
        Es256SigningKey, Es256kSigningKey, Es384SigningKey, Es512SigningKey, EdDsaSigningKey,
    )
}  # fmt: skip


def _fingerprint(algorithm: str, public: bytes) -> bytes:
    named = algorithm.encode() + b"\0" + public
    return blake3(named, derive_key_context=_PUBLIC_CONTEXT).digest()


def _as_bytes(name: str, value: object) -> bytes:
    """Return a key's bytes, or its PEM; the error does not repeat what may be secret."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if not isinstance(value, str):
        raise ConfigError(f"{name} was given a {type(value).__name__}, expected bytes or text")
    if value.lstrip().startswith(_PEM_START.decode()):
        return value.encode()
    try:
        return binascii.unhexlify(value.strip())
    except (binascii.Error, ValueError):
        raise ConfigError(
            f"{name} was given text that is neither PEM nor hexadecimal digits"
        ) from None


def _load_public_pem(name: str, pem: bytes) -> Any:
    try:
        return serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"{name} was given PEM without a public key in it") from None


def _load_private_pem(name: str, pem: bytes) -> Any:
    try:
        return serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(f"{name} was given PEM without an open private key in it") from None


def _private_pem(key: Any) -> bytes:
    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem


def _public_pem(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem
