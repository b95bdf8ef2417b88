"""What a node keeps for others."""

from __future__ import annotations

from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mosaik_actors.dht.items import (
    INVALID_SIGNATURE,
    MISMATCH,
    SEQUENCE_BELOW,
    ImmutableItem,
    ItemRefused,
    MutableItem,
)
from mosaik_actors.dht.store import ITEM_LIFE_S, ITEMS_MAX, TOKEN_LIFE_S, ItemStore, Tokens

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
ADDR, TARGET = ("5.6.7.8", 9), bytes(20)


def item(sequence: int, value: bytes = b"v") -> MutableItem:
    return MutableItem.sign(KEY, sequence, value)


def refusal(store: ItemStore, wanted: MutableItem, expected: int | None = None) -> int:
    with pytest.raises(ItemRefused) as refused:
        store.put(wanted, expected=expected, now=0)
    return refused.value.code


def test_highest_number_stays() -> None:
    store = ItemStore()
    store.put(item(2), now=0)
    store.put(item(2), now=0)  # again, so that it lives longer
    assert refusal(store, item(1)) == SEQUENCE_BELOW
    assert refusal(store, item(2, b"other")) == SEQUENCE_BELOW
    assert refusal(store, item(5), expected=1) == MISMATCH
    store.put(item(5), expected=2, now=0)
    assert store.find(item(5).target, now=0) == item(5)
    forged = MutableItem(item(6).key, 6, b"v", bytes(64))
    assert refusal(store, forged) == INVALID_SIGNATURE
    assert store.find(item(5).target, now=0) == item(5)


def test_number_that_is_replaced_matters_only_where_something_is() -> None:
    store = ItemStore()
    store.put(item(9), expected=4, now=0)
    assert len(store) == 1


def test_items_live_for_two_hours_after_the_last_put() -> None:
    store = ItemStore()
    store.put(item(1), now=0)
    store.put(item(1), now=100)
    assert store.find(item(1).target, now=ITEM_LIFE_S + 99) is not None
    assert store.find(item(1).target, now=ITEM_LIFE_S + 100) is None
    assert len(store) == 0


def test_there_is_an_end_to_what_is_kept() -> None:
    store = ItemStore()
    for number in range(ITEMS_MAX + 10):
        store.put(ImmutableItem(number), now=0)
    assert len(store) == ITEMS_MAX
    assert store.find(ImmutableItem(0).target, now=0) is None
    assert store.find(ImmutableItem(10).target, now=0) is not None


def test_tokens_are_for_one_address_and_target_and_do_not_last() -> None:
    tokens = Tokens(Random(1))
    token = tokens.make(ADDR, TARGET, now=0)
    assert tokens.is_valid(token, ADDR, TARGET, now=2 * TOKEN_LIFE_S - 1)
    assert not tokens.is_valid(token, ("5.6.7.9", 9), TARGET, now=0)
    assert not tokens.is_valid(token, ADDR, b"x" * 20, now=0)
    assert not tokens.is_valid(b"", ADDR, TARGET, now=0)
    assert not tokens.is_valid(token, ADDR, TARGET, now=2 * TOKEN_LIFE_S)


def test_no_token_outlives_a_silence() -> None:
    tokens = Tokens(Random(1))
    token = tokens.make(ADDR, TARGET, now=0)
    assert not tokens.is_valid(token, ADDR, TARGET, now=10 * TOKEN_LIFE_S)
