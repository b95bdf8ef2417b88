"""Ids mean the same everywhere, and keys prove themselves."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.errors import ConfigError
from mosaik_actors.ids import PeerId, SecretKey, UniqueId, id_from_bytes, unique_id

VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors" / "ids.json"


@pytest.mark.skipif(not VECTORS.exists(), reason="shared vectors are not beside this checkout")
def test_ids_agree_with_the_vectors() -> None:
    vectors = json.loads(VECTORS.read_text())
    for text, expected in vectors["strings"].items():
        assert str(UniqueId(text)) == expected
    for case in vectors["derive"]:
        info = case["info_utf8"] if "info_utf8" in case else bytes.fromhex(case["info_hex"])
        assert str(UniqueId(case["base"]).derive(info)) == case["id"]
    for text, expected in vectors["hashed"].items():
        assert str(UniqueId(text).hashed()) == expected


def test_hex_digits_are_the_id_itself() -> None:
    some = UniqueId("some name")
    assert UniqueId(str(some)) == some
    assert UniqueId(some.hex.upper()) == some
    assert UniqueId(bytes(some)) == some
    assert some.short == str(some)[:10]


@given(st.text(), st.text())
def test_different_names_are_different_ids(one: str, other: str) -> None:
    assert (UniqueId(one) == UniqueId(other)) == (one == other)


def test_ids_are_ordered_hashable_and_pickle() -> None:
    ids = [UniqueId(str(number)) for number in range(10)]
    assert sorted(ids) == sorted(ids, key=bytes)
    assert {UniqueId("0"): 1}[ids[0]] == 1
    again = pickle.loads(pickle.dumps(ids[0]))  # noqa: S301  # our own bytes
    assert again == ids[0]
    assert type(again) is UniqueId


def test_parts_and_derive_agree() -> None:
    base = unique_id("base")
    assert base.derive("x") == UniqueId.from_parts(base, "x") == UniqueId.from_parts(base, b"x")
    assert base.hashed() == UniqueId.from_parts(base)
    assert UniqueId.random() != UniqueId.random()
    assert bytes(UniqueId.zero()) == bytes(32)


@pytest.mark.parametrize("value", [b"", b"short", bytes(33)])
def test_wrong_length_is_refused(value: bytes) -> None:
    for make in (UniqueId, PeerId, SecretKey.from_bytes):
        with pytest.raises(ValueError, match="32 bytes"):
            make(value)


def test_secret_key_signs_and_stays_secret() -> None:
    key = SecretKey.from_seed("alice")
    assert key == SecretKey(key.hex) == SecretKey.from_bytes(bytes(key))
    signature = key.sign(b"data")
    assert key.peer_id.verifies(signature, b"data")
    assert not key.peer_id.verifies(signature, b"other")
    assert not key.peer_id.verifies(b"short", b"data")
    assert not SecretKey.generate().peer_id.verifies(signature, b"data")
    assert key.hex not in repr(key)


def test_peer_id_is_not_a_name() -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        PeerId("alice")
    peer = SecretKey.from_seed("alice").peer_id
    assert PeerId(str(peer)) == peer


@pytest.mark.parametrize(
    "value",
    [
        "",
        "node.key",
        "0" * 63,
        "0" * 65,
        " " + "0" * 63,
        "0" * 64 + "\n",
        "g" * 64,
        b"k" * 32,
        7,
        None,
    ],
)
def test_a_secret_key_is_64_digits_and_nothing_else(value: Any) -> None:
    """A name, a path or an empty file would be a key that anybody can guess."""
    with pytest.raises(ConfigError, match="64 hexadecimal digits, got") as caught:
        SecretKey(value)
    assert "000" not in str(caught.value)
    assert "node.key" not in str(caught.value)
    assert "kkk" not in str(caught.value)


def test_a_refused_key_names_what_it_got() -> None:
    with pytest.raises(ConfigError, match="got an empty text"):
        SecretKey("")
    with pytest.raises(ConfigError, match="got a text of 63 characters"):
        SecretKey("0" * 63)
    with pytest.raises(ConfigError, match="got an object of type int"):
        SecretKey(7)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", ["", None, b"seed"])
def test_a_seed_is_a_text_that_is_not_empty(seed: Any) -> None:
    with pytest.raises(ConfigError, match="a seed is a text"):
        SecretKey.from_seed(seed)


def test_an_id_that_comes_again_is_the_same_object() -> None:
    """Each entry of a catalog, and each frame about it, would have one of its own."""
    sent = bytes(PeerId(bytes(range(32))))
    first, second = (id_from_bytes(PeerId, bytes(bytearray(sent))) for _ in range(2))
    assert first is second
    assert type(id_from_bytes(UniqueId, sent)) is UniqueId
