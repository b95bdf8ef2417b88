"""The list in chunks, against Python's list, with chunks small enough to split and join often."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mosaik_actors.collections import chunks
from mosaik_actors.collections.chunks import ChunkedList, FrozenItems

ITEMS = st.integers(0, 99)
PLACES = st.floats(0, 1)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_MAX", 8)
    monkeypatch.setattr(chunks, "CHUNK_SMALL", 2)


class ListMachine(RuleBasedStateMachine):
    """Does the same to a list in chunks and to a list, and freezes now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.tested: ChunkedList[int] = ChunkedList()
        self.model: list[int] = []
        self.frozen: list[tuple[FrozenItems[int], list[int]]] = []

    def index(self, place: float, count: int) -> int:
        return min(int(place * count), count - 1)

    @rule(item=ITEMS)
    def append(self, item: int) -> None:
        self.tested.append(item)
        self.model.append(item)

    @rule(items=st.lists(ITEMS, max_size=30))
    def extend(self, items: list[int]) -> None:
        self.tested.extend(items)
        self.model.extend(items)

    @rule(place=PLACES, items=st.lists(ITEMS, min_size=1, max_size=12))
    def insert(self, place: float, items: list[int]) -> None:
        index = self.index(place, len(self.model) + 1)
        for item in items:
            self.tested.insert(self.tested.find(index), item)
            self.model.insert(index, item)

    @rule(place=PLACES, count=st.integers(1, 8))
    def pop(self, place: float, count: int) -> None:
        for _ in range(min(count, len(self.model))):
            index = self.index(place, len(self.model))
            assert self.tested.pop(self.tested.find(index)) == self.model.pop(index)

    @rule(place=PLACES, item=ITEMS)
    def replace(self, place: float, item: int) -> None:
        if self.model:
            index = self.index(place, len(self.model))
            self.tested.replace(self.tested.find(index), item)
            self.model[index] = item

    @rule(one=PLACES, other=PLACES)
    def pop_range(self, one: float, other: float) -> None:
        count = len(self.model) + 1
        start, stop = sorted((self.index(one, count), self.index(other, count)))
        removed = self.tested.pop_range(self.tested.find(start), self.tested.find(stop))
        assert removed == self.model[start:stop]
        del self.model[start:stop]

    @precondition(lambda self: len(self.model) > 60)
    @rule()
    def clear(self) -> None:
        self.tested.clear()
        self.model.clear()

    @rule()
    def freeze(self) -> None:
        self.frozen.append((self.tested.freeze(), self.model.copy()))

    @rule(one=PLACES, other=PLACES)
    def read(self, one: float, other: float) -> None:
        count = len(self.model) + 1
        start, stop = sorted((self.index(one, count), self.index(other, count)))
        assert self.tested.slice(start, stop) == self.model[start:stop]
        for index in range(start, stop):
            assert self.tested[index] == self.model[index]
            spot = self.tested.find(index)
            assert self.tested.has(spot)
            assert self.tested.at(spot) == self.model[index]
        assert not self.tested.has(self.tested.end())
        if start:
            before = self.tested.before(self.tested.find(start))
            assert self.tested.at(before) == self.model[start - 1]

    @invariant()
    def same(self) -> None:
        assert len(self.tested) == len(self.model)
        assert self.tested.to_list() == self.model
        assert list(self.tested) == self.model
        assert list(reversed(self.tested)) == self.model[::-1]

    @invariant()
    def chunks_are_neither_empty_nor_long(self) -> None:
        lengths = list(map(len, self.tested.chunks()))
        assert all(1 <= length <= chunks.CHUNK_MAX for length in lengths)

    @rule(which=st.integers(0, 5), count=st.integers(1, 12))
    def take_frozen(self, which: int, count: int) -> None:
        for frozen, items in self.frozen[which : which + 1]:
            assert frozen.take(count) == items[:count]
            del items[:count]

    def teardown(self) -> None:
        for frozen, items in self.frozen:
            assert frozen.take(len(items) + 1) == items
            assert frozen.take(1) == []


def test_does_what_a_list_does() -> None:
    run_state_machine_as_test(
        ListMachine, settings=settings(max_examples=100, stateful_step_count=40, deadline=None)
    )


def test_bisection_finds_the_first_item_not_less() -> None:
    items = [n // 3 for n in range(100)]
    tested = ChunkedList(items)
    for item in range(-1, 36):
        spot = tested.bisect(item)
        rank = sum(other < item for other in items)
        assert spot == tested.find(rank)


def test_many_removals_leave_few_chunks() -> None:
    """What is left of chunks is joined, so that finding stays quick."""
    tested = ChunkedList(range(800))
    for keep in range(80):
        tested.pop_range(tested.find(keep + 1), tested.find(min(keep + 10, len(tested))))
    assert tested.to_list() == list(range(0, 800, 10))
    assert len(list(tested.chunks())) <= 80 // 2


def test_growing_at_the_ends_leaves_full_chunks() -> None:
    tested: ChunkedList[int] = ChunkedList()
    for item in range(800):
        tested.insert(tested.find(0 if item % 2 else len(tested)), item)
    assert len(list(tested.chunks())) <= 800 // 8 + 2


def test_changes_show_while_iterating_as_in_a_list() -> None:
    items = list(range(20))
    tested = ChunkedList(items)
    seen, expected = [], []
    for item in tested:
        seen.append(item)
        if item % 3 == 0 and item < 100:
            tested.pop(tested.find(0))
            tested.append(100 + item)
    for item in items:
        expected.append(item)
        if item % 3 == 0 and item < 100:
            items.pop(0)
            items.append(100 + item)
    assert seen == expected


def test_changes_show_while_iterating_backwards_as_in_a_list() -> None:
    for removed in range(20):
        items = list(range(20))
        tested = ChunkedList(items)
        seen, expected = [], []
        for item in reversed(tested):
            seen.append(item)
            if item == 15:
                tested.pop_range(tested.find(removed), tested.end())
        for item in reversed(items):
            expected.append(item)
            if item == 15:
                del items[removed:]
        assert seen == expected
