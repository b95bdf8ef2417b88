"""What is to be done when all voters of a history are gone and other members are left.

In memory, a voter that is gone for good has taken the history's future with it: nobody can commit
anything. But its learners and observers have applied nothing that was not committed. So with
`initial_voters` 1, when no voter has been in reach for `replace_after`, one of those that are left
*continues* the history: under a new id, for the voters may be alive somewhere, and with itself as
the only voter, from the commands it has applied. Positions go on. From then on all is as in any
group: others join, those that may vote are promoted, and an observer that had to take over hands
over to the first of them.

    1. A survivor whose voters are gone says so (`Status.is_abandoned`). It does not if one of them
       is known to be durable, as that may come back with everything, nor if it does not know a
       majority of them to be in memory. It also says so, though voters are here, when so many of
       the others have no memory of the history any more, or have gone on in another one, that there
       never can be a majority again; or when a voter that is here says so, whose log may have a
       later change of the voters than the log here.
    2. When all survivors in sight say so, and a member that may vote is in sight, or is among them,
       the one that has applied most continues the history; of several alike one that may vote, then
       the lowest id. The others take their turns a second later each, should it not.
    3. A survivor that sees a history which continues its own, and has all that
       it has, goes on in that one: its log is a prefix of the other.
    4. A survivor that has more than that continues its own history as well, and
       the two are merged (`merge`).

**What can be lost**: commands that were acknowledged and that no survivor had
applied. They are not even then if a voter that has them turns up: its history
and the one that continues it are merged like any two. What both have is known by
the number of commands up to where they part (`ledger`), and is there once.

**Two at once.** Two survivors that do not see each other may both continue the history, each for
its side. Each is a history of its own, with its own id, and they are merged when they meet. Nothing
is voted on here, hence nothing can be voted on twice; safety does not rest on any time.

An observer that votes, because it took over, is not counted as a voter that is
in reach unless it leads: it might have lost the one it was to hand over to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from ...ids import PeerId
from ..config import ConsensusConfig, GroupsConfig
from ..raft.quorum import majority
from ..wire.status import MemberStanding, Status


def are_forgotten(
    history: bytes, deciding: tuple[tuple[PeerId, ...], ...], peers: Mapping[PeerId, Status]
) -> bool:
    """Return whether so many voters are here without the history that it can go on no more.

    `deciding` are the sets of its voters that must each agree to anything.
    """
    elsewhere = [peer for peer, status in peers.items() if status.history != history]
    return any(
        sum(peer in voters for peer in elsewhere) > len(voters) - majority(len(voters))
        for voters in deciding
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SurvivorView:
    """What one member of a history sees of it.

    Attributes:
        history: The history.
        deciding: The sets of its voters that must each agree to anything, as far as the log here
            knows: those in force, and before a change is committed also those before it.
        commit_index: How far the log here is committed.
        is_led: Whether this member leads, or its leader is in reach.
        is_closed: Whether the history is merged into another one.
        is_observer: Whether this member only observes.
        is_non_voting: Whether this member has not yet the log up to where it joined. That log
            may name it as a voter, which it was in a former life.
        is_leaving: Whether this member is about to leave.
        is_restoring: Whether the machine is of no use before a snapshot is in it.
        peers: Who is bonded with this member, and what they say.
    """

    history: bytes
    deciding: tuple[tuple[PeerId, ...], ...]
    commit_index: int
    is_led: bool
    is_closed: bool
    is_observer: bool
    is_non_voting: bool
    is_leaving: bool
    is_restoring: bool
    peers: Mapping[PeerId, Status]

    @property
    def voters(self) -> tuple[PeerId, ...]:
        """All voters."""
        return tuple(dict.fromkeys(peer for voters in self.deciding for peer in voters))

    def is_elsewhere(self, peer: PeerId) -> bool:
        """Whether a peer is here, and has another history or none."""
        return peer in self.peers and self.peers[peer].history != self.history


@dataclass(frozen=True, slots=True)
class ContinueHistory:
    """Continue the history under a new id, with this member as its only voter."""


@dataclass(frozen=True, slots=True)
class FollowHistory:
    """Go on in a history that continues this one and has all that is committed here.

    Attributes:
        history: That history.
        position: Up to which position it is the same as this one.
        commit_index: How far it is committed. The log here ends before its first
            configuration, so this member may be a voter by it, even the only one; it must not
            act as one before it has the log up to here.
    """

    history: bytes
    position: int
    commit_index: int


@dataclass(frozen=True, slots=True)
class DropHistory:
    """Give the history up: there is no state here, and nobody left who could serve it."""


Step = ContinueHistory | FollowHistory | DropHistory


class Takeover:
    """Whether the voters of this member's history are gone, and what to do then.

    Call `look` when something in the view has changed and when `timer_s` is due.

    Attributes:
        is_abandoned: Whether the voters are gone, for long enough and for good as far as is known.
        timer_s: When to look again at the latest, in monotonic seconds.
    """

    def __init__(self, me: PeerId, config: ConsensusConfig, settings: GroupsConfig) -> None:
        self._me = me
        self._config = config
        self._replace_after_s = settings.replace_after
        # Members learn of a new history with the next heartbeat.
        self._step_s = max(config.election_timeout, 2 * config.heartbeat_interval)
        self._begin(b"")

    def _begin(self, history: bytes) -> None:
        self.timer_s = inf
        self._history = history
        self._are_durable: dict[PeerId, bool] = {}
        self.is_abandoned = False
        self._gone_since_s: float | None = None
        self._ready_since_s: float | None = None

    def look(self, view: SurvivorView, *, now: float) -> Step | None:
        """Look at who is in reach; return what to do now, None for nothing."""
        if view.history != self._history:
            self._begin(view.history)
        self.timer_s = inf
        self._note_durable(view)
        if view.is_closed or view.is_led:
            self._note_alive()
            return None  # as almost always
        members = {
            peer: status for peer, status in view.peers.items() if status.history == view.history
        }
        is_dead = are_forgotten(view.history, view.deciding, view.peers) or _is_given_up(members)
        if not is_dead and self._has_voter(view, members):
            self._note_alive()
            return None
        if self._gone_since_s is None:
            self._gone_since_s = now
        gone_at_s = self._gone_since_s + self._replace_after_s
        if now < gone_at_s:
            self.timer_s = gone_at_s
            return None
        if self._config.initial_voters > 1:
            return None
        if not view.deciding:
            # It was taken in, and has not got one entry: there is nothing to wait with.
            has_log = any(status.commit_index for status in members.values())
            return None if has_log else DropHistory()
        self.is_abandoned = is_dead or self._are_gone_for_good(view)
        follow = None if view.is_restoring else _find_continued(view)
        if follow is not None or not self.is_abandoned:
            return follow
        return self._take_turn(view, members, now)

    def _note_durable(self, view: SurvivorView) -> None:
        for peer in view.voters:
            status = view.peers.get(peer)
            if status is not None and status.history == view.history:
                self._are_durable[peer] = status.is_durable

    def _note_alive(self) -> None:
        self.is_abandoned = False
        self._gone_since_s = self._ready_since_s = None

    def _has_voter(self, view: SurvivorView, members: Mapping[PeerId, Status]) -> bool:
        """Whether a voter is in reach, this member included."""
        if self._me in view.voters and not (view.is_observer or view.is_non_voting):
            return True
        return any(
            status.leader == peer or not status.is_observer
            for peer, status in members.items()
            if peer in view.voters or status.standing is MemberStanding.VOTER
        )

    def _are_gone_for_good(self, view: SurvivorView) -> bool:
        """Whether no voter is known to be durable, and a majority is known not to be."""
        known = [self._is_durable(peer, view) for peer in view.voters]
        return True not in known and known.count(False) >= majority(len(known))

    def _is_durable(self, peer: PeerId, view: SurvivorView) -> bool | None:
        """Whether a voter may come back with what it had; None when that is not known."""
        if peer == self._me or view.is_elsewhere(peer):
            return False  # it has come back, without what it had
        return self._are_durable.get(peer)

    def _take_turn(
        self, view: SurvivorView, members: Mapping[PeerId, Status], now: float
    ) -> Step | None:
        if view.is_restoring:
            is_served = any(not status.is_catching_up for status in members.values())
            return None if is_served else DropHistory()
        may_vote = not (view.is_observer or view.is_leaving) or any(
            not (status.is_observer or status.is_leaving) for status in view.peers.values()
        )
        # One that is behind may go by voters of the past; but not if it follows one, unless
        # that one has come back without the history.
        are_agreed = all(
            status.is_abandoned
            or (
                status.commit_index < view.commit_index
                and (status.leader is None or view.is_elsewhere(status.leader))
            )
            for status in members.values()
        )
        if view.is_leaving or not may_vote or not are_agreed:
            self._ready_since_s = None
            return None
        if self._ready_since_s is None:
            self._ready_since_s = now
        mine = (-view.commit_index, view.is_observer, self._me)
        rank = sum(
            (-status.commit_index, status.is_observer, peer) < mine
            for peer, status in members.items()
            if not status.is_leaving
        )
        due_s = self._ready_since_s + rank * self._step_s
        if now < due_s:
            self.timer_s = due_s
            return None
        return ContinueHistory()


def _is_given_up(members: Mapping[PeerId, Status]) -> bool:
    """Whether a voter in reach says that there never can be a majority again."""
    return any(
        status.is_abandoned and status.standing is MemberStanding.VOTER and not status.is_observer
        for status in members.values()
    )


def _find_continued(view: SurvivorView) -> FollowHistory | None:
    """Return a history in sight that continues this one and has all of it; None for none."""
    found = [
        (
            status.position,
            status.history,
            ancestor.position,
            # Its system entry and its first configuration come right after what both have.
            max(status.commit_index, ancestor.index + 2),
        )
        for status in view.peers.values()
        if status.standing >= MemberStanding.LEARNER and not status.closed_into
        for ancestor in status.ancestors
        if ancestor.history == view.history and ancestor.index >= view.commit_index
    ]
    if not found:
        return None
    _, history, position, commit_index = max(found)
    return FollowHistory(history, position, commit_index)
