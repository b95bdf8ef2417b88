"""What collections are called, and who is notified that it nearly has the same."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.collections.naming import (
    CollectionName,
    key_of,
    kind_name,
    name_of,
    near_miss,
    shown_store,
)
from mosaik_actors.ids import SecretKey, StoreId, UniqueId

PEER = SecretKey.from_seed("peer").peer_id
MINE, OTHER = UniqueId("mine"), UniqueId("other")


class Price: ...


def named(kind: str, store: StoreId | str) -> CollectionName:
    return name_of(kind, store, has_secret=False)


def shown(kind: str, store: StoreId | str) -> str:
    return named(kind, store).shown


def test_a_name_says_what_it_is_of_which_store() -> None:
    what = kind_name("Map", (str, Price))
    assert what == f"Map[str, {__name__}.Price]"
    mark = shown_store(StoreId("prices"))
    name = named(what, "prices")
    assert str(name) == f"prices: {what}"
    assert name.shown == f"{mark.short}: {what} store={mark.hex}"
    # The name opens nothing without the secret, so others may read it.
    closed = name_of(what, "prices", has_secret=True)
    assert closed.shown == f"prices: {what} store={mark.hex}"
    assert str(named("Set[int]", StoreId("prices"))) == f"{mark.short}: Set[int]"


@pytest.mark.parametrize("has_secret", [False, True])
@pytest.mark.parametrize("as_id", [StoreId, lambda name: StoreId(name).hex.upper(), str])
def test_what_is_shown_is_no_store_that_opens_the_same(as_id: Any, has_secret: bool) -> None:
    """A reader of the catalog has the name; each word and each id in it makes another key."""
    store = StoreId("prices-8d1f")
    name = name_of("Map[str, int]", as_id("prices-8d1f"), has_secret=has_secret)
    assert store.short not in name.shown
    key = key_of(store, "of the owner" if has_secret else None)
    for word in re.split(r"[ =:]+", name.shown):
        assert key_of(StoreId(word)) != key


@given(st.text(), st.text(max_size=400))
def test_a_name_can_always_be_advertised_and_read_again(store: str, what: str) -> None:
    name = name_of(f"Map[{what!r}]", store, has_secret=True)
    assert len(name.shown) <= 256
    twin = shown("Set[int]", store)
    assert near_miss(name, MINE, PEER, [(OTHER, twin)]) is not None


def test_the_key_depends_on_the_store() -> None:
    assert key_of(StoreId("a")) == key_of(StoreId("a"))
    assert key_of(StoreId("a")) != key_of(StoreId("b"))


ENCODABLE = st.text(st.characters(codec="utf-8"), min_size=1)


@given(ENCODABLE, ENCODABLE)
def test_the_key_depends_on_the_secret(one: str, other: str) -> None:
    store = StoreId("a")
    key = key_of(store, one)
    assert key == key_of(store, one.encode())
    assert key not in (key_of(store), key_of(StoreId("b"), one), key_of(StoreId(one)))
    assert (key == key_of(store, other)) == (one == other)


def test_another_type_of_the_same_store_is_explained() -> None:
    mine = named("Map[str, int]", "prices")
    why = near_miss(mine, MINE, PEER, [(OTHER, shown("Map[str, float]", "prices"))])
    assert why is not None
    for part in ("prices", "Map[str, int] here", f"Map[str, float] at peer {PEER.short}"):
        assert part in why
    # A node that knows the store by its id only means the same store.
    by_id = shown("Set[str]", StoreId("prices"))
    assert "Set[str]" in (near_miss(mine, MINE, PEER, [(OTHER, by_id)]) or "")


def test_other_settings_of_the_same_store_are_explained() -> None:
    mine = named("Map[str, int]", "prices")
    why = near_miss(mine, MINE, PEER, [(OTHER, mine.shown)])
    assert why is not None
    assert "other settings or another version of a type" in why


@pytest.mark.parametrize(
    "groups",
    [
        [],
        [(MINE, shown("Map[str, int]", "prices"))],
        [(OTHER, shown("Map[str, int]", "other"))],
        [(OTHER, "")],
        [(OTHER, "a group of another kind")],
        # It has the one we share, and another one of its own.
        [
            (OTHER, shown("Map[str, float]", "prices")),
            (MINE, shown("Map[str, int]", "prices")),
        ],
    ],
)
def test_nobody_is_warned_without_a_reason(groups: list[tuple[UniqueId, str]]) -> None:
    assert near_miss(named("Map[str, int]", "prices"), MINE, PEER, groups) is None


@given(st.text(max_size=256))
def test_hostile_names_are_nobodys_near_miss(name: str) -> None:
    store = shown_store(StoreId("prices")).hex
    mine = named("Map[str, int]", "prices")
    why = near_miss(mine, MINE, PEER, [(OTHER, name), (OTHER, f"{name} store={store}")])
    assert why is None or why.isprintable()
    odd = CollectionName("prices", "Map[str, int]", name)
    assert near_miss(odd, MINE, PEER, [(OTHER, mine.shown)]) is None
