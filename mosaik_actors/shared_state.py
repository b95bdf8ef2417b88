"""State that one actor writes and any number of handles read.

A handle does not ask its actor what is the case: both hold a `SharedState`, which
the actor changes in place. After each change it calls `changed`, and whoever
watches looks at the state at once, before the next change comes, so that nothing
short is missed. What happens besides, *events*, is kept for a while in order,
with a number each; a reader needs no more than the number of its next one, so
one that is forgotten leaves nothing behind.

Not bound to asyncio: `when` and `events` make things to await of it.

Invariants:
    * A closed state stays closed, and its error the first one.
    * Who only watches is held weakly. Who waits is held until its wait is over,
      so that a task that nobody refers to is not collected while it waits.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from .errors import Closed


class StateWatcher(Protocol):
    """Somebody who wants to know when a state changes. It can be referred to weakly."""

    def look(self) -> None:
        """Look at the state: it has changed, or is closed."""


class Watched(Protocol):
    """What a wait needs of a state."""

    @property
    def is_closed(self) -> bool:
        """Whether nothing changes any more."""

    def hold(self, watcher: StateWatcher) -> None:
        """Let `watcher` look after each change, and refer to it until `release`."""

    def release(self, watcher: StateWatcher) -> None:
        """Let it look on for as long as somebody else refers to it."""

    def ended(self) -> Exception:
        """Return a new error, for who waits for what will not be the case any more."""


@dataclass(frozen=True, slots=True)
class Lagged:
    """The reader of `events` was too slow: `missed_count` events are not kept any more."""

    missed_count: int


class SharedState:
    """What an actor shows to its handles. Each subsystem adds what it has to show.

    Args:
        events_backlog: Events that are kept for slow readers.

    Attributes:
        error: Why nothing changes any more; None while things do.
        event_count: Events published so far.
    """

    def __init__(self, events_backlog: int = 0) -> None:
        self.error: Exception | None = None
        self.event_count = 0
        self._events: deque[Any] = deque(maxlen=events_backlog)
        self._watchers: dict[weakref.ref[StateWatcher], StateWatcher | None] = {}
        self._readers: weakref.WeakSet[Any] | None = None

    @property
    def is_closed(self) -> bool:
        """Whether nothing changes any more."""
        return self.error is not None

    @property
    def is_watched(self) -> bool:
        """Whether anybody wants to know of changes."""
        return bool(self._watchers)

    def hold(self, watcher: StateWatcher) -> None:
        """Let `watcher` look after each change, and refer to it until `release`.

        May be repeated.
        """
        self._watchers[weakref.ref(watcher, self._forget)] = watcher

    def release(self, watcher: StateWatcher) -> None:
        """Let it look on for as long as somebody else refers to it."""
        self._watchers[weakref.ref(watcher, self._forget)] = None

    def changed(self) -> None:
        """Let all who watch look."""
        for reference in list(self._watchers):
            watcher = reference()
            if watcher is not None:
                watcher.look()

    def close(self, error: Exception | None = None) -> None:
        """Take in that nothing will change any more, and why. Only the first reason counts."""
        if self.error is None:
            self.error = error or Closed(reason="closed")
            self.changed()

    def ended(self) -> Exception:
        """Return a new error, for who waits for what will not be the case any more."""
        return Closed(reason=str(self.error))

    # Events.

    @property
    def is_read(self) -> bool:
        """Whether anybody reads events: who begins later gets those from then on."""
        return bool(self._readers)

    def add_reader(self, reader: object) -> int:
        """Take in somebody who reads events for as long as it lives; return its first number."""
        if self._readers is None:
            self._readers = weakref.WeakSet()
        self._readers.add(reader)
        return self.event_count

    def publish(self, *events: Any) -> None:
        """Add events, and let all who watch look."""
        self._events.extend(events)
        self.event_count += len(events)
        self.changed()

    def read_event(self, number: int) -> Any:
        """Return the event of that number, `Lagged` if it is not kept, None if there is none."""
        oldest = self.event_count - len(self._events)
        if number < oldest:
            return Lagged(oldest - number)
        return self._events[number - oldest] if number < self.event_count else None

    def _forget(self, reference: weakref.ref[StateWatcher]) -> None:
        self._watchers.pop(reference, None)


class HandleState:
    """One handle's share in a state that several handles show: it may be closed by itself.

    Args:
        state: What they share.
        ended: Makes the error for who waits at this handle in vain.

    Attributes:
        is_closed_here: Whether this handle is closed, whatever others are.
    """

    def __init__(self, state: SharedState, ended: Callable[[], Exception]) -> None:
        self._state = state
        self.is_closed_here = False
        self.ended = ended
        self.hold = state.hold
        self.release = state.release

    @property
    def is_closed(self) -> bool:
        """Whether this handle is closed, or all that is shared."""
        return self.is_closed_here or self._state.is_closed

    def close(self) -> None:
        """Take in that this handle is closed. May be repeated."""
        if not self.is_closed_here:
            self.is_closed_here = True
            self._state.changed()
