"""The messages of the tickets actor, and what it gives to those who require tickets."""

from __future__ import annotations

from dataclasses import dataclass

from thespian.actors import ActorAddress

from ..ids import PeerId
from ..node import Node
from .requirement import TicketRequirement
from .table import Answer, TicketJob, TicketTable


@dataclass(frozen=True, slots=True)
class StartTickets:
    """Keep `table` up to date. The first message of the tickets actor."""

    node: Node
    table: TicketTable


@dataclass(frozen=True, slots=True)
class FollowCatalog:
    """Take from this catalog actor what peers show. Sent once."""

    catalog: ActorAddress


@dataclass(frozen=True, slots=True)
class WatchTickets:
    """Send `watcher` a `TicketsJudged` whenever something is different."""

    watcher: ActorAddress


@dataclass(frozen=True, slots=True)
class UnwatchTickets:
    """Send `watcher` nothing any more, and release what it required."""

    watcher: ActorAddress
    requirement: TicketRequirement


@dataclass(frozen=True, slots=True)
class TicketsTouched:
    """Somebody else than the tickets actor has changed the table."""


@dataclass(frozen=True, slots=True)
class TicketsValidated:
    """The validators have answered, after so many seconds. From the thread that asked them."""

    jobs: list[TicketJob]
    answers: list[Answer]
    took_s: float


@dataclass(frozen=True, slots=True)
class TicketsJudged:
    """The verdicts on `peers` are different: one expired, was renewed, or is known now."""

    peers: tuple[PeerId, ...]


@dataclass(frozen=True, slots=True)
class RequiredTickets:
    """A requirement, and who says when its verdicts change."""

    requirement: TicketRequirement
    actor: ActorAddress
