"""The check at what a singleton acts on: nothing of a former host is let in.

    class Ledger(StateMachine):
        def apply(self, command, ctx):
            if self.fence.admits(command.token):
                self.lines.append(command.line)

A host that was paused does not know that another one has taken its place; what it had begun
may arrive at any time after that. Only whoever takes it in can refuse it: by the token, which
is higher with each move. So the check belongs where the effect is, behind everything that
may be late, and `highest` is part of what that keeps.
"""

from __future__ import annotations

from ..errors import MosaikError


class OutdatedToken(MosaikError):
    """Something came with a token that is lower than one that was seen.

    Attributes:
        token: What came.
        highest: The highest token that was seen.
    """

    def __init__(self, token: int, highest: int) -> None:
        super().__init__(token, highest)
        self.token = token
        self.highest = highest

    def __str__(self) -> str:
        return f"token {self.token} is outdated: {self.highest} has been seen"


class Fence:
    """The highest fencing token seen, and the refusal of lower ones.

    It is pure, and alike wherever it sees the same tokens in the same order: it may be part
    of a replicated machine, if `highest` is part of its snapshots.

    Args:
        highest: What was seen before, where that is kept; 0 for nothing.

    Attributes:
        highest: The highest token seen.
    """

    __slots__ = ("highest",)

    def __init__(self, highest: int = 0) -> None:
        self.highest = highest

    def check(self, token: int) -> None:
        """Take a token in, before anything is done that it came with.

        Raises:
            OutdatedToken: A higher one has been seen.
        """
        if not self.admits(token):
            raise OutdatedToken(token, self.highest)

    def admits(self, token: int) -> bool:
        """Take a token in, and return whether it is not outdated; for what must not raise."""
        if token < self.highest:
            return False
        self.highest = token
        return True

    def __repr__(self) -> str:
        return f"Fence(highest={self.highest})"
