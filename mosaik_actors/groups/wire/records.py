"""What a Raft log is made of, in memory, on the wire and on disk.

Indexes begin at 1; index 0 with term 0 is the place before the first entry. A log is kept from
`SnapshotMetadata.index` + 1 on; what lies before is in the snapshot (Raft thesis, chapter 5).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Final

import msgspec

from ...ids import PeerId


class EntryKind(IntEnum):
    """What an entry is about."""

    NOOP = 0
    COMMANDS = 1
    CONFIGURATION = 2
    SYSTEM = 3


# Nothing in it can refer back to it, and a log has a million: not for the garbage collector.
class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One entry of the log."""

    index: int  # its place, from 1 on
    term: int  # the term of the leader that made it
    kind: EntryKind  # what it is about
    data: bytes = b""  # its content, encoded; empty for NOOP


class HardState(msgspec.Struct, frozen=True, array_like=True):
    """What a node must remember before it answers anybody (Raft thesis, figure 3.1)."""

    term: int = 0  # the latest term it has seen
    vote: PeerId | None = None  # whom it voted for in that term, None for nobody
    # An index known to be committed when this was written. It may lag, except that a committed
    # configuration is always covered: after a restart its members need not ask those it replaced.
    commit_index: int = 0
    # The log here lacks entries that were acknowledged: no part in the history until it is reset.
    has_lost_entries: bool = False


VOTER_COUNT_MAX: Final = 64
LEARNER_COUNT_MAX: Final = 1024

# A snapshot has so many parts of so many bytes, at most.
PARTS_COUNT_MAX: Final = 1 << 20
PART_BYTES_MAX: Final = 4 * 1024 * 1024


class Voters(msgspec.Struct, frozen=True, array_like=True):
    """A configuration of the group, the content of a CONFIGURATION entry."""

    # Who counts for quorums, in ascending order.
    voters: Annotated[tuple[PeerId, ...], msgspec.Meta(max_length=VOTER_COUNT_MAX)] = ()
    # Who is replicated to without counting, in ascending order.
    learners: Annotated[tuple[PeerId, ...], msgspec.Meta(max_length=LEARNER_COUNT_MAX)] = ()


class SnapshotMetadata(msgspec.Struct, frozen=True, array_like=True):
    """Where a snapshot stands in the log."""

    index: int = 0  # the last entry that it includes
    term: int = 0  # that entry's term
    configuration: Voters = Voters()  # the configuration at that entry
