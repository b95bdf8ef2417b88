"""Items: the test vectors of BEP 44, and what is refused with which number."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mosaik_actors.dht.items import (
    INVALID_SIGNATURE,
    SALT_TOO_BIG,
    SEQUENCE_MAX,
    TOO_BIG,
    ImmutableItem,
    Item,
    ItemRefused,
    MutableItem,
    check_item,
    signed_bytes,
)

KEY = bytes.fromhex("77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548")
VALUE = b"Hello World!"
PLAIN = MutableItem(
    KEY,
    1,
    VALUE,
    bytes.fromhex(
        "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff"
        "1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01"
    ),
)
SALTED = MutableItem(
    KEY,
    1,
    VALUE,
    bytes.fromhex(
        "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d"
        "df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08"
    ),
    b"foobar",
)


def test_vectors_of_the_specification() -> None:
    assert signed_bytes(1, VALUE) == b"3:seqi1e1:v12:Hello World!"
    assert signed_bytes(1, VALUE, b"foobar") == b"4:salt6:foobar3:seqi1e1:v12:Hello World!"
    check_item(PLAIN)
    check_item(SALTED)
    assert PLAIN.target.hex() == "4a533d47ec9c7d95b1ad75f576cffc641853b750"
    assert SALTED.target.hex() == "411eba73b6f087ca51a3795d9c8c938d365e32c1"
    assert ImmutableItem(VALUE).target.hex() == "e5f96f6f38320f0f33959cb4d3d656452117aadb"


def test_what_is_signed_checks_out() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    check_item(MutableItem.sign(key, 7, [b"any", {b"value": 1}], b"salt"))


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (replace(PLAIN, sequence=2), INVALID_SIGNATURE),
        (replace(PLAIN, value=b"Hello World?"), INVALID_SIGNATURE),
        (replace(PLAIN, salt=b"foobar"), INVALID_SIGNATURE),
        (replace(PLAIN, key=bytes(32)), INVALID_SIGNATURE),
        (replace(PLAIN, key=KEY[:31]), INVALID_SIGNATURE),
        (replace(PLAIN, signature=bytes(64)), INVALID_SIGNATURE),
        (replace(PLAIN, signature=b""), INVALID_SIGNATURE),
        (replace(PLAIN, sequence=-1), INVALID_SIGNATURE),
        (replace(PLAIN, sequence=SEQUENCE_MAX + 1), INVALID_SIGNATURE),
        (replace(PLAIN, salt=bytes(65)), SALT_TOO_BIG),
        (replace(PLAIN, value=bytes(997)), TOO_BIG),
        (ImmutableItem(bytes(997)), TOO_BIG),
    ],
)
def test_what_breaks_a_rule_is_refused(item: Item, code: int) -> None:
    with pytest.raises(ItemRefused) as refused:
        check_item(item)
    assert refused.value.code == code


def test_largest_value_is_taken() -> None:
    check_item(ImmutableItem(bytes(996)))  # a thousand bytes when it is bencoded
