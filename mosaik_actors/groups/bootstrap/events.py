"""What a `bootstrap` wants done, and what it publishes.

The order is the order of safety: what is to be saved comes before what may be
said once it is, which comes only after `Bootstrap.prepare_vote_saved`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ...ids import PeerId
from ..wire.bootstrap import Message, PrepareVote
from ..wire.records import Voters


class BootstrapPhase(Enum):
    """Where a member stands on its way to a history."""

    SEEKING = "seeking"
    PROPOSING = "proposing"
    PREPARED = "prepared"
    BEGUN = "in a history with an empty log"
    MEMBER = "in a history"


@dataclass(frozen=True, slots=True)
class SendBootstrap:
    """Send this to a bonded peer; it may be lost."""

    peer: PeerId
    message: Message


@dataclass(frozen=True, slots=True)
class SavePrepareVote:
    """Save this instead of the last one, None for none; then call `prepare_vote_saved`."""

    prepare_vote: PrepareVote | None


@dataclass(frozen=True, slots=True)
class Founded:
    """Follow this history from its beginning. Keep the prepare vote that is saved."""

    history: bytes
    voters: Voters  # its first configuration, at index 0; this member is a voter
    is_founder: bool  # whether this member should stand for election at once


@dataclass(frozen=True, slots=True)
class HistoryDied:
    """Give this history up, and remove it before the next `SavePrepareVote` is saved.

    Its log here is empty, and nothing will ever be committed in it.
    """

    history: bytes


@dataclass(frozen=True, slots=True)
class BootstrapStuck:
    """There is no history yet, for longer than it should take. At most every 10 seconds."""

    why: str


Event = SendBootstrap | SavePrepareVote | Founded | HistoryDied | BootstrapStuck
