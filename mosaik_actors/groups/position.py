"""Positions: what `Group.execute` returns.

A position counts the commands that a group has applied, on every member alike. It is
an `int`, so it can be compared, stored and waited for; beside that it knows what the
machine's `apply` returned for the command there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Self, TypeVar, cast, overload

from ..errors import ResultError
from .machine.payloads import AppliedOutcome

R = TypeVar("R")


class Position(int, Generic[R]):
    """The position of a command, with the command's result.

    Attributes:
        has_result: Whether `result` is what `apply` returned. False for a machine without
            `Result`, for a result that was too large to be kept, and for one that the group
            has dropped before this member had it.
    """

    has_result: bool = False
    _outcome: AppliedOutcome = AppliedOutcome()

    def __new__(cls, position: int, outcome: AppliedOutcome | None = None) -> Self:  # noqa: D102
        made = super().__new__(cls, position)
        if outcome is not None:
            made._outcome = outcome
            made.has_result = not outcome.mismatch
        return made

    @property
    def result(self) -> R:
        """What `apply` returned for the command; None when that is not known: see `has_result`.

        Raises:
            ResultError: It is not of the machine's `Result`. The command was applied.
        """
        if self._outcome.mismatch:
            raise ResultError(int(self), self._outcome.mismatch)
        return cast("R", self._outcome.value)

    def __repr__(self) -> str:
        return f"Position({int(self)})"

    def __str__(self) -> str:
        return int.__repr__(self)


class Positions(Sequence[Position[R]]):
    """The positions of several commands, in the order in which they were given.

    They go up; commands of others may be between them. Equal to any other sequence of
    the same numbers, such as a `range`.

    Args:
        positions: The numbers.
        results: What is known of the results, encoded, by position.
        decode: Returns what a result's bytes mean.
    """

    __slots__ = ("_decode", "_positions", "_results")

    def __init__(
        self,
        positions: Sequence[int],
        results: Mapping[int, bytes | None],
        decode: Callable[[bytes], AppliedOutcome],
    ) -> None:
        self._positions = positions
        self._results = results
        self._decode = decode

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, index: int) -> Position[R]: ...
    @overload
    def __getitem__(self, index: slice) -> Positions[R]: ...
    def __getitem__(self, index: int | slice) -> Position[R] | Positions[R]:
        if isinstance(index, slice):
            return Positions(self._positions[index], self._results, self._decode)
        number = self._positions[index]
        result = self._results.get(number)
        return Position(number, None if result is None else self._decode(result))

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(map(int.__eq__, self._positions, other))

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def __repr__(self) -> str:
        return f"Positions({list(self._positions)})"
