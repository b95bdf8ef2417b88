"""Candidates: what a peer may name, and what of it is worth a probe."""

import msgspec
import pytest

from mosaik_actors.errors import DecodeError
from mosaik_actors.transport.address import RELAYED_PREFIX
from mosaik_actors.transport.paths.candidates import (
    CANDIDATES_MAX,
    PathOffer,
    decode_offer,
    is_worth_probing,
    make_secret,
    pick_own,
)

NONCE = bytes(range(32))


def test_an_offer_arrives_as_it_was_made() -> None:
    offer = PathOffer(NONCE, (("192.0.2.1", 4433), ("2001:db8::1", 1)))
    assert decode_offer(offer.encode()) == offer


@pytest.mark.parametrize(
    "fields",
    [
        [NONCE],
        [NONCE[:-1], []],
        [NONCE + b"x", []],
        [NONCE, [["192.0.2.1", 0]]],
        [NONCE, [["192.0.2.1", 65_536]]],
        [NONCE, [["example.com", 1]]],
        [NONCE, [["", 1]]],
        [NONCE, [["1" * 65, 1]]],
        [NONCE, [[f"{RELAYED_PREFIX}:1%{'a' * 64}", 1]]],
        [NONCE, [["192.0.2.1%eth0", 1]]],
        [NONCE, [["192.0.2.1", 1]] * (CANDIDATES_MAX + 1)],
        [NONCE, [["192.0.2.1"]]],
        [NONCE, "192.0.2.1"],
        "offer",
        [bytes(2000), []],
    ],
)
def test_what_is_no_offer_is_refused(fields: object) -> None:
    with pytest.raises(DecodeError):
        decode_offer(msgspec.msgpack.encode(fields))


@pytest.mark.parametrize(
    ("host", "from_wide", "from_loopback"),
    [
        ("192.0.2.1", True, False),
        ("10.0.0.1", True, False),
        ("192.168.1.7", True, False),
        ("2001:db8::1", True, False),
        ("fd00::1", True, False),
        ("127.0.0.1", False, True),
        ("::1", False, True),
        ("::ffff:127.0.0.1", False, True),
        ("0.0.0.0", False, False),
        ("::", False, False),
        ("224.0.0.1", False, False),
        ("ff02::1", False, False),
        ("255.255.255.255", False, False),
        ("169.254.169.254", False, False),
        ("fe80::1%eth0", False, False),
        ("240.0.0.1", False, False),
    ],
)
def test_what_is_worth_a_probe(host: str, from_wide: bool, from_loopback: bool) -> None:
    assert is_worth_probing((host, 1), hears_loopback=False) == from_wide
    assert is_worth_probing((host, 1), hears_loopback=True) == from_loopback


def test_own_addresses_are_bounded_and_what_others_see_comes_first() -> None:
    observed = [("192.0.2.1", 1), ("192.0.2.2", 1), ("192.0.2.1", 1)]
    local = [("10.0.0.1", number) for number in range(1, 20)]
    found = pick_own(observed, local)
    assert found[:3] == (("192.0.2.1", 1), ("192.0.2.2", 1), ("10.0.0.1", 1))
    assert len(found) == CANDIDATES_MAX


def test_the_secret_is_of_both() -> None:
    one, other = PathOffer(NONCE, ()), PathOffer(bytes(32), ())
    assert make_secret(one, other) != make_secret(one, one)
    assert make_secret(one, other) != make_secret(other, other)
