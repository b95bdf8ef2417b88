"""Who hears of the changes of a replica: those who follow them, and writers who wait.

A machine notifies one listener of its changes, and makes them only if there is one.
The feed is that listener, as long as anybody wants to know:

    * A *backlog* keeps the changes for one reader. When more pile up than it may
      keep, it drops all of them and keeps `ContentsReplaced` instead: the reader
      then reads everything anew, as it does when a snapshot came.
    * *Outcomes* keep what each command changed for writers whose command is under
      way, and who learn its version only when it is through.

Invariants:
    * The machine has a listener if and only if somebody wants to know.
    * What a backlog gives, with the state that it was read beside, leads to the
      state: nothing is left out silently.
    * An outcome is the command's own or unknown, never another one's.
"""

from __future__ import annotations

import weakref
from collections import deque
from typing import Any, Final

from .commands import CollectionMachine, ContentsReplaced

OUTCOMES_KEPT: Final = 20_000


class Backlog:
    """The changes that one reader has not taken yet, oldest first.

    Args:
        limit: How many are kept.
    """

    __slots__ = ("__weakref__", "_changes", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._changes: deque[Any] = deque()

    def __len__(self) -> int:
        return len(self._changes)

    def put(self, changes: list[Any]) -> None:
        """Take in changes; too many become one `ContentsReplaced`."""
        if len(self._changes) + len(changes) > self._limit:
            self._changes.clear()
            self._changes.append(ContentsReplaced())
        else:
            self._changes.extend(changes)

    def take(self) -> Any:
        """Return the next change; there must be one."""
        return self._changes.popleft()


class Outcomes:
    """What commands changed, while somebody waits to know.

    It remembers the latest changes only; that is enough, because who waits is
    notified of its command in the turn of the loop in which that is applied.

    Args:
        kept: How many changes it remembers at least.
    """

    __slots__ = (
        "_count",
        "_current",
        "_forgotten",
        "_former",
        "_kept",
        "_replaced_count",
        "_wait_count",
    )

    def __init__(self, kept: int = OUTCOMES_KEPT) -> None:
        self._kept = kept
        self._wait_count = 0
        self._replaced_count = 0
        self._current: dict[int, list[Any]] = {}
        self._former: dict[int, list[Any]] = {}
        self._count = 0
        self._forgotten = 0

    @property
    def is_wanted(self) -> bool:
        """Whether anybody waits."""
        return self._wait_count > 0

    def begin(self) -> int:
        """Remember changes from now on; `end` has to follow. Return what `find` wants."""
        self._wait_count += 1
        return self._replaced_count

    def end(self) -> None:
        """Take back a `begin`."""
        self._wait_count -= 1
        if not self._wait_count:
            self._clear()

    def find(self, begun: int, version: int) -> tuple[Any, ...] | None:
        """Return what the command with this version changed; None when that is not known.

        Args:
            begun: What `begin` returned, before the command was given.
            version: The command's version.
        """
        if begun != self._replaced_count or version <= self._forgotten:
            return None
        changes = self._current.get(version) or self._former.get(version)
        return tuple(changes) if changes else ()

    def put(self, changes: list[Any]) -> None:
        """Take in changes."""
        for change in changes:
            if isinstance(change, ContentsReplaced):
                self._replaced_count += 1
                self._clear()
            else:
                self._current.setdefault(change.version, []).append(change)
                self._count += 1
        if self._count > self._kept:
            self._turn()

    def _turn(self) -> None:
        """Let the older half go."""
        if self._former:
            self._forgotten = max(self._former)
        self._former, self._current, self._count = self._current, {}, 0

    def _clear(self) -> None:
        self._current, self._former = {}, {}
        self._count = self._forgotten = 0


class ChangeFeed:
    """Passes on the changes of one machine; see above.

    Args:
        machine: The machine; nobody else sets its `on_change`.

    Attributes:
        outcomes: What commands changed.
    """

    def __init__(self, machine: CollectionMachine) -> None:
        self.outcomes = Outcomes()
        self._machine = machine
        self._backlogs: list[weakref.ref[Backlog]] = []

    def listen(self, limit: int) -> Backlog:
        """Return a new reader's backlog, which fills from now on for as long as it is held."""
        backlog = Backlog(limit)
        self._backlogs.append(weakref.ref(backlog, self._drop))
        self._attach()
        return backlog

    def begin(self) -> int:
        """Remember what commands change from now on; see `Outcomes.begin`."""
        begun = self.outcomes.begin()
        self._attach()
        return begun

    def end(self) -> None:
        """Take back a `begin`."""
        self.outcomes.end()
        self._attach()

    def _attach(self) -> None:
        """Listen to the machine, or not, as is wanted."""
        is_wanted = bool(self._backlogs) or self.outcomes.is_wanted
        self._machine.on_change = self._take if is_wanted else None

    def _take(self, changes: list[Any]) -> None:
        for reference in list(self._backlogs):
            backlog = reference()
            if backlog is not None:
                backlog.put(changes)
        if self.outcomes.is_wanted:
            self.outcomes.put(changes)

    def _drop(self, reference: weakref.ref[Backlog]) -> None:
        self._backlogs.remove(reference)
        self._attach()
