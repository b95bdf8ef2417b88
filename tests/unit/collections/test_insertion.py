"""The dict that can be looked at as of a moment: its chunks, its iterators, what they hold."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from mosaik_actors.collections import insertion
from mosaik_actors.collections.insertion import InsertionIterator, InsertionOrder


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(insertion, "CHUNK_MAX", 4)
    monkeypatch.setattr(insertion, "STALE_FREE", 8)


def filled(count: int, **kwargs: Any) -> InsertionOrder[int, int]:
    kept: InsertionOrder[int, int] = InsertionOrder(**kwargs)
    kept.put_many(range(count), range(count))
    return kept


def shown(iterator: InsertionIterator[int, int], count: int = 3) -> list[tuple[int, int]]:
    """Return all that is left, taken in pieces."""
    found: list[tuple[int, int]] = []
    while True:
        keys, values = iterator.take(count)
        if not keys:
            return found
        found += zip(keys, values, strict=True)


def test_many_at_once_are_put_like_one_by_one() -> None:
    slowly: InsertionOrder[int, int] = InsertionOrder()
    for key in range(11):
        slowly.put(key, key)
    at_once = filled(3)
    assert at_once.put_many([1, 3, 3, 2, 4], [1, 9, 3, 2, 4]) == 2
    assert at_once.put_many(range(5, 11), range(5, 11)) == 6
    assert list(at_once.data) == list(slowly.data)
    assert shown(at_once.look()) == shown(slowly.look()) == [(n, n) for n in range(11)]


def test_iterator_shows_its_moment() -> None:
    kept = filled(10)
    iterator = kept.look()
    assert iterator.take(2) == ([0, 1], [0, 1])
    kept.put(2, -2)
    kept.put(2, -3)
    kept.remove(5)
    kept.put(5, -5)
    kept.put_many([9, 10], [-9, -10])
    assert shown(iterator) == [(n, n) for n in range(2, 10)]
    assert shown(kept.look())[-2:] == [(5, -5), (10, -10)]


def test_several_iterators_show_their_own_moments() -> None:
    kept = filled(3)
    iterators = [kept.look()]
    expected = [list(kept.data.items())]
    for change in range(4):
        kept.put(1, 10 * change)
        kept.remove(change % 2 * 2)
        kept.put(change % 2 * 2, change)
        iterators.append(kept.look())
        expected.append(list(kept.data.items()))
    assert [shown(iterator) for iterator in iterators] == expected


def test_iterator_of_keys_only_shows_its_moment() -> None:
    kept = filled(6, has_values=False)
    iterator = kept.look()
    kept.remove(4)
    kept.put(7, 0)
    kept.put(4, 0)
    assert iterator.take(9) == ([0, 1, 2, 3, 4, 5],)


@pytest.mark.parametrize("has_values", [True, False])
def test_chunks_are_renewed_when_many_keys_are_stale(has_values: bool) -> None:
    kept = filled(8, has_values=has_values)
    iterator = kept.look()
    for _ in range(5):
        for key in range(0, 8, 2):
            kept.remove(key)
            kept.put(key, -key)
    assert sum(map(len, kept._chunks)) <= 8 + 8 + 1
    assert kept.look().take(99)[0] == list(kept.data) == [1, 3, 5, 7, 0, 2, 4, 6]
    assert iterator.take(99)[0] == list(range(8))


def test_emptied_order_begins_anew() -> None:
    kept = filled(30)
    for key in range(30):
        kept.remove(key)
    assert shown(kept.look()) == []
    kept.put(1, 1)
    assert shown(kept.look()) == [(1, 1)]


@pytest.mark.parametrize("replace", ["clear", "take_over"])
def test_iterator_outlives_what_it_looks_at(replace: str) -> None:
    kept = filled(6)
    iterator = kept.look()
    kept.put(1, -1)
    if replace == "clear":
        kept.clear()
        assert kept.data == {}
    else:
        kept.take_over(filled(2))
        assert kept.data == {0: 0, 1: 1}
    kept.put(2, -2)
    kept.put(9, 9)
    assert shown(iterator) == [(n, n) for n in range(6)]


def test_old_values_go_with_the_iterator() -> None:
    class Value:
        pass

    kept: InsertionOrder[int, Value] = InsertionOrder()
    kept.put(1, Value())
    iterator = kept.look()
    old = weakref.ref(kept.data[1])
    kept.put(1, Value())
    gc.collect()
    assert old() is not None
    del iterator
    assert old() is None
    kept.put(1, Value())
    assert kept._active_iterators.refs == []
