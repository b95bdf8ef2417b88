"""What became of an entry or a claim that somebody offered: one word for each outcome."""

from __future__ import annotations

from enum import StrEnum


class EntryVerdict(StrEnum):
    """What became of an entry that was offered."""

    ACCEPTED = "accepted"
    NOT_NEWER = "not newer"
    MALFORMED = "malformed"
    OVERSIZED = "oversized"
    FORGED = "forged"
    DIFFERENT_NETWORK = "different network"
    OWN_ID = "own id"
    FUTURE = "future"
    OUTDATED = "outdated"
    FULL = "full"


# After a partition old entries arrive late: nothing to announce.
EXPECTED_VERDICTS = frozenset(
    [EntryVerdict.ACCEPTED, EntryVerdict.NOT_NEWER, EntryVerdict.OUTDATED]
)
