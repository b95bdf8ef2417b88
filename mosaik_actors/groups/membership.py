"""Who should vote: what the leader changes about its group's configuration, one step at a time.

A pure policy. The leader describes what it sees (`GroupView`); the answer is
the next configuration to propose, or nothing. It is only a wish: what keeps two
leaders apart is that a change is committed by a quorum of the old *and* of the
new voters (`quorum`, Raft thesis 4.1), and nothing here can weaken that.

Rules, the most urgent first; while a change is not committed nothing is planned:

    1. A leader that leaves hands over first, to a learner that is promoted for
       that if there is no other voter. Another voter that leaves, or that has
       come back without its memory, is removed; learners that leave are, too,
       so that none of them is promoted on its way out.
    2. A voter that the leader has not heard of for `replace_after` is replaced:
       a learner is promoted, then it is removed. Without a learner it is
       removed from five voters upward; from three or fewer it stays, for a
       smaller group would bear no more failures.
    3. A voter that became an observer is made a learner.
    4. Members that are bonded and not in the configuration become learners, all
       at once. (They are told so, and begin to follow.)
    5. Caught-up learners are promoted until the voters are the largest odd
       number that `max_voters` and the members in reach allow. An even count
       bears no more failures than the odd one below it (thesis 4.1), so steps
       are begun in pairs; an even count that no learner completes is reduced.
    6. Learners that are gone for `forget_after` are forgotten.

Invariants:
    * A change is planned only if the live voters are a quorum before and after.
    * The last voter is never removed, and the leader not by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..ids import PeerId
from .config import ConsensusConfig, GroupsConfig
from .configuration import LEARNER_COUNT_MAX, demote, make_voters, promote, remove
from .quorum import majority
from .raft_config import RaftConfig
from .records import Voters
from .status import Standing, Status

_LAG_MAX = RaftConfig().promotion_lag
_SHRINKS_FROM = 5  # voters: below, a dead one without a substitute stays


@dataclass(frozen=True, slots=True)
class PeerView:
    """What a leader sees of one peer.

    Attributes:
        status: What it says of itself; None while it is not bonded.
        silent_s: Seconds since the leader heard of it over Raft; None for one
            that is not replicated to.
        lag: Entries it lacks of what is committed; None where unknown.
        is_replicating: Whether its log is known to agree with the leader's.
    """

    status: Status | None
    silent_s: float | None
    lag: int | None
    is_replicating: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupView:
    """What a leader sees of its group.

    Attributes:
        me: The leader.
        my_status: What it says of itself.
        history: The history it leads.
        config: What all members agree on.
        settings: The leader's own settings.
        voters: The configuration in force.
        is_pending: Whether that is not known to be committed.
        peers: Everybody in the configuration and everybody bonded, without the leader.
    """

    me: PeerId
    my_status: Status
    history: bytes
    config: ConsensusConfig
    settings: GroupsConfig
    voters: Voters
    is_pending: bool
    peers: Mapping[PeerId, PeerView]


@dataclass(frozen=True, slots=True)
class Change:
    """Propose this configuration, for this reason."""

    target: Voters
    why: str


@dataclass(frozen=True, slots=True)
class TransferTo:
    """Hand leadership over first."""

    peer: PeerId


def plan_change(view: GroupView) -> Change | TransferTo | None:
    """Return the leader's next step, None when all is as it should be."""
    if view.is_pending:
        return None
    return (
        _let_go(view)
        or _replace(view)
        or _demote_observer(view)
        or _take_in(view)
        or _promote(view)
        or _reduce(view)
        or _forget(view)
    )


def prefer_leader(view: GroupView) -> PeerId | None:
    """Return a voter that should lead instead of a reluctant leader, None when there is none."""
    mine = view.my_status.leadership_factor
    if mine <= 1 or view.is_pending:
        return None
    better = [
        peer
        for peer in _heirs(view)
        if (status := view.peers[peer].status) is not None and status.leadership_factor < mine
    ]
    return better[0] if better else None


# The rules.


def _let_go(view: GroupView) -> Change | TransferTo | None:
    """Rule 1."""
    if view.my_status.is_leaving:
        heirs = _heirs(view)
        if heirs:
            return TransferTo(heirs[0])
        candidates = _candidates(view)
        if candidates:
            found = _if_live(view, promote(view.voters, candidates[0]), "to take over")
            if found is not None:
                return found
    for peer in view.voters.voters:
        status = None if peer == view.me else view.peers[peer].status
        if status is None:
            continue
        if status.is_leaving:
            return _without(view, peer, "it leaves")
        if status.standing is Standing.SEEKING:
            return _without(view, peer, "it has lost its memory")
    return _let_learners_go(view)


def _let_learners_go(view: GroupView) -> Change | None:
    """Remove the learners that leave."""
    kept = []
    for peer in view.voters.learners:
        seen = view.peers.get(peer)
        if seen is None or seen.status is None or not seen.status.is_leaving:
            kept.append(peer)
    count = len(view.voters.learners) - len(kept)
    if not count:
        return None
    return _if_live(view, make_voters(view.voters.voters, kept), f"{count} learners leave")


def _replace(view: GroupView) -> Change | None:
    """Rule 2."""
    dead = [peer for peer in view.voters.voters if _is_dead(view, peer)]
    if not dead:
        return None
    voters = view.voters.voters
    candidates = _candidates(view)
    # With the substitute there is one voter too many for a moment, then the dead one goes.
    if candidates and len(voters) <= view.config.max_voters:
        found = _if_live(view, promote(view.voters, candidates[0]), "in place of a dead voter")
        if found is not None:
            return found
    has_spare = len(voters) % 2 == 0 and len(voters) > 2
    if has_spare or len(voters) >= _SHRINKS_FROM or len(voters) > view.config.max_voters:
        return _without(view, dead[0], "it is dead")
    return None


def _demote_observer(view: GroupView) -> Change | None:
    """Rule 3."""
    for peer in view.voters.voters:
        status = None if peer == view.me else view.peers[peer].status
        if status is not None and status.is_observer and len(view.voters.voters) > 1:
            return _if_live(view, demote(view.voters, peer), "it only observes from now on")
    return None


def _take_in(view: GroupView) -> Change | None:
    """Rule 4."""
    known = {*view.voters.voters, *view.voters.learners}
    room = LEARNER_COUNT_MAX - len(view.voters.learners)
    new = [
        peer
        for peer, seen in view.peers.items()
        if peer not in known and seen.status is not None and _may_join(view, seen.status)
    ][:room]
    if not new:
        return None
    target = make_voters(view.voters.voters, (*view.voters.learners, *new))
    return Change(target, f"{len(new)} new members")


def _promote(view: GroupView) -> Change | None:
    """Rule 5, upward."""
    count = len(view.voters.voters)
    candidates = _candidates(view)
    eligible = sum(not _is_dead(view, peer) for peer in view.voters.voters) + len(candidates)
    wanted = _odd(min(view.config.max_voters, eligible))
    if count >= wanted or not candidates:
        return None
    if count % 2 == 1 and len(candidates) < 2:
        return None
    return _if_live(view, promote(view.voters, candidates[0]), "one voter more is wanted")


def _reduce(view: GroupView) -> Change | None:
    """Rule 5, downward: an even count that is not about to be completed."""
    count = len(view.voters.voters)
    if count % 2 == 1 and count <= view.config.max_voters:
        return None
    others = [peer for peer in view.voters.voters if peer != view.me]
    if not others:
        return None
    dead = [peer for peer in others if _is_dead(view, peer)]
    if dead:
        return _without(view, dead[0], "an even number of voters bears no more failures")
    least = max(others, key=lambda peer: (_fitness(view, peer), peer))
    return _if_live(view, demote(view.voters, least), "an even number bears no more failures")


def _forget(view: GroupView) -> Change | None:
    """Rule 6."""
    limit_s = view.settings.forget_after
    gone = [
        peer
        for peer in view.voters.learners
        if (seen := view.peers[peer]).status is None
        and seen.silent_s is not None
        and seen.silent_s > limit_s
    ]
    if not gone:
        return None
    kept = [peer for peer in view.voters.learners if peer not in gone]
    return Change(make_voters(view.voters.voters, kept), f"{len(gone)} learners are gone")


# What they stand on.


def _is_dead(view: GroupView, peer: PeerId) -> bool:
    if peer == view.me:
        return False
    seen = view.peers[peer]
    return seen.silent_s is not None and seen.silent_s > view.settings.replace_after


def _is_live(view: GroupView, peer: PeerId) -> bool:
    """Whether a voter can be counted on to agree to a change just now."""
    if peer == view.me:
        return True
    seen = view.peers[peer]
    is_heard = seen.silent_s is not None and seen.silent_s < view.config.bond_timeout_s
    return is_heard and seen.status is not None and seen.status.history == view.history


def _has_quorum(view: GroupView, voters: tuple[PeerId, ...]) -> bool:
    return sum(_is_live(view, peer) for peer in voters) >= majority(len(voters))


def _if_live(view: GroupView, target: Voters, why: str) -> Change | None:
    """Return the change if the live voters can commit it under both configurations."""
    if _has_quorum(view, view.voters.voters) and _has_quorum(view, target.voters):
        return Change(target, why)
    return None


def _without(view: GroupView, peer: PeerId, why: str) -> Change | None:
    if len(view.voters.voters) < 2:
        return None
    return _if_live(view, remove(view.voters, peer), f"{peer.short} is removed: {why}")


def _may_join(view: GroupView, status: Status) -> bool:
    if status.is_leaving or status.standing is Standing.PLEDGED:
        return False
    return status.standing is Standing.SEEKING or status.history == view.history


def _candidates(view: GroupView) -> list[PeerId]:
    """Return the learners that may be promoted, the best first."""
    found = []
    for peer in view.voters.learners:
        seen = view.peers.get(peer)
        status = None if seen is None else seen.status
        if seen is None or status is None or seen.lag is None:
            continue
        is_fit = not (status.is_observer or status.is_leaving or status.is_catching_up)
        if (
            is_fit
            and status.history == view.history
            and seen.is_replicating
            and seen.lag <= _LAG_MAX
            and _is_live(view, peer)
        ):
            found.append(peer)
    return sorted(found, key=lambda peer: (_fitness(view, peer), peer))


def _heirs(view: GroupView) -> list[PeerId]:
    """Return the voters that may take over leadership, the best first."""
    found = []
    for peer in view.voters.voters:
        if peer == view.me or not _is_live(view, peer):
            continue
        status = view.peers[peer].status
        if status is not None and not (status.is_leaving or status.is_observer):
            found.append(peer)
    return sorted(found, key=lambda peer: (_fitness(view, peer), peer))


def _fitness(view: GroupView, peer: PeerId) -> tuple[float, int]:
    """Return how fit a peer is to vote or lead: the lower the better."""
    seen = view.peers[peer]
    factor = 1000.0 if seen.status is None else seen.status.leadership_factor
    lag = seen.lag or 0
    return factor, lag // _LAG_MAX


def _odd(count: int) -> int:
    return count if count % 2 else max(1, count - 1)
