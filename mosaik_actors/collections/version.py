"""Versions: what a write returns, and what a replica is at.

A version counts the commands that a collection has seen, on every node alike.
It is an `int`, so it can be compared, stored and sent; wait for it anywhere
with ``when().reaches(version)``.

It also knows in which *history* of the group it was counted. Two rooms that
began apart and met have counted apart: a number of the one says nothing in the
other. A version that still has its history is waited for rightly then, too; a
bare number is taken for one of the history at hand.
"""

from __future__ import annotations

from typing import Any, Self


class Version(int):
    """A position in a collection's history.

    Attributes:
        history: The history it was counted in; empty when that is not known.
        changes: What the write that returned this changed, as `changes` gives
            it. None when that is not known: of writes that do not look, and
            when a snapshot took the place of the state meanwhile.
    """

    history: bytes
    changes: tuple[Any, ...] | None = None

    def __new__(  # noqa: D102  # the class says it
        cls, position: int, history: bytes = b"", changes: tuple[Any, ...] | None = None
    ) -> Self:
        version = super().__new__(cls, position)
        version.history = history
        if changes is not None:
            version.changes = changes
        return version

    @property
    def took_effect(self) -> bool | None:
        """Whether the write changed anything; None when that is not known.

        A `compare_exchange` that found another value has not. Known of those
        writes that depend on what is there: see each one's description.
        """
        return None if self.changes is None else bool(self.changes)

    def __repr__(self) -> str:
        return f"Version({int(self)})"

    def __str__(self) -> str:
        return int.__repr__(self)
