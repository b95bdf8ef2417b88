"""Moves the state of a collection to that of a newer deployment.

    moved = await migrate(old_stock, new_stock, convert=lambda pair: (pair[0], pair[1] * 100))

The two are apart, by design, so nothing that is written to the old one during a migration
comes over by itself: stop its writers first, or migrate once more afterwards. A migration of
a map, a set, a queue or a cell may be repeated; of a list, only into one that is empty.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import ConfigError
from ..handles.collections import (
    Cell,
    CellReader,
    Map,
    MapReader,
    Once,
    OnceReader,
    PriorityQueue,
    Set,
    SetReader,
    Vec,
    VecReader,
)
from ..handles.collections import PriorityQueueReader as QueueReader


async def migrate(old: Any, new: Any, *, convert: Callable[[Any], Any] | None = None) -> int:
    """Write all that is in `old` to `new`, and return how many items that were.

    Args:
        old: A reader or writer of a collection that is online.
        new: A writer of the same kind.
        convert: Makes an item of the new one of an item of the old one: of a member, a value,
            or a map's pair of key and value, or a queue's ``(priority, key, value)``.

    Raises:
        ConfigError: They are not of one kind, or a list to be filled is not empty.
        CollectionOffline, NetworkDown, EncodeError: As for writes. What was written stays.
    """
    make = convert or (lambda item: item)
    match old, new:
        case MapReader(), Map():
            items = [make(pair) for pair in old.items()]
        case (SetReader(), Set()) | (QueueReader(), PriorityQueue()):
            items = [make(item) for item in old]
        case VecReader(), Vec():
            if len(new):
                raise ConfigError(f"the new list has {len(new)} items, expected an empty one")
            items = [make(item) for item in old]
        case (OnceReader(), Once()) | (CellReader(), Cell()):
            if old.is_none():
                return 0
            await new.write(make(old.read()))
            return 1
        case _:
            kinds = f"{type(old).__name__} and {type(new).__name__}"
            raise ConfigError(f"got {kinds}, expected a collection and a writer of the same kind")
    if items:
        await new.extend(items)
    return len(items)
