"""Where a member begins in a history, and how it goes on in one that continues its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..raft.raft import Raft
from ..storage.interface import SaveBatch
from ..wire.configuration import encode_voters, make_voters
from ..wire.group_record import StoredGroup, encode_stored
from ..wire.records import Entry, EntryKind, HardState, SnapshotMetadata
from ..wire.system_entries import ContinueAs, encode_system_entry
from .context import Context


@dataclass(frozen=True, slots=True)
class Begin:
    """Where a history begins for a member."""

    history: bytes  # its id
    # What `Raft` is made with, beside the member and its settings.
    raft: Mapping[str, Any] = field(default_factory=dict)
    join_index: int = 0  # the member is non-voting until its log has reached this


def continue_alone(
    context: Context, raft: Raft, before: bytes, history: bytes, *, keeps_tail: bool
) -> tuple[Begin, SaveBatch]:
    """Return where a history begins in which this member continues its own, and its save.

    It has all that is committed here; then a system entry that says where the two part, and a
    configuration of this member alone. With `keeps_tail` what is in the log and not known to be
    committed counts as committed, as commands of the new history.
    """
    host, me = context.host, context.me
    ledger = host.ledger
    kept = raft.tail(raft.first_index) if keeps_tail else _committed_entries(raft)
    index, term = kept[-1].index if kept else raft.first_index - 1, raft.term + 1
    system_entry = ContinueAs(
        before, history, raft.commit_index, host.position, ledger.own_count, ledger.command_count
    )
    alone = encode_voters(make_voters([me]))
    added = (
        Entry(index + 1, term, EntryKind.SYSTEM, encode_system_entry(system_entry)),
        Entry(index + 2, term, EntryKind.CONFIGURATION, alone),
    )
    return _go_on_as(context, raft, history, HardState(term, me, index + 2), kept, added)


def go_on_in(
    context: Context, raft: Raft, history: bytes, join_index: int
) -> tuple[Begin, SaveBatch]:
    """Return where this member goes on in a history that continues its own, and its save.

    That has all that is committed here, and is committed up to `join_index`: before the log
    is there, this member is non-voting, whatever the configuration that it has says.
    """
    kept = _committed_entries(raft)
    return _go_on_as(context, raft, history, raft.hard_state, kept, (), join_index)


def _committed_entries(raft: Raft) -> tuple[Entry, ...]:
    return raft.tail(raft.first_index)[: raft.commit_index - raft.first_index + 1]


def _go_on_as(
    context: Context,
    raft: Raft,
    history: bytes,
    hard_state: HardState,
    kept: tuple[Entry, ...],
    added: tuple[Entry, ...],
    join_index: int = 0,
) -> tuple[Begin, SaveBatch]:
    base_index = raft.first_index - 1
    made_with = {
        "hard_state": hard_state,
        "metadata": raft.metadata,
        "base": (base_index, raft.term_at(base_index)),
        "entries": (*kept, *added),
        "applied_index": raft.applied_index,
    }
    kept_index = kept[-1].index if kept else base_index
    batch = SaveBatch(
        hard_state=hard_state,
        snapshot=_snapshot_as(context, raft, history, join_index),
        truncate_from=None if kept_index == raft.last_index else kept_index + 1,
        entries=added,
    )
    return Begin(history, made_with, join_index), batch


def _snapshot_as(
    context: Context, raft: Raft, history: bytes, join_index: int
) -> tuple[SnapshotMetadata, bytes] | None:
    """Return what names another history on the disk until its system entry is applied again."""
    if not context.is_durable:
        return None
    if not raft.metadata.index:
        root = context.host.ledger.root
        return raft.metadata, encode_stored(StoredGroup(history, join_index, root=root))
    stored = StoredGroup(history, join_index, parts=tuple(context.host.snapshot_parts()))
    return raft.metadata_at(raft.applied_index), encode_stored(stored)
