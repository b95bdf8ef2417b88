"""What a member lends to the parts that follow one history."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from ...ids import PeerId
from ..client.client import CommandClient
from ..client.reads import Reads
from ..config import ConsensusConfig, GroupsConfig
from ..machine.host import Host
from ..machine.state_sync import StateSync
from ..wire.status import Status


@dataclass(frozen=True, slots=True)
class Parts:
    """What a history needs of its member.

    Attributes:
        me: This member.
        consensus: What all members agree on.
        settings: This member's own settings.
        rng: Draws timeouts.
        host: The machine.
        client: This node's commands.
        reads: This node's strong reads.
        sync: How state is synchronised.
        is_durable: Whether anything is saved.
        is_observer: Whether this member wants only to observe.
        factor: How reluctant this member is to lead.
        is_excluded: Whether it is certain that a peer may not be a member any more.
        statuses: Who is bonded with this member, and what they say.
        status: What this member says of itself.
        keeps_log: Whether the log must not be cut at the moment.
        send: Sends a frame to a bonded member; drops it when it is not.
        emit: Takes events for the caller.
    """

    me: PeerId
    consensus: ConsensusConfig
    settings: GroupsConfig
    rng: Random
    host: Host
    client: CommandClient
    reads: Reads
    sync: StateSync
    is_durable: bool
    is_observer: Callable[[], bool]
    factor: float
    is_excluded: Callable[[PeerId], bool]
    statuses: Callable[[], Mapping[PeerId, Status]]
    status: Callable[[], Status]
    keeps_log: Callable[[], bool]
    send: Callable[[PeerId, bytes], None]
    emit: Callable[[Any], None]
