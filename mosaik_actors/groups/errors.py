"""How a call's failure travels from the actor to the handle that made it.

The actor knows why a call failed, the handle knows what was asked: it makes
the error that its caller sees, with the value.
"""

from __future__ import annotations

from ..errors import MosaikError


class CallFailed(MosaikError):
    """A call was not served in its time, and whether it may still take effect."""

    def __init__(self, reason: str, may_take_effect: bool = False) -> None:
        super().__init__(reason, may_take_effect)
        self.reason = reason
        self.may_take_effect = may_take_effect
