"""What a replica knows whatever its role: term, vote, log, commit index, mail.

The roles (`follower`, `candidate`, `leader`) decide; this is what they decide
on, and the few steps that all of them take. A change of role is a named
transition here, carried out in `raft`, which knows all the roles.

Invariants:
    * The term never goes down; within a term the vote never changes.
    * The commit index never goes down, and no entry at or below it is ever
      removed: a peer that asks for that breaks a rule of Raft.
    * Time inside never goes back. When the caller's clock does, the replica
      carries on from where it was.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from random import Random
from typing import Any, Protocol

from ...errors import RemoteError
from ...ids import PeerId
from ..wire.configuration import Configurations, decode_voters
from ..wire.raft import Message
from ..wire.records import Entry, EntryKind, HardState, SnapshotMetadata
from .config import RaftConfig
from .durability import Durability
from .log import RaftLog
from .quorum import Configurations as Deciding
from .ready import (
    ConfigurationAdopted,
    ConfigurationCommitted,
    Event,
    LeaderChanged,
    ProposalOutcome,
    ProposalVerdict,
    ReadState,
    Reason,
)

NEVER = float("-inf")


class Role(Protocol):
    """What every role can do."""

    @property
    def timer_s(self) -> float:
        """When to call `handle_timer`."""

    def handle_timer(self) -> None:
        """Do what is due."""

    def read(self, request_id: Any) -> None:
        """Take in a strong read."""

    def handle_saved(self) -> None:
        """More is saved than before."""

    def flush(self) -> None:
        """Put into the mail what has piled up."""

    def leave(self) -> None:
        """End the role."""


class RaftState(ABC):
    """The part of a replica that its roles share; see the module's docstring.

    Attributes:
        me: This replica.
        settings: How it keeps time and what it holds.
        now: The time inside, in seconds.
        term: The current term.
        vote: Whom it voted for in it.
        leader: Who leads it, None when unknown.
        leader_heard_s: When the leader was last heard of.
        log: The log, and with it where the disk stands (`durability`).
        metadata: The snapshot this replica has.
        configurations: Those of the log.
        commit_index: Everything up to here is committed.
        agreed_index: The log agrees with the leader of this term up to here.
        election_at_s: When it stands for election unless it hears of a leader.
        has_lost_entries: Whether the log lacks entries that were acknowledged from here.
        join_index: It neither votes nor stands before everything up to here is committed.
    """

    def __init__(
        self,
        me: PeerId,
        settings: RaftConfig,
        rng: Random,
        *,
        now: float,
        hard_state: HardState,
        metadata: SnapshotMetadata,
        base: tuple[int, int],
        entries: Sequence[Entry],
        applied_index: int,
        join_index: int = 0,
    ) -> None:
        self.me = me
        self.join_index = join_index
        self.settings = settings
        self.rng = rng
        self.now = now
        self._clock_offset_s = 0.0
        self.term = hard_state.term
        self.vote = hard_state.vote
        self.leader: PeerId | None = None
        self.leader_heard_s = NEVER
        self.log = RaftLog(*base, entries)
        self.metadata = metadata
        self.configurations = Configurations(metadata.index, metadata.configuration)
        for entry in entries:
            if entry.kind is EntryKind.CONFIGURATION and entry.index > metadata.index:
                self.configurations.append(entry.index, decode_voters(entry.data))
        known = min(max(hard_state.commit_index, metadata.index), self.log.last_index)
        self.commit_index = max(known, applied_index)
        assert self.commit_index <= self.log.last_index, "applied more than the log holds"
        self.durability = Durability(self.log.last_index, hard_state)
        self.must_save_hard_state = False
        self.has_lost_entries = hard_state.has_lost_entries
        self._rewritten_in_term = 0
        self.agreed_index = self.commit_index
        self.election_at_s = now
        self.mail: list[tuple[PeerId, Message]] = []
        self.early_mail: list[tuple[PeerId, Message]] = []
        self.events: list[Event] = []
        self.outcomes: list[ProposalOutcome] = []
        self.reads: list[ReadState] = []
        self._proposals: dict[int, list[tuple[int, Any]]] = {}
        self.postpone_election()

    @property
    @abstractmethod
    def role(self) -> Role:
        """What this replica is at the moment."""

    # Transitions, carried out where all the roles are known.

    @abstractmethod
    def become_follower(self, term: int, leader: PeerId | None, why: str) -> None:
        """Follow `leader`, if there is one, in a term that is not lower."""

    @abstractmethod
    def lose_entries(self, leader: PeerId, counted_index: int) -> None:
        """Take no part any more: entries are gone that were acknowledged from here."""

    @abstractmethod
    def become_pre_candidate(self) -> None:
        """Ask whether standing for election would be worth it."""

    @abstractmethod
    def become_candidate(self, *, is_transfer: bool) -> None:
        """Stand for election in the next term."""

    @abstractmethod
    def become_leader(self) -> None:
        """Lead the term this replica was elected for."""

    # Time.

    def observe(self, now: float) -> None:
        """Take in the caller's clock."""
        inside = now + self._clock_offset_s
        if inside < self.now:
            self._clock_offset_s = self.now - now
        else:
            self.now = inside

    def outside(self, inside_s: float) -> float:
        """Return a time inside as the caller's clock shows it."""
        return inside_s - self._clock_offset_s

    def postpone_election(self) -> None:
        """Draw the time of the next election anew (Raft thesis 3.4)."""
        settings = self.settings
        jitter_s = self.rng.random() * settings.election_timeout_jitter
        wait_s = (settings.election_timeout + jitter_s) * settings.election_factor
        self.election_at_s = self.now + wait_s

    def hasten_election(self) -> None:
        """Have the next election after a split vote begin soon, at a time drawn anew."""
        settings = self.settings
        wait_s = self.rng.random() * settings.election_timeout_jitter * settings.election_factor
        self.election_at_s = min(self.election_at_s, self.now + wait_s)

    @property
    def hears_leader(self) -> bool:
        """Whether a leader was heard of within the shortest election timeout (4.2.3)."""
        return self.now - self.leader_heard_s < self.settings.election_timeout

    # Terms, votes and leaders.

    def set_term(self, term: int, vote: PeerId | None) -> None:
        """Enter a term, or vote in the current one; to be saved before anybody is told."""
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
            self.events.append(LeaderChanged(leader, self.term))

    @property
    def hard_state(self) -> HardState:
        """What must be remembered now."""
        return HardState(self.term, self.vote, self.commit_index, self.has_lost_entries)

    @property
    def deciding(self) -> Deciding:
        """The sets of voters that must each agree to anything."""
        return self.configurations.deciding(self.commit_index)

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

    def is_up_to_date(self, last_index: int, last_term: int) -> bool:
        """Return whether a candidate's log is at least as complete as this one (3.6.1)."""
        return (last_term, last_index) >= (self.log.last_term, self.log.last_index)

    def send(self, to: PeerId, message: Message) -> None:
        """Send when everything so far is saved."""
        self.mail.append((to, message))

    # The log.

    def append(self, entry: Entry) -> None:
        """Append an entry; a configuration is in force at once (4.1)."""
        self.log.append(entry)
        if entry.kind is EntryKind.CONFIGURATION:
            voters = decode_voters(entry.data)
            self.configurations.append(entry.index, voters)
            self.events.append(ConfigurationAdopted(entry.index, voters))

    def truncate(self, from_index: int) -> None:
        """Remove entries that a leader contradicts; a configuration among them is void."""
        assert from_index > self.commit_index, f"truncate {from_index} <= {self.commit_index}"
        self.note_rewritten()
        self.log.truncate(from_index)
        self.durability.truncated(from_index)
        if self.configurations.truncate(from_index):
            index, voters = self.configurations.latest_index, self.configurations.latest
            self.events.append(ConfigurationAdopted(index, voters))

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

        Args:
            entries: Without a gap, their terms not falling.
            settled_index: Up to here nothing may be contradicted: what is
                committed, and what the sender itself sent before.

        Raises:
            RemoteError: They contradict it. Nothing changes.
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
        self.commit_index = index
        for at, voters in self.configurations.between(before, index):
            self.events.append(ConfigurationCommitted(at, voters))
            self.must_save_hard_state = True
        if self._proposals:
            self._resolve(before, index)

    # Proposals.

    @property
    def proposal_count(self) -> int:
        """Indexes at which a proposal of this replica waits."""
        return len(self._proposals)

    def note_proposal(self, index: int, token: Any) -> None:
        """Remember whose proposal an entry of the current term is."""
        self._proposals.setdefault(index, []).append((self.term, token))

    def refuse(self, token: Any, reason: Reason) -> None:
        """Tell the caller that a proposal is not taken, and never will be."""
        self.outcomes.append(ProposalOutcome(token, ProposalVerdict.NOT_TAKEN, 0, reason))

    def give_up_proposals(self, index: int) -> None:
        """Tell the caller that nobody knows about proposals up to `index`."""
        for at in [at for at in self._proposals if at <= index]:
            for _, token in self._proposals.pop(at):
                self.outcomes.append(
                    ProposalOutcome(token, ProposalVerdict.UNKNOWN, 0, Reason.COMPACTED)
                )

    def _resolve(self, before: int, index: int) -> None:
        """Tell what became of proposals at places that are committed now.

        Another entry being committed there proves that the proposal never will
        be; that its own copy was removed would not: a later leader may hold one.
        """
        proposals = self._proposals
        for at in range(before + 1, index + 1):
            for term, token in proposals.pop(at, ()):
                if self.log.term_at(at) == term:
                    self.outcomes.append(ProposalOutcome(token, ProposalVerdict.COMMITTED, at))
                else:
                    self.refuse(token, Reason.OVERWRITTEN)
