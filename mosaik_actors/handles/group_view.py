"""What this node's member of a group shows, of itself and of the others, and what to wait for.

See `when` for how waits are awaited.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from ..events import Events
from ..groups.config import ConsensusConfig
from ..groups.machine.machine import StateMachine
from ..groups.machine.types import A, C, Q, R, Typed
from ..groups.member.context import MemberSpec
from ..groups.member.events import GroupEvent
from ..groups.mesh.topology import Bond
from ..groups.shared import GroupState
from ..groups.wire.records import Voters
from ..groups.wire.status import MemberStanding, Status
from ..ids import GroupId, PeerId
from ..metrics.records import CollectionStatus, GroupStatus, clip_text
from ..when import Change, Wait, When


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a group, as this one knows it.

    Attributes:
        peer_id: Who it is.
        role: ``leader``, ``voter``, ``learner``, ``observer``, ``seeking``, or
            ``away`` for one of the configuration that is not bonded.
        is_voter: Whether it counts for quorums, in the configuration to rely on: it is
            committed, and a crash of one voter does not take that away. One that is
            being removed does not any more.
        is_bonded: Whether there is a bond with it; True for this member itself.
        is_durable: Whether it remembers the history after a crash; None when not bonded.
        commit_index: How far its log is committed; None when not bonded.
        match_index: How far its log agrees with the leader's; only the leader knows.
        lag: Entries it lacks of what is committed; only the leader knows.
        is_changing: Whether the newest configuration in the log here makes something else
            of it (a voter or none, a member or none). That may still be taken back.
    """

    peer_id: PeerId
    role: str
    is_voter: bool
    is_bonded: bool
    is_durable: bool | None = None
    commit_index: int | None = None
    match_index: int | None = None
    lag: int | None = None
    is_changing: bool = False


@dataclass(frozen=True, slots=True)
class GroupMetrics:
    """Numbers about one member of a group.

    Attributes:
        term: The Raft term.
        role: What this member is in it.
        commit_index: The log is committed up to here.
        applied_index: And applied up to here.
        last_index: Where the log ends.
        last_term: The term of the entry there; see `Group.force_new_group`.
        first_index: The first entry that is still kept.
        log_bytes: What the log takes in memory.
        position: Commands applied.
        pending_commands: Commands of this node that are not answered.
        elections: Leaders seen to take over.
        last_election_s: Seconds the group was last without one.
        served_bytes: What this member has handed to those who catch up.
        sync_mismatches: How often a state that it fetched did not fit together.
    """

    term: int
    role: str
    commit_index: int
    applied_index: int
    last_index: int
    last_term: int
    first_index: int
    log_bytes: int
    position: int
    pending_commands: int
    elections: int
    last_election_s: float
    served_bytes: int
    sync_mismatches: int


class PositionWhen:
    """A position that moves: what is committed, or what is in the log."""

    __slots__ = ("_read", "_state")

    def __init__(self, state: GroupState, read: Callable[[], int]) -> None:
        self._state = state
        self._read = read

    def reaches(self, position: int) -> Wait[None]:
        """Return a wait for the position to be at least `position`."""
        return Wait(self._state, lambda: self._read() >= position)

    def advanced(self) -> Change[int]:
        """Return a wait for the position to go up; awaiting it returns the new one."""
        return Change(self._state, self._read, lambda old, new: new > old)

    def changed(self) -> Change[int]:
        """Return a wait for the position to go up or down; it goes down when histories merge."""
        return Change(self._state, self._read)


class GroupWhen(When):
    """What a member of a group can be waited for.

    It is online when commands are taken: there is a leader, and this member is with it.
    """

    __slots__ = ("_group", "_me")

    def __init__(self, group: GroupState, me: PeerId) -> None:
        super().__init__(group, lambda: is_online(group))
        self._group = group
        self._me = me

    def leader_elected(self) -> Wait[None]:
        """Return a wait until there is a leader."""
        return Wait(self._state, lambda: self._leader() is not None)

    def leader_changed(self) -> Change[PeerId | None]:
        """Return a wait until another member leads; awaiting it returns who."""
        return Change(self._state, self._leader, lambda old, new: new is not None and new != old)

    def leader_is(self, peer: PeerId) -> Wait[None]:
        """Return a wait until `peer` leads."""
        return Wait(self._state, lambda: self._leader() == peer)

    def is_leader(self) -> Wait[None]:
        """Return a wait until this member leads."""
        return self.leader_is(self._me)

    def is_follower(self) -> Wait[None]:
        """Return a wait until another member leads."""
        return Wait(self._state, lambda: self._leader() not in (None, self._me))

    def committed(self) -> PositionWhen:
        """Return the position up to which commands are committed and applied here."""
        return PositionWhen(self._group, lambda: committed_of(self._group))

    def log(self) -> PositionWhen:
        """Return the position up to which commands are in the log here."""
        return PositionWhen(self._group, lambda: log_position_of(self._group))

    def _leader(self) -> PeerId | None:
        member = self._group.member
        return None if member is None or self._group.is_closed else member.leader


def is_online(state: GroupState) -> bool:
    """Return whether commands are taken, while the member has not ended."""
    return state.member is not None and state.member.why_offline is None


def why_offline(state: GroupState) -> str | None:
    """Return why commands are not taken at the moment; None when they are."""
    if state.error is not None:
        return str(state.error)
    return "starting" if state.member is None else state.member.why_offline


def committed_of(state: GroupState) -> int:
    """Return the position up to which commands are applied; 0 before the member has started."""
    return 0 if state.member is None else state.member.host.position


def log_position_of(state: GroupState) -> int:
    """Return the position of the last command in the log, committed or not."""
    member = state.member
    if member is None:
        return 0
    return member.host.position if member.history is None else member.history.log_position()


class GroupReads(Typed, Generic[C, Q, A, R]):
    """What a `Group` shows; nothing here changes anything.

    Args:
        spec: The member.
        name: What its owner calls the group.
        shown_name: What the node's entry calls it.
        state: What the member's actor publishes.
    """

    def __init__(self, spec: MemberSpec, name: str, shown_name: str, state: GroupState) -> None:
        self.shown_name = shown_name
        self._spec = spec
        self._name = name
        self._state = state

    @property
    def id(self) -> GroupId:
        """The group's id."""
        return self._spec.group_id

    @property
    def config(self) -> ConsensusConfig:
        """What all members agree on."""
        return self._spec.consensus

    @property
    def machine(self) -> StateMachine[C, Q, A, R]:
        """The machine here, this member's copy."""
        return self._spec.host.machine

    @property
    def is_online(self) -> bool:
        """Whether commands are taken: there is a leader, and this member is with it."""
        return self.why_offline is None

    @property
    def why_offline(self) -> str | None:
        """Why commands are not taken at the moment; None when they are."""
        return why_offline(self._state)

    @property
    def leader(self) -> PeerId | None:
        """Who leads, as far as this member knows."""
        member = self._state.member
        return None if member is None or self._state.is_closed else member.leader

    @property
    def is_leader(self) -> bool:
        """Whether this member leads: `leader` is this one, and `metrics.role` is ``leader``.

        One that cannot commit steps down: within an election timeout when it hears no
        majority or its disk does not answer, at once when its disk is full.
        """
        return self.leader == self._spec.me

    @property
    def history(self) -> bytes:
        """Which history of the group this member follows; empty for none."""
        member = self._state.member
        return b"" if member is None or member.history is None else member.history.id

    @property
    def committed(self) -> int:
        """The position up to which commands are committed and applied here."""
        return committed_of(self._state)

    @property
    def log_position(self) -> int:
        """The position of the last command in the log here, committed or not."""
        return log_position_of(self._state)

    @property
    def bonds(self) -> tuple[Bond, ...]:
        """Every bond of the group that is known, also those between others."""
        member = self._state.member
        return () if member is None or self._state.is_closed else member.mesh.bonds()

    @property
    def members(self) -> tuple[Member, ...]:
        """Who belongs to the group: those of the configuration, and those bonded."""
        core = self._state.member
        if core is None or self._state.is_closed:
            return ()
        final = newest = Voters()
        if core.history is not None:
            _, final = core.history.raft.final_configuration
            newest = core.history.raft.configuration
        # One that is being removed is not to be relied on any more.
        voters = [peer for peer in final.voters if peer in newest.voters]
        progress = {} if core.history is None else core.history.raft.progress
        statuses: dict[PeerId, Status] = {self._spec.me: core.status, **core.statuses}
        members = []
        for peer in sorted({*_named(final), *_named(newest), *statuses}):
            known = progress.get(peer)
            match_index = None if known is None else known.match_index
            status = statuses.get(peer)
            members.append(
                Member(
                    peer_id=peer,
                    role=_role(peer, status, voters, core.leader),
                    is_voter=peer in voters,
                    is_bonded=status is not None,
                    is_durable=None if status is None else status.is_durable,
                    commit_index=None if status is None else status.commit_index,
                    match_index=match_index,
                    lag=None
                    if match_index is None or core.history is None
                    else max(0, core.history.raft.commit_index - match_index),
                    is_changing=_named(final).get(peer) != _named(newest).get(peer),
                )
            )
        return tuple(members)

    @property
    def metrics(self) -> GroupMetrics | None:
        """Numbers about this member; None while it has no history, and when it has ended."""
        core = self._state.member
        if core is None or core.history is None or self._state.is_closed:
            return None
        raft, elections = core.history.raft, core.history.elections
        return GroupMetrics(
            term=raft.term,
            role=raft.role.name,
            commit_index=raft.commit_index,
            applied_index=raft.applied_index,
            last_index=raft.last_index,
            last_term=raft.term_at(raft.last_index) or 0,
            first_index=raft.first_index,
            log_bytes=raft.log.size_bytes,
            position=core.host.position,
            pending_commands=self._spec.client.pending_count,
            elections=elections.count,
            last_election_s=elections.last_elapsed_s,
            served_bytes=core.history.sync.served_bytes,
            sync_mismatches=core.history.sync.mismatch_count,
        )

    def when(self) -> GroupWhen:
        """Return what can be waited for, such as ``await group.when().online()``.

        When the member ends, waits for what does not hold then raise `GroupTerminated`.
        """
        return GroupWhen(self._state, self._spec.me)

    def events(self) -> Events[GroupEvent]:
        """Return an iterator over what happens from now on: leaders, members, merges, and so on.

        A reader that falls more than `events_backlog` behind gets `Lagged` in place of
        what it missed. The iteration ends with the member.
        """
        return Events(self._state)

    def __repr__(self) -> str:
        return f"Group({self._name or self.id.short}, {self.why_offline or 'online'})"


def _named(voters: Voters) -> dict[PeerId, bool]:
    """Return whom a configuration names, and whether they vote."""
    return dict.fromkeys(voters.learners, False) | dict.fromkeys(voters.voters, True)


def _role(
    peer: PeerId, status: Status | None, voters: Sequence[PeerId], leader: PeerId | None
) -> str:
    if status is None:
        return "away"
    if peer == leader:
        return "leader"
    if status.standing in (MemberStanding.SEEKING, MemberStanding.PREPARED):
        return "seeking"
    if peer in voters:
        return "voter"
    return "observer" if status.is_observer else "learner"


def read_group(group: GroupReads[Any, Any, Any, Any]) -> GroupStatus:
    """Return the status of this node's member, under the name that everybody may read."""
    members, metrics, leader = group.members, group.metrics, group.leader
    numbers: dict[str, int] = {}
    if metrics is not None:
        numbers = {
            "term": metrics.term,
            "commit_index": metrics.commit_index,
            "applied_index": metrics.applied_index,
            "last_index": metrics.last_index,
            "log_bytes": metrics.log_bytes,
            "position": metrics.position,
            "pending_commands": metrics.pending_commands,
            "elections": metrics.elections,
            "served_bytes": metrics.served_bytes,
            "sync_mismatches": metrics.sync_mismatches,
        }
    return GroupStatus(
        name=clip_text(group.shown_name),
        group_id=str(group.id),
        role="" if metrics is None else metrics.role,
        leader="" if leader is None else str(leader),
        why_offline=clip_text(group.why_offline or ""),
        members=len(members),
        voters=sum(member.is_voter for member in members),
        bonded=sum(member.is_bonded for member in members),
        **numbers,
    )


def read_collection(group: GroupReads[Any, Any, Any, Any]) -> CollectionStatus | None:
    """Return the status of the replica whose group it is; None when it is no collection's."""
    from ..collections.commands import CollectionMachine  # no need of it before

    machine = group.machine
    if not isinstance(machine, CollectionMachine):
        return None
    return CollectionStatus(
        name=clip_text(group.shown_name),
        group_id=str(group.id),
        kind=machine.kind,
        elements=machine.element_count,
        version=int(group.committed),
        is_online=group.is_online,
    )
