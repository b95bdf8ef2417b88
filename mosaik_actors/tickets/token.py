"""JSON Web Tokens as they travel: read strictly, checked and made by PyJWT.

A token is read before its signature is looked at, so reading is bounded and takes
one form only (RFC 7515 section 7.1): three parts in canonical base64url, JSON
objects in which no name comes twice, an algorithm that a key of ours was made for.
PyJWT then checks the signature, with that key and that algorithm alone. Extensions
that have to be understood (``crit``), unencoded payloads (``b64``) and nested tokens
(``cty``) are refused; keys that a header offers are ignored.

Invariant: whatever is given to `read_token` and `verify_token`, they return or raise
`InvalidTicket`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from typing import Any, Final, NamedTuple, NoReturn

import jwt

from ..errors import clip
from .keys import SIGNING_KEYS, TokenKey, TokenSigningKey
from .validator import InvalidTicket

TOKEN_BYTES_MAX: Final = 8 * 1024
NESTED_MAX: Final = 16

_PART = re.compile(rb"[A-Za-z0-9_-]+")
_NOT_UNDERSTOOD: Final = ("crit", "b64", "cty", "zip")
_jws = jwt.PyJWS(algorithms=list(SIGNING_KEYS))


class Token(NamedTuple):
    """A token that was read.

    Attributes:
        header: What it says of itself.
        claims: What it says.
    """

    header: dict[str, Any]
    claims: dict[str, Any]


def read_token(data: bytes) -> Token:
    """Return what a token says, whoever signed it.

    Raises:
        InvalidTicket: It is not a token; says what is wrong.
    """
    if len(data) > TOKEN_BYTES_MAX:
        raise InvalidTicket(f"a token of {len(data)} bytes, at most {TOKEN_BYTES_MAX}")
    parts = data.split(b".")
    if len(parts) != 3:
        raise InvalidTicket(f"a token has 3 parts, this has {len(parts)}")
    if not parts[2]:
        raise InvalidTicket("the token has no signature")
    header = _read_object("header", parts[0])
    claims = _read_object("claims", parts[1])
    _read_part("signature", parts[2])
    for name in _NOT_UNDERSTOOD:
        if name in header:
            raise InvalidTicket(f"the token's header has {name!r}, which is not understood")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or not (kind.upper() == "JWT" or kind.lower().endswith("+jwt")):
        raise InvalidTicket("the token's type is not JWT")
    return Token(header, claims)


def verify_token(data: bytes, keys: Iterable[TokenKey]) -> dict[str, Any]:
    """Return the claims of a token that one of `keys` verifies.

    Raises:
        InvalidTicket: It is not a token, of another algorithm than the keys, or not
            signed with any of them.
    """
    token = read_token(data)
    algorithm = token.header.get("alg")
    fitting = [key for key in keys if key.algorithm == algorithm]
    if not fitting:
        raise InvalidTicket(
            f"the token's algorithm is {clip(algorithm, 20)}, which is not accepted"
        )
    for key in fitting:
        try:
            _jws.decode_complete(data, key._key, algorithms=[key.algorithm])
        except jwt.PyJWTError:
            continue
        return token.claims
    raise InvalidTicket("the token's signature is not of a key that is accepted")


def sign_token(claims: dict[str, Any], key: TokenSigningKey, key_id: str | None = None) -> bytes:
    """Return a token that says `claims`, signed."""
    headers = None if key_id is None else {"kid": key_id}
    payload = json.dumps(claims, separators=(",", ":"), allow_nan=False).encode()
    return _jws.encode(payload, key._signing_key, key.algorithm, headers=headers).encode()


def _read_object(what: str, part: bytes) -> dict[str, Any]:
    text = _read_part(what, part)
    try:
        found = json.loads(
            text.decode(), object_pairs_hook=_without_repetition, parse_constant=_refuse_constant
        )
    except InvalidTicket:
        raise
    except (ValueError, RecursionError):
        raise InvalidTicket(f"the token's {what} could not be decoded") from None
    if not isinstance(found, dict):
        raise InvalidTicket(f"the token's {what} is not an object")
    if _depth_exceeds(found, NESTED_MAX):
        raise InvalidTicket(f"the token's {what} is nested more than {NESTED_MAX} deep")
    return found


def _read_part(what: str, part: bytes) -> bytes:
    if not _PART.fullmatch(part):
        raise InvalidTicket(f"the token's {what} is not base64url")
    try:
        raw = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except ValueError:
        raise InvalidTicket(f"the token's {what} is not base64url") from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != part:
        raise InvalidTicket(f"the token's {what} is not canonical base64url")
    return raw


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidTicket("a name comes twice in the token")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidTicket(f"the token has {name}, which is not JSON")


def _depth_exceeds(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    if levels == 0:
        return True
    inner = value.values() if isinstance(value, dict) else value
    return any(_depth_exceeds(one, levels - 1) for one in inner)
