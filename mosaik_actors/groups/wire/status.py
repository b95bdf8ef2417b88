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
    """What a member is in its group.

    SEEKING: it has no history, and looks for one to join.
    Prepared: it has promised to be an initial voter of a history that has not begun.
    LEARNER: it follows a history without counting for quorums.
    VOTER: it counts.
    """

    SEEKING = 0
    PREPARED = 1
    LEARNER = 2
    VOTER = 3


class Ancestor(msgspec.Struct, frozen=True, array_like=True):
    """A history that another one continues: their logs are the same up to a place.

    Attributes:
        history: Its id.
        index: The last entry that both have for certain.
        position: How many commands are applied up to there.
        own_count: How many of those were first applied in `history`.
    """

    history: HistoryId
    index: Index
    position: Index
    own_count: Index


class Status(msgspec.Struct, frozen=True, array_like=True):
    """What a member says of itself.

    Attributes:
        standing: What it is in the group.
        history: Which history it has; empty when seeking.
        term: Its Raft term.
        leader: Who leads, as far as it knows.
        commit_index: The log is committed up to here, as far as it knows.
        first_index: The first entry it still has.
        is_observer: It never wants to vote.
        leadership_factor: 1 for a member that is as good a leader as any; more
            for a reluctant one.
        is_leaving: It is about to leave and wants to be replaced.
        is_durable: It remembers its history after a crash.
        is_catching_up: It is fetching state, and neither votes nor serves yet.
        closed_into: The history into which its history has been closed; else empty.
        merged: The histories that its history has taken in whole, the latest last.
        position: How many commands it has applied.
        ancestors: The histories that its history continues, the latest last.
        is_abandoned: All voters of its history are gone, for so long that another
            member may continue it: see `takeover`.
        is_admitted: Its leader has said that its place in the group is final (`Admitted`).
    """

    standing: MemberStanding = MemberStanding.SEEKING
    history: HistoryId = b""
    term: Index = 0
    leader: PeerId | None = None
    commit_index: Index = 0
    first_index: Index = 0
    is_observer: bool = False
    leadership_factor: Annotated[float, msgspec.Meta(ge=1, le=1000)] = 1.0
    is_leaving: bool = False
    is_durable: bool = False
    is_catching_up: bool = False
    closed_into: HistoryId = b""
    merged: Annotated[tuple[HistoryId, ...], msgspec.Meta(max_length=MERGED_COUNT_MAX)] = ()
    position: Index = 0
    ancestors: Annotated[tuple[Ancestor, ...], msgspec.Meta(max_length=ANCESTOR_COUNT_MAX)] = ()
    is_abandoned: bool = False
    is_admitted: bool = False
