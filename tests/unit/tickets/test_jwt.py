"""Tokens: what is accepted, what is refused and why, and what another library makes of ours."""

import time
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from joserfc import jwt as jose
from joserfc.jwk import ECKey, OctKey, OKPKey

from mosaik_actors import (
    ConfigError,
    EdDsaSigningKey,
    Es256kSigningKey,
    Es256SigningKey,
    Es384SigningKey,
    Es512SigningKey,
    Expiration,
    Hs256,
    Hs384,
    Hs512,
    InvalidTicket,
    Jwt,
    JwtTicketBuilder,
    Ticket,
)
from mosaik_actors.clock import validating_at
from mosaik_actors.tickets.jwt import stated_expiration

from .tokens import BAD, NOW, OTHER_PEER, PEER, SECRET, SIGNER, VALIDATOR, signed

KEYS: list[Any] = [
    Hs256(b"a" * 32),
    Hs384(b"a" * 48),
    Hs512(b"a" * 64),
    Es256SigningKey(b"\1" * 32),
    Es256kSigningKey(b"\1" * 32),
    Es384SigningKey(b"\1" * 48),
    Es512SigningKey(b"\0" + b"\1" * 65),
    EdDsaSigningKey(b"\1" * 32),
]
by_algorithm = pytest.mark.parametrize("key", KEYS, ids=lambda key: key.algorithm)


def check(token: bytes, validator: Jwt = VALIDATOR, now: float = NOW) -> Expiration:
    return validator.check(token, PEER, now=now)


@pytest.mark.parametrize(("token", "reason"), [one[1:] for one in BAD], ids=[b[0] for b in BAD])
def test_a_bad_token_is_refused(token: bytes, reason: str) -> None:
    with pytest.raises(InvalidTicket) as refused:
        check(token)
    assert reason in refused.value.reason
    assert len(refused.value.reason) <= 200


def test_the_table_of_bad_tokens_is_long_and_has_no_repetitions() -> None:
    assert len(BAD) >= 80
    assert len({name for name, _, _ in BAD}) == len(BAD)


@pytest.mark.parametrize(
    "token",
    [
        signed(),
        signed(iss="acme-2"),
        signed(aud="trades"),
        signed(nbf=...),
        signed(nbf=NOW),
        signed(iat=NOW, nbf=...),
        signed(exp=NOW + 0.001),
        signed(iat=NOW - 1800.0 + 0.5, nbf=...),
        signed(jti="x", note={"a": [1, None, "\U0001f3ab"]}),
        signed(header={"alg": "ES256"}),
        signed(header={"alg": "ES256", "typ": "at+jwt", "kid": "7"}),
    ],
)
def test_a_good_token_is_accepted(token: bytes) -> None:
    assert not check(token).is_past(NOW)


def test_it_holds_until_its_end_or_until_it_is_too_old() -> None:
    assert check(signed()) == Expiration.at(NOW + 600)
    assert check(signed(iat=NOW - 1700, nbf=...)) == Expiration.at(NOW + 100)
    forever = Jwt(SIGNER.verifying_key, allow_non_expiring=True)
    assert check(signed(exp=..., aud=...), forever).is_never
    aging = Jwt(SIGNER.verifying_key, allow_non_expiring=True, max_age=timedelta(minutes=1))
    assert check(signed(exp=..., aud=...), aging) == Expiration.at(NOW + 50)
    bounded = Jwt(SIGNER.verifying_key, allow_non_expiring=True, max_lifetime=60)
    with pytest.raises(InvalidTicket, match="longer than 60"):
        check(signed(exp=..., aud=...), bounded)


def test_what_is_not_valid_yet_says_when() -> None:
    with pytest.raises(InvalidTicket) as refused:
        check(signed(nbf=NOW + 50))
    assert refused.value.valid_from == NOW + 50
    with pytest.raises(InvalidTicket) as refused:
        check(signed(exp=NOW))
    assert refused.value.valid_from is None


def test_leeway_widens_both_ends_and_no_more() -> None:
    loose = Jwt(SIGNER.verifying_key, audiences="prices", leeway=30)
    assert check(signed(exp=NOW - 29, iat=..., nbf=...), loose) == Expiration.at(NOW + 1)
    with pytest.raises(InvalidTicket, match="expired"):
        check(signed(exp=NOW - 30, iat=..., nbf=...), loose)
    check(signed(nbf=NOW + 30), loose)
    with pytest.raises(InvalidTicket) as refused:
        check(signed(nbf=NOW + 31), loose)
    assert refused.value.valid_from == NOW + 1


def test_a_subject_may_be_somebody_else_than_the_peer() -> None:
    alice = Jwt(SIGNER.verifying_key, audiences="prices", subject="alice")
    check(signed(sub="alice"), alice)
    with pytest.raises(InvalidTicket, match="about"):
        check(signed(), alice)


def test_who_names_no_audience_takes_no_token_for_one() -> None:
    """RFC 7519 section 4.1.3."""
    with pytest.raises(InvalidTicket, match="audience"):
        check(signed(), Jwt(SIGNER.verifying_key))


def test_keys_can_be_replaced_one_by_one() -> None:
    both = Jwt([SECRET, SIGNER.verifying_key], audiences="prices")
    check(signed(), both)
    check(signed(key=SECRET), both)


@by_algorithm
def test_what_we_build_we_accept(key: Any) -> None:
    builder = JwtTicketBuilder(
        key, issuer="acme", audience=["a", "b"], expires_in=timedelta(minutes=2),
        not_before=-5, claims={"role": "ops"}, key_id="7",
    )  # fmt: skip
    validator = Jwt(key.verifying_key, issuers="acme", audiences="b", claims={"role": "ops"})
    with validating_at(NOW + 0.5):
        ticket = builder.build(PEER)
        assert validator.validate(ticket.data, PEER) == Expiration.at(NOW + 120.5)
        with pytest.raises(InvalidTicket, match="another peer"):
            validator.validate(ticket.data, OTHER_PEER)
    with validating_at(NOW + 120.5), pytest.raises(InvalidTicket, match="expired"):
        validator.validate(ticket.data, PEER)
    assert stated_expiration(ticket) == Expiration.at(NOW + 120.5)
    assert stated_expiration(Ticket(Jwt.class_id, b"?")) is None


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@by_algorithm
def test_another_library_accepts_ours_and_we_accept_its(key: Any) -> None:
    shared = isinstance(key, Hs256 | Hs384 | Hs512)
    private: Any
    if shared:
        private = public = OctKey.import_key(key._signing_key)
    else:
        kind: Any = OKPKey if key.algorithm == "EdDSA" else ECKey
        private = kind.import_key(key.pem)
        public = private
    now = time.time()
    ticket = JwtTicketBuilder(key, issuer="acme").build(PEER)
    seen = jose.decode(ticket.data.decode(), public, algorithms=[key.algorithm])
    assert seen.claims["sub"] == str(PEER)
    assert seen.claims["iss"] == "acme"
    claims = {"sub": str(PEER), "iss": "acme", "iat": int(now), "exp": int(now) + 60}
    made = jose.encode({"alg": key.algorithm}, claims, private, algorithms=[key.algorithm])
    expiration = Jwt(key.verifying_key, issuers=["acme"]).validate(made.encode(), PEER)
    assert expiration.moment == datetime.fromtimestamp(int(now) + 60, UTC)


def test_every_setting_changes_the_signature() -> None:
    key = SIGNER.verifying_key
    settings: list[dict[str, Any]] = [
        {}, {"issuers": "a"}, {"issuers": ["a", "b"]}, {"audiences": "a"}, {"subject": "a"},
        {"claims": {"a": 1}}, {"claims": {"a": True}}, {"claims": {"a": "1"}}, {"claims": {"b": 1}},
        {"allow_non_expiring": True}, {"max_lifetime": 5}, {"max_age": 5}, {"leeway": 5},
    ]  # fmt: skip
    validators = [Jwt(key, **one) for one in settings]
    validators += [Jwt(one.verifying_key) for one in KEYS]
    validators += [Jwt([key, SECRET]), Jwt(Hs256(b"b" * 32))]
    assert len({one.signature for one in validators}) == len(validators)
    same = Jwt([SECRET, key], issuers=["b", "a"], claims={"x": 1, "y": {"q": 1, "p": 2}})
    again = Jwt((key, SECRET), issuers={"a", "b"}, claims={"y": {"p": 2, "q": 1}, "x": 1})
    assert same.signature == again.signature


def test_nothing_shows_a_secret() -> None:
    secret = b"0123456789abcdef0123456789abcdef"
    key = Hs256(secret)
    validator = Jwt(key)
    shown = [repr(key), repr(validator), validator.signature.hex, key.fingerprint.hex()]
    for text in shown:
        assert secret.hex() not in text
        assert secret.decode() not in text
    for one in KEYS:
        assert (b"\1" * 8).hex() not in repr(one)


def _any(kind: Any) -> Any:
    """Return a class that takes anything, as far as a type checker knows."""
    return kind


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: _any(Jwt)("key"), "verifies no tokens"),
        (lambda: Jwt([]), "verifies no tokens"),
        (lambda: _any(Jwt)(SIGNER), "verifies no tokens"),
        (lambda: Jwt(SECRET, issuers=[""]), "issuers"),
        (lambda: Jwt(SECRET, claims={"exp": 1}), "'exp'"),
        (lambda: Jwt(SECRET, claims={"a": {1}}), "not JSON"),
        (lambda: Jwt(SECRET, claims={"a": float("nan")}), "not JSON"),
        (lambda: Jwt(SECRET, max_age=0), "max_age"),
        (lambda: Jwt(SECRET, max_lifetime=-1), "max_lifetime"),
        (lambda: Jwt(SECRET, leeway=601), "leeway"),
        (lambda: _any(JwtTicketBuilder)(SIGNER.verifying_key), "signs nothing"),
        (lambda: JwtTicketBuilder(SECRET, expires_in=0), "expires_in"),
        (lambda: JwtTicketBuilder(SECRET, expires_in=float("inf")).build(PEER), "1970 to 9999"),
        (lambda: JwtTicketBuilder(SECRET, expires_in=1e13).build(PEER), "1970 to 9999"),
        (lambda: JwtTicketBuilder(SECRET, claims={"sub": 1}), "'sub'"),
        (lambda: JwtTicketBuilder(SECRET, claims={"a": "x" * 9000}).build(PEER), "at most 8192"),
    ],
)
def test_settings_are_checked(make: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        make()


def test_whatever_the_bytes_only_a_refusal_comes_of_them() -> None:
    rng, good = Random(1), bytearray(signed())
    for _ in range(500):
        spoilt = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(spoilt))
            match rng.randrange(3):
                case 0:
                    spoilt[at] = rng.randrange(256)
                case 1:
                    del spoilt[at : at + rng.randint(1, 9)]
                case _:
                    spoilt[at:at] = rng.randbytes(rng.randint(1, 9))
        if spoilt != good:
            with pytest.raises(InvalidTicket):
                check(bytes(spoilt))
    check(bytes(good))
