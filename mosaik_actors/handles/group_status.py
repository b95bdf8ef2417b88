"""What a group's member, and a collection's replica, show of themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..collections.commands import CollectionMachine
from ..metrics.records import CollectionStatus, GroupStatus, clip_text

if TYPE_CHECKING:
    from .groups import Group


def read_group(group: Group[Any, Any, Any, Any]) -> GroupStatus:
    """Return the status of this node's member, under the name that everybody may read."""
    members, metrics, leader = group.members, group.metrics, group.leader
    numbers: dict[str, int] = {}
    if metrics is not None:
        numbers = {
            "term": metrics.term,
            "commit_index": metrics.commit_index,
            "applied_index": metrics.applied_index,
            "last_index": metrics.last_index,
            "log_bytes": metrics.log_bytes,
            "position": metrics.position,
            "pending_commands": metrics.pending_commands,
            "elections": metrics.elections,
            "served_bytes": metrics.served_bytes,
            "sync_mismatches": metrics.sync_mismatches,
        }
    return GroupStatus(
        name=clip_text(group.shown_name),
        group_id=str(group.id),
        role="" if metrics is None else metrics.role,
        leader="" if leader is None else str(leader),
        why_offline=clip_text(group.why_offline or ""),
        members=len(members),
        voters=sum(member.is_voter for member in members),
        bonded=sum(member.is_bonded for member in members),
        **numbers,
    )


def read_collection(group: Group[Any, Any, Any, Any]) -> CollectionStatus | None:
    """Return the status of the replica whose group it is; None when it is no collection's."""
    machine = group.machine
    if not isinstance(machine, CollectionMachine):
        return None
    return CollectionStatus(
        name=clip_text(group.shown_name),
        group_id=str(group.id),
        kind=machine.kind,
        elements=machine.element_count,
        version=int(group.committed),
        is_online=group.is_online,
    )
