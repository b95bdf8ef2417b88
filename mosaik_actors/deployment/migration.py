"""Moves the state of a collection to that of a newer deployment.

    moved = await migrate(old_stock, new_stock, convert=lambda pair: (pair[0], pair[1] * 100))

    async with following(old_stock, new_stock) as it:
        ...  # consumers move over, one by one; writers still write to the old one
        stop_the_old_writers()
        await it.caught_up()

The two are apart, by design, so nothing that is written to the old one comes over by itself.
`migrate` writes once what is there: a migration of a map, a set, a queue or a cell may be
repeated; of a list, only into one that is empty. `following` goes on: each time the old
collection has changed, it is compared with what has been written, and the differences are
written, many changes in one step. What others write to the new one meanwhile stays, unless it
is about the same keys; to a list nobody else may write.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
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

Convert = Callable[[Any], Any]


class StateFollower:
    """One collection that follows another one; made by `following`."""

    def __init__(self, old: Any, new: Any, convert: Convert) -> None:
        self._old = old
        self._new = new
        self._convert = convert
        self._step = _step_of(old, new)
        self._placed: Any = None  # what has been written, in the form of the step
        self._moved = 0  # the version of the old one that has come over
        self._has_moved = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._follow(), name="following")

    async def caught_up(self) -> None:
        """Wait until all that was written to the old collection until now is in the new one.

        May be cancelled.

        Raises:
            CollectionOffline, NetworkDown, EncodeError: As for writes; what was written stays.
        """
        wanted = int(self._old.version)
        while self._moved < wanted or self._placed is None:
            if self._task.done():
                await self._task
            self._has_moved.clear()
            waiting = asyncio.ensure_future(self._has_moved.wait())
            try:
                await asyncio.wait({waiting, self._task}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()

    async def close(self) -> None:
        """Follow no more. May be repeated."""
        self._task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await self._task

    async def _follow(self) -> None:
        while True:
            updated = self._old.when().updated()
            version = int(self._old.version)
            self._placed = await self._step(self._old, self._new, self._placed, self._convert)
            self._moved = version
            self._has_moved.set()
            await updated


async def migrate(old: Any, new: Any, *, convert: Convert | None = None) -> int:
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
    return len(await _step_of(old, new)(old, new, None, convert or (lambda item: item)))


@asynccontextmanager
async def following(
    old: Any, new: Any, *, convert: Convert | None = None
) -> AsyncIterator[StateFollower]:
    """Write all that is in `old` to `new`, and all that becomes of it while the block runs.

    The block begins when all that is there has come over.

    Args:
        old: A reader or writer of a collection that is online.
        new: A writer of the same kind; a list has to be empty.
        convert: As for `migrate`. The same item has to become the same one each time.

    Raises:
        ConfigError: They are not of one kind, or a list to be filled is not empty.
        CollectionOffline, NetworkDown, EncodeError: As for writes. What was written stays.
    """
    it = StateFollower(old, new, convert or (lambda item: item))
    try:
        await it.caught_up()
        yield it
    finally:
        await it.close()


def _step_of(old: Any, new: Any) -> Any:
    match old, new:
        case MapReader(), Map():
            return _step_map
        case SetReader(), Set():
            return _step_set
        case QueueReader(), PriorityQueue():
            return _step_queue
        case VecReader(), Vec():
            if len(new):
                raise ConfigError(f"the new list has {len(new)} items, expected an empty one")
            return _step_vec
        case CellReader(), Cell():
            return _step_cell
        case OnceReader(), Once():
            return _step_once
    kinds = f"{type(old).__name__} and {type(new).__name__}"
    raise ConfigError(f"got {kinds}, expected a collection and a writer of the same kind")


async def _step_map(old: Any, new: Any, placed: Any, convert: Convert) -> Any:
    wanted = dict(map(convert, old.items()))
    before = placed or {}
    await _extend(new, _changed(wanted, before).items())
    for key in before.keys() - wanted.keys():
        await new.remove(key)
    return wanted


async def _step_set(old: Any, new: Any, placed: Any, convert: Convert) -> Any:
    wanted = dict.fromkeys(map(convert, old))
    before = placed or {}
    await _extend(new, wanted.keys() - before.keys())
    for member in before.keys() - wanted.keys():
        await new.remove(member)
    return wanted


async def _step_queue(old: Any, new: Any, placed: Any, convert: Convert) -> Any:
    wanted = {key: (priority, value) for priority, key, value in map(convert, old.iter_asc())}
    before = placed or {}
    changed = _changed(wanted, before).items()
    await _extend(new, ((priority, key, value) for key, (priority, value) in changed))
    for key in before.keys() - wanted.keys():
        await new.remove(key)
    return wanted


async def _step_vec(old: Any, new: Any, placed: Any, convert: Convert) -> Any:
    wanted = list(map(convert, old))
    before = placed or []
    common = 0
    for one, other in zip(wanted, before, strict=False):
        if one != other:
            break
        common += 1
    if common < len(before):
        await new.truncate(common)
    await _extend(new, wanted[common:])
    return wanted


async def _step_cell(old: Any, new: Any, placed: Any, convert: Convert) -> Any:
    wanted = [] if old.is_empty() else [convert(old.read())]
    if wanted and wanted != placed:
        await new.write(wanted[0])
    elif placed and not wanted:
        await new.clear()
    return wanted


async def _step_once(old: Any, new: Any, placed: Any, convert: Convert) -> Any:
    wanted = [] if old.is_none() else [convert(old.read())]
    if wanted and not placed:
        await new.write(wanted[0])
    return wanted


def _changed(wanted: dict[Any, Any], before: dict[Any, Any]) -> dict[Any, Any]:
    missing = object()
    return {key: value for key, value in wanted.items() if before.get(key, missing) != value}


async def _extend(new: Any, items: Iterable[Any]) -> None:
    if listed := list(items):
        await new.extend(listed)
