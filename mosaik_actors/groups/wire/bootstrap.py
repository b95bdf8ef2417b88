"""What members without a history say to each other, and what they promise.

The bond says who sent a message, so no message does. All of them may be lost, come twice,
late or in another order: each says something that stays true, or something that does no harm
when it is old. `bootstrap` says how all this makes one history.

An *incarnation* is 16 random bytes. A member draws one when it starts, and another whenever
it is free of a prepare vote; so what a proposal asks of one that has forgotten it, or was
freed of it, is refused for good without remembering what.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from itertools import pairwise
from typing import Annotated, Final

import msgspec

from ...errors import DecodeError
from ...ids import PeerId
from ...wire_encoding import BoundedDecoder, encode
from .records import VOTER_COUNT_MAX
from .types import KnownHistoryId, exactly

INCARNATION_BYTES: Final = 16
MESSAGE_BYTES_MAX: Final = 8 * 1024

_Incarnation = Annotated[bytes, exactly(INCARNATION_BYTES)]
_Peers = Annotated[tuple[PeerId, ...], msgspec.Meta(min_length=1, max_length=VOTER_COUNT_MAX)]
_Incarnations = Annotated[
    tuple[_Incarnation, ...], msgspec.Meta(min_length=1, max_length=VOTER_COUNT_MAX)
]


class Proposal(msgspec.Struct, frozen=True, array_like=True):
    """A history that may begin."""

    history: KnownHistoryId  # its id; no two proposals have the same
    proposer: PeerId  # who made it, one of the voters
    voters: _Peers  # its first voters, in ascending order
    incarnations: _Incarnations  # those in which they are asked, in the same order

    def incarnation_of(self, peer: PeerId) -> bytes:
        """Return the incarnation in which one of the voters is asked."""
        return self.incarnations[self.voters.index(peer)]

    def others(self, peer: PeerId) -> list[PeerId]:
        """Return the voters without `peer`, in ascending order."""
        return [voter for voter in self.voters if voter != peer]


class PrepareVote(msgspec.Struct, frozen=True, array_like=True):
    """What a member remembers of its promise; saved before anybody is notified."""

    proposal: Proposal  # to begin this history when all its voters are prepared, and no other
    is_promised: bool = False  # it waited too long, and will not begin this history either


class DeclineReason(IntEnum):
    """Why a member does not prepare."""

    HISTORY_EXISTS = 0  # it has a history, or knows somebody who has
    BUSY = 1  # it is prepared for another proposal, or prefers its own
    OTHER_INCARNATION = 2  # it is not asked in its present incarnation
    OBSERVER = 3  # it never votes


class Seek(msgspec.Struct, frozen=True, array_like=True, tag="seek"):
    """The sender looks for a history."""

    incarnation: _Incarnation  # the one to name in a proposal
    is_free: bool  # whether it is not prepared


class Propose(msgspec.Struct, frozen=True, array_like=True, tag="propose"):
    """The sender, its proposer, asks for a prepare vote: `Prepared` or `Declined` answers."""

    proposal: Proposal


class Prepared(msgspec.Struct, frozen=True, array_like=True, tag="prepared"):
    """The sender is prepared, and has saved that."""

    proposal: Proposal


class Declined(msgspec.Struct, frozen=True, array_like=True, tag="declined"):
    """The sender is not prepared now; it may be another time, unless it says so."""

    history: KnownHistoryId
    why: DeclineReason


class Complete(msgspec.Struct, frozen=True, array_like=True, tag="complete"):
    """All voters of the proposal are prepared for it, so it may begin."""

    proposal: Proposal


class AskOutcome(msgspec.Struct, frozen=True, array_like=True, tag="ask"):
    """The sender is prepared for this, or heard so: what does the receiver know?

    `Complete`, `Promised` or `Dead` answers; nothing does while nobody can say.
    """

    proposal: Proposal


class Promised(msgspec.Struct, frozen=True, array_like=True, tag="promised"):
    """The sender has not begun this history, or has forgotten it, and never will begin it."""

    history: KnownHistoryId


class Dead(msgspec.Struct, frozen=True, array_like=True, tag="dead"):
    """This history never begins, or never with a majority of its voters."""

    history: KnownHistoryId


Message = Seek | Propose | Prepared | Declined | Complete | AskOutcome | Promised | Dead

_messages = BoundedDecoder[Message](Message, "a message of a bootstrap", MESSAGE_BYTES_MAX)
_prepare_votes = BoundedDecoder[PrepareVote](PrepareVote, "a prepare vote", MESSAGE_BYTES_MAX)

encode_message: Callable[[Message], bytes] = encode
encode_prepare_vote: Callable[[PrepareVote], bytes] = encode


def decode_message(data: bytes | memoryview) -> Message:
    """Return the message in `data`. Raises `DecodeError` when there is none."""
    message = _messages.decode(data)
    if isinstance(message, Propose | Prepared | Complete | AskOutcome):
        check_proposal(message.proposal)
    return message


def decode_prepare_vote(data: bytes) -> PrepareVote:
    """Return the prepare vote that was saved as `data`. Raises `DecodeError` when it is none."""
    prepare_vote = _prepare_votes.decode(data)
    check_proposal(prepare_vote.proposal)
    return prepare_vote


def check_proposal(proposal: Proposal) -> None:
    """Raise `DecodeError` unless this can be a proposal at all."""
    voters = proposal.voters
    if any(left >= right for left, right in pairwise(voters)):
        raise DecodeError("the voters of a proposal are not in ascending order, each once")
    if len(proposal.incarnations) != len(voters):
        raise DecodeError(f"{len(proposal.incarnations)} incarnations of {len(voters)} voters")
    if proposal.proposer not in voters:
        raise DecodeError(f"proposer {proposal.proposer.short} is not among the voters")
