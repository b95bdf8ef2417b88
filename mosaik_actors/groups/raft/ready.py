"""What a replica's core wants done, and what it publishes.

A `Ready` is one batch of pending I/O. Their order is the safety of Raft: what is not saved must not
be promised to anybody, and what is not committed must not be applied.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec

from ...ids import PeerId
from ..storage.interface import SaveBatch
from ..wire.raft import Message
from ..wire.records import Entry, HardState, SnapshotMetadata, Voters


class ProposalVerdict(Enum):
    """What became of a proposal."""

    COMMITTED = "committed"
    NOT_TAKEN = "not taken"
    UNKNOWN = "unknown"


class Reason(Enum):
    """Why a proposal was not taken, or is not known to be."""

    NONE = "none"
    NOT_LEADER = "this replica does not lead"
    TRANSFERRING = "leadership is being handed over"
    FULL = "too much waits to be committed or compacted"
    TOO_LARGE = "larger than an entry may be"
    OVERWRITTEN = "a later leader put something else in its place"
    COMPACTED = "its place came in a snapshot"
    ILLEGAL = "the configuration may not follow the present one"
    PENDING = "the last configuration is not committed"
    TOO_EARLY = "the leader has committed nothing of its own term"
    BEHIND = "the learner is too far behind to vote"


class ProposalOutcome(msgspec.Struct, frozen=True):
    """What became of a proposal or of a change of the configuration, by its token."""

    token: Any
    # Whether it is committed, certainly never will be, or nobody here can say.
    verdict: ProposalVerdict
    # Where it is in the log when committed: in this `Ready` or one soon after; else 0.
    index: int = 0
    reason: Reason = Reason.NONE


class ReadState(msgspec.Struct, frozen=True):
    """A strong read may be served: everything up to `index` is in this or an earlier `Ready`.

    With no index it failed: ask again. `request_id` is what the caller gave to `read`.
    """

    request_id: Any
    index: int | None


class LeaderChanged(msgspec.Struct, frozen=True):
    """This replica now believes in another leader, or in none."""

    leader: PeerId | None
    term: int


class BecameLeader(msgspec.Struct, frozen=True):
    """This replica leads."""


class SteppedDown(msgspec.Struct, frozen=True):
    """This replica leads no more, and why."""

    term: int
    why: str


class ConfigurationCommitted(msgspec.Struct, frozen=True):
    """A configuration is final."""

    index: int
    voters: Voters


class ConfigurationKnown(msgspec.Struct, frozen=True):
    """To a leader: a committed configuration is known to be so at enough voters.

    The crash of any one of them leaves somebody who knows, and can have the others go on.
    """


class SnapshotNeeded(msgspec.Struct, frozen=True):
    """The log here cannot be continued: fetch a snapshot at `metadata` or later, then `install`."""

    metadata: SnapshotMetadata
    leader: PeerId


class EntriesLost(msgspec.Struct, frozen=True):
    """The log here ends at `last_index`, though a leader counts `counted_index` as saved here."""

    last_index: int
    counted_index: int
    leader: PeerId


Event = (
    LeaderChanged
    | BecameLeader
    | SteppedDown
    | ConfigurationCommitted
    | ConfigurationKnown
    | SnapshotNeeded
    | EntriesLost
)


class Ready(msgspec.Struct, frozen=True, eq=False):
    """One batch of pending I/O, in this order.

    1. `early_messages` may leave at once, before or while anything is saved:
       a leader replicates in parallel with its own disk (Raft thesis 10.2.1).
    2. Save, in one transaction, what is not None or empty, in this order:
       `hard_state`; `metadata` (with the snapshot it stands for); remove entries
       from `truncate_from` on; remove entries up to `compact_to`; `entries`.
    3. Call `persisted(ready)`.
    4. Send `messages`. Never before this `Ready` and all earlier ones are
       saved: they promise what was saved.
    5. Apply `committed` to the machine, in order, then call `applied`.
    6. Answer `outcomes`, serve `reads`, and look at `events`.

    Several may be outstanding, when saving takes long: they are saved in order, and each one's
    steps 3 to 6 come after it is saved. When saving fails, stop: what comes after a `Ready` stands
    on it. Messages are with whom they go to. `metadata` is that of a new snapshot: after
    `compact`, the one that the caller made; after `install`, the one it installed.
    """

    number: int
    early_messages: tuple[tuple[PeerId, Message], ...] = ()
    hard_state: HardState | None = None
    metadata: SnapshotMetadata | None = None
    truncate_from: int | None = None
    compact_to: int | None = None
    entries: tuple[Entry, ...] = ()
    messages: tuple[tuple[PeerId, Message], ...] = ()
    committed: tuple[Entry, ...] = ()
    outcomes: tuple[ProposalOutcome, ...] = ()
    reads: tuple[ReadState, ...] = ()
    events: tuple[Event, ...] = ()

    def to_batch(self, snapshot: bytes = b"") -> SaveBatch:
        """Return step 2 as what a storage saves, with the stored form of a new snapshot."""
        return SaveBatch(
            hard_state=self.hard_state,
            snapshot=None if self.metadata is None else (self.metadata, snapshot),
            truncate_from=self.truncate_from,
            compact_to=self.compact_to,
            entries=self.entries,
        )

    @property
    def must_save(self) -> bool:
        """Whether step 2 has anything to do."""
        changes = (self.hard_state, self.metadata, self.truncate_from, self.compact_to)
        return bool(self.entries) or changes != (None,) * len(changes)
