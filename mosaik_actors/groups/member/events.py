"""What a member wants done, and what it notifies of: the events of `Member`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from ...ids import PeerId
from ..storage.interface import SaveBatch


class FramesOut(msgspec.Struct, frozen=True):
    """Write these frames to a link, in order."""

    link_id: int
    frames: list[bytes]


@dataclass(frozen=True, slots=True)
class SaveWanted:
    """Save a batch, then call `Member.saved`; the next comes after that."""

    batch: SaveBatch


@dataclass(frozen=True, slots=True)
class LeaderElected:
    """The group has a leader, or has lost it (None)."""

    leader: PeerId | None  # who leads
    term: int  # in which term
    elapsed_s: float = 0.0  # since the last leader was heard of; 0 when there was none before


@dataclass(frozen=True, slots=True)
class MembersChanged:
    """The committed configuration is another one."""

    voters: tuple[PeerId, ...]
    learners: tuple[PeerId, ...]


@dataclass(frozen=True, slots=True)
class HistoryMerged:
    """Two histories that began apart are one now. Nothing acknowledged is lost.

    Positions in the history that was given up are void: its commands have new ones, after those
    that the other history had. Notified once of each history that ended, to those who were in it
    and to all others that are in the one that goes on.
    """

    winner: bytes  # the history that goes on
    loser: bytes  # the history that was given up
    # In order: at a member of the loser all that it knew to be committed; at others the commands
    # that were first executed in it and were new here, but for those that came with a snapshot.
    commands: tuple[Any, ...]
    is_loser: bool  # whether this member was in the history that was given up


@dataclass(frozen=True, slots=True)
class HistoriesConflicted:
    """Another history of this group is about, and the two cannot be merged.

    Both logs have been compacted, so neither can be replayed in full. Both go on,
    apart, until somebody decides which one to keep.
    """

    own: bytes
    other: bytes


@dataclass(frozen=True, slots=True)
class GroupForced:
    """A new history was begun by hand from this member's state; see `force_new_group`."""

    history: bytes
    previous: bytes


@dataclass(frozen=True, slots=True)
class GroupTakenOver:
    """All voters were out of reach for `replace_after`, and the members left go on without them.

    Positions up to `position` stay what they were. What the voters acknowledged beyond is
    not here, unless one of them turns up: then the two histories are merged.
    """

    history: bytes  # the history from now on
    previous: bytes  # the one of the voters that are gone, which it continues
    position: int  # how many commands of that are here


@dataclass(frozen=True, slots=True)
class StateReplaced:
    """The machine's state was replaced by a snapshot, or taken back to the beginning."""

    position: int  # how many commands the new state has seen


_OfHistories = HistoryMerged | HistoriesConflicted | GroupForced | GroupTakenOver
GroupEvent = LeaderElected | MembersChanged | StateReplaced | _OfHistories


@dataclass(frozen=True, slots=True)
class Notify:
    """Notify the users of the group of an event."""

    event: GroupEvent


@dataclass(frozen=True, slots=True)
class Logged:
    """Log a line: the member has noticed something that people should know."""

    is_error: bool  # whether something is wrong
    text: str  # the line
    # Who has caused it, and could cause any number of such lines; None for nobody.
    peer: PeerId | None = None


@dataclass(frozen=True, slots=True)
class MemberLeft:
    """Leaving is through: nothing follows."""
