"""A table that is shown to others while it changes: what they were shown does not.

A snapshot shares the table instead of copying it. What changes after one goes into a small layer
above, and only that is copied for the next change after the next snapshot. When the layer has
grown to a share of the table both become one. So many snapshots of a large table that changes
a little between them cost little, in time and in memory.

Invariants:
    * What `Layers.share` returned never changes, except by `SharedLayers.replace`.
    * The keys are in the order in which they came; what went and came back may have its old
      place.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_LAYER_MIN: Final = 32  # what the layer has room for at least,
_LAYER_SHARE: Final = 8  # and else this part of the table


class _Table(Generic[K, V]):
    """A base and the layer above it, in which None stands for what is gone."""

    __slots__ = ("_base", "_count", "_layer")

    def __init__(self, base: dict[K, V], layer: dict[K, V | None], count: int) -> None:
        self._base = base
        self._layer = layer
        self._count = count

    def get(self, key: K) -> V | None:
        """Return what there is under a key, None for nothing."""
        if self._layer and key in self._layer:
            return self._layer[key]
        return self._base.get(key)

    def __contains__(self, key: object) -> bool:
        return self.get(key) is not None  # type: ignore[arg-type]  # anything can be looked up

    def __len__(self) -> int:
        return self._count


class SharedLayers(_Table[K, V]):
    """The table at one moment."""

    __slots__ = ()

    def replace(self, key: K, value: V) -> None:
        """Put something that means the same in place of what there is, for all who share it."""
        if key in self._layer:
            self._layer[key] = value
        else:
            self._base[key] = value

    def values(self) -> Iterator[V]:
        """Return what there is, in the order of the keys."""
        return (value for _, value in self._items()) if self._layer else iter(self._base.values())

    def __iter__(self) -> Iterator[K]:
        return (key for key, _ in self._items()) if self._layer else iter(self._base)

    def _items(self) -> Iterator[tuple[K, V]]:
        base, layer = self._base, self._layer
        for key, value in base.items():
            above = layer.get(key, value)
            if above is not None:
                yield key, above
        for key, above in layer.items():
            if above is not None and key not in base:
                yield key, above


class Layers(_Table[K, V]):
    """The table of this module's docstring. None is no value."""

    __slots__ = ("_is_base_shared", "_is_layer_shared")

    def __init__(self) -> None:
        super().__init__({}, {}, 0)
        self._is_base_shared = False
        self._is_layer_shared = False

    def put(self, key: K, value: V) -> None:
        """Put something under a key."""
        base = self._base
        if not self._is_base_shared:
            if key not in base:
                self._count += 1
            base[key] = value
            return
        if self.get(key) is None:
            self._count += 1
        self._write_above(key, value)

    def remove(self, key: K) -> None:
        """Take out what there is under a key."""
        if key not in self:
            raise KeyError(key)
        self._count -= 1
        if self._is_base_shared:
            self._write_above(key, None)
        else:
            del self._base[key]

    def share(self) -> SharedLayers[K, V]:
        """Return what there is now."""
        self._is_base_shared = True
        self._is_layer_shared = True
        return SharedLayers(self._base, self._layer, self._count)

    def _write_above(self, key: K, value: V | None) -> None:
        if len(self._layer) >= max(_LAYER_MIN, len(self._base) // _LAYER_SHARE):
            self._merge()
        elif self._is_layer_shared:
            self._layer = dict(self._layer)
        self._is_layer_shared = False
        if self._is_base_shared:
            self._layer[key] = value
        elif value is not None:
            self._base[key] = value
        else:
            del self._base[key]

    def _merge(self) -> None:
        """Make one table of both, which nobody shares yet."""
        base = dict(self._base)
        for key, value in self._layer.items():
            if value is None:
                base.pop(key, None)
            else:
                base[key] = value
        self._base, self._layer = base, {}
        self._is_base_shared = False
