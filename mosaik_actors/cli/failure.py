"""What a sub-command raises when it cannot do what was asked."""

from __future__ import annotations


class CommandFailed(Exception):
    """The text is the one line that the user sees: what went wrong and what to do."""
