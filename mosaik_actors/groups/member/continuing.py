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
    """Where a history begins for a member.

    Attributes:
        history: Its id.
        raft: What `Raft` is made with, beside the member and its settings.
        join_index: The member is non-voting until its log has reached this.
        root: The history in which the log begins; empty for `history`.
    """

    history: bytes
    raft: Mapping[str, Any] = field(default_factory=dict)
    join_index: int = 0
    root: bytes = b""


def continue_alone(
    context: Context, raft: Raft, before: bytes, history: bytes, *, keeps_tail: bool
) -> tuple[Begin, SaveBatch]:
    """Return where a history begins in which this member continues its own, and its save.

    It has all that is committed here; then a system entry that says where the two part, and a
    configuration of this member alone.

    Args:
        context: What the pieces of this member share.
        raft: The log.
        before: The history so far.
        history: The one that begins.
        keeps_tail: Whether what is in the log and not known to be committed counts as
            committed, as commands of the new history.
    """
    host, me = context.host, context.me
    ledger = host.ledger
    kept = _kept_entries(raft, keeps_tail=keeps_tail)
    index, term = kept[-1].index if kept else raft.first_index - 1, raft.term + 1
    system_entry = ContinueAs(
        before,
        history,
        raft.commit_index,
        host.position,
        ledger.own_count,
        ledger.command_count,
    )
    alone = encode_voters(make_voters([me]))
    added = (
        Entry(index + 1, term, EntryKind.SYSTEM, encode_system_entry(system_entry)),
        Entry(index + 2, term, EntryKind.CONFIGURATION, alone),
    )
    hard_state = HardState(term, me, index + 2)
    return _go_on_as(context, raft, history, hard_state, kept, added)


def go_on_in(
    context: Context, raft: Raft, history: bytes, join_index: int
) -> tuple[Begin, SaveBatch]:
    """Return where this member goes on in a history that continues its own, and its save.

    That has all that is committed here, and is committed up to `join_index`: before the log
    is there, this member is non-voting, whatever the configuration that it has says.
    """
    kept = _kept_entries(raft, keeps_tail=False)
    return _go_on_as(context, raft, history, raft.hard_state, kept, (), join_index)


def _kept_entries(raft: Raft, *, keeps_tail: bool) -> tuple[Entry, ...]:
    entries = raft.log.tail(raft.first_index)
    if not keeps_tail:
        entries = entries[: raft.commit_index - raft.first_index + 1]
    return entries


def _go_on_as(
    context: Context,
    raft: Raft,
    history: bytes,
    hard_state: HardState,
    kept: tuple[Entry, ...],
    added: tuple[Entry, ...],
    join_index: int = 0,
) -> tuple[Begin, SaveBatch]:
    root = context.host.ledger.root
    base_index = raft.first_index - 1
    begin = Begin(
        history,
        {
            "hard_state": hard_state,
            "metadata": raft.metadata,
            "base": (base_index, raft.term_at(base_index)),
            "entries": (*kept, *added),
            "applied_index": raft.applied_index,
        },
        join_index,
        root,
    )
    kept_index = kept[-1].index if kept else base_index
    batch = SaveBatch(
        hard_state=hard_state,
        snapshot=_snapshot_as(context, raft, begin),
        truncate_from=None if kept_index == raft.last_index else kept_index + 1,
        entries=added,
    )
    return begin, batch


def _snapshot_as(
    context: Context, raft: Raft, begin: Begin
) -> tuple[SnapshotMetadata, bytes] | None:
    """Return what names another history on the disk until its system entry is applied again."""
    if not context.is_durable:
        return None
    if not raft.metadata.index:
        return raft.metadata, encode_stored(
            StoredGroup(begin.history, begin.join_index, root=begin.root)
        )
    parts = tuple(context.host.snapshot_parts())
    return raft.metadata_at(raft.applied_index), encode_stored(
        StoredGroup(begin.history, begin.join_index, b"", parts)
    )
