"""The bounded memory behind the broadcast and the decoder."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.discovery.recent import Recent


def test_what_was_put_is_there_until_two_generations_came_after_it() -> None:
    recent: Recent[int, str] = Recent(3)
    for number in range(4):
        recent.put(number, str(number))
    assert [recent.get(number) for number in range(5)] == ["0", "1", "2", "3", None]
    for number in range(10, 16):
        recent.put(number, "")
    assert recent.get(3) is None


def test_what_is_looked_up_stays() -> None:
    recent: Recent[int, str] = Recent(3)
    recent.put(0, "kept")
    for number in range(1, 100):
        recent.put(number, "")
        assert recent.get(0) == "kept"
    assert 50 not in recent


def test_putting_again_replaces_and_weighs_nothing_more() -> None:
    recent: Recent[int, str] = Recent(2)
    recent.put(0, "a")
    for _ in range(10):
        recent.put(1, "b")
    assert (recent.get(0), recent.get(1)) == ("a", "b")


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10), st.booleans()), max_size=200))
def test_the_weight_is_bounded(steps: list[tuple[int, int, bool]]) -> None:
    recent: Recent[int, int] = Recent(25)
    weights: dict[int, int] = {}
    for key, weight, is_put in steps:
        if is_put:
            weights.setdefault(key, weight)
            recent.put(key, weights[key], weights[key])
        else:
            assert recent.get(key, weights.get(key, 1)) in (None, weights.get(key))
        assert sum(weights[one] for one in weights if one in recent) <= 50


def test_what_is_taken_is_forgotten_in_both_generations() -> None:
    recent: Recent[int, str] = Recent(2)
    for number in range(3):
        recent.put(number, str(number))
    recent.put(0, "again")
    assert recent.take(0) == "again"
    assert recent.take(0) is None
    assert 0 not in recent
    assert recent.take(1) == "1"
    assert recent.get(2) == "2"


def test_among_many_those_are_found_that_are_remembered() -> None:
    recent: Recent[str, int] = Recent(2)
    for number, key in enumerate("abcde"):
        recent.put(key, number)
    assert recent.among("zyecda") == [2, 3, 4]
