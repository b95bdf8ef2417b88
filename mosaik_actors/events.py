"""Events of a node, one by one: what `events()` of groups and of discovery returns."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Generic, Self, TypeVar

from .shared_state import Lagged, SharedState
from .when import Wait

E = TypeVar("E")


class Events(AsyncIterator[E | Lagged], Generic[E]):
    """The events from its making on, one by one; a reader that was too slow gets `Lagged`.

    A wait for the next one may be cancelled, or time out, and nothing is lost: go on
    with the same iterator. It ends, after what was left, when what it watches ends.
    Several tasks may read one; each event goes to one of them. One that is not wanted
    any more can simply be dropped.
    """

    __slots__ = ("__weakref__", "_next", "_state")

    def __init__(self, state: SharedState) -> None:
        self._state = state
        self._next = state.add_reader(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E | Lagged:
        state = self._state
        while True:
            event: E | Lagged | None = state.read_event(self._next)
            if event is not None:
                self._next += event.missed_count if isinstance(event, Lagged) else 1
                return event
            if state.is_closed:
                raise StopAsyncIteration
            await Wait(state, lambda: state.is_closed or state.event_count > self._next)
