"""A bounded memory of what happened lately.

Two generations of a dictionary: when the young one is full it becomes the old
one, and what was old is forgotten. What is looked up stays young. A lookup
costs one or two of a dictionary's, and nothing is ever sorted or scanned.

Invariant: the items weigh at most twice `weight_max`, not counting one item that
is heavier than that by itself.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The memory of this module's docstring.

    Args:
        weight_max: How much one generation holds; an item weighs 1 unless said otherwise.
    """

    __slots__ = ("_old", "_weight", "_weight_max", "_young")

    def __init__(self, weight_max: int) -> None:
        self._weight_max = weight_max
        self._weight = 0
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K, weight: int = 1) -> V | None:
        """Return what was put under `key`, None when it is forgotten or never was."""
        found = self._young.get(key)
        if found is None and (found := self._old.get(key)) is not None:
            self.put(key, found, weight)
        return found

    def put(self, key: K, value: V, weight: int = 1) -> None:
        """Remember `value` under `key`."""
        if key not in self._young:
            self._weight += weight
            if self._weight > self._weight_max:
                self._old, self._young, self._weight = self._young, {}, weight
        self._young[key] = value

    def take(self, key: K) -> V | None:
        """Return what was put under `key`, and forget it."""
        old = self._old.pop(key, None) if self._old else None
        young = self._young.pop(key, None)
        return old if young is None else young

    def among(self, keys: Iterable[K]) -> list[int]:
        """Return where in `keys` those are that are remembered; it keeps none of them young."""
        young, old = self._young, self._old
        return [index for index, key in enumerate(keys) if key in young or key in old]

    def __contains__(self, key: K) -> bool:
        return key in self._young or key in self._old

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())
