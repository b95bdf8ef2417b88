"""What a `genesis` wants done, and what it has to tell.

The order is the order of safety: what is to be saved comes before what may be
said once it is, which comes only after `Genesis.pledge_saved`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ...ids import PeerId
from ..wire.genesis import Message, Pledge
from ..wire.records import Voters


class Phase(Enum):
    """Where a member stands on its way to a history."""

    SEEKING = "seeking"
    PROPOSING = "proposing"
    PLEDGED = "pledged"
    BEGUN = "in a history with an empty log"
    MEMBER = "in a history"


@dataclass(frozen=True, slots=True)
class SendGenesis:
    """Send this to a bonded peer; it may be lost."""

    peer: PeerId
    message: Message


@dataclass(frozen=True, slots=True)
class SavePledge:
    """Save this in place of the last one, None for none; then call `Genesis.pledge_saved`."""

    pledge: Pledge | None


@dataclass(frozen=True, slots=True)
class Founded:
    """Follow this history from its beginning. Keep the pledge that is saved.

    Attributes:
        history: Its id.
        voters: Its first configuration, at index 0; this member is a voter.
        is_founder: Whether this member should stand for election at once.
    """

    history: bytes
    voters: Voters
    is_founder: bool


@dataclass(frozen=True, slots=True)
class HistoryDied:
    """Give this history up, and remove it before the next `SavePledge` is saved.

    Its log here is empty, and nothing will ever be committed in it.
    """

    history: bytes


@dataclass(frozen=True, slots=True)
class GenesisStuck:
    """There is no history yet, for longer than it should take. At most every 10 seconds."""

    why: str


Event = SendGenesis | SavePledge | Founded | HistoryDied | GenesisStuck
