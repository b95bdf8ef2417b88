"""What collections are called, and who is told that it nearly has the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.collections.naming import group_name, key_of, kind_name, near_miss
from mosaik_actors.ids import SecretKey, StoreId, UniqueId

PEER = SecretKey.from_seed("peer").peer_id
MINE, OTHER = UniqueId("mine"), UniqueId("other")


class Price: ...


def test_a_name_says_what_it_is_of_which_store() -> None:
    what = kind_name("Map", (str, Price))
    assert what == f"Map[str, {__name__}.Price]"
    name = group_name(what, "prices")
    assert name == f"prices: {what} store={StoreId('prices').hex}"
    assert group_name("Set[int]", StoreId("prices")).startswith(StoreId("prices").short + ": Set")


@given(st.text(), st.text(max_size=400))
def test_a_name_can_always_be_advertised_and_read_again(store: str, what: str) -> None:
    name = group_name(f"Map[{what!r}]", store)
    assert len(name) <= 256
    twin = group_name("Set[int]", store)
    assert near_miss(name, MINE, PEER, [(OTHER, twin)]) is not None


def test_the_key_depends_on_the_store() -> None:
    assert key_of(StoreId("a")) == key_of(StoreId("a"))
    assert key_of(StoreId("a")) != key_of(StoreId("b"))


def test_another_type_of_the_same_store_is_explained() -> None:
    mine = group_name("Map[str, int]", "prices")
    why = near_miss(mine, MINE, PEER, [(OTHER, group_name("Map[str, float]", "prices"))])
    assert why is not None
    for part in ("prices", "Map[str, int] here", f"Map[str, float] at peer {PEER.short}"):
        assert part in why
    # A node that knows the store by its id only means the same store.
    by_id = group_name("Set[str]", StoreId("prices"))
    assert "Set[str]" in (near_miss(mine, MINE, PEER, [(OTHER, by_id)]) or "")


def test_other_settings_of_the_same_store_are_explained() -> None:
    mine = group_name("Map[str, int]", "prices")
    why = near_miss(mine, MINE, PEER, [(OTHER, mine)])
    assert why is not None
    assert "other settings or another version of a type" in why


@pytest.mark.parametrize(
    "groups",
    [
        [],
        [(MINE, group_name("Map[str, int]", "prices"))],
        [(OTHER, group_name("Map[str, int]", "other"))],
        [(OTHER, "")],
        [(OTHER, "a group of another kind")],
        # It has the one we share, and another one of its own.
        [
            (OTHER, group_name("Map[str, float]", "prices")),
            (MINE, group_name("Map[str, int]", "prices")),
        ],
    ],
)
def test_nobody_is_warned_without_a_reason(groups: list[tuple[UniqueId, str]]) -> None:
    assert near_miss(group_name("Map[str, int]", "prices"), MINE, PEER, groups) is None


@given(st.text(max_size=256))
def test_hostile_names_are_nobodys_near_miss(name: str) -> None:
    store = StoreId("prices").hex
    mine = group_name("Map[str, int]", "prices")
    why = near_miss(mine, MINE, PEER, [(OTHER, name), (OTHER, f"{name} store={store}")])
    assert why is None or why.isprintable()
    assert near_miss(name, MINE, PEER, [(OTHER, mine)]) is None
