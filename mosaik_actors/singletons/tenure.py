"""What one instance of a singleton has while it may act: its token, until its lease is over.

Whatever the instance does is asked for here first, on the clock: its messages, its timers,
what it sends, and its token. So an instance that was held up, and wakes to a lease that is
over, gets nothing to do, before anybody has notified it.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import MosaikError


class LeaseOver(MosaikError):
    """An instance of a singleton may not act any more: another node may have its place.

    Attributes:
        name: The singleton's name.
        token: The token that it had.
        why: Why, for people.
    """

    def __init__(self, name: str, token: int, why: str) -> None:
        super().__init__(name, token, why)
        self.name = name
        self.token = token
        self.why = why

    def __str__(self) -> str:
        return f"singleton {self.name!r} may not act with token {self.token} any more: {self.why}"


class Tenure:
    """One instance's time.

    Args:
        name: The singleton's name.
        token: Its token.
        lasts: Returns whether it may act at this moment.
    """

    __slots__ = ("_lasts", "_token", "name")

    def __init__(self, name: str, token: int, lasts: Callable[[int], bool]) -> None:
        self.name = name
        self._token = token
        self._lasts = lasts

    @property
    def is_over(self) -> bool:
        """Whether the instance may not act any more."""
        return not self._lasts(self._token)

    @property
    def token(self) -> int:
        """The fencing token. Raises `LeaseOver`."""
        if self.is_over:
            raise LeaseOver(self.name, self._token, "its lease is over")
        return self._token
