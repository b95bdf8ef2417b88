"""JSON Web Tokens as tickets (RFC 7519): the validator, and what makes them.

    key = Es256SigningKey.generate()
    ticket = JwtTicketBuilder(key, issuer="acme", expires_in=3600).build(net.peer_id)
    net.discovery.add_ticket(ticket)

    Jwt(key.verifying_key, issuers=["acme"])          # on whoever requires one

A token is for one peer: its subject is the peer's id, unless the validator names
another subject, and then whoever has seen the token in the catalog can show it too.

What is checked, in this order: the form (`token`), the algorithm and the signature;
issuer, audience, subject, claims; then the times. A token that says for whom it is
(``aud``) is refused by who is not said to be one of them (RFC 7519 section 4.1.3).
Of issuers and audiences one is enough, and of each kind one has to be there.

Times are seconds since the Unix epoch, from 0 to the end of the year 9999, with or
without a fraction. `leeway` is for clocks that differ: that much earlier a token is
taken for valid and that much longer. It is 0 by default, and a token from a clock that
is ahead of ours is asked about again as soon as it will be valid.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from math import floor
from typing import Any, ClassVar, Final

from blake3 import blake3

from ..clock import validation_time
from ..config import require_above, require_between, seconds
from ..errors import ConfigError, clip
from ..ids import PeerId, UniqueId
from .keys import TokenKey, TokenSigningKey
from .ticket import TICKET_BYTES_MAX, Ticket
from .token import TOKEN_BYTES_MAX, read_token, sign_token, verify_token
from .validator import Expiration, ExpiredTicket, InvalidTicket, TicketHolder, peer_id_of

INSTANT_MAX: Final = 253_402_300_799  # the last second of the year 9999
LEEWAY_S_MAX: Final = 600

_SIGNATURE_CONTEXT: Final = "mosaik_actors 2026 signature of a validator of tokens"
_REGISTERED: Final = ("iss", "sub", "aud", "exp", "nbf", "iat")

assert TOKEN_BYTES_MAX <= TICKET_BYTES_MAX

Names = str | Iterable[str]


class Jwt:
    """Accepts the tokens that a key verifies and that say what is asked for.

    Args:
        key: What verifies tokens, such as `Es256`; several are accepted while a key is
            being replaced.
        issuers: Who may have issued a token, one or several; empty: whoever has the key.
        audiences: For whom a token may be, one or several; empty: it may not say.
        subject: Whom a token must be about; None: the peer that shows it.
        claims: What a token must also say: the same name with the same value.
        allow_non_expiring: Whether a token without an end is accepted.
        max_lifetime: How many seconds a token may hold from its issue to its end;
            it must say both then. None: as long as it says.
        max_age: How many seconds after its issue a token is still accepted; it must
            say that moment then. None: until its end.
        leeway: How many seconds clocks may differ; at most `LEEWAY_S_MAX`.

    Attributes:
        class_id: The class of tickets that hold a token.
        signature: Stands for all of the settings.
    """

    class_id: ClassVar[UniqueId] = UniqueId("mosaik.ticket.jwt")

    def __init__(
        self,
        key: TokenKey | Sequence[TokenKey],
        *,
        issuers: Names = (),
        audiences: Names = (),
        subject: str | PeerId | None = None,
        claims: Mapping[str, Any] | None = None,
        allow_non_expiring: bool = False,
        max_lifetime: float | timedelta | None = None,
        max_age: float | timedelta | None = None,
        leeway: float | timedelta = 0,
    ) -> None:
        self._keys = _as_keys(key)
        self._issuers = _as_names("issuers", issuers)
        self._audiences = _as_names("audiences", audiences)
        self._subject = None if subject is None else str(subject)
        self._claims = {name: _canonical(name, one) for name, one in (claims or {}).items()}
        self._allow_non_expiring = bool(allow_non_expiring)
        self._max_lifetime_s = _as_limit("max_lifetime", max_lifetime)
        self._max_age_s = _as_limit("max_age", max_age)
        self._leeway_s = seconds(leeway)
        require_between("leeway", self._leeway_s, 0, LEEWAY_S_MAX)
        for name in self._claims:
            if name in _REGISTERED:
                raise ConfigError(f"claims names {name!r}, which has a setting of its own")
        self.signature = self._sign()

    def _sign(self) -> UniqueId:
        settings = [
            sorted(key.fingerprint.hex() for key in self._keys),
            sorted(self._issuers), sorted(self._audiences), self._subject,
            sorted(self._claims.items()), self._allow_non_expiring,
            self._max_lifetime_s, self._max_age_s, self._leeway_s,
        ]  # fmt: skip
        text = json.dumps(settings).encode()
        return UniqueId(blake3(text, derive_key_context=_SIGNATURE_CONTEXT).digest())

    def __repr__(self) -> str:
        return f"Jwt({', '.join(map(repr, self._keys))}, signature {self.signature.short})"

    def validate(self, data: bytes, peer: TicketHolder | PeerId) -> Expiration:
        """Return until when a token holds for a peer. See `check` for another time than now.

        Raises:
            InvalidTicket: It is not accepted; says why not.
        """
        return self.check(data, peer_id_of(peer), now=validation_time())

    def check(self, data: bytes, peer_id: PeerId, *, now: float) -> Expiration:
        """Return until when a token holds for a peer.

        Args:
            data: The token.
            peer_id: Who shows it.
            now: Wall-clock time in seconds since the Unix epoch.

        Raises:
            InvalidTicket: It is not accepted; says why not.
        """
        claims = verify_token(bytes(data), self._keys)
        self._check_names(claims, peer_id)
        return self._check_times(claims, now)

    def _check_names(self, claims: dict[str, Any], peer_id: PeerId) -> None:
        issuer = claims.get("iss")
        if self._issuers and not (isinstance(issuer, str) and issuer in self._issuers):
            raise InvalidTicket(f"the token's issuer is {_shown(claims, 'iss')}, not one accepted")
        audience = claims.get("aud", [])
        named: Any = [audience] if isinstance(audience, str) else audience
        if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
            raise InvalidTicket("the token's audience is neither a text nor a list of texts")
        if (self._audiences or "aud" in claims) and self._audiences.isdisjoint(named):
            raise InvalidTicket(f"the token's audience is {_shown(claims, 'aud')}, not one of ours")
        wanted = str(peer_id) if self._subject is None else self._subject
        if claims.get("sub") != wanted:
            whose = "another peer" if self._subject is None else _shown(claims, "sub")
            raise InvalidTicket(
                f"the token is about {whose if 'sub' in claims else 'nobody'}, not about "
                f"{peer_id.short if self._subject is None else clip(wanted, 64)}"
            )
        for name, value in self._claims.items():
            if name not in claims or _canonical(name, claims[name]) != value:
                raise InvalidTicket(f"the token's claim {name!r} is not as required")

    def _check_times(self, claims: dict[str, Any], now: float) -> Expiration:
        leeway_s = self._leeway_s
        issued, begins, ends = (_instant(claims, name) for name in ("iat", "nbf", "exp"))
        if ends is None and not self._allow_non_expiring:
            raise InvalidTicket("the token has no end (exp)")
        if issued is None and (self._max_lifetime_s, self._max_age_s) != (None, None):
            raise InvalidTicket("the token does not say when it was issued (iat)")
        if ends is not None and max(issued or 0, begins or 0) >= ends:
            raise InvalidTicket("the token ends before it begins")
        if self._max_lifetime_s is not None:
            assert issued is not None, "checked above"
            if ends is None or ends - issued > self._max_lifetime_s:
                raise InvalidTicket(
                    f"the token holds longer than {self._max_lifetime_s:g} s from its issue"
                )
        until = [] if ends is None else [ends]
        if self._max_age_s is not None:
            assert issued is not None, "checked above"
            until.append(issued + self._max_age_s)
        for what, begin in (("is issued", issued), ("begins", begins)):
            if begin is not None and begin - leeway_s > now:
                at = Expiration(begin)
                raise InvalidTicket(f"the token {what} at {at}, not yet", begin - leeway_s)
        if not until:
            return Expiration.NEVER
        expiration = Expiration(min(until) + leeway_s)
        if expiration.is_past(now):
            what = "has expired" if min(until) == ends else f"is older than {self._max_age_s:g} s"
            raise ExpiredTicket(f"the token {what}, at {expiration}")
        return expiration


class JwtTicketBuilder:
    """Makes tokens, each for one peer.

    Args:
        signing_key: What signs them, such as `Es256SigningKey`.
        issuer: Who issues them; None: they do not say.
        audience: For whom they are, one or several; None: they do not say.
        expires_in: For how many seconds they hold; None: for ever, and then a validator
            must allow that.
        not_before: After how many seconds they begin to hold; None: at once.
        subject: Whom they are about; None: the peer that they are made for.
        claims: What they say besides.
        key_id: The name of the key (``kid``), for validators elsewhere; None: none.
    """

    def __init__(
        self,
        signing_key: TokenSigningKey,
        *,
        issuer: str | None = None,
        audience: Names | None = None,
        expires_in: float | timedelta | None = 3600.0,
        not_before: float | timedelta | None = None,
        subject: str | PeerId | None = None,
        claims: Mapping[str, Any] | None = None,
        key_id: str | None = None,
    ) -> None:
        given: object = signing_key
        if not isinstance(given, TokenSigningKey):
            kind = type(given).__name__
            raise ConfigError(f"a {kind} signs nothing, expected a key such as Es256SigningKey")
        self._key = signing_key
        self._issuer = issuer
        self._audience = None if audience is None else sorted(_as_names("audience", audience))
        self._expires_in_s = _as_limit("expires_in", expires_in)
        self._not_before_s = None if not_before is None else seconds(not_before)
        self._subject = subject
        self._claims = dict(claims or {})
        self._key_id = key_id
        for name in self._claims:
            _canonical(name, self._claims[name])
            if name in _REGISTERED:
                raise ConfigError(f"claims names {name!r}, which has a setting of its own")

    def build(self, peer_id: PeerId | str) -> Ticket:
        """Return a new ticket for a peer, issued now.

        Raises:
            ConfigError: The token would be larger than validators accept, or end after 9999.
        """
        peer_id = PeerId(peer_id) if isinstance(peer_id, str) else peer_id
        now = validation_time()
        claims = dict(self._claims)
        claims["sub"] = str(peer_id if self._subject is None else self._subject)
        claims["iat"] = _instant_of(now)
        if self._issuer is not None:
            claims["iss"] = self._issuer
        if self._audience is not None:
            claims["aud"] = self._audience[0] if len(self._audience) == 1 else self._audience
        if self._not_before_s is not None:
            claims["nbf"] = _instant_of(now + self._not_before_s)
        if self._expires_in_s is not None:
            claims["exp"] = _instant_of(now + self._expires_in_s)
        token = sign_token(claims, self._key, self._key_id)
        if len(token) > TOKEN_BYTES_MAX:
            text = f"the token would have {len(token)} bytes, at most {TOKEN_BYTES_MAX}"
            raise ConfigError(text)
        return Ticket(Jwt.class_id, token)

    def __repr__(self) -> str:
        return f"JwtTicketBuilder({self._key!r}, issuer={self._issuer!r})"


def stated_expiration(ticket: Ticket) -> Expiration | None:
    """Return when a token says that it ends, whoever signed it; None if it is no token."""
    if ticket.class_id != Jwt.class_id:
        return None
    try:
        return Expiration(_instant(read_token(ticket.data).claims, "exp"))
    except InvalidTicket:
        return None


def _as_keys(value: Any) -> tuple[TokenKey, ...]:
    keys = tuple(value) if isinstance(value, list | tuple | set | frozenset) else (value,)
    if not keys or not all(isinstance(key, TokenKey) for key in keys):
        kind = type(value).__name__
        raise ConfigError(f"a {kind} verifies no tokens, expected a key such as Es256, or several")
    return keys


def _as_names(what: str, value: Names) -> frozenset[str]:
    names: list[Any] = [value] if isinstance(value, str) else list(value)
    for name in names:
        if not isinstance(name, str) or not name:
            raise ConfigError(f"{what} holds {clip(name)}, expected texts that are not empty")
    return frozenset(names)


def _as_limit(what: str, value: float | timedelta | None) -> float | None:
    if value is None:
        return None
    limit_s = seconds(value)
    require_above(what, limit_s)
    return limit_s


def _canonical(name: str, value: object) -> str:
    """Return a claim's value as the one text that stands for it: 1 is not 1.0, nor true."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as exc:
        raise ConfigError(f"the claim {name!r} is not JSON: {exc}") from exc


def _instant(claims: dict[str, Any], name: str) -> float | None:
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidTicket(f"the token's {name} is not a number")
    if not 0 <= value <= INSTANT_MAX:
        raise InvalidTicket(f"the token's {name} is not within the years 1970 to 9999")
    return float(value)


def _instant_of(moment: float) -> int | float:
    """Return a moment as a token says it: to the millisecond, never after the moment."""
    if not 0 <= moment <= INSTANT_MAX:  # no validator would accept it
        raise ConfigError(
            f"{moment:g} s is not within the years 1970 to 9999, as tokens have to be"
        )
    rounded = floor(moment * 1000) / 1000
    return int(rounded) if rounded.is_integer() else rounded


def _shown(claims: dict[str, Any], name: str) -> str:
    return clip(claims[name], 64) if name in claims else "not said"
