"""One replica, whatever its role: term, vote, log, commit index, mail.

The roles (`follower`, `candidate`, `leader`) decide; this is what they decide on, the few steps
that all of them take, and the transitions from one to the other. Every message first meets the
comparison of terms (Raft thesis 3.3), and requests for votes are answered here, for all roles
answer them alike. Everything else is the role's.

Invariants:
    * The term never goes down; within a term the vote never changes.
    * The commit index never goes down, and no entry at or below it is ever removed: a peer that
      asks for that breaks a rule of Raft.
    * Time inside never goes back. When the caller's clock does, it carries on from where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, ClassVar, Final, NamedTuple

from ...errors import RemoteError
from ...ids import PeerId
from ..wire.configuration import Configurations, decode_voters
from ..wire.raft import FROM_LEADERS, AppendRejected, Message, VoteReply, VoteRequest
from ..wire.records import Entry, EntryKind, HardState, SnapshotMetadata
from . import ready
from .config import RaftConfig
from .durability import Durability
from .log import RaftLog
from .proposals import Proposals
from .quiescence import Liveness, LivenessOf

NEVER: Final = float("-inf")
FOLLOWER: Final = "follower"
PRE_CANDIDATE: Final = "pre-candidate"
CANDIDATE: Final = "candidate"
LEADER: Final = "leader"


class Role:
    """What a replica is at the moment; each role says what it does otherwise than this."""

    name = ""
    liveness: Liveness | None = None  # what a quiesced follower takes for its leader's

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    @property
    def timer_s(self) -> float:
        """When to call `handle_timer`."""
        return self._replica.election_at_s

    def handle_timer(self) -> None:
        """Do what is due."""
        raise NotImplementedError

    def receive(self, sender: PeerId, message: Message) -> None:
        """Take in a message of the current term; ignore what is for another role."""
        raise NotImplementedError

    def read(self, request_id: Any) -> None:
        """Take in a strong read: it fails where there is nobody to ask."""
        self._replica.reads.append(ready.ReadState(request_id, None))

    def handle_saved(self) -> None:
        """More is saved than before."""

    def note_candidate(self, sender: PeerId) -> None:
        """Note that another replica asks for votes, so does not hear of a leader."""

    def recheck_quiescence(self) -> None:
        """Look whether what is relied on while nothing is to be done still holds."""

    def flush(self) -> None:
        """Put into the mail what has piled up; called once before each `Ready`."""

    def leave(self) -> None:
        """End the role."""


class Roles(NamedTuple):
    """How a replica makes its roles: they know it, it does not know them."""

    follower: Callable[[Replica], Role]
    candidate: Callable[[Replica, bool, bool], Role]
    leader: Callable[[Replica], Role]


class Replica:
    """See the module's docstring. What is not a method is to be read only, but for the roles.

    Args:
        now: Monotonic time in seconds; all later ``now`` are on the same clock.
        hard_state: What was saved; None for a new replica.
        metadata: That of the snapshot it has; for a new group, index 0 with the first
            configuration; for one that is to join, index 0 with none.
        log: What was saved, from a place at or before the end of the snapshot. None: nothing
            after that end.
        applied_index: What the machine holds: the snapshot's index for one that
            was restored from it. None: the snapshot's.
        join_index: It neither votes nor stands before everything up to here is committed.
        liveness_of: See `LivenessOf`; call `recheck_quiescence` when it may return something else.

    Raises `DecodeError`: a configuration in the log cannot be read.
    """

    roles: ClassVar[Roles]

    def __init__(
        self,
        me: PeerId,
        settings: RaftConfig,
        rng: Random,
        *,
        now: float,
        hard_state: HardState | None = None,
        metadata: SnapshotMetadata | None = None,
        log: RaftLog | None = None,
        applied_index: int | None = None,
        join_index: int = 0,
        liveness_of: LivenessOf = lambda _peer: None,
    ) -> None:
        hard_state, metadata = hard_state or HardState(), metadata or SnapshotMetadata()
        applied_index = metadata.index if applied_index is None else applied_index
        self.me, self.settings, self.rng = me, settings, rng
        self.liveness_of = liveness_of
        self.join_index = join_index
        self.now = now  # the time inside, in seconds
        self._clock_offset_s = 0.0
        self.term, self.vote = hard_state.term, hard_state.vote
        self.leader: PeerId | None = None  # who leads the term, None when unknown
        self.leader_heard_s = NEVER  # when the leader was last heard of
        self.log = log or RaftLog(metadata.index, metadata.term)
        self.metadata = metadata  # of the snapshot this replica has
        self.configurations = Configurations(metadata.index, metadata.configuration)
        for entry in self.log.configured:
            if entry.index > metadata.index:
                self.configurations.append(entry.index, decode_voters(entry.data))
        known = min(max(hard_state.commit_index, metadata.index), self.log.last_index)
        self.commit_index = max(known, applied_index)  # everything up to here is committed
        assert self.commit_index <= self.log.last_index, "applied more than the log holds"
        # Up to where entries were handed out, to be applied, and are applied, as the caller said.
        self.handed_index = self.applied_index = applied_index
        self.agreed_index = self.commit_index  # so far the log is that of this term's leader
        self.durability = Durability(self.log.last_index, hard_state)
        self.must_save_hard_state = False
        self.new_metadata: SnapshotMetadata | None = (
            None  # of a snapshot the disk does not have yet
        )
        self.compact_to: int | None = None  # so far the disk is to forget entries; None for none
        # Whether the log lacks entries that were acknowledged from here. Then it takes no part any
        # more: it neither votes nor acknowledges, for it may have forgotten a vote as well. Have it
        # removed from the configuration, and begin anew.
        self.has_lost_entries = hard_state.has_lost_entries
        self._rewritten_in_term = 0
        self.mail: list[tuple[PeerId, Message]] = []
        self.early_mail: list[tuple[PeerId, Message]] = []
        self.events: list[ready.Event] = []
        # Strong reads that failed, or wait until their entries are handed out.
        self.reads: list[ready.ReadState] = []
        self.proposals = Proposals()
        self._ready_number = 0
        self.postpone_election()
        self._enter(self.roles.follower(self))

    # Transitions.

    def _enter(self, role: Role) -> None:
        self.role, self.has_input = role, True
        self.is_leader = role.name == LEADER  # whether this replica leads

    def become_follower(self, term: int, leader: PeerId | None, why: str) -> None:
        """Follow; in a new term the vote is free again (Raft thesis 3.3)."""
        before = self.role
        before.leave()
        if before.name == LEADER:
            self.events.append(ready.SteppedDown(self.term, why))
            self.leader_heard_s = NEVER
        if term > self.term:
            self.set_term(term, None)
            self.leader_heard_s = NEVER
        self.set_leader(leader)
        self.postpone_election()
        self._enter(self.roles.follower(self))

    def lose_entries(self, leader: PeerId, counted_index: int) -> None:
        """Take no part any more; to be remembered, for the leader may be gone before long."""
        self.become_follower(self.term, None, "entries are lost")
        self.has_lost_entries = self.must_save_hard_state = True
        self.events.append(ready.EntriesLost(self.log.last_index, counted_index, leader))

    def become_pre_candidate(self) -> None:
        """Ask before standing (9.6)."""
        self._leave_for(PRE_CANDIDATE, FOLLOWER, PRE_CANDIDATE, CANDIDATE)
        self.set_leader(None)
        self.postpone_election()
        self._enter(self.roles.candidate(self, True, False))
        self.role.handle_saved()

    def become_candidate(self, *, is_transfer: bool) -> None:
        """Enter the next term, vote for oneself, ask for votes (3.4)."""
        self._leave_for(CANDIDATE, FOLLOWER, PRE_CANDIDATE, CANDIDATE)
        self.set_term(self.term + 1, self.me)
        self.set_leader(None)
        self.postpone_election()
        self._enter(self.roles.candidate(self, False, is_transfer))

    def become_leader(self) -> None:
        """Lead; the first entry of the term follows at once."""
        self._leave_for(LEADER, PRE_CANDIDATE, CANDIDATE)
        self.set_leader(self.me)
        self._enter(self.roles.leader(self))
        self.events.append(ready.BecameLeader())

    def _leave_for(self, name: str, *allowed: str) -> None:
        assert self.role.name in allowed, f"{self.role.name} cannot become {name}"
        self.role.leave()

    # Messages.

    def receive(self, sender: PeerId, message: Message) -> None:
        """Compare terms (3.3), then let the role decide."""
        if self.has_lost_entries:
            return
        if isinstance(message, VoteRequest):
            if not self.is_non_voting:
                self._receive_vote_request(sender, message)
            return
        if isinstance(message, VoteReply):
            self._learn_commit(message)
        if message.term > self.term:
            if not (isinstance(message, VoteReply) and message.is_pre_vote and message.is_granted):
                leader = sender if isinstance(message, FROM_LEADERS) else None
                self.become_follower(message.term, leader, f"term {message.term} has begun")
        elif message.term < self.term:
            if isinstance(message, FROM_LEADERS):
                # A leader of the past must learn that it is one.
                self.send(sender, AppendRejected(self.term, 0, 0, 0))
            return
        if isinstance(message, FROM_LEADERS) and self.role.name != FOLLOWER:
            if self.is_leader:
                raise RemoteError(f"a second leader in term {self.term}")
            self.become_follower(self.term, sender, "another one leads")
        self.role.receive(sender, message)

    def _receive_vote_request(self, sender: PeerId, message: VoteRequest) -> None:
        """Vote, once in a term, for a log that is as complete (3.4, 3.6.1).

        Who hears a leader helps nobody to depose it, unless it asked for that itself (4.2.3).
        """
        self.role.note_candidate(sender)
        has_leader = self.is_leader or self.hears_leader
        may_depose = message.is_transfer or not has_leader
        asked, own = (
            (message.last_term, message.last_index),
            (self.log.last_term, self.log.last_index),
        )
        is_up_to_date = asked >= own
        if message.is_pre_vote:
            is_granted = may_depose and is_up_to_date and message.term > self.term
        else:
            if message.term > self.term:
                if not may_depose:
                    return
                self.become_follower(message.term, None, f"an election in term {message.term}")
            is_current = message.term == self.term
            is_granted = is_current and self.vote in (None, sender) and is_up_to_date
            if is_granted:
                self.set_term(self.term, sender)
                self.postpone_election()
        term = message.term if is_granted else self.term
        commit_index, commit_term = self.commit_index, self.log.term_at(self.commit_index) or 0
        reply = VoteReply(term, is_granted, message.is_pre_vote, commit_index, commit_term)
        self.send(sender, reply)

    def _learn_commit(self, message: VoteReply) -> None:
        """Learn what is committed from a voter that knows more, if the logs agree there."""
        index = message.commit_index
        if index > self.commit_index and self.log.term_at(index) == message.commit_term:
            self.commit(index)

    # Time.

    def observe(self, now: float) -> None:
        """Take in the caller's clock."""
        self.has_input = True
        inside = now + self._clock_offset_s
        if inside < self.now:
            self._clock_offset_s = self.now - now
        else:
            self.now = inside

    def inside(self, outside_s: float, *, ahead_s: float = 0.0) -> float:
        """Return a time on the caller's clock as it is inside, so much later than now at most.

        Now is when the clock was last observed, which commands do not do.
        """
        return min(outside_s + self._clock_offset_s, self.now + ahead_s)

    def postpone_election(self) -> None:
        """Draw the time of the next election anew (Raft thesis 3.4)."""
        settings = self.settings
        jitter_s = self.rng.random() * settings.election_timeout_jitter
        # The time drawn, and when it stands for election unless it hears of a leader until then.
        self.election_wait_s = (settings.election_timeout + jitter_s) * settings.election_factor
        self.election_at_s = self.now + self.election_wait_s

    def hasten_election(self) -> None:
        """Have the next election after a split vote begin soon, at a time drawn anew."""
        settings = self.settings
        wait_s = self.rng.random() * settings.election_timeout_jitter * settings.election_factor
        self.election_at_s = min(self.election_at_s, self.now + wait_s)

    @property
    def hears_leader(self) -> bool:
        """Whether a leader was heard of within the shortest election timeout (4.2.3)."""
        self.role.recheck_quiescence()
        return self.now - self.leader_heard_s < self.settings.election_timeout

    # Terms, votes and leaders.

    def set_term(self, term: int, vote: PeerId | None) -> None:
        """Enter a term, or vote in the current one; to be saved before anybody is notified."""
        assert term >= self.term, f"term {term} after {self.term}"
        assert term > self.term or self.vote in (None, vote), f"second vote in term {term}"
        if (term, vote) != (self.term, self.vote):
            if term > self.term:
                self.agreed_index = self.commit_index
            self.term, self.vote = term, vote
            self.must_save_hard_state = True

    def set_leader(self, leader: PeerId | None) -> None:
        """Believe in a leader of the current term, or in none."""
        if leader != self.leader:
            self.leader = leader
            self.events.append(ready.LeaderChanged(leader, self.term))

    @property
    def hard_state(self) -> HardState:
        """What must be remembered now."""
        return HardState(self.term, self.vote, self.commit_index, self.has_lost_entries)

    @property
    def deciding(self) -> tuple[tuple[PeerId, ...], ...]:
        """The sets of voters that must each agree to anything."""
        return self.configurations.deciding(self.commit_index)

    @property
    def is_configuration_pending(self) -> bool:
        """Whether the configuration in force is not known to be committed."""
        return self.configurations.is_pending(self.commit_index)

    @property
    def is_non_voting(self) -> bool:
        """Whether this replica has not the log yet up to where it joined.

        It may have voted in a former life, or be a voter by a configuration that is long
        replaced: so it takes no part in elections, whatever the log here says (4.2.1).
        """
        return self.commit_index < self.join_index

    @property
    def may_stand(self) -> bool:
        """Whether this replica may be elected: it votes now, or before a pending change.

        The one that is being removed may have to lead until that is committed (4.2.2).
        """
        if self.has_lost_entries or self.is_non_voting:
            return False
        return any(self.me in voters for voters in self.deciding)

    def send(self, to: PeerId, message: Message) -> None:
        """Send when everything so far is saved."""
        self.mail.append((to, message))

    # The log.

    def append(self, entry: Entry) -> None:
        """Append an entry; a configuration is in force at once (4.1)."""
        self.log.append(entry)
        if entry.kind is EntryKind.CONFIGURATION:
            self.configurations.append(entry.index, decode_voters(entry.data))

    def truncate(self, from_index: int) -> None:
        """Remove entries that a leader contradicts; a configuration among them is void."""
        assert from_index > self.commit_index, f"truncate {from_index} <= {self.commit_index}"
        self.note_rewritten()
        self.log.truncate(from_index)
        self.durability.truncated(from_index)
        self.configurations.truncate(from_index)

    def note_rewritten(self) -> None:
        """Note that entries were removed from the log in this term.

        In the term of the leader that counted them that takes a later leader, whose
        committed entries came another way than through it (`Raft.install`).
        """
        self._rewritten_in_term = self.term

    def lacks(self, counted_index: int) -> bool:
        """Return whether entries are gone that the leader of this term counts as saved here.

        It counts what this replica acknowledged in the term, after saving it; from then
        on nothing but a later leader takes that out of the log. So a log that is shorter
        has been lost, however late the leader's message comes.
        """
        return counted_index > self.log.last_index and self._rewritten_in_term != self.term

    def merge(self, entries: Sequence[Entry], settled_index: int) -> None:
        """Make the log contain `entries`, which follow a place where it agrees (3.5).

        Raises `RemoteError`: they contradict what is settled: what is committed, and what the
        sender itself sent before. Nothing changes.
        """
        known = self.log.first_new(entries)
        if known == len(entries):
            return
        first = entries[known].index
        if first <= settled_index:
            raise RemoteError(
                f"entry {first} of term {entries[known].term} contradicts one of term "
                f"{self.log.term_at(first)}, settled up to {settled_index}"
            )
        if first <= self.log.last_index:
            self.truncate(first)
        for entry in entries[known:]:
            self.append(entry)

    def commit(self, index: int) -> None:
        """Everything up to `index` is committed: resolve proposals, note configurations."""
        before = self.commit_index
        if index <= before:
            return
        assert index <= self.log.last_index, f"commit {index} of {self.log}"
        self.commit_index, self.has_input = index, True
        for at, voters in self.configurations.between(before, index):
            self.events.append(ready.ConfigurationCommitted(at, voters))
            self.must_save_hard_state = True
        self.proposals.resolve(self.log, before, index)
