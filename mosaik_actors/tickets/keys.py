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
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a pair of keys is made of, whatever form it is given in.

    Attributes:
        name: What it is called in errors.
        public_type: The class of its public keys.
        private_type: The class of its private keys.
        private_bytes: How many bytes a private key has.
        read_public: Makes a public key of bytes; raises ValueError.
        read_private: Makes a private key of as many bytes; raises ValueError.
        write_public: Gives the bytes of a public key, always in the same form.
        generate: Makes a private key.
    """

    name: str
    public_type: type
    private_type: type
    private_bytes: int
    read_public: Callable[[bytes], Any]
    read_private: Callable[[bytes], Any]
    write_public: Callable[[Any], bytes]
    generate: Callable[[], Any]

    def check(self, owner: str, loaded: Any, expected: type) -> Any:
        """Return a key from PEM. Raises `ConfigError` if it is of another kind."""
        curve = getattr(getattr(loaded, "curve", None), "name", self.name)
        if not isinstance(loaded, expected) or curve != self.name:
            raise ConfigError(f"{owner} was given another kind of key than {self.name}")
        return loaded


def _on_curve(curve: ec.EllipticCurve) -> _Kind:
    return _Kind(
        name=curve.name,
        public_type=ec.EllipticCurvePublicKey,
        private_type=ec.EllipticCurvePrivateKey,
        private_bytes=(curve.key_size + 7) // 8,
        read_public=lambda raw: ec.EllipticCurvePublicKey.from_encoded_point(curve, raw),
        read_private=lambda raw: ec.derive_private_key(int.from_bytes(raw), curve),
        write_public=lambda key: key.public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
        ),
        generate=lambda: ec.generate_private_key(curve),
    )


_ED25519: Final = _Kind(
    name="Ed25519",
    public_type=ed25519.Ed25519PublicKey,
    private_type=ed25519.Ed25519PrivateKey,
    private_bytes=32,
    read_public=ed25519.Ed25519PublicKey.from_public_bytes,
    read_private=ed25519.Ed25519PrivateKey.from_private_bytes,
    write_public=lambda key: key.public_bytes_raw(),
    generate=ed25519.Ed25519PrivateKey.generate,
)


class _PublicKey(TokenKey):
    """The public half of a pair."""

    _kind: ClassVar[_Kind]

    def __init__(self, key: bytes | str) -> None:
        name, kind = type(self).__name__, self._kind
        raw = _as_bytes(name, key)
        if raw.lstrip().startswith(_PEM_START):
            loaded = kind.check(name, _load_public_pem(name, raw), kind.public_type)
        else:
            try:
                loaded = kind.read_public(raw)
            except ValueError as exc:
                text = f"{name} was given {len(raw)} bytes that are no key of {kind.name}: {exc}"
                raise ConfigError(text) from exc
        self._key = loaded
        named = self.algorithm.encode() + b"\0" + kind.write_public(loaded)
        self.fingerprint = blake3(named, derive_key_context=_PUBLIC_CONTEXT).digest()


class _PrivateKey(TokenSigningKey):
    """The private half of a pair."""

    _public: ClassVar[type[_PublicKey]]

    def __init__(self, key: bytes | str) -> None:
        name, kind = type(self).__name__, self._public._kind
        raw = _as_bytes(name, key)
        if raw.lstrip().startswith(_PEM_START):
            loaded = kind.check(name, _load_private_pem(name, raw), kind.private_type)
        elif len(raw) != kind.private_bytes:
            text = f"{name} was given {len(raw)} bytes, expected {kind.private_bytes}"
            raise ConfigError(text)
        else:
            try:
                loaded = kind.read_private(raw)
            except ValueError as exc:  # what it says may have digits of the key in it
                raise ConfigError(f"{name}: not a private key of {kind.name}") from exc
        self._signing_key = loaded

    @classmethod
    def generate(cls) -> Self:
        """Return a new key from the system's entropy."""
        return cls(_private_pem(cls._public._kind.generate()))

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


class Es256(_PublicKey):
    """ECDSA on P-256 with SHA-256."""

    algorithm = "ES256"
    _kind = _on_curve(ec.SECP256R1())


class Es256k(_PublicKey):
    """ECDSA on secp256k1 with SHA-256."""

    algorithm = "ES256K"
    _kind = _on_curve(ec.SECP256K1())


class Es384(_PublicKey):
    """ECDSA on P-384 with SHA-384."""

    algorithm = "ES384"
    _kind = _on_curve(ec.SECP384R1())


class Es512(_PublicKey):
    """ECDSA on P-521 with SHA-512."""

    algorithm = "ES512"
    _kind = _on_curve(ec.SECP521R1())


class Es256SigningKey(_PrivateKey):
    """The private half of `Es256`."""

    algorithm = "ES256"
    _public = Es256


class Es256kSigningKey(_PrivateKey):
    """The private half of `Es256k`."""

    algorithm = "ES256K"
    _public = Es256k


class Es384SigningKey(_PrivateKey):
    """The private half of `Es384`."""

    algorithm = "ES384"
    _public = Es384


class Es512SigningKey(_PrivateKey):
    """The private half of `Es512`."""

    algorithm = "ES512"
    _public = Es512


class EdDsa(_PublicKey):
    """Ed25519 (RFC 8037)."""

    algorithm = "EdDSA"
    _kind = _ED25519


class EdDsaSigningKey(_PrivateKey):
    """The private half of `EdDsa`."""

    algorithm = "EdDSA"
    _public = EdDsa


VERIFYING_KEYS: Final[dict[str, type[_SharedSecret | _PublicKey]]] = {
    one.algorithm: one for one in (Hs256, Hs384, Hs512, Es256, Es256k, Es384, Es512, EdDsa)
}
SIGNING_KEYS: Final[dict[str, type[_SharedSecret | _PrivateKey]]] = {
    one.algorithm: one
    for one in (
        Hs256, Hs384, Hs512,
        Es256SigningKey, Es256kSigningKey, Es384SigningKey, Es512SigningKey, EdDsaSigningKey,
    )
}  # fmt: skip


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
        raise ConfigError(
            f"{name} was given PEM without a public key in it; of a private one, "
            "`openssl pkey -in FILE -pubout` prints it"
        ) from None


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
