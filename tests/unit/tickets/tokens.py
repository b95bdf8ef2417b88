"""Tokens, good and bad, for the tests of tickets."""

import base64
import json
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from mosaik_actors import (
    EdDsaSigningKey,
    Es256,
    Es256SigningKey,
    Hs256,
    Hs512,
    Jwt,
    PeerId,
    SecretKey,
)

NOW = 1_700_000_000
PEER = SecretKey.from_seed("mine").peer_id
OTHER_PEER = SecretKey.from_seed("another").peer_id
SIGNER = Es256SigningKey((7).to_bytes(32))
OTHER_SIGNER = Es256SigningKey((8).to_bytes(32))
SECRET = Hs256(b"s" * 32)
VALIDATOR = Jwt(
    SIGNER.verifying_key,
    issuers=["acme", "acme-2"],
    audiences=["prices", "trades"],
    claims={"role": "ops", "level": 3},
    max_lifetime=3600,
    max_age=1800,
)
GOOD: dict[str, Any] = {
    "iss": "acme",
    "aud": ["chat", "prices"],
    "sub": str(PEER),
    "iat": NOW - 10,
    "nbf": NOW - 5,
    "exp": NOW + 600,
    "role": "ops",
    "level": 3,
}


def b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def signed(
    claims: dict[str, Any] | str | None = None,
    key: Any = SIGNER,
    header: dict[str, Any] | str | None = None,
    **changes: Any,
) -> bytes:
    """Return a token with any header and claims, really signed; a change to ``...`` removes."""
    if claims is None:
        merged = {**GOOD, **changes}
        claims = {name: value for name, value in merged.items() if value is not ...}
    text = claims if isinstance(claims, str) else json.dumps(claims)
    head = {"typ": "JWT", "alg": key.algorithm} if header is None else header
    head_text = head if isinstance(head, str) else json.dumps(head)
    signing_input = b64(head_text.encode()) + b"." + b64(text.encode("utf-8", "surrogatepass"))
    algorithm = jwt.PyJWS().get_algorithm_by_name(key.algorithm)
    return signing_input + b"." + b64(algorithm.sign(signing_input, key._signing_key))


def spoilt(change: Callable[[list[bytes]], None]) -> bytes:
    """Return a good token with its parts changed after it was signed."""
    parts = signed().split(b".")
    change(parts)
    return b".".join(parts)


def _set(index: int, value: bytes) -> bytes:
    def change(parts: list[bytes]) -> None:
        parts[index] = value

    return spoilt(change)


def _public_pem() -> bytes:
    """The public key as everybody has it: the secret of an HMAC in an algorithm confusion."""
    pem: bytes = SIGNER.verifying_key._key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem


def _confused() -> bytes:
    body = b64(b'{"typ":"JWT","alg":"HS256"}') + b"." + b64(json.dumps(GOOD).encode())
    import hashlib
    import hmac

    return body + b"." + b64(hmac.new(_public_pem(), body, hashlib.sha256).digest())


def _rsa() -> bytes:
    key = rsa.generate_private_key(65_537, 2048)
    return jwt.encode(GOOD, key, "RS256").encode()


def _same_point_another_curve() -> bytes:
    key = ec.derive_private_key(7, ec.SECP256K1())
    return jwt.encode(GOOD, key, "ES256K").encode()


GOOD_TEXT = json.dumps(GOOD)
DEEP = "[" * 2_000 + "]" * 2_000

# What is wrong, a token, and a part of the reason.
BAD: list[tuple[str, bytes, str]] = [
    # Its form.
    ("nothing", b"", "3 parts"),
    ("one part", b"abc", "3 parts"),
    ("two parts", b".".join(signed().split(b".")[:2]), "3 parts"),
    ("four parts", signed() + b".abc", "3 parts"),
    ("five parts, encrypted", b"a.b.c.d.e", "3 parts"),
    ("no signature", _set(2, b""), "no signature"),
    ("an empty header", _set(0, b""), "not base64url"),
    ("empty claims", _set(1, b""), "not base64url"),
    ("spaces", b" " + signed(), "not base64url"),
    ("a line end", signed() + b"\n", "not base64url"),
    ("padding", signed() + b"=", "not base64url"),
    ("the other base64", _set(2, b"+" + signed().split(b".")[2][1:]), "not base64url"),
    ("not ASCII", _set(1, "\u00e9".encode()), "not base64url"),
    ("one character too many", _set(1, b"abcde"), "base64url"),
    ("bits beyond the last byte", _set(0, b64(b'{"alg":"ES256"} ')[:-1] + b"B"), ""),
    ("oversized", signed(note="x" * 9000), "at most 8192"),
    ("a header that is no JSON", signed(header="{"), "could not be decoded"),
    ("a header that is a list", signed(header="[]"), "not an object"),
    ("claims that are no JSON", signed("{'a': 1}"), "could not be decoded"),
    ("claims that are a text", signed('"me"'), "not an object"),
    ("claims that are no UTF-8", _set(1, b64(b'{"a":"\xff"}')), "could not be decoded"),
    ("nested without end", signed(f'{{"a":{DEEP}}}'), ""),
    ("nested too deep", signed(note=json.loads("[" * 20 + "]" * 20)), "nested"),
    ("a number of 5,000 digits", signed('{"exp":' + "9" * 5000 + "}"), "could not be decoded"),
    # Its header.
    ("alg none", signed(header={"alg": "none"}), "'none', which is not accepted"),
    ("alg None", signed(header={"alg": "None"}), "is not accepted"),
    ("alg none without signature", _set(0, b64(b'{"alg":"none"}'))[:-86], ""),
    ("no alg", signed(header={"typ": "JWT"}), "is not accepted"),
    ("alg twice", signed(header='{"alg":"none","alg":"ES256"}'), "twice"),
    ("alg is a list", signed(header={"alg": ["ES256"]}), "is not accepted"),
    ("alg in small letters", signed(header={"alg": "es256"}), "is not accepted"),
    ("algorithm confusion", _confused(), "'HS256', which is not accepted"),
    ("another secret's algorithm", signed(key=SECRET), "is not accepted"),
    ("RSA", _rsa(), "is not accepted"),
    ("another curve", _same_point_another_curve(), "is not accepted"),
    ("EdDSA", signed(key=EdDsaSigningKey(bytes(32))), "is not accepted"),
    ("critical extensions", signed(header={"alg": "ES256", "crit": ["exp"]}), "'crit'"),
    ("an unencoded payload", signed(header={"alg": "ES256", "b64": False}), "'b64'"),
    ("a nested token", signed(header={"alg": "ES256", "cty": "JWT"}), "'cty'"),
    ("compressed", signed(header={"alg": "ES256", "zip": "DEF"}), "'zip'"),
    ("of another type", signed(header={"alg": "ES256", "typ": "JOSE"}), "type"),
    ("a type that is a number", signed(header={"alg": "ES256", "typ": 1}), "type"),
    # Its signature.
    ("another key", signed(key=OTHER_SIGNER), "signature"),
    ("its own key in the header", signed(key=OTHER_SIGNER, header={
        "alg": "ES256", "jwk": {"kty": "EC"}, "jku": "https://example.org/keys"}), "signature"),
    ("changed claims", _set(1, b64(GOOD_TEXT.replace("600", "601").encode() + b" ")), "signature"),
    ("a changed header", _set(0, b64(b'{"alg": "ES256"}')), "signature"),
    ("a signature of zeros", _set(2, b64(bytes(64))), "signature"),
    ("a short signature", _set(2, b64(bytes(10))), "signature"),
    ("a long signature", _set(2, b64(bytes(200))), "signature"),
    # Whom it is from, for, and about.
    ("no issuer", signed(iss=...), "issuer"),
    ("another issuer", signed(iss="acme-3"), "issuer"),
    ("a list of issuers", signed(iss=["acme"]), "issuer"),
    ("no audience", signed(aud=...), "audience"),
    ("another audience", signed(aud="chat"), "audience"),
    ("an audience that is a number", signed(aud=5), "audience"),
    ("an audience of numbers", signed(aud=["prices", 5]), "audience"),
    ("an audience that is null", signed(aud=None), "audience"),
    ("another peer's", signed(sub=str(OTHER_PEER)), "another peer"),
    ("nobody's", signed(sub=...), "nobody"),
    ("a subject in capitals", signed(sub=str(PEER).upper()), "another peer"),
    ("a subject twice", signed(GOOD_TEXT[:-1] + f', "sub": "{PEER}"}}'), "twice"),
    ("without a claim", signed(role=...), "'role'"),
    ("with another claim", signed(role="dev"), "'role'"),
    ("a claim of another type", signed(level="3"), "'level'"),
    ("a claim that is a fraction", signed(level=3.0), "'level'"),
    ("a claim that is true", signed(level=True), "'level'"),
    # Its times.
    ("no end", signed(exp=...), "no end"),
    ("an end that is null", signed(exp=None), "not a number"),
    ("an end that is a text", signed(exp=str(NOW + 600)), "not a number"),
    ("an end that is true", signed(exp=True), "not a number"),
    ("an end below zero", signed(exp=-1), "1970"),
    ("an end after the year 9999", signed(exp=10**12), "9999"),
    ("an absurd end", signed(exp=1e308), "9999"),
    ("an infinite end", signed(GOOD_TEXT.replace(str(NOW + 600), "1e999")), "9999"),
    ("an end that is NaN", signed(GOOD_TEXT.replace(str(NOW + 600), "NaN")), "NaN"),
    ("an end that is Infinity", signed(GOOD_TEXT.replace(str(NOW + 600), "Infinity")), "Infinity"),
    ("an end that comes twice", signed(GOOD_TEXT[:-1] + f', "exp": {NOW + 60}}}'), "twice"),
    ("expired", signed(exp=NOW - 1), "expired"),
    ("expired just now", signed(exp=NOW), "expired"),
    ("not valid yet", signed(nbf=NOW + 1), "not yet"),
    ("issued in the future", signed(iat=NOW + 1, nbf=...), "not yet"),
    ("a beginning that is a text", signed(nbf="now"), "not a number"),
    ("ends before it begins", signed(nbf=NOW + 700), "ends before"),
    ("ends before it was issued", signed(iat=NOW + 700, nbf=...), "ends before"),
    ("does not say when it was issued", signed(iat=...), "issued"),
    ("holds too long", signed(exp=NOW - 10 + 3601), "longer than 3600"),
    ("too old", signed(iat=NOW - 1801), "older than 1800"),
]  # fmt: skip


class Elsewhere:
    """A holder of tickets that is no peer in a catalog."""

    network_id = bytes(32)

    def __init__(self, peer_id: PeerId) -> None:
        self.peer_id = peer_id


__all__ = ["BAD", "Es256", "Hs512", "b64", "signed"]
