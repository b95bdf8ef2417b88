"""The messages of the tickets actor, and what it gives to those who require tickets."""

from __future__ import annotations

import msgspec
from thespian.actors import ActorAddress

from ..ids import PeerId
from ..node import Node
from .requirement import TicketRequirement
from .table import Answer, TicketJob, TicketTable


class StartTickets(msgspec.Struct, frozen=True):
    """Keep `table` up to date. The first message of the tickets actor."""

    node: Node
    table: TicketTable


class FollowCatalog(msgspec.Struct, frozen=True):
    """Take from this catalog actor what peers show. Sent once."""

    catalog: ActorAddress


class WatchTickets(msgspec.Struct, frozen=True):
    """Send `watcher` a `TicketsJudged` whenever something is different."""

    watcher: ActorAddress


class UnwatchTickets(msgspec.Struct, frozen=True):
    """Send `watcher` nothing any more, and release what it required."""

    watcher: ActorAddress
    requirement: TicketRequirement


class TicketsTouched(msgspec.Struct, frozen=True):
    """Somebody else than the tickets actor has changed the table."""


class TicketsValidated(msgspec.Struct, frozen=True):
    """The validators have answered, after so many seconds. From the thread that asked them."""

    jobs: list[TicketJob]
    answers: list[Answer]
    took_s: float


class TicketsJudged(msgspec.Struct, frozen=True):
    """The verdicts on `peers` are different: one expired, was renewed, or is known now."""

    peers: tuple[PeerId, ...]


class RequiredTickets(msgspec.Struct, frozen=True):
    """A requirement, and who says when its verdicts change."""

    requirement: TicketRequirement
    actor: ActorAddress
