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
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from thespian.actors import ActorAddress

from ..actors.groups import GroupsActor
from ..actors.replica import ReplicaActor
from ..errors import (
    Closed,
    ConfigError,
    GroupOffline,
    GroupTerminated,
    NoCommands,
)
from ..groups.config import ConsensusConfig, GroupsConfig
from ..groups.machine.machine import (
    Consistency,
    NoOp,
    QueryAnswer,
    StateMachine,
    check_machine,
    signature_of,
)
from ..groups.machine.types import A, C, Q, R
from ..groups.member.context import MemberSpec
from ..groups.mesh.key import GroupKey, derive_group_id
from ..groups.messages import (
    ForceNewGroup,
    LeaveGroup,
    StartGroups,
    StartReplica,
    TakePart,
    TransferLeadership,
)
from ..groups.position import Position, Positions
from ..groups.shared import GroupState
from ..groups.storage.interface import InMemory, LogStorage
from ..groups.sync.settings import LogReplaySync, SnapshotSync
from ..ids import GroupId, PeerId
from ..node import Node
from ..runtime import ActorSystemClosed, AskUndeliverable
from ..tickets.messages import RequiredTickets
from ..tickets.requirement import Validators, as_validators, signatures
from ..when import Wait
from .group_calls import GroupCalls
from .group_control import GroupControl
from .group_spec import GroupJoin, check_storage, make_spec
from .group_view import GroupReads
from .required_tickets import TicketChecks

logger = logging.getLogger(__name__)


class Group(GroupReads[C, Q, A, R]):
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
        make_future = asyncio.get_running_loop().create_future
        state = GroupState(make_future, spec.settings.events_backlog)
        super().__init__(spec, name, shown_name, state)
        node = groups._node
        self._groups = groups
        self._storage = storage
        self._decode_result = spec.host.results.decode
        self._system = node.system
        self._address: ActorAddress = node.system.createActor(ReplicaActor)
        self._after = after
        self._leaving: asyncio.Future[None] | None = None
        self._calls = GroupCalls(node, self._address, spec, state)
        start = StartReplica(
            node,
            groups._catalog,
            groups._actor,
            spec,
            storage,
            state,
            name,
            shown_name,
            tickets,
            after,
        )
        node.system.tell(self._address, start)

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
        payloads = self._spec.host.codec.encode((command,))
        done = await self._calls.submit(payloads, 1, command, timeout, waits=True)
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
        payloads = self._spec.host.codec.encode(listed)
        done = await self._calls.submit(payloads, len(listed), listed, timeout, waits=True)
        return Positions(done.positions, done.results, self._decode_result)

    async def feed(self, command: C, *, timeout: float | timedelta | None = None) -> None:
        """Hand a command to the leader without waiting until it is committed.

        It is committed later, in order with the others, or lost with this node.

        Raises:
            GroupOffline: No leader took it in time; it will not take effect.
            GroupTerminated, EncodeError: As for `execute`.
        """
        payloads = self._spec.host.codec.encode((command,))
        await self._calls.submit(payloads, 1, command, timeout, waits=False)

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
        payloads = self._spec.host.codec.encode(listed)
        await self._calls.submit(payloads, len(listed), listed, timeout, waits=False)

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
        return await self._calls.query(query, consistency, timeout)

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
            self._calls.send(TakePart())

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
            ConfigError: `machine` is not a machine, or not a whole one; `storage` is none; the
                group is joined already with another storage; or `require_ticket` holds
                something else than validators.
            Closed: The network handle is closed.
        """
        if self._is_closed:
            raise Closed(reason="the network handle is closed")
        check_storage(storage)
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
            self._join_count += 1
            join = GroupJoin(key, group_id, machine, sync, storage, consensus, settings, tickets)
            spec = make_spec(self._node, join, self._join_count)
            shown = name if shown_name is None else shown_name
            group = Group(self, spec, name, shown, storage or InMemory(), tickets, after=after)
        except TypeError as exc:
            raise ConfigError(str(exc)) from exc
        except ActorSystemClosed:
            raise Closed(reason="the network handle is closed") from None
        self._joined[group_id] = group
        if spec.is_durable and self._node.has_new_key:
            logger.warning(
                "group %s has a durable log, which this node cannot open at its next start, as its "
                "key is a new one then: give Network a secret_key, such as "
                "SecretKey.load_or_create(path)",
                name or group_id.short,
            )
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
            group._calls.abandon()

    # Helpers.

    def _forget(self, group: Group) -> None:
        if self._joined.get(group.id) is group:
            del self._joined[group.id]


async def _done(leaving: asyncio.Future[None]) -> None:
    await asyncio.shield(leaving)
