"""Collections beside plain Python: what to write at random, and what it should do.

An oracle is a plain Python container. It gets the operations one by one, in the
order in which the group committed them, and says whether each changed anything.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from mosaik_actors import Cell, Map, Once, PriorityQueue, Set, Vec

KEYS = "abcdefgh"
CAPACITY = 6
SIDES = ("left", "right", "both", "neither")

Args = tuple[Any, ...]


class DictOracle:
    """A map as a dict."""

    def __init__(self) -> None:
        self.items: dict[str, int] = {}

    def insert(self, key: str, value: int) -> bool:
        self.items[key] = value
        return True

    def extend(self, pairs: list[tuple[str, int]]) -> bool:
        self.items.update(pairs)
        return bool(pairs)

    def remove(self, key: str) -> bool:
        return self.items.pop(key, None) is not None

    def compare_exchange(self, key: str, expected: int | None, new: int | None) -> bool:
        if self.items.get(key) != expected:
            return False
        if new is None:
            return self.remove(key)
        return self.insert(key, new)

    def clear(self) -> bool:
        had = bool(self.items)
        self.items.clear()
        return had

    def shown(self) -> Any:
        return list(self.items.items())


class ListOracle:
    """A vec as a list; what is out of range does nothing."""

    def __init__(self) -> None:
        self.items: list[int] = []

    def push_back(self, value: int) -> bool:
        self.items.append(value)
        return True

    def push_front(self, value: int) -> bool:
        self.items.insert(0, value)
        return True

    def insert(self, index: int, value: int) -> bool:
        if not -len(self.items) <= index <= len(self.items):
            return False
        self.items.insert(index, value)
        return True

    def extend(self, values: list[int]) -> bool:
        self.items.extend(values)
        return bool(values)

    def pop_back(self) -> bool:
        return self.remove(-1)

    def pop_front(self) -> bool:
        return self.remove(0)

    def remove(self, index: int) -> bool:
        try:
            del self.items[index]
        except IndexError:
            return False
        return True

    def swap(self, one: int, other: int) -> bool:
        items = self.items
        try:
            items[one], items[other] = items[other], items[one]
        except IndexError:
            return False
        return one % len(items) != other % len(items)

    def truncate(self, length: int) -> bool:
        had = len(self.items) > length
        del self.items[length:]
        return had

    def clear(self) -> bool:
        return self.truncate(0)

    def shown(self) -> Any:
        return list(self.items)


class SetOracle:
    """A set as a dict of its members, which keeps their order."""

    def __init__(self) -> None:
        self.members: dict[str, None] = {}

    def insert(self, member: str) -> bool:
        return self.extend([member])

    def extend(self, members: list[str]) -> bool:
        before = len(self.members)
        self.members.update(dict.fromkeys(members))
        return len(self.members) > before

    def remove(self, member: str) -> bool:
        before = len(self.members)
        self.members.pop(member, None)
        return len(self.members) < before

    def clear(self) -> bool:
        had = bool(self.members)
        self.members.clear()
        return had

    def shown(self) -> Any:
        return list(self.members)


class CellOracle:
    """A cell as a variable."""

    def __init__(self) -> None:
        self.value: int | None = None

    def write(self, value: int) -> bool:
        self.value = value
        return True

    def compare_exchange(self, expected: int | None, new: int | None) -> bool:
        if self.value != expected:
            return False
        had, self.value = self.value, new
        return not (had is None and new is None)

    def clear(self) -> bool:
        had, self.value = self.value, None
        return had is not None

    def shown(self) -> Any:
        return self.value


class OnceOracle(CellOracle):
    """A variable that is written once."""

    def write(self, value: int) -> bool:
        return self.value is None and super().write(value)


@dataclass(order=True)
class Entry:
    """An entry of a queue; sorts by priority, and of equal ones the newest first."""

    priority: int
    age: int
    key: str
    value: int


class QueueOracle:
    """A queue as a sorted list: the first is evicted first."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.count = 0

    def insert(self, priority: int, key: str, value: int) -> bool:
        old = self._find(key)
        if old is not None:
            return self._change(old, priority, value)
        if len(self.entries) >= CAPACITY:
            if priority <= self.entries[0].priority:
                return False
            del self.entries[0]
        self._put(priority, key, value)
        return True

    def extend(self, items: list[tuple[int, str, int]]) -> bool:
        return sum(self.insert(*item) for item in items) > 0

    def update_priority(self, key: str, priority: int) -> bool:
        old = self._find(key)
        return old is not None and self._change(old, priority, old.value)

    def update_value(self, key: str, value: int) -> bool:
        old = self._find(key)
        return old is not None and self._change(old, old.priority, value)

    def compare_exchange_value(self, key: str, expected: int, new: int | None) -> bool:
        old = self._find(key)
        if old is None or old.value != expected:
            return False
        return self.remove(key) if new is None else self._change(old, old.priority, new)

    def remove(self, key: str) -> bool:
        old = self._find(key)
        if old is not None:
            self.entries.remove(old)
        return old is not None

    def remove_range(self, low: int | None, high: int | None, inclusive: str) -> bool:
        before = len(self.entries)
        is_in = _range(low, high, inclusive)
        self.entries = [one for one in self.entries if not is_in(one.priority)]
        return len(self.entries) < before

    def clear(self) -> bool:
        had = bool(self.entries)
        self.entries.clear()
        return had

    def shown(self) -> Any:
        return [(one.priority, one.key, one.value) for one in reversed(self.entries)]

    def _find(self, key: str) -> Entry | None:
        return next((one for one in self.entries if one.key == key), None)

    def _change(self, old: Entry, priority: int, value: int) -> bool:
        old.value = value
        if old.priority != priority:
            self.entries.remove(old)
            self._put(priority, old.key, value)
        return True

    def _put(self, priority: int, key: str, value: int) -> None:
        self.count += 1
        insort(self.entries, Entry(priority, -self.count, key, value))


def _range(low: int | None, high: int | None, inclusive: str) -> Callable[[int], bool]:
    """Return whether a priority is in a range, whose limits are moved between the numbers."""
    first = float("-inf") if low is None else low + 0.5 * (inclusive not in ("left", "both"))
    last = float("inf") if high is None else high - 0.5 * (inclusive not in ("right", "both"))
    return lambda priority: first <= priority <= last


# What to write.


def _key(rng: Random) -> str:
    return rng.choice(KEYS)


def _few(rng: Random) -> int:
    return rng.randrange(5)


def _maybe(rng: Random) -> int | None:
    return rng.choice((None, 0, 1, 2, 3, 4))


def _index(rng: Random) -> int:
    return rng.randrange(-6, 12)


def _some(draw: Callable[[Random], Any]) -> Callable[[Random], list[Any]]:
    return lambda rng: [draw(rng) for _ in range(rng.randrange(1, 5))]


Draws = dict[str, tuple[Callable[[Random], Any], ...]]


@dataclass(frozen=True)
class Kind:
    """A collection, what can be written to it, its oracle, and how it is shown."""

    collection: Any
    draws: Draws
    oracle: Callable[[], Any]
    show: Callable[[Any], Any]

    @property
    def options(self) -> dict[str, Any]:
        return {"capacity": CAPACITY} if "capacity" in self.collection.options else {}

    def draw(self, rng: Random) -> tuple[str, Args]:
        """Return an operation: its name and arguments."""
        names = list(self.draws)
        # What removes everything is rare, or nothing would ever be in it.
        weights = [1 if name in ("clear", "truncate", "remove_range") else 6 for name in names]
        (name,) = rng.choices(names, weights)
        return name, tuple(draw(rng) for draw in self.draws[name])


KINDS: dict[str, Kind] = {
    "map": Kind(
        Map[str, int],
        {
            "insert": (_key, _few),
            "extend": (_some(lambda rng: (_key(rng), _few(rng))),),
            "remove": (_key,),
            "compare_exchange": (_key, _maybe, _maybe),
            "clear": (),
        },
        DictOracle,
        lambda handle: list(handle.items()),
    ),
    "vec": Kind(
        Vec[int],
        {
            "push_back": (_few,),
            "push_front": (_few,),
            "insert": (_index, _few),
            "extend": (_some(_few),),
            "pop_back": (),
            "pop_front": (),
            "remove": (_index,),
            "swap": (_index, _index),
            "truncate": (_few,),
            "clear": (),
        },
        ListOracle,
        list,
    ),
    "set": Kind(
        Set[str],
        {"insert": (_key,), "extend": (_some(_key),), "remove": (_key,), "clear": ()},
        SetOracle,
        list,
    ),
    "cell": Kind(
        Cell[int],
        {"write": (_few,), "compare_exchange": (_maybe, _maybe), "clear": ()},
        CellOracle,
        lambda handle: handle.read(),
    ),
    "once": Kind(Once[int], {"write": (_few,)}, OnceOracle, lambda handle: handle.read()),
    "queue": Kind(
        PriorityQueue[int, str, int],
        {
            "insert": (_few, _key, _few),
            "extend": (_some(lambda rng: (_few(rng), _key(rng), _few(rng))),),
            "update_priority": (_key, _few),
            "update_value": (_key, _few),
            "compare_exchange_value": (_key, _few, _maybe),
            "remove": (_key,),
            "remove_range": (
                _maybe,
                _maybe,
                lambda rng: rng.choice(("left", "right", "both", "neither")),
            ),
            "clear": (),
        },
        QueueOracle,
        lambda handle: list(handle.iter_desc()),
    ),
}


def as_command(machine: Any, name: str, args: Args) -> Any:
    """Return the one command that an operation becomes."""
    made = getattr(machine, name)(*args)
    return made[0] if isinstance(made, list) else made


def played(kind: Kind, operations: list[tuple[str, Args]]) -> tuple[Any, list[bool]]:
    """Apply operations to the oracle; return what it shows, and which changed anything."""
    oracle = kind.oracle()
    changed = []
    for name, args in operations:
        changed.append(getattr(oracle, name)(*args))
    return oracle.shown(), changed
