"""Groups as users see them: join one, give it commands, ask it, wait for it.

group = net.groups.join(GroupKey("secret"), Counter())
await group.when().online()
await group.execute(Increment(5))
answer = await group.query(Value(), Consistency.STRONG)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Generic, Self

from thespian.actors import ActorAddress

from ..actors.groups import GroupsActor
from ..actors.replica import ReplicaActor
from ..config import require_above, seconds
from ..errors import (
    Closed,
    ConfigError,
    GroupOffline,
    GroupTerminated,
    NoCommands,
    QueryOffline,
)
from ..events import Events
from ..groups.client.client import CommandClient, SubmissionDone
from ..groups.config import ConsensusConfig, GroupsConfig
from ..groups.errors import CallFailed
from ..groups.machine.host import Host
from ..groups.machine.machine import (
    Consistency,
    NoOp,
    QueryAnswer,
    StateMachine,
    check_machine,
    signature_of,
)
from ..groups.machine.state_sync import StateSync
from ..groups.machine.types import A, C, Q, R, Typed
from ..groups.member.context import MemberSpec
from ..groups.member.events import GroupEvent
from ..groups.mesh.key import GroupKey, derive_group_id
from ..groups.mesh.mesh import Bond
from ..groups.messages import (
    CallCancelled,
    CommandsQueued,
    ForceNewGroup,
    LeaveGroup,
    ReadAsked,
    StartGroups,
    StartReplica,
    Submission,
    TakePart,
    TransferLeadership,
)
from ..groups.position import Position, Positions
from ..groups.shared import GroupState
from ..groups.storage.interface import InMemory, LogStorage
from ..groups.sync.settings import LogReplaySync, SnapshotSync
from ..groups.wire.records import Voters
from ..groups.wire.status import MemberStanding, Status
from ..groups.wire.types import CLIENT_BYTES
from ..ids import GroupId, PeerId
from ..node import Node
from ..runtime import ActorSystemClosed, AskUndeliverable
from ..tickets.messages import RequiredTickets
from ..tickets.requirement import Validators, as_validators, signatures
from ..when import Wait
from .group_control import GroupControl
from .group_waits import GroupWhen, committed_of, log_position_of
from .required_tickets import TicketChecks

logger = logging.getLogger(__name__)

_RESEND_S = 1.0


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


class Group(Typed, Generic[C, Q, A, R]):
    """This node's member of a group. Made by `Groups.join`.

    It takes its types from the machine: of commands, queries, answers and results.
    """

    def __init__(
        self,
        groups: Groups,
        spec: MemberSpec,
        name: str,
        shown_name: str,
        storage: LogStorage,
        tickets: RequiredTickets | None,
        *,
        after: asyncio.Future[None] | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        node = groups._node
        self._groups = groups
        self._spec = spec
        self._name = name
        self.shown_name = shown_name
        self._storage = storage
        self._make_future = loop.create_future
        self._decode_result = spec.host.decode_result
        self._state = GroupState(loop.create_future, spec.settings.events_backlog)
        self._system = node.system
        self._address: ActorAddress = node.system.createActor(ReplicaActor)
        self._after = after
        self._leaving: asyncio.Future[None] | None = None
        self._line = asyncio.Lock()
        start = StartReplica(
            node,
            groups._catalog,
            groups._actor,
            spec,
            storage,
            self._state,
            name,
            shown_name,
            tickets,
            after,
        )
        node.system.tell(self._address, start)

    # What it is.

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
        if self._state.error is not None:
            return str(self._state.error)
        member = self._state.member
        return "starting" if member is None else member.why_offline

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
            role=raft.role,
            commit_index=raft.commit_index,
            applied_index=raft.applied_index,
            last_index=raft.last_index,
            last_term=raft.term_at(raft.last_index) or 0,
            first_index=raft.first_index,
            log_bytes=raft.log_bytes,
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

    # Commands.

    async def execute(self, command: C, *, timeout: float | timedelta | None = None) -> Position[R]:
        """Replicate a command; return its position once it is committed and applied here.

        The position also has the command's `result`: what the machine's `apply` returned.
        A command that had to be sent again is applied once all the same, and that is the
        result. Calls take effect in the order they are made. When cancelled, a command
        that has left this node may still take effect; one that has not never will.

        Args:
            command: One of the machine's `Command`.
            timeout: Seconds to wait, or a `timedelta`; None for `ConsensusConfig.forward_timeout`.

        Raises:
            GroupOffline: It was not committed in time. `may_take_effect` says
                whether it may be yet; `value` is the command.
            GroupTerminated: This member has ended.
            EncodeError: It is not of the machine's `Command`.
        """
        payloads = self._spec.host.encode_commands((command,))
        done = await self._submit(payloads, command, timeout, waits=True)
        (position,) = done.positions
        result = done.results.get(position)
        return Position(position, None if result is None else self._decode_result(result))

    async def execute_many(
        self, commands: Iterable[C], *, timeout: float | timedelta | None = None
    ) -> Sequence[Position[R]]:
        """Replicate commands in order; return their positions once all are applied here.

        There is one for each, with its result, in the same order. They follow each other
        unless others' commands come between.

        Raises:
            NoCommands: There are none.
            GroupOffline, GroupTerminated, EncodeError: As for `execute`; `value`
                is the list of commands.
        """
        listed = list(commands)
        if not listed:
            raise NoCommands("no commands to execute")
        payloads = self._spec.host.encode_commands(listed)
        done = await self._submit(payloads, listed, timeout, waits=True)
        return Positions(done.positions, done.results, self._decode_result)

    async def feed(self, command: C, *, timeout: float | timedelta | None = None) -> None:
        """Hand a command to the leader without waiting until it is committed.

        It is committed later, in order with the others, or lost with this node.

        Raises:
            GroupOffline: No leader took it in time; it will not take effect.
            GroupTerminated, EncodeError: As for `execute`.
        """
        payloads = self._spec.host.encode_commands((command,))
        await self._submit(payloads, command, timeout, waits=False)

    async def feed_many(
        self, commands: Iterable[C], *, timeout: float | timedelta | None = None
    ) -> None:
        """Hand commands to the leader in order, without waiting until they are committed.

        Raises:
            NoCommands, GroupOffline, GroupTerminated, EncodeError: As for `execute_many`.
        """
        listed = list(commands)
        if not listed:
            raise NoCommands("no commands to feed")
        payloads = self._spec.host.encode_commands(listed)
        await self._submit(payloads, listed, timeout, waits=False)

    async def query(
        self,
        query: Q,
        consistency: Consistency = Consistency.STRONG,
        *,
        timeout: float | timedelta | None = None,
    ) -> QueryAnswer[A]:
        """Ask the machine here.

        Args:
            query: One of the machine's `Query`.
            consistency: How fresh the state has to be.
            timeout: Seconds to wait, or a `timedelta`; None for `ConsensusConfig.query_timeout`.

        Raises:
            ConfigError: `consistency` is not a `Consistency`.
            QueryOffline: A strong query was not confirmed in time, or the state
                is being replaced; ask again.
            GroupTerminated: This member has ended.
        """
        asked: object = consistency  # text, for instance, where no type checker looks
        if not isinstance(asked, Consistency):
            expected = "Consistency.WEAK or Consistency.STRONG"
            raise ConfigError(f"consistency is {asked!r}, expected {expected}")
        if self._state.is_closed:
            raise self._state.ended(query)
        host = self._spec.host
        if consistency is Consistency.WEAK:
            member = self._state.member
            if member is not None and not member.may_query:
                raise QueryOffline(query, "the state is being replaced by a snapshot")
            return host.query(query)
        wait_s = _wait_s(timeout, self._spec.consensus.query_timeout)
        if self._state.member is None:
            wait_s = await self._wait_for_start(query, wait_s)
        future = self._make_future()
        self._state.reads[future] = lambda: host.query(query)
        try:
            self._tell(ReadAsked(future, wait_s))
            answer: QueryAnswer[A] = await future
        except asyncio.CancelledError:
            self._forget_call(future)
            raise
        except CallFailed as exc:
            why = self.why_offline or exc.reason
            raise QueryOffline(query, f"the group did not answer: {why}") from None
        except GroupTerminated:
            raise self._state.ended(query) from self._state.error
        finally:
            self._state.reads.pop(future, None)
        return answer

    # The end.

    def leave(self) -> Coroutine[Any, Any, None]:
        """Leave the group for good: others take over first, if there are any.

        Leaving begins with the call; await what it returns to see it through. A leader
        hands over and a voter is removed by a committed change before it goes; when
        that takes longer than `GroupsConfig.leave_timeout`, it goes all the same. Calls
        that wait end with `GroupTerminated` or `GroupOffline`. May be repeated, also
        after the member has ended. Who joins the group meanwhile gets a new member, that
        starts when this one is gone.
        """
        return self._leave(is_final=True)

    async def transfer_leadership(self, to: PeerId | None = None) -> PeerId:
        """Hand leadership to another voter, and return who leads then.

        Commands wait until the other one has all of this member's log and is elected
        (Raft thesis 3.10). Leadership preferences still count: a leader hands over to a
        voter whose factor is higher, so also back.

        Args:
            to: The other one; None: the voter whose log is the longest.

        Raises:
            ConfigError: This member does not lead, or there is no such voter with a bond.
            GroupOffline: It did not happen in time, and nobody else leads.
            GroupTerminated: This member has ended.
        """
        if self._state.is_closed:
            raise self._state.ended()
        me, election_s = self._spec.me, self._spec.consensus.election_timeout
        if not self.is_leader:
            raise ConfigError("this member does not lead the group, so it cannot hand that over")
        others = [one for one in self.members if one.is_voter and one.is_bonded]
        logs = {one.peer_id: one.match_index or 0 for one in others if one.peer_id != me}
        if to is None and logs:
            to = max(logs, key=lambda peer: logs[peer])
        if to is None or to not in logs:
            named = "nobody" if to is None else PeerId(to).short
            raise ConfigError(
                f"{named} is another voter that is there, expected one of {len(logs)}"
            )
        elected: Wait[Any] = Wait(self._state, lambda: self.leader not in (None, me))
        why = "another handover is under way"
        try:
            async with asyncio.timeout(2 * election_s + 1):
                begun = await self._system.ask(self._address, TransferLeadership(to), timeout=None)
                if begun.has_begun:
                    why = "it took too long"
                    await elected
        except (ActorSystemClosed, AskUndeliverable):
            raise self._state.ended() from self._state.error
        except TimeoutError:
            pass
        leader = self.leader
        if leader is None or leader == me:
            raise GroupOffline(None, f"leadership was not handed over: {why}")
        return leader

    async def force_new_group(self) -> None:
        """Begin a new history from the state here, with this member as its only voter.

        For the day a majority of the voters is gone for good, and only then:
        whatever only they had committed is lost. Choose the member whose
        `metrics` have the highest `last_term`, and of several the highest
        `last_index`: it has every entry that any of those left knows to be
        committed (Raft thesis 3.6.1). Stop the others before. Everything in the
        log here counts as committed from then on. Others join the new history as
        they would any; should the old majority come back, the two histories merge.

        Raises:
            ConfigError: The group is online, or there is no state here.
            GroupTerminated: This member has ended.
        """
        if self._state.is_closed:
            raise self._state.ended()
        if self.is_online:
            raise ConfigError("the group is online: a new history would fork it for nothing")
        try:
            answer = await self._system.ask(self._address, ForceNewGroup(), timeout=5.0)
        except (ActorSystemClosed, AskUndeliverable):
            raise self._state.ended() from self._state.error
        if answer.error is not None:
            raise answer.error
        logger.critical("group %s: a new history was begun by hand", self._name or self.id.short)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.leave()

    # Helpers.

    async def _submit(
        self, payloads: list[bytes], value: Any, timeout: float | timedelta | None, *, waits: bool
    ) -> SubmissionDone:
        if self._state.error is not None:  # as `is_closed`, on a hot path
            raise self._state.ended(value)
        wait_s = _wait_s(timeout, self._spec.consensus.forward_timeout)
        state = self._state
        byte_count = sum(map(len, payloads))
        if self._line.locked() or not self._has_room(len(payloads), byte_count):
            wait_s = await self._wait_for_room(len(payloads), byte_count, value, wait_s)
        future = self._make_future()
        state.submissions.append(Submission(payloads, future, wait_s, waits))
        state.queued_count += len(payloads)
        state.queued_bytes += byte_count
        if len(state.submissions) == 1 and not state.take_now():
            self._tell(CommandsQueued())
        try:
            if future.done():  # a lone voter commits at once: others have their turn all the same
                await asyncio.sleep(0)
            done: SubmissionDone = await future
        except asyncio.CancelledError:
            self._forget_call(future)
            raise
        except CallFailed as exc:
            why = self.why_offline or exc.reason
            raise GroupOffline(value, why, exc.may_take_effect) from None
        except GroupTerminated:
            raise self._state.ended(value) from self._state.error
        return done

    @property
    def _is_staying(self) -> bool:
        """Whether it has neither ended nor begun to leave."""
        return self._leaving is None and not self._state.is_closed

    def _check_same(self, storage: LogStorage | None) -> None:
        if storage is not None and storage is not self._storage:
            raise ConfigError(
                "the group is joined already with another storage: leave it first, or "
                "give the storage when it is joined for the first time"
            )

    def _take_part(self) -> None:
        """Be an observer no more. May be repeated."""
        if self._spec.is_observer:
            self._tell(TakePart())

    async def _wait_for_room(self, count: int, byte_count: int, value: Any, wait_s: float) -> float:
        """Wait in line until there is room; return how long the call may still take."""
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        try:
            async with asyncio.timeout_at(until), self._line:
                while not self._has_room(count, byte_count):
                    await self._state.room.wait()
        except TimeoutError:
            why = self.why_offline or "too many commands wait to be committed"
            raise GroupOffline(value, why) from None
        if self._state.is_closed:
            raise self._state.ended(value)
        return until - loop.time()

    def _has_room(self, count: int, byte_count: int) -> bool:
        state, client, settings = self._state, self._spec.client, self._spec.settings
        if state.error is not None:
            return True
        if state.member is None:
            return False  # while it starts, nobody looks at how long commands wait
        if not state.submissions:
            return client.has_room(count, byte_count)
        # Those that were made in the same turn go first. What is in the shared state must find
        # room, for there nobody looks at how long it waits.
        return (
            client.pending_count + state.queued_count + count <= settings.pending_commands
            and client.pending_bytes + state.queued_bytes + byte_count <= settings.pending_bytes
        )

    async def _wait_for_start(self, query: Any, wait_s: float) -> float:
        """Wait until the member has started; return how long the call may still take."""
        state, loop = self._state, asyncio.get_running_loop()
        until = loop.time() + wait_s
        try:
            async with asyncio.timeout_at(until):
                await Wait(state, lambda: state.member is not None)
        except TimeoutError:
            raise QueryOffline(query, "the group did not answer: starting") from None
        except GroupTerminated:
            raise state.ended(query) from state.error
        return until - loop.time()

    def _forget_call(self, future: Any) -> None:
        if not self._state.is_closed:
            self._tell(CallCancelled(future))

    def _tell(self, message: Any) -> None:
        try:
            self._system.tell(self._address, message)
        except ActorSystemClosed:
            self._abandon()
            raise Closed(reason="the network handle is closed") from None

    def _abandon(self) -> None:
        """End here and now: the actor is gone. May be repeated."""
        self._state.close(GroupTerminated(None, "the network handle is closed"))
        self._state.end_calls()

    def _leave(self, *, is_final: bool) -> Coroutine[Any, Any, None]:
        return _done(self._begin_leave(is_final=is_final))

    def _begin_leave(self, *, is_final: bool) -> asyncio.Future[None]:
        """Begin to leave, once, and return what is done when that is through."""
        if self._leaving is None:
            self._leaving = asyncio.ensure_future(self._carry_out_leave(is_final=is_final))
        return self._leaving

    async def _carry_out_leave(self, *, is_final: bool) -> None:
        if self._after is not None:
            await asyncio.wait([self._after])
        limit_s = self._spec.settings.leave_timeout + 1
        is_gone = False
        try:
            await self._system.ask(self._address, LeaveGroup(is_final), timeout=limit_s)
        except (ActorSystemClosed, AskUndeliverable):
            is_gone = True
        except TimeoutError:
            pass  # its disk does not answer
        finally:
            self._state.close(GroupTerminated(None, "it has left the group"))
            if is_gone:
                self._state.end_calls()
            self._groups._forget(self)


class Groups:
    """The groups of one node. At hand as `Network.groups`.

    Args:
        node: The node.
        catalog: The catalog actor.
        tickets: What makes requirements of validators.
        settings: The node's settings of groups.
    """

    def __init__(
        self, node: Node, catalog: ActorAddress, tickets: TicketChecks, settings: GroupsConfig
    ) -> None:
        self._tickets = tickets
        self._node = node
        self._catalog = catalog
        self._settings = settings
        self._joined: dict[GroupId, Group] = {}
        self._is_closed = False
        self._join_count = 0
        self._actor: ActorAddress = node.system.createActor(GroupsActor)
        node.system.tell(self._actor, StartGroups(node))
        GroupControl(node, self)

    def join(
        self,
        key: GroupKey | str | bytes,
        machine: StateMachine[C, Q, A, R] | None = None,
        *,
        storage: LogStorage | None = None,
        consensus: ConsensusConfig | None = None,
        require_ticket: Validators = (),
        settings: GroupsConfig | None = None,
        name: str = "",
        shown_name: str | None = None,
    ) -> Group[C, Q, A, R]:
        """Return this node's member of a group; the same one when it is joined already.

        Returns at once: ``await group.when().online()`` waits until there is a
        leader. Members need the same key, `consensus`, kind of machine and way to
        sync. Of a member that is joined already `machine`, `storage`, `settings`
        and the names stay what they are; see `Group.machine`. But one that observes votes
        from now on when it is joined with a machine that does not. One that has ended,
        or is leaving, is joined anew; the new member starts when the old one is gone.

        Args:
            key: The group's key, or the text to make it of.
            machine: The machine, as it is before any command: a new one for each
                join. None: no state, the group only elects a leader.
            storage: Where the log is kept. None: in memory, and a node that
                crashes comes back as a new member.
            consensus: What all members agree on; part of the group's id.
            require_ticket: Validators of tickets, one or several, all of which must
                accept a member. Part of the group's id by their signatures. A member
                whose ticket expires loses its bonds at that moment, and its vote by a
                committed change.
            settings: This member's own settings; None: the node's.
            name: What people call the group. It is in the node's entry, which all of
                the network can read: no text that makes a key belongs there.
            shown_name: What that entry says instead; None: `name`.

        Raises:
            ConfigError: `machine` is not a machine, or not a whole one; the group is
                joined already with another storage; or `require_ticket` holds
                something else than validators.
            Closed: The network handle is closed.
        """
        if self._is_closed:
            raise Closed(reason="the network handle is closed")
        validators = as_validators(require_ticket)
        key = key if isinstance(key, GroupKey) else GroupKey(key)
        machine = NoOp() if machine is None else machine
        check_machine(machine)
        consensus = consensus or ConsensusConfig()
        sync = machine.state_sync or (SnapshotSync() if machine.has_snapshot() else LogReplaySync())
        try:
            group_id = derive_group_id(
                key,
                consensus.signature,
                signature_of(machine),
                sync.signature,
                signatures(validators),
            )
            after: asyncio.Future[None] | None = None
            existing = self._joined.get(group_id)
            if existing is not None:
                if existing._is_staying:
                    existing._check_same(storage)
                    if not machine.leadership_preference.is_observer:
                        existing._take_part()
                    return existing
                after = existing._begin_leave(is_final=False)
            tickets = self._tickets.require(validators)
            settings = settings or self._settings
            spec = self._spec(key, group_id, machine, sync, storage, consensus, settings, tickets)
            shown = name if shown_name is None else shown_name
            group = Group(self, spec, name, shown, storage or InMemory(), tickets, after=after)
        except TypeError as exc:
            raise ConfigError(str(exc)) from exc
        except ActorSystemClosed:
            raise Closed(reason="the network handle is closed") from None
        self._joined[group_id] = group
        return group

    def __iter__(self) -> Iterator[Group]:
        return iter(list(self._joined.values()))

    def __len__(self) -> int:
        return len(self._joined)

    async def close(self) -> None:
        """Leave all groups: hand over leadership, and what a durable log remembers stays."""
        self._is_closed = True
        groups = list(self._joined.values())
        await asyncio.gather(*(group._leave(is_final=False) for group in groups))

    def abandon(self) -> None:
        """End all groups here and now: their actors are gone."""
        self._is_closed = True
        for group in list(self._joined.values()):
            group._abandon()

    # Helpers.

    def _spec(
        self,
        key: GroupKey,
        group_id: GroupId,
        machine: StateMachine,
        sync: StateSync,
        storage: LogStorage | None,
        consensus: ConsensusConfig,
        settings: GroupsConfig,
        tickets: RequiredTickets | None,
    ) -> MemberSpec:
        node = self._node
        # A member that comes back in the same run must not draw what it drew before: the
        # group would take its new client for the old one, and its commands for repetitions.
        self._join_count += 1
        rng = node.randomness.branch(f"client of group {group_id} {self._join_count}")
        preference = machine.leadership_preference
        return MemberSpec(
            me=node.peer_id,
            network_id=node.network_id,
            group_id=group_id,
            key=key,
            consensus=consensus,
            settings=settings,
            host=Host(machine, group_id=group_id, network_id=node.network_id),
            client=CommandClient(
                rng.randbytes(CLIENT_BYTES),
                pending_commands=settings.pending_commands,
                pending_bytes=settings.pending_bytes,
                resend_s=_RESEND_S,
                rng=rng,
            ),
            sync=sync,
            is_durable=storage is not None and storage.is_durable,
            is_observer=preference.is_observer,
            factor=preference.factor,
            allow=(lambda _peer: None) if tickets is None else _Allow(tickets),
            is_excluded=(lambda _peer: False) if tickets is None else tickets.requirement.excludes,
            is_in_reach=node.endpoint.is_answering,
        )

    def _forget(self, group: Group) -> None:
        if self._joined.get(group.id) is group:
            del self._joined[group.id]


class _Allow:
    """Why a peer's tickets do not make it a member, None when they do."""

    def __init__(self, tickets: RequiredTickets) -> None:
        self._requirement = tickets.requirement

    def __call__(self, peer: PeerId) -> str | None:
        """Return it, cut to what a close reason may carry."""
        why = self._requirement.why_not(peer)
        return None if why is None else f"no valid ticket: {why}"[:200]


async def _done(leaving: asyncio.Future[None]) -> None:
    await asyncio.shield(leaving)


def _wait_s(timeout: float | timedelta | None, default_s: float) -> float:
    """Return how many seconds a call may take. Raises `ConfigError`."""
    if timeout is None:
        return default_s
    try:
        wait_s = seconds(timeout) + 0
    except (TypeError, ValueError) as exc:
        raise ConfigError(f"timeout is {timeout!r}, expected seconds or a timedelta") from exc
    require_above("timeout", wait_s)
    return wait_s


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
