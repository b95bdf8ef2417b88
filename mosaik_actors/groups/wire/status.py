"""What a member says of itself to those it is bonded with.

A status travels in every handshake and every heartbeat of a bond. It is a
hint: whatever safety depends on is in the log. From it members learn who has a
history and which one, who may vote, who leaves, and how far each one is.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Final

import msgspec

from ...ids import PeerId
from .types import HistoryId, Index

MERGED_COUNT_MAX: Final = 64
ANCESTOR_COUNT_MAX: Final = 16


class MemberStanding(IntEnum):
    """What a member is in its group."""

    SEEKING = 0  # it has no history, and looks for one to join
    PREPARED = 1  # it has promised to be an initial voter of a history that has not begun
    LEARNER = 2  # it follows a history without counting for quorums
    VOTER = 3  # it counts


class Ancestor(msgspec.Struct, frozen=True, array_like=True):
    """A history that another one continues: their logs are the same up to a place."""

    history: HistoryId  # its id
    index: Index  # the last entry that both have for certain
    position: Index  # how many commands are applied up to there
    own_count: Index  # how many of those were first applied in `history`


class Status(msgspec.Struct, frozen=True, array_like=True):
    """What a member says of itself."""

    standing: MemberStanding = MemberStanding.SEEKING  # what it is in the group
    history: HistoryId = b""  # which history it has; empty when seeking
    term: Index = 0  # its Raft term
    leader: PeerId | None = None  # who leads, as far as it knows
    commit_index: Index = 0  # the log is committed up to here, as far as it knows
    first_index: Index = 0  # the first entry it still has
    is_observer: bool = False  # it never wants to vote
    # 1 for a member that is as good a leader as any; more for a reluctant one.
    leadership_factor: Annotated[float, msgspec.Meta(ge=1, le=1000)] = 1.0
    is_leaving: bool = False  # it is about to leave and wants to be replaced
    is_durable: bool = False  # it remembers its history after a crash
    is_catching_up: bool = False  # it is fetching state, and neither votes nor serves yet
    closed_into: HistoryId = b""  # the history into which its history has been closed; else empty
    # The histories that its history has taken in whole, the latest last.
    merged: Annotated[tuple[HistoryId, ...], msgspec.Meta(max_length=MERGED_COUNT_MAX)] = ()
    position: Index = 0  # how many commands it has applied
    # The histories that its history continues, the latest last.
    ancestors: Annotated[tuple[Ancestor, ...], msgspec.Meta(max_length=ANCESTOR_COUNT_MAX)] = ()
    is_abandoned: bool = False  # all voters are gone, and others may go on (`takeover`)
    is_admitted: bool = False  # its leader has said that its place is final (`Admitted`)

    def has_only_moved_on(self, before: Status) -> bool:
        """Return whether nothing differs but how far the member is: nobody has to act on that."""
        at = {"commit_index": self.commit_index, "position": self.position}
        return self == msgspec.structs.replace(before, **at)
