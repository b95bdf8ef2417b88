"""A table and what was shown of it, against plain dictionaries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.discovery.layers import Layers, SharedLayers

steps = st.lists(
    st.tuples(st.sampled_from(["put", "put", "put", "remove", "share"]), st.integers(0, 90)),
    max_size=400,
)


def items(table: Layers[int, int] | SharedLayers[int, int]) -> dict[int, int | None]:
    return {key: table.get(key) for key in range(91) if key in table}


@given(steps)
def test_what_was_shared_stays_and_the_table_is_as_a_dictionary(
    history: list[tuple[str, int]],
) -> None:
    table: Layers[int, int] = Layers()
    expected: dict[int, int] = {}
    shared: list[tuple[SharedLayers[int, int], dict[int, int]]] = []
    for number, (action, key) in enumerate(history):
        if action == "put":
            table.put(key, number)
            expected[key] = number
        elif action == "share":
            shared.append((table.share(), dict(expected)))
        elif key in expected:
            table.remove(key)
            del expected[key]
        assert len(table) == len(expected)
        assert key in table or key not in expected
    assert items(table) == expected
    shared.append((table.share(), expected))
    for one, then in shared:
        assert items(one) == then
        assert len(one) == len(then)
        assert sorted(one) == sorted(then)
        assert sorted(one.values()) == sorted(then.values())
        assert [one.get(key) for key in one] == list(one.values())


def test_to_change_a_little_between_snapshots_copies_a_little() -> None:
    table: Layers[int, int] = Layers()
    for key in range(10_000):
        table.put(key, key)
    before = table.share()
    for key in range(1_000):
        table.put(key, -key)
        after = table.share()
        assert after._base is before._base
    assert (before.get(999), after.get(999)) == (999, -999)


def test_what_means_the_same_is_put_in_its_place_for_all() -> None:
    table: Layers[str, str] = Layers()
    table.put("a", "a")
    first = table.share()
    table.put("b", "b")
    second = table.share()
    second.replace("a", "A")
    second.replace("b", "B")
    assert (first.get("a"), second.get("b"), table.get("b")) == ("A", "B", "B")


def test_what_is_not_there_cannot_be_removed() -> None:
    table: Layers[str, str] = Layers()
    with pytest.raises(KeyError):
        table.remove("a")
