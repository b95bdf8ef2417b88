"""How a group's history begins, and why there is only one.

With `initial_voters` 1 a lone member begins one, after `bootstrap_delay` without meeting any; two
that begin apart are merged when they meet (`merge`). With n more than 1 it is an atomic commitment
of n members, as in two-phase commit (Gray 1978), with a way out when too many are gone:

    1. The lowest member that sees n that are free, itself included, proposes.
    2. Each of the others prepares, to one proposal at a time: it saves that, then answers.
    3. When all others have, the proposer prepares and saves that. This is the moment: the proposal
       is *complete*, for ever. It begins the history and announces it to everybody, and whoever
       hears of it, from anybody, begins it too. Before, the proposer may give it up at any time.
    4. A prepared member that waits too long asks the others, and later *promises*
       never to begin this history: it saves that, then says so. It is still
       prepared, but may be accepted into a history that exists.

A prepare vote ends (a) in the history; (b) when the proposal is known to be dead, as
one of the n, who is not prepared for it, never will be: its proposer gave it up,
or another member has taken a new incarnation; (c) when a majority of the n
never will begin it: they have promised, or have forgotten their prepare vote, or are in
another history; (d) when the member is accepted into another history.

Why there are never two histories that a majority of their first voters has begun, as long as
members keep their memory and any two sets of n members share one (2n is more than the members that
may vote): suppose g and k were the first two, and m is in both. All of both were prepared, m
without loss of generality to g first. Then m's prepare vote for g ended before it was prepared for
k. Not by (a), as a member of a history gives no prepare vote. Not by (b), as g began. Not by (c),
as then g never has a majority. So by (d): m was accepted, hence by a majority, into some j that is
not g, nor k, which had not begun. So j and one of g and k were two such histories before g and k
were: a contradiction. For the same reason a member whose history has an empty log may give it up
when it meets one that has committed.

Members that forget, those in memory that crash, weaken this to: fewer than 2n minus the members
that may vote forget. In groups of 2n members or more, two halves that never met may each begin a
history, and they are merged as with n = 1. So n should be more than half of those that may vote.

What stays blocked, and is published as `BootstrapStuck`: a prepare vote of which a majority of
the n never comes back, as those that are gone may have begun the history; and one
that some have begun and others promised against when one that would decide it never
comes back. Promises are made only where a majority is in reach to make the rest rare.

Only the proposer can prepare last, so a complete proposal is one that its proposer has saved a
prepare vote for. `promises` has what must hold of prepare votes.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from ...errors import RemoteError
from ...ids import PeerId
from ..raft.quorum import majority
from ..wire import bootstrap as wire
from ..wire.configuration import make_voters
from ..wire.status import Status
from ..wire.types import HISTORY_BYTES
from .events import BootstrapPhase, BootstrapStuck, Event, Founded
from .transitions import STUCK_AFTER_S, BootstrapTransitions


class Bootstrap(BootstrapTransitions):
    """One member's part in the beginning.

    Make it when the member starts, and keep it: once the member follows a history it only answers
    what others ask of earlier proposals.
    """

    def update_peers(self, statuses: Mapping[PeerId, Status], *, now: float) -> None:
        """Take in who is bonded now, and what they say; call it whenever that changes."""
        before = self._peers.statuses
        self._peers.update(statuses, now=now)
        if self.phase in (BootstrapPhase.PREPARED, BootstrapPhase.BEGUN):
            self._look_for_history(now)
            return
        asked = [] if self._proposal is None else self._proposal.others(self._me)
        if self._peers.living_history() or any(peer not in statuses for peer in asked):
            self._give_up(now)
        self._seek([peer for peer in self._peers.without_history() if peer not in before])

    def receive_message(self, peer: PeerId, message: wire.Message, *, now: float) -> None:
        """Take in a message, as `bootstrap_wire.decode_message` returned it.

        Afterwards drain `next_event` and re-read `get_timer`. Raises `RemoteError`, and changes
        nothing, when it is about a proposal that `peer` or this member has no part in.
        """
        match message:
            case wire.Seek():
                self._receive_seek(peer, message, now)
            case wire.Propose(proposal):
                self._receive_propose(peer, self._checked(peer, proposal), now)
            case wire.Prepared(proposal):
                self._receive_prepared(peer, self._checked(peer, proposal), now)
            case wire.Complete(proposal):
                self._receive_complete(peer, self._checked(peer, proposal), now)
            case wire.AskOutcome(proposal):
                self._answer(peer, self._checked(peer, proposal), now)
            case wire.Declined(history, why):
                self._receive_declined(peer, history, why, now)
            case wire.Promised(history):
                self._receive_promised(peer, history, now)
            case wire.Dead(history):
                self._receive_dead(history, now)

    def prepare_vote_saved(self, *, now: float) -> None:
        """Note that a `SavePrepareVote` is done; once for each of them, in order."""
        promises = self._promises
        if not promises.saved():
            return
        if self.phase is not BootstrapPhase.PREPARED:
            self._seek()
        elif promises.has_promised:
            self._tell(promises.proposal, wire.Promised(promises.proposal.history))
            self._count_promises(now)
        elif promises.is_proposer:
            self._begin(now)
        else:
            self._send(promises.proposal.proposer, wire.Prepared(promises.proposal))

    def joined(self, history: bytes, *, now: float) -> None:
        """Note that this member joined a history; it saves that instead of its prepare vote.

        Only while `standing` is SEEKING: then a promise is saved, if it was prepared.
        """
        self._give_up(now)
        self._promises.forget()
        self._history = history
        self._become(BootstrapPhase.MEMBER, now)

    def log_began(self, *, now: float) -> None:
        """Note that the log of the history that was founded has its first entry.

        So there was a leader, whom a majority of the first voters have elected:
        the history will not die.
        """
        if self.phase is BootstrapPhase.BEGUN:
            self._promises.drop()
            self._become(BootstrapPhase.MEMBER, now)

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due, in monotonic seconds; None for never."""
        if self.phase is BootstrapPhase.MEMBER:
            return None
        due_s = min(self._stuck_at_s, self._turn_s())
        return min(due_s, self._resend_at_s) if self._resends else due_s

    def handle_timer(self, *, now: float) -> None:
        """Do what is due. Too early does no harm."""
        if now >= self._turn_s():
            self._take_turn(now)
        if self._resends and now >= self._resend_at_s:
            self._resend(now)
        if self.phase is not BootstrapPhase.MEMBER and now >= self._stuck_at_s:
            self._stuck_at_s = now + STUCK_AFTER_S
            self._events.append(BootstrapStuck(self.why_unbegun))

    def take_part(self, *, now: float) -> None:
        """Be an observer no more. May be repeated."""
        if self._is_observer:
            self._is_observer = False
            if self.phase is BootstrapPhase.SEEKING:
                self._seek()
                self._resend_at_s = now + self._resend_s

    def next_event(self) -> Event | None:
        """Return what to do next, in this order; None when there is nothing."""
        return self._events.popleft() if self._events else None

    def _turn_s(self) -> float:
        """Return when this member goes on by itself."""
        promises = self._promises
        if self.phase is BootstrapPhase.SEEKING and not self._is_observer:
            return self._peers.due_s()
        if self.phase is BootstrapPhase.PROPOSING:
            return self._give_up_at_s
        # The proposer waits for its disk only: what it is prepared for is complete.
        is_settled = promises.has_promised or promises.is_proposer
        is_waiting = self.phase is BootstrapPhase.PREPARED and not is_settled
        return self._promise_at_s if is_waiting else inf

    def _take_turn(self, now: float) -> None:
        if self.phase is BootstrapPhase.PREPARED:
            self._promise_if_it_helps(now)
        elif self._proposal is not None:
            for peer in self._missing():
                self._peers.suspect(peer)
            self._give_up(now)
        elif self._config.initial_voters == 1 and self._is_apart():
            self._peers.postpone(now=now)
        elif self._config.initial_voters == 1:
            self._history = self._rng.randbytes(HISTORY_BYTES)
            self._events.append(Founded(self._history, make_voters([self._me]), is_founder=True))
            self._become(BootstrapPhase.MEMBER, now)
        else:
            self._propose(now)

    # Proposing.

    def _receive_seek(self, peer: PeerId, seek: wire.Seek, now: float) -> None:
        self._peers.receive_seek(peer, seek, now=now)
        mine = self._proposal
        if mine is None or peer not in mine.voters:
            return
        if seek.incarnation != mine.incarnation_of(peer):
            self._give_up(now)

    def _receive_prepared(self, peer: PeerId, proposal: wire.Proposal, now: float) -> None:
        if proposal != self._proposal:
            self._answer(peer, proposal, now)
            return
        self._peers.trust(peer)
        self._have_prepared[peer] = None
        if not self._missing():
            self._proposal = None
            self._prepare(proposal, now)

    def _receive_declined(
        self, peer: PeerId, history: bytes, why: wire.DeclineReason, now: float
    ) -> None:
        if self._is_proposing(history):
            if why is not wire.DeclineReason.HISTORY_EXISTS:
                self._peers.note_busy(peer, now=now)
            self._give_up(now)

    # Prepared.

    def _receive_propose(self, peer: PeerId, proposal: wire.Proposal, now: float) -> None:
        if proposal.proposer != peer:
            raise RemoteError(f"a proposal of {proposal.proposer.short} from {peer.short}")
        promises, history = self._promises, proposal.history
        if self._is_waiting_for(proposal):
            if promises.is_saved:
                self._send(peer, wire.Prepared(proposal))
            return
        is_settled = promises.is_prepared_for(history) or promises.is_dead(history)
        if is_settled or self._is_proposing(history):
            self._answer(peer, proposal, now)
            return
        why = self._why_not(proposal)
        if why is not None:
            self._send(peer, wire.Declined(history, why))
            if why is wire.DeclineReason.OTHER_INCARNATION:
                self._seek([peer])
            return
        self._give_up(now)
        self._prepare(proposal, now)

    def _why_not(self, proposal: wire.Proposal) -> wire.DeclineReason | None:
        """Return why this member does not prepare to a proposal, None if it may."""
        if self._history or self._peers.living_history():
            return wire.DeclineReason.HISTORY_EXISTS
        if self._is_observer:
            return wire.DeclineReason.OBSERVER
        if proposal.incarnation_of(self._me) != self._promises.incarnation:
            return wire.DeclineReason.OTHER_INCARNATION
        # Of two that propose at once the lower one goes on.
        is_own_better = self._proposal is not None and self._me < proposal.proposer
        is_busy = is_own_better or self._promises.prepare_vote is not None
        return wire.DeclineReason.BUSY if is_busy else None

    def _look_for_history(self, now: float) -> None:
        """Begin when others have; let go when there is another history, to be accepted into it."""
        promises = self._promises
        history = promises.proposal.history
        if self.phase is BootstrapPhase.BEGUN:
            if self._peers.has_committed(besides=history):
                self._be_free(now)
        elif promises.has_promised or promises.is_proposer:
            return
        elif self._peers.has_begun(history):
            self._begin(now)
        elif self._peers.has_committed(besides=history):
            promises.promise()

    def _promise_if_it_helps(self, now: float) -> None:
        """Promise when a majority is here to do the same; one that promises alone only does harm.

        When the others do come to begin the history, it lacks this member.
        """
        voters = self._promises.proposal.others(self._me)
        here = [peer for peer in voters if peer in self._peers.statuses]
        if len(here) + 1 >= majority(len(voters) + 1):
            self._promises.promise()
        else:
            self._promise_at_s = now + self._attempt_s

    def _receive_complete(self, peer: PeerId, proposal: wire.Proposal, now: float) -> None:
        if self._is_waiting_for(proposal):
            self._begin(now)
        elif proposal.history != self._history:
            self._answer(peer, proposal, now)

    def _receive_promised(self, peer: PeerId, history: bytes, now: float) -> None:
        if self._is_proposing(history):
            self._give_up(now)
        elif self._promises.is_prepared_for(history):
            self._promises.note_promise(peer)
            if peer == self._promises.proposal.proposer:
                # It forgot. Unless another one has heard that all were prepared, nobody ever will.
                self._promise_at_s = min(self._promise_at_s, now + self._attempt_s)
            self._count_promises(now)

    def _receive_dead(self, history: bytes, now: float) -> None:
        if self._is_proposing(history):
            self._give_up(now)
        elif self._promises.is_prepared_for(history):
            self._be_free(now)

    def _count_promises(self, now: float) -> None:
        if self._promises.is_hopeless():
            self._be_free(now)

    @property
    def _resends(self) -> bool:
        """Whether something is to be said again and again."""
        if self._config.initial_voters == 1 or self.phase is BootstrapPhase.MEMBER:
            return False
        if self.phase is BootstrapPhase.SEEKING:
            is_alone = not self._peers.without_history()
            return not (self._is_observer or is_alone or self._peers.living_history())
        return True

    def _resend(self, now: float) -> None:
        """Say once more what may have been lost."""
        self._resend_at_s = now + self._resend_s
        promises = self._promises
        if self.phase in (BootstrapPhase.SEEKING, BootstrapPhase.PROPOSING):
            self._seek()
        if self._proposal is not None:
            missing = self._missing()
            self._tell(self._proposal, wire.Propose(self._proposal), lambda peer: peer in missing)
        elif self.phase is BootstrapPhase.BEGUN:
            mine = promises.proposal
            follows = self._peers.follows
            self._tell(mine, wire.Complete(mine), lambda peer: not follows(peer, mine.history))
        elif (
            self.phase is BootstrapPhase.PREPARED and now >= self._ask_from_s and promises.is_saved
        ):
            mine = promises.proposal
            self._tell(mine, wire.AskOutcome(mine), lambda peer: not promises.has_promise_of(peer))

    def _is_waiting_for(self, proposal: wire.Proposal) -> bool:
        """Return whether this member is prepared for a proposal, and has promised nothing else."""
        is_prepared = self._promises.prepare_vote == wire.PrepareVote(proposal)
        return is_prepared and self.phase is BootstrapPhase.PREPARED

    def _checked(self, peer: PeerId, proposal: wire.Proposal) -> wire.Proposal:
        """Return a proposal that `peer` and this member have a part in, else raise."""
        voters, needed = proposal.voters, self._config.initial_voters
        if len(voters) != needed:
            raise RemoteError(f"{len(voters)} initial voters, expected {needed}")
        if peer not in voters or self._me not in voters or peer == self._me:
            raise RemoteError(f"{peer.short} speaks of a proposal that does not name us both")
        return proposal

    @property
    def why_unbegun(self) -> str:
        """What the beginning of a history waits for."""
        if self._promises.prepare_vote is not None:
            proposal = self._promises.proposal
            others = proposal.others(self._me)
            gone = [peer.short for peer in others if peer not in self._peers.statuses]
            what = "has begun without a majority" if self._history else "neither begins nor dies"
            return (
                f"history {proposal.history.hex()[:8]} {what}; "
                f"of its {len(proposal.voters)} voters not here: {', '.join(gone) or 'none'}"
            )
        if living := self._peers.living_history():
            return f"waits to be accepted into history {living.hex()[:8]}"
        if self._is_observer:
            return "an observer waits for others to begin a history"
        count, needed = len(self._peers.candidates()), self._config.initial_voters
        here = f"{count} of the {needed} members that begin one are here (initial_voters)"
        return here if count < needed else "looking for members, or waiting to be taken in"
