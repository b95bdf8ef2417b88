"""What a collection can be waited for.

A `CollectionWait` returns at once when its condition holds, and may be awaited
again. `CollectionUpdate` waits for the state to become another one than it was
when `updated` was called, and then than it was seen last.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from ..errors import GroupTerminated
from ..groups.conditions import Change, Wait, committed_of
from .errors import NetworkDown
from .version import Version

if TYPE_CHECKING:
    from ..groups.board import GroupBoard


class CollectionWait(Wait):
    """Waits until a condition holds. Await it; `unmet` waits for the opposite.

    Awaiting raises `NetworkDown` when this replica ends before.
    """

    __slots__ = ()

    def unmet(self) -> CollectionWait:
        """Return a wait for the opposite."""
        holds = self._holds
        return CollectionWait(self._board, lambda: not holds())

    async def _wait(self) -> None:
        try:
            await super()._wait()
        except GroupTerminated as exc:
            raise NetworkDown(None, exc.reason) from exc


class CollectionUpdate:
    """Waits for the state to change; awaiting it returns the version that was reached.

    Raises `NetworkDown` when this replica ends before.
    """

    __slots__ = ("_change",)

    def __init__(self, board: GroupBoard) -> None:
        self._change = Change(board, lambda: (history_of(board), committed_of(board)))

    def __await__(self) -> Generator[Any, None, Version]:
        return self._wait().__await__()

    async def _wait(self) -> Version:
        try:
            history, position = await self._change
        except GroupTerminated as exc:
            raise NetworkDown(None, exc.reason) from exc
        return Version(position, history)


class CollectionWhen:
    """What a collection can be waited for."""

    __slots__ = ("_board",)

    def __init__(self, board: GroupBoard) -> None:
        self._board = board

    def online(self) -> CollectionWait:
        """Return a wait until writes are taken, and this replica is abreast of the others."""
        return CollectionWait(self._board, self._is_online)

    def offline(self) -> CollectionWait:
        """Return a wait until it is not online."""
        return CollectionWait(self._board, lambda: not self._is_online())

    def updated(self) -> CollectionUpdate:
        """Return a wait for another version than the present one, by whosever write.

        It may be awaited over and over: each time it returns when the version is
        another one than it returned last. Several writes may be one update.
        """
        return CollectionUpdate(self._board)

    def reaches(self, version: int) -> CollectionWait:
        """Return a wait until what `version` stands for can be read here.

        Args:
            version: What a write returned, on any node. One that is no `Version`
                is taken for one of the history that is followed here.
        """
        history = version.history if isinstance(version, Version) else b""
        return CollectionWait(self._board, self._has(int(version), history))

    def _has(self, position: int, history: bytes) -> Callable[[], bool]:
        def holds() -> bool:
            member = self._board.member
            if member is None or member.history is None:
                return position <= 0
            if not history or history == member.history.id:
                return member.host.position >= position
            # Counted apart: it is here once all of that history is.
            return member.host.ledger.has_all_of(history)

        return holds

    def _is_online(self) -> bool:
        member = self._board.member
        return member is not None and not self._board.is_closed and member.why_offline is None


def history_of(board: GroupBoard) -> bytes:
    """Return the history that the member follows, empty for none."""
    member = board.member
    return b"" if member is None or member.history is None else member.history.id
