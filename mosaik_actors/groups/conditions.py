"""What a member of a group can be waited for.

A `Wait` is for something to be the case: it returns at once when it is, and may
be awaited again. A `Change` is for something to become different from what it
was when the change was asked for, and then from what was seen last.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

from ..errors import GroupTerminated
from ..ids import PeerId
from .board import GroupBoard

T = TypeVar("T")


class Wait:
    """Waits until a condition holds. Await it; `unmet` waits for the opposite."""

    __slots__ = ("_board", "_holds")

    def __init__(self, board: GroupBoard, holds: Callable[[], bool]) -> None:
        self._board = board
        self._holds = holds

    @property
    def is_met(self) -> bool:
        """Whether it holds at this moment."""
        return self._holds()

    def unmet(self) -> Wait:
        """Return a wait for the opposite."""
        holds = self._holds
        return Wait(self._board, lambda: not holds())

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        await self._board.wait_until(self._holds)
        if self._board.error is not None and not self._holds():
            raise GroupTerminated(None, str(self._board.error)) from self._board.error


class Change(Generic[T]):
    """Waits until a value is another one than it was; awaiting it returns the new value."""

    __slots__ = ("_accepts", "_board", "_read", "_seen")

    def __init__(
        self,
        board: GroupBoard,
        read: Callable[[], T],
        accepts: Callable[[T, T], bool] = lambda old, new: old != new,
    ) -> None:
        self._board = board
        self._read = read
        self._accepts = accepts
        self._seen = read()

    def __await__(self) -> Generator[Any, None, T]:
        return self._wait().__await__()

    async def _wait(self) -> T:
        seen = self._seen
        found: list[T] = []

        def has_changed() -> bool:
            value = self._read()
            if self._accepts(seen, value):
                found.append(value)
                return True
            return False

        await self._board.wait_until(has_changed)
        if not found:
            raise GroupTerminated(None, str(self._board.error)) from self._board.error
        self._seen = found[-1]
        return self._seen


class Position:
    """A position that moves: what is committed, or what is in the log."""

    __slots__ = ("_board", "_read")

    def __init__(self, board: GroupBoard, read: Callable[[], int]) -> None:
        self._board = board
        self._read = read

    def reaches(self, position: int) -> Wait:
        """Return a wait for the position to be at least `position`."""
        return Wait(self._board, lambda: self._read() >= position)

    def advanced(self) -> Change[int]:
        """Return a wait for the position to go up; awaiting it returns the new one."""
        return Change(self._board, self._read, lambda old, new: new > old)

    def changed(self) -> Change[int]:
        """Return a wait for the position to go up or down; it goes down when histories merge."""
        return Change(self._board, self._read)


class When:
    """What a member of a group can be waited for."""

    __slots__ = ("_board", "_me")

    def __init__(self, board: GroupBoard, me: PeerId) -> None:
        self._board = board
        self._me = me

    def online(self) -> Wait:
        """Return a wait until commands are taken: there is a leader, and this member is with it."""
        return Wait(self._board, self._is_online)

    def offline(self) -> Wait:
        """Return a wait until commands are not taken."""
        return Wait(self._board, lambda: not self._is_online())

    def leader_elected(self) -> Wait:
        """Return a wait until there is a leader."""
        return Wait(self._board, lambda: self._leader() is not None)

    def leader_changed(self) -> Change[PeerId | None]:
        """Return a wait until another member leads; awaiting it returns who."""
        return Change(self._board, self._leader, lambda old, new: new is not None and new != old)

    def leader_is(self, peer: PeerId) -> Wait:
        """Return a wait until `peer` leads."""
        return Wait(self._board, lambda: self._leader() == peer)

    def is_leader(self) -> Wait:
        """Return a wait until this member leads."""
        return self.leader_is(self._me)

    def is_follower(self) -> Wait:
        """Return a wait until another member leads."""
        return Wait(self._board, lambda: self._leader() not in (None, self._me))

    def committed(self) -> Position:
        """Return the position up to which commands are committed and applied here."""
        return Position(self._board, lambda: committed_of(self._board))

    def log(self) -> Position:
        """Return the position up to which commands are in the log here."""
        return Position(self._board, lambda: log_position_of(self._board))

    def _is_online(self) -> bool:
        member = self._board.member
        return member is not None and not self._board.is_closed and member.why_offline is None

    def _leader(self) -> PeerId | None:
        member = self._board.member
        return None if member is None or self._board.is_closed else member.leader


def committed_of(board: GroupBoard) -> int:
    """Return the position up to which commands are applied; 0 before the member has started."""
    return 0 if board.member is None else board.member.host.position


def log_position_of(board: GroupBoard) -> int:
    """Return the position of the last command in the log, committed or not."""
    member = board.member
    if member is None:
        return 0
    return member.host.position if member.history is None else member.history.log_position()
