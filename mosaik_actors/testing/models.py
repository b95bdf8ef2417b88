"""Models: what one copy of the data would answer to one client at a time.

The checker compares a history with a model. A model is a small pure object:
it has no state of its own, it is handed immutable states and returns new ones,
so that the checker can try an order of calls, go back and try another.

Ready-made: `Register`, `MapModel`, `SetModel`, `Counter`, `Queue`. Each has a
static method per operation that makes the `Operation` to record, for instance
``MapModel.insert("k", 1)``. Operations that only acknowledge return None.

To write one, derive from `Model` and answer two questions: how does it begin,
and what does each operation return and leave behind::

    class Locks(Model[str | None]):
        def initial(self):
            return None                              # one lock, and it is free

        def apply(self, state, operation):
            match operation:
                case Operation("lock", (name, owner)):
                    return (owner, True) if state is None else (state, False)
                case Operation("unlock", (name, owner)):
                    return (None, True) if state == owner else (state, False)
            raise self.unknown(operation)

        def partition(self, operation):              # optional: each lock by itself
            return operation.args[0]

Three methods may be overridden when there is a reason:

    * `partition`, when calls on different keys never influence each other. The
      checker then looks at each key alone, which is far cheaper
      (P-compositionality, Horn and Kroening 2015).
    * `is_read_only`, when some calls never change any state. That is cheaper
      too. It must hold in every state, not only in the one at hand.
    * `step`, when an operation may answer in several ways, such as "take any
      element". It replaces `apply`.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import Generic, TypeVar

from ..errors import ConfigError
from .history import Operation
from .values import Value

S = TypeVar("S", bound=Hashable)


class Whole(Enum):
    """The type of `WHOLE`."""

    WHOLE = "the whole"


class Unknown(Enum):
    """The type of `UNKNOWN`."""

    UNKNOWN = "?"


WHOLE = Whole.WHOLE
"""What `Model.partition` returns for a call that concerns every key."""

UNKNOWN = Unknown.UNKNOWN
"""The result of a call that was never answered: any result will do."""


class Model(Generic[S]):
    """What the data does when it is used by one client at a time; derive from it."""

    def initial(self) -> S:
        """Return the state before the first call, of one partition."""
        raise NotImplementedError

    def apply(self, state: S, operation: Operation) -> tuple[S, Value]:
        """Return the state that an operation leaves behind, and what it returns.

        It must be a pure function; states are hashable and never changed.

        Raises:
            ConfigError: There is no such operation; see `unknown`.
        """
        raise NotImplementedError

    def step(self, state: S, operation: Operation, result: Value) -> tuple[S, ...]:
        """Return the states in which the operation may leave, having returned `result`.

        None at all when it cannot return that in `state`. `result` is
        `UNKNOWN` when nobody knows what it returned. Results that are equal
        (``==``) are the same.
        """
        left, told = self.apply(state, operation)
        return (left,) if result is UNKNOWN or told == result else ()

    def partition(self, operation: Operation) -> Hashable:
        """Return the key the operation is about, or `WHOLE` when it concerns all.

        One call that concerns all makes the checker look at all keys together,
        so the state has to be able to hold several. By default everything does.
        """
        return WHOLE

    def is_read_only(self, operation: Operation, result: Value) -> bool:
        """Return whether a call with this result leaves every state as it was."""
        return False

    def unknown(self, operation: Operation) -> ConfigError:
        """Return the error for an operation that the model does not have."""
        return ConfigError(f"{type(self).__name__} has no operation {operation}")


class Register(Model[Value]):
    """One value: read, write, compare and set.

    Args:
        first: The value before the first write.
    """

    def __init__(self, first: Value = None) -> None:
        self._first = first

    @staticmethod
    def read() -> Operation:
        """Return the value."""
        return Operation("read")

    @staticmethod
    def write(value: Value) -> Operation:
        """Replace the value; returns None."""
        return Operation("write", (value,))

    @staticmethod
    def compare_and_set(expected: Value, value: Value) -> Operation:
        """Replace the value if it is `expected`; returns whether it was."""
        return Operation("compare_and_set", (expected, value))

    def initial(self) -> Value:
        """Return the first value."""
        return self._first

    def apply(self, state: Value, operation: Operation) -> tuple[Value, Value]:
        """Apply one operation to the value."""
        match operation:
            case Operation("read", ()):
                return state, state
            case Operation("write", (value,)):
                return value, None
            case Operation("compare_and_set", (expected, value)):
                return (value, True) if state == expected else (state, False)
        raise self.unknown(operation)

    def is_read_only(self, operation: Operation, result: Value) -> bool:
        """Reads, and comparisons that failed."""
        if operation.name == "compare_and_set":
            return result is False
        return operation.name == "read"


class MapModel(Model[frozenset[tuple[Value, Value]]]):
    """A mapping; each key is checked alone unless `size`, `items` or `clear` was called.

    A key that is absent reads as None.
    """

    @staticmethod
    def get(key: Value) -> Operation:
        """Return the key's value, or None."""
        return Operation("get", (key,))

    @staticmethod
    def contains(key: Value) -> Operation:
        """Return whether the key is there."""
        return Operation("contains", (key,))

    @staticmethod
    def insert(key: Value, value: Value) -> Operation:
        """Give the key a value, in place of any it had; returns None."""
        return Operation("insert", (key, value))

    @staticmethod
    def remove(key: Value) -> Operation:
        """Remove the key if it is there; returns None."""
        return Operation("remove", (key,))

    @staticmethod
    def pop(key: Value) -> Operation:
        """Remove the key and return the value it had, or None."""
        return Operation("pop", (key,))

    @staticmethod
    def compare_and_set(key: Value, expected: Value, value: Value) -> Operation:
        """Give the key a value if it has the `expected` one (None: is absent); returns whether.

        A new value of None removes the key.
        """
        return Operation("compare_and_set", (key, expected, value))

    @staticmethod
    def size() -> Operation:
        """Return how many keys there are."""
        return Operation("size")

    @staticmethod
    def items() -> Operation:
        """Return a frozenset of all (key, value)."""
        return Operation("items")

    @staticmethod
    def clear() -> Operation:
        """Remove every key; returns None."""
        return Operation("clear")

    def initial(self) -> frozenset[tuple[Value, Value]]:
        """Return the empty map."""
        return frozenset()

    def apply(
        self, state: frozenset[tuple[Value, Value]], operation: Operation
    ) -> tuple[frozenset[tuple[Value, Value]], Value]:
        """Apply one operation to the map."""
        match operation:
            case Operation("get", (key,)):
                return state, dict(state).get(key)
            case Operation("contains", (key,)):
                return state, key in dict(state)
            case Operation("insert", (key, value)):
                return _put(state, key, value), None
            case Operation("remove", (key,)):
                return _without(state, key), None
            case Operation("pop", (key,)):
                return _without(state, key), dict(state).get(key)
            case Operation("compare_and_set", (key, expected, value)):
                if dict(state).get(key) != expected:
                    return state, False
                return _without(state, key) if value is None else _put(state, key, value), True
            case Operation("size", ()):
                return state, len(state)
            case Operation("items", ()):
                return state, state
            case Operation("clear", ()):
                return frozenset(), None
        raise self.unknown(operation)

    def partition(self, operation: Operation) -> Hashable:
        """Return the key."""
        return operation.args[0] if operation.args else WHOLE

    def is_read_only(self, operation: Operation, result: Value) -> bool:
        """Reads, and comparisons that failed."""
        if operation.name == "compare_and_set":
            return result is False
        return operation.name in ("get", "contains", "size", "items")


class SetModel(Model[frozenset[Value]]):
    """A set; each element is checked alone unless `size`, `members` or `clear` was called."""

    @staticmethod
    def insert(element: Value) -> Operation:
        """Put the element in; returns None."""
        return Operation("insert", (element,))

    @staticmethod
    def remove(element: Value) -> Operation:
        """Take the element out if it is there; returns None."""
        return Operation("remove", (element,))

    @staticmethod
    def contains(element: Value) -> Operation:
        """Return whether the element is there."""
        return Operation("contains", (element,))

    @staticmethod
    def size() -> Operation:
        """Return how many elements there are."""
        return Operation("size")

    @staticmethod
    def members() -> Operation:
        """Return a frozenset of all elements."""
        return Operation("members")

    @staticmethod
    def clear() -> Operation:
        """Remove every element; returns None."""
        return Operation("clear")

    def initial(self) -> frozenset[Value]:
        """Return the empty set."""
        return frozenset()

    def apply(
        self, state: frozenset[Value], operation: Operation
    ) -> tuple[frozenset[Value], Value]:
        """Apply one operation to the set."""
        match operation:
            case Operation("insert", (element,)):
                return state | {element}, None
            case Operation("remove", (element,)):
                return state - {element}, None
            case Operation("contains", (element,)):
                return state, element in state
            case Operation("size", ()):
                return state, len(state)
            case Operation("members", ()):
                return state, state
            case Operation("clear", ()):
                return frozenset(), None
        raise self.unknown(operation)

    def partition(self, operation: Operation) -> Hashable:
        """Return the element."""
        return operation.args[0] if operation.args else WHOLE

    def is_read_only(self, operation: Operation, result: Value) -> bool:
        """Reads."""
        return operation.name in ("contains", "size", "members")


class Counter(Model[int]):
    """A number that is added to.

    Args:
        first: The number before the first increment.
    """

    def __init__(self, first: int = 0) -> None:
        self._first = first

    @staticmethod
    def get() -> Operation:
        """Return the number."""
        return Operation("get")

    @staticmethod
    def increment(by: int = 1) -> Operation:
        """Add to the number; returns None."""
        return Operation("increment", (by,))

    @staticmethod
    def increment_and_get(by: int = 1) -> Operation:
        """Add to the number and return the sum."""
        return Operation("increment_and_get", (by,))

    def initial(self) -> int:
        """Return the first number."""
        return self._first

    def apply(self, state: int, operation: Operation) -> tuple[int, Value]:
        """Apply one operation to the number."""
        match operation:
            case Operation("get", ()):
                return state, state
            case Operation("increment", (int(by),)):
                return state + by, None
            case Operation("increment_and_get", (int(by),)):
                return state + by, state + by
        raise self.unknown(operation)

    def is_read_only(self, operation: Operation, result: Value) -> bool:
        """Reads."""
        return operation.name == "get"


class Queue(Model[tuple[Value, ...]]):
    """First in, first out. An empty queue gives None, so None is no element.

    The order of elements that were put in at the same time shows only when
    they come out. A history with many such elements waiting has very many
    orders to try, and may be left undecided: take them out soon.
    """

    @staticmethod
    def put(element: Value) -> Operation:
        """Append the element; returns None."""
        return Operation("put", (element,))

    @staticmethod
    def take() -> Operation:
        """Remove the oldest element and return it; None when there is none."""
        return Operation("take")

    @staticmethod
    def size() -> Operation:
        """Return how many elements wait."""
        return Operation("size")

    def initial(self) -> tuple[Value, ...]:
        """Return the empty queue."""
        return ()

    def apply(
        self, state: tuple[Value, ...], operation: Operation
    ) -> tuple[tuple[Value, ...], Value]:
        """Apply one operation to the queue."""
        match operation:
            case Operation("put", (element,)):
                return (*state, element), None
            case Operation("take", ()):
                return (state[1:], state[0]) if state else (state, None)
            case Operation("size", ()):
                return state, len(state)
        raise self.unknown(operation)

    def is_read_only(self, operation: Operation, result: Value) -> bool:
        """The size, and taking from an empty queue."""
        return operation.name == "size" or (operation.name == "take" and result is None)


def _put(
    state: frozenset[tuple[Value, Value]], key: Value, value: Value
) -> frozenset[tuple[Value, Value]]:
    return _without(state, key) | {(key, value)}


def _without(state: frozenset[tuple[Value, Value]], key: Value) -> frozenset[tuple[Value, Value]]:
    return frozenset(pair for pair in state if pair[0] != key)
