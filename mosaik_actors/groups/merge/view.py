"""What a merge is decided on: this member's own history, and the others in sight.

Other histories are known from what bonded members say of themselves. That is a hint, perhaps a
heartbeat old: it decides who asks whom, and never anything that safety depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ...ids import PeerId
from ..machine.ledger import Ledger
from ..machine.sync_roles import LogReader
from ..wire.merge import MergeMessage, encode_merge
from ..wire.status import Ancestor, MemberStanding, Status
from ..wire.system_entries import SystemEntry
from .replay import is_whole

HOPS_MAX: Final = 64

Rank = tuple[bool, int, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeConfig:
    """How patient a member is while histories merge, in seconds. Each may have its own."""

    request_timeout: float = 3.0  # a request to be taken in counts as lost after this
    # Wait before the next attempt, doubled each time: half to one and a half of it, drawn anew.
    retry: float = 0.25
    retry_max: float = 4.0  # the longest such wait, before it is drawn
    patience: float = 2.0  # for a shorter history to ask by itself, before the longer one asks it
    stall: float = 2.0  # a replay without progress for so long begins anew
    # How long a member that has the log, but does not lead, watches a replay stand still before it
    # replays as well.
    takeover: float = 2.0
    # A closed history goes into another one than it was closed into when that has not been in sight
    # for so long.
    lost: float = 5.0
    # The one who replayed a history keeps its log for so long, at most, until the history that took
    # it in has as many voters.
    linger: float = 10.0
    # How long the log is kept whole, in case it must be replayed, after another history came in
    # sight.
    hold: float = 60.0
    repeat: float = 10.0  # time between two notices about the same trouble
    window: int = 8  # system entries of a replay on their way at a time
    hosted: int = 64  # system entries of replays that a leader holds before they are committed


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeView:
    """This member's history, and who is bonded with it."""

    history: bytes  # its id; empty while it has none
    is_leader: bool  # whether this member leads it
    has_leader: bool  # whether anybody does, as far as this member knows
    voter_count: int
    position: Callable[[], int]  # says how many commands are applied here by now
    ledger: Ledger  # as of the last entry that was applied here
    log: LogReader
    peers: Mapping[PeerId, Status]  # what bonded members say of themselves
    # Says whether all of a peer's payloads may get into the log; notes when not.
    is_readable: Callable[[PeerId, Sequence[bytes]], bool]

    @property
    def is_open(self) -> bool:
        """Whether there is a history here that takes commands."""
        return bool(self.history) and not self.ledger.closed_into

    @property
    def may_vouch(self) -> bool:
        """Whether the ledger is that of this history, and can say what is in it.

        While the log of one that continues another is read, it is still that one's.
        """
        return self.ledger.history == self.history

    @property
    def is_leading(self) -> bool:
        """Whether this member leads an open history."""
        return self.is_leader and self.is_open


@dataclass(slots=True)
class Other:
    """Another history in sight."""

    history: bytes
    member: PeerId  # some bonded member
    command_count: int = 0  # how many it has, at least
    leader: PeerId | None = None  # a bonded member that says it leads it
    leader_term: int = -1
    is_whole: bool = False  # a bonded voter has the whole log: it can be merged into another one
    closed_into: bytes = b""  # empty while it is open
    voter_count: int = 0  # how many of its voters are in sight
    ancestors: tuple[Ancestor, ...] = ()  # the histories that it continues, the latest ones

    @property
    def is_ready(self) -> bool:
        """Whether it can take in another history now, as far as is known."""
        return not self.closed_into and self.leader is not None

    @property
    def rank(self) -> Rank:
        """See `rank_of`."""
        return rank_of(self.history, self.command_count, is_whole=self.is_whole)


Others = Mapping[bytes, Other]
"""The other histories in sight, by id."""


def rank_of(history: bytes, command_count: int, *, is_whole: bool = True) -> Rank:
    """Return what decides between two histories: the higher one goes on.

    One that cannot be replayed goes before one that can; then the one with more commands, as users
    count them; then the one with the smaller id.
    """
    return (not is_whole, command_count, bytes(255 - digit for digit in history))


def others_of(view: MergeView) -> dict[bytes, Other]:
    """Return the other histories in sight, in the order of the peers."""
    found: dict[bytes, Other] = {}
    for peer, status in view.peers.items():
        if not status.history or status.history == view.history:
            continue
        other = found.setdefault(status.history, Other(status.history, peer))
        other.command_count = max(other.command_count, status.position)
        other.closed_into = other.closed_into or status.closed_into
        if status.standing is MemberStanding.VOTER and not status.is_catching_up:
            other.voter_count += 1
            other.is_whole = other.is_whole or status.first_index <= 1
        if status.leader == peer and status.term > other.leader_term:
            other.leader, other.leader_term = peer, status.term
        if len(status.ancestors) > len(other.ancestors):
            other.ancestors = status.ancestors
    for other in found.values():
        # What has nothing that is not here need not be replayed.
        other.is_whole = other.is_whole or other.command_count <= shared_position(view, other)
    return found


def shared_position(view: MergeView, other: Other) -> int:
    """Return up to which position another history and the own one are the same; -1 for none."""
    if not view.may_vouch:
        return -1
    known = [a.position for a in view.ledger.ancestors if a.history == other.history]
    known += [a.position for a in other.ancestors if a.history == view.history]
    return max(known, default=-1)


def is_contained(view: MergeView, other: Other) -> bool:
    """Return whether another history has all that is in the own one: one continues the other."""
    return view.position() <= shared_position(view, other)


def find_transfer_target(view: MergeView) -> PeerId | None:
    """Return a voter of this member's own history that has the whole log."""
    for peer in sorted(view.peers):
        status = view.peers[peer]
        if (
            status.history == view.history
            and status.standing is MemberStanding.VOTER
            and status.first_index <= 1
            and not (status.is_catching_up or status.is_leaving or status.is_observer)
        ):
            return peer
    return None


def own_rank(view: MergeView, other: Other | None = None) -> Rank:
    """Return the rank of this member's own history, as compared with another one."""
    is_inside = other is not None and is_contained(view, other)
    whole = is_inside or is_whole(view.log) or find_transfer_target(view) is not None
    return rank_of(view.history, view.position(), is_whole=whole)


def follow(closed_into: bytes, others: Others) -> bytes:
    """Return the open history at which a closed one arrives, as far as is known."""
    for _ in range(HOPS_MAX):
        other = others.get(closed_into)
        if other is None or not other.closed_into:
            break
        closed_into = other.closed_into
    return closed_into


def best_of(others: Others) -> Other | None:
    """Return the highest of the histories that could take in another one now."""
    return max((o for o in others.values() if o.is_ready), key=lambda o: o.rank, default=None)


@dataclass(frozen=True, slots=True)
class SendMerge:
    """Send a message to a bonded peer; drop it when there is no bond."""

    peer: PeerId
    data: bytes


@dataclass(frozen=True, slots=True)
class ProposeSystemEntry:
    """Put a system entry into this member's log, as its leader; say so when that fails."""

    system_entry: SystemEntry


@dataclass(frozen=True, slots=True)
class HandOver:
    """Hand leadership to this member of the same history: it has the whole log."""

    to: PeerId


@dataclass(frozen=True, slots=True)
class MergeStarted:
    """One history is closed, and its commands begin to arrive in the other."""

    winner: bytes
    loser: bytes


@dataclass(frozen=True, slots=True)
class HistoryAbandoned:
    """Everything in this member's history is in another one: join that, forget this."""

    loser: bytes
    winner: bytes


@dataclass(frozen=True, slots=True)
class HistoriesConflict:
    """Another history is in sight, and neither can be replayed: both logs were compacted."""

    other: bytes


MergeEvent = (
    SendMerge | ProposeSystemEntry | HandOver | MergeStarted | HistoryAbandoned | HistoriesConflict
)
Emit = Callable[[MergeEvent], None]


def to_peer(peer: PeerId, message: MergeMessage) -> SendMerge:
    """Return the event that sends a message."""
    return SendMerge(peer, encode_merge(message))
