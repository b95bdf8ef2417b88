"""What a member of a group is made of, from what its owner asks for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..groups.client.client import CommandClient
from ..groups.config import ConsensusConfig, GroupsConfig
from ..groups.machine.host import Host
from ..groups.machine.machine import StateMachine
from ..groups.machine.state_sync import StateSync
from ..groups.member.context import MemberSpec
from ..groups.mesh.key import GroupKey
from ..groups.storage.interface import LogStorage
from ..groups.wire.types import CLIENT_BYTES
from ..ids import GroupId, PeerId
from ..node import Node
from ..tickets.messages import RequiredTickets

_RESEND_S = 1.0


@dataclass(frozen=True, slots=True)
class GroupJoin:
    """What is asked for when a group is joined; see `Groups.join`."""

    key: GroupKey
    group_id: GroupId
    machine: StateMachine
    sync: StateSync
    storage: LogStorage | None
    consensus: ConsensusConfig
    settings: GroupsConfig
    tickets: RequiredTickets | None


def make_spec(node: Node, join: GroupJoin, number: int) -> MemberSpec:
    """Return what the member is; `number` differs for each join of the node."""
    # A member that comes back in the same run must not draw what it drew before: the
    # group would take its new client for the old one, and its commands for repetitions.
    rng = node.randomness.branch(f"client of group {join.group_id} {number}")
    tickets, preference = join.tickets, join.machine.leadership_preference
    return MemberSpec(
        me=node.peer_id,
        network_id=node.network_id,
        group_id=join.group_id,
        key=join.key,
        consensus=join.consensus,
        settings=join.settings,
        host=Host(join.machine, group_id=join.group_id, network_id=node.network_id),
        client=CommandClient(
            rng.randbytes(CLIENT_BYTES),
            pending_commands=join.settings.pending_commands,
            pending_bytes=join.settings.pending_bytes,
            resend_s=_RESEND_S,
            rng=rng,
        ),
        sync=join.sync,
        is_durable=join.storage is not None and join.storage.is_durable,
        is_observer=preference.is_observer,
        factor=preference.factor,
        allow=(lambda _peer: None) if tickets is None else _Allow(tickets),
        is_excluded=(lambda _peer: False) if tickets is None else tickets.requirement.excludes,
        is_in_reach=node.endpoint.is_answering,
    )


def check_storage(storage: Any) -> None:
    """Refuse what is no storage of a log with `ConfigError`."""
    if storage is not None and not hasattr(storage, "is_durable"):
        expected = (
            f"SqliteLog({str(storage)!r})" if isinstance(storage, str | Path) else "SqliteLog(path)"
        )
        raise ConfigError(f"storage is {storage!r}, expected {expected} or InMemory()")


class _Allow:
    """Why a peer's tickets do not make it a member, None when they do."""

    def __init__(self, tickets: RequiredTickets) -> None:
        self._requirement = tickets.requirement

    def __call__(self, peer: PeerId) -> str | None:
        """Return it, cut to what a close reason may carry."""
        why = self._requirement.why_not(peer)
        return None if why is None else f"no valid ticket: {why}"[:200]
