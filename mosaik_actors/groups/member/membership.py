"""Who votes: the policy of a leader, one step at a time.

Pure functions from what a leader sees to the next configuration. Nothing is remembered: the leader
calls `plan_change` again and again, each step brings the group nearer to where no rule applies any
more, and a new leader goes on from wherever the old one stopped. The rules, the most urgent first:

    1. Voters that leave, or are not allowed in the group any more, are removed; a leader that
       leaves hands over first, and so does one that wants only to observe.
    2. A voter that has lost its memory, or the end of its log, is removed: it may not vote before
       it has caught up anew (its earlier votes and entries would count twice, and what a leader has
       counted it never takes back).
    3. A voter that is silent for `replace_after` is replaced by a learner, who is promoted first;
       without one, of five voters or more it is removed.
    4. Bonded members of this history, or of none, become learners, all at once.
    5. Learners that have caught up are promoted while an odd number of voters, at most
       `max_voters`, can be reached. Even numbers are passed through: a pair is begun when two are
       ready; half a pair that nobody can complete is taken back: four survive no more than three.
    6. A voter that wants only to observe becomes a learner.
    7. Learners that are gone, or have left, are forgotten.

Invariants:
    * Each step may follow the present configuration: one voter differs
      (`configuration.check_change`; Raft thesis 4.1).
    * After a step a majority of the old voters and one of the new are there to commit it, so no
      step takes the group down; the last voter stays.
    * While what the leader sees stays the same, no step undoes another, and the steps end.

The thesis (4.4) leaves the choice of voters to the user; all rules are ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from math import inf

from ...ids import PeerId
from ..config import ConsensusConfig, GroupsConfig
from ..raft.quorum import majority
from ..wire.configuration import demote, make_voters, promote, remove
from ..wire.records import LEARNER_COUNT_MAX, Voters
from ..wire.status import MemberStanding, Status

SHRINK_FROM_COUNT = 5
_NOTHING_SAID = Status()
_EXCLUDED = "is not allowed any more"


@dataclass(frozen=True, slots=True)
class MembershipChange:
    """Propose this configuration; `why` is for people."""

    target: Voters
    why: str


@dataclass(frozen=True, slots=True)
class TransferTo:
    """Hand leadership to this voter; `why` is for people."""

    peer: PeerId
    why: str


Step = MembershipChange | TransferTo


@dataclass(frozen=True, slots=True)
class MemberView:
    """What a leader sees of another member."""

    status: Status | None = None  # what it says of itself; None when it is not bonded
    silent_s: float | None = None  # for how many seconds it has not answered; None where unknown
    lag: int | None = None  # how many entries it is behind the commit index; None where unknown
    # Whether it has accepted entries of this leader, so that `lag` is known to be right.
    is_replicating: bool = False
    has_acknowledged: bool = False  # whether this leader counts anything as saved there
    has_left: bool = False  # whether it said good-bye
    is_excluded: bool = False  # whether this leader is certain that it may not be a member any more

    @property
    def is_leaving(self) -> bool:
        """Whether it is, or should be, on its way out."""
        return self.has_left or self.is_excluded or self.said.is_leaving

    @property
    def said(self) -> Status:
        """What it says of itself; without a bond, that it wants nothing in particular."""
        return self.status or _NOTHING_SAID


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupView:
    """What a leader sees."""

    me: PeerId  # the leader
    my_status: Status  # what it says of itself
    history: bytes  # the history it leads
    config: ConsensusConfig  # what all members agree on
    settings: GroupsConfig  # the leader's own settings
    voters: Voters  # the configuration in force
    is_pending: bool = False  # whether that is not known to be committed
    # The others: all in the configuration, and all that are bonded.
    peers: Mapping[PeerId, MemberView] = field(default_factory=dict)

    @property
    def others(self) -> list[PeerId]:
        """The voters without the leader."""
        return [peer for peer in self.voters.voters if peer != self.me]

    def of(self, peer: PeerId) -> MemberView:
        """Return what is seen of a member, the leader included."""
        if peer == self.me:
            return MemberView(self.my_status, 0.0, 0, is_replicating=True)
        return self.peers.get(peer) or MemberView()

    def is_dead(self, peer: PeerId) -> bool:
        """Whether a member has been silent for too long."""
        silent_s = self.of(peer).silent_s
        return silent_s is not None and silent_s > self.settings.replace_after

    def is_lost(self, peer: PeerId) -> bool:
        """Whether a member does not follow this history any more, though it did."""
        status = self.of(peer).status
        if status is None or peer == self.me:
            return False
        return status.standing is MemberStanding.SEEKING or self._is_elsewhere(status)

    def is_here(self, peer: PeerId) -> bool:
        """Whether a voter answers now, and so helps to commit."""
        if peer == self.me:
            return True
        seen = self.of(peer)
        if seen.silent_s is None or seen.silent_s > self.config.election_timeout:
            return False
        is_out = seen.has_left or seen.is_excluded
        return not is_out and not self.is_dead(peer) and not self.is_lost(peer)

    def is_fit(self, peer: PeerId) -> bool:
        """Whether a member could vote, or go on voting: it is here, has caught up and wants to."""
        if not self._is_willing(peer) or not self.is_here(peer):
            return False
        seen, said = self.of(peer), self.of(peer).said
        is_near = seen.lag is not None and seen.lag <= _promotion_lag(self.config)
        is_up = said.history == self.history and not said.is_catching_up
        has_begun = said.standing >= MemberStanding.LEARNER
        return seen.is_replicating and is_near and has_begun and is_up

    def is_newcomer(self, peer: PeerId) -> bool:
        """Whether a bonded peer belongs into the configuration, and is not in it."""
        seen, status = self.of(peer), self.of(peer).status
        if status is None or peer in self.voters.voters or peer in self.voters.learners:
            return False
        is_ours = status.standing is MemberStanding.SEEKING or status.history == self.history
        return is_ours and not self._is_elsewhere(status) and not seen.is_leaving

    def is_gone(self, learner: PeerId) -> bool:
        """Whether a learner can be forgotten."""
        seen = self.of(learner)
        if seen.is_leaving:
            return True
        if seen.status is not None:
            return self._is_elsewhere(seen.status)
        return seen.silent_s is not None and seen.silent_s > self.settings.forget_after

    def factor(self, peer: PeerId) -> float:
        """Return how reluctant a member is to lead."""
        status = self.of(peer).status
        return inf if status is None else status.leadership_factor

    def rank(self, peer: PeerId) -> tuple[float, float, PeerId]:
        """Return what orders members, the best first."""
        lag = self.of(peer).lag
        return (self.factor(peer), inf if lag is None else lag, peer)

    def _is_willing(self, peer: PeerId) -> bool:
        seen, status = self.of(peer), self.of(peer).status
        if status is None or self._is_elsewhere(status):
            return False
        return not seen.is_leaving and not status.is_observer

    def _is_elsewhere(self, status: Status) -> bool:
        return bool(status.history) and status.history != self.history

    def ready(self) -> list[PeerId]:
        """Return the learners that may be promoted, the best first."""
        return sorted([peer for peer in self.voters.learners if self.is_fit(peer)], key=self.rank)

    def coming(self) -> list[PeerId]:
        """Return the learners that may be ready before long, in ascending order."""
        return [p for p in self.voters.learners if self._is_willing(p) and not self.is_dead(p)]

    def transfer_target(self) -> PeerId | None:
        """Return the voter that should lead if this one does not; None when none can."""
        fit = [peer for peer in self.others if self.is_fit(peer)]
        return min(fit, key=self.rank, default=None)

    def least_fit(self) -> list[PeerId]:
        """Return the other voters, first the one that is missed least."""
        worst_first = sorted(self.others, key=self.rank, reverse=True)
        return sorted(worst_first, key=lambda peer: (self.is_fit(peer), self.is_here(peer)))

    def change(self, target: Voters, why: str) -> MembershipChange | None:
        """Return a change, if those that are here can commit it."""
        for voters in (self.voters.voters, target.voters):
            if sum(self.is_here(peer) for peer in voters) < majority(len(voters)):
                return None
        return MembershipChange(target, why)

    def without_learners(self, learners: list[PeerId], why: str) -> MembershipChange | None:
        """Return the change that removes some learners, None for none."""
        if not learners:
            return None
        left = [peer for peer in self.voters.learners if peer not in learners]
        named = ", ".join(peer.short for peer in learners[:8])
        return self.change(make_voters(self.voters.voters, left), f"learners {named} {why}")

    def first_change(self, changes: Iterable[tuple[Voters, str]]) -> MembershipChange | None:
        """Return the first of several changes that can be committed."""
        found = (self.change(target, why) for target, why in changes)
        return next((change for change in found if change is not None), None)


def plan_change(view: GroupView) -> Step | None:
    """Return what to do next, None when nothing is to be done, or nothing can be now."""
    if view.is_pending or view.me not in view.voters.voters:
        return None
    steps = (rule(view) for rule in _RULES)
    return next((step for step in steps if step is not None), None)


def view_key(view: GroupView) -> tuple[object, ...]:
    """Return what the plans depend on: of times and lags only on which side of a limit they are."""
    settings, lag_max = view.settings, _promotion_lag(view.config)
    limits_s = (view.config.election_timeout, settings.replace_after, settings.forget_after)
    seen = [
        (
            peer,
            member.status,
            member.silent_s if member.silent_s is None else [member.silent_s > s for s in limits_s],
            member.lag if member.lag is None else member.lag > lag_max,
            member.is_replicating,
            member.has_acknowledged,
            member.has_left,
            member.is_excluded,
        )
        for peer, member in view.peers.items()
    ]
    return (view.my_status, view.history, view.voters, view.is_pending, seen)


def prefer_leader(view: GroupView) -> PeerId | None:
    """Return a voter that wants to lead more than a reluctant leader does, None for nobody.

    Hand over to it, but not more often than once in an election timeout.
    """
    own = view.my_status.leadership_factor
    transfer_target = view.transfer_target()
    if view.is_pending or own <= 1 or transfer_target is None:
        return None
    return transfer_target if view.factor(transfer_target) < own else None


def choose_admitted(view: GroupView, step: Step | None) -> list[PeerId]:
    """Return the members whose place is final for now, and that do not know it.

    None while another step of the configuration is due: who votes in a configuration that
    is half of a change, as two voters on the way to three, is not to be relied on yet. `step`
    is what `plan_change` has made of the view.
    """
    if view.is_pending or isinstance(step, MembershipChange):
        return []
    members = (*view.others, *view.voters.learners)
    return [p for p in members if not view.of(p).said.is_admitted and view.is_fit(p)]


# The rules. Each returns its next step, None when it has none.


def _hand_over(view: GroupView) -> Step | None:
    """Rule 1, for the leader itself."""
    if not view.my_status.is_leaving and not view.my_status.is_observer:
        return None
    transfer_target = view.transfer_target()
    if transfer_target is not None:
        return TransferTo(transfer_target, "the leader does not want to vote any more")
    return view.first_change(
        (promote(view.voters, peer), f"{peer.short} is to take over") for peer in view.ready()
    )


def _let_go(view: GroupView) -> Step | None:
    """Rule 1, for the others. Where one that leaves is needed, the dead go before it."""
    leaving = [peer for peer in view.others if view.of(peer).is_leaving]
    dead = [peer for peer in view.least_fit() if leaving and view.is_dead(peer)]
    gone = [
        *((peer, _EXCLUDED if view.of(peer).is_excluded else "leaves") for peer in leaving),
        *((peer, "is silent") for peer in dead),
    ]
    return view.first_change(
        (remove(view.voters, peer), f"voter {peer.short} {why}") for peer, why in gone
    )


def _drop_lost(view: GroupView) -> Step | None:
    """Rule 2. A learner is removed as well: what it acknowledged holds no more."""
    step = view.first_change(
        (remove(view.voters, peer), f"voter {peer.short} has lost its memory")
        for peer in view.others
        if view.is_lost(peer)
    )
    lost = [p for p in view.voters.learners if view.is_lost(p) and view.of(p).has_acknowledged]
    return step or view.without_learners(lost, "have lost their memory")


def _replace(view: GroupView) -> Step | None:
    """Rule 3."""
    dead = [peer for peer in view.least_fit() if view.is_dead(peer)]
    if not dead:
        return None
    count, ready = len(view.voters.voters), view.ready()
    if count % 2 == 1 and ready:
        why = f"{ready[0].short} is to replace {dead[0].short}, which is silent"
        return view.change(promote(view.voters, ready[0]), why)
    if count % 2 == 0 or count >= SHRINK_FROM_COUNT:
        return view.change(remove(view.voters, dead[0]), f"voter {dead[0].short} is silent")
    return None


def _admit(view: GroupView) -> Step | None:
    """Rule 4."""
    room = LEARNER_COUNT_MAX - len(view.voters.learners)
    new = [peer for peer in sorted(view.peers) if view.is_newcomer(peer)][:room]
    if not new:
        return None
    target = make_voters(view.voters.voters, (*view.voters.learners, *new))
    return view.change(target, f"new learners: {', '.join(peer.short for peer in new[:8])}")


def _balance(view: GroupView) -> Step | None:
    """Rule 5."""
    count, count_max = len(view.voters.voters), view.config.max_voters
    ready = view.ready()
    is_half_done = count % 2 == 0 and count < count_max
    if (is_half_done and ready) or (count + 2 <= count_max and len(ready) >= 2):
        return view.change(promote(view.voters, ready[0]), f"{ready[0].short} has caught up")
    if count > count_max or (count % 2 == 0 and not view.coming()):
        why = f"{count} voters are no better than {count - 1}"
        return view.first_change((demote(view.voters, peer), why) for peer in view.least_fit())
    return None


def _seat_observers(view: GroupView) -> Step | None:
    """Rule 6."""
    return view.first_change(
        (demote(view.voters, peer), f"voter {peer.short} wants only to observe")
        for peer in view.others
        if view.of(peer).said.is_observer
    )


def _forget(view: GroupView) -> Step | None:
    """Rule 7."""
    gone = [peer for peer in view.voters.learners if view.is_gone(peer)]
    return view.without_learners(gone, "are gone")


@cache
def _promotion_lag(config: ConsensusConfig) -> int:
    return config.raft().promotion_lag


_RULES = (_hand_over, _let_go, _drop_lost, _replace, _admit, _balance, _seat_observers, _forget)
