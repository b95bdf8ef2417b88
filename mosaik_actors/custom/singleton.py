"""Singletons: one instance of an actor in the network, moved when its host dies.

    # on each node that may run it
    await net.actors.spawn(Billing, name="billing", singleton=True)

Each such node has a *keeper*, the actor that has the name there. It is a member of the group of
claims (``singletons/claims.py``) and does what its `Contender` says: it claims, asks for its
lease, and makes the instance, its child, when it may act. Messages to a keeper go on to the
instance: its own, or by the *entrance* of the keeper that holds the name. While nobody
does, they wait.

The instance is of a subclass of the user's class (`guarded`), which asks its `Tenure` before each
message, timer and sending. When the lease is over the instance ends at once, without
`stopping`: it may not act any more. On a hand-over it exits as any actor does, and the name is
released when it has.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from thespian.actors import ActorAddress, ActorExitRequest, ActorSystemMessage, ChildActorExited

from ..errors import Closed, GroupOffline, GroupTerminated, QueryOffline
from ..groups.config import ConsensusConfig
from ..groups.machine.machine import Consistency
from ..groups.mesh.key import GroupKey
from ..handles.group_view import Member
from ..handles.groups import Group
from ..ids import PeerId, UniqueId
from ..node import Node
from ..remote.node import RemoteNode, Requirement
from ..remote.wire import WireRef
from ..runtime import ActorRef, LocalAddress, MessageRejected
from ..runtime.messaging.hooks import HookMessage
from ..runtime.supervised import Spawning, SupervisedCell
from ..singletons.claims import (
    NOTHING,
    Claims,
    Command,
    Doubt,
    NameRecord,
    Reassure,
    Release,
    SingletonHost,
    Trust,
)
from ..singletons.config import Singleton
from ..singletons.contender import Check, Contender, Step
from ..singletons.tenure import Tenure
from .actor import MosaikActor
from .guarded import guarded

logger = logging.getLogger(__name__)

_GROUP = "singletons"
_RETRY_S: Final = 0.1
_LOOK_S: Final = 0.5
_RELEASE_S: Final = 1.0
# How much of the patience with an exit goes to the instance; the rest is for handing over.
_GRACE_SHARE: Final = 0.6
_TRUSTED_VOTERS: Final = 3

ClaimsGroup = Group[Command, str, NameRecord, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a keeper is made of.

    Attributes:
        name: The singleton's name.
        actor_class: The class of the instance.
        spawning: How the instance is made.
        settings: How it moves.
        node: The node.
        remote: The node's actors as others know them.
        require: Which nodes may send to it.
        running: Done when it runs on some node; has the error if it cannot be started here.
    """

    name: str
    actor_class: type[Any]
    spawning: Spawning
    settings: Singleton
    node: Node
    remote: RemoteNode
    require: Requirement | None
    running: asyncio.Future[None]


class Entered(HookMessage):
    """To a keeper: a message that another keeper, or its own, has sent to where it runs."""

    def __init__(self, message: Any) -> None:
        self.message = message


class Entrance(MosaikActor):
    """Where other keepers send what is for the instance: so it never goes round between them."""

    def __init__(self, keeper: ActorRef) -> None:
        self._keeper = keeper

    def receiveMessage(self, message: Any, sender: ActorAddress, /) -> None:
        """Hand a message to the keeper."""
        if not isinstance(message, ActorSystemMessage):
            self._keeper.deliver(Entered(message), sender)

    def abandon(self, asker: LocalAddress) -> None:
        """Let the keeper end what goes on for an ask."""
        if self._keeper.abandon is not None:
            self._keeper.abandon(asker)


class SingletonKeeper(MosaikActor):
    """One node's part in one singleton; it has the name there."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._waiting: deque[tuple[Any, ActorAddress]] = deque()
        self._wake = asyncio.Event()
        self._instance: ActorRef | None = None
        self._instance_token = 0
        self._is_leaving = False
        self._lapse_timer: asyncio.TimerHandle | None = None
        self._forwards_to: SingletonHost | None = None
        self._again_s = 0.0
        self._bonded: set[PeerId] = set()

    def started(self) -> None:
        """Join the group, and contend."""
        kept, cell = self._kept, self._myRef
        spawning = Spawning(args=(self.ref,), stands_for=kept.actor_class)
        self._entrance: ActorRef = cell.host.creation.spawn(Entrance, spawning, parent=cell)
        self._entrance.is_shared = True
        self._entrance.name = kept.name
        if kept.require is not None:
            kept.remote.require(self._entrance, kept.require)
        number = self._entrance.number
        me = SingletonHost(bytes(kept.node.peer_id), kept.remote.incarnation, number)
        rng = kept.node.randomness.branch(f"singleton {kept.name} {number}")
        self._contender = Contender(kept.name, me, kept.settings.lease, rng)
        self._group: ClaimsGroup = self.join(
            GroupKey(bytes(UniqueId.from_parts(_GROUP, kept.node.network_id))),
            Claims(),
            consensus=ConsensusConfig(initial_voters=kept.settings.voters),
            name=_GROUP,
        )
        self.start_task(self._contend(), name=f"contend for {kept.name}")
        self.start_task(self._follow(), name=f"follow the claims of {kept.name}")

    async def stopping(self) -> None:
        """Let the instance exit, then release the name."""
        self._is_leaving = True
        self._contender.is_candidate = False
        instance = self._instance
        if instance is not None:
            grace_s = self._myRef.host.config.exit_grace_s * _GRACE_SHARE
            try:
                await instance.stop(grace_s)
            except TimeoutError:
                self._end_instance("it did not exit in time")
            self._instance = None
            self._myRef.children.pop(instance, None)  # what says so waits behind this handler
        contender = self._contender
        contender.stop("its node hands it over")
        self._settle()
        if contender.is_mine:
            release = Release(self._kept.name, contender.record.token)
            with suppress(GroupOffline, GroupTerminated, Closed):
                await self._group.execute(release, timeout=_RELEASE_S)

    def release(self) -> None:
        """End the instance at once, if it is there still, and give up what waits."""
        if self._lapse_timer is not None:
            self._lapse_timer.cancel()
        contender: Contender | None = self.__dict__.get("_contender")
        if contender is not None:
            contender.stop("its node runs it no more")
        self._end_instance("its keeper has ended")
        if not self._kept.running.done():
            self._kept.running.set_exception(Closed(reason="it has ended before it ran"))
            self._kept.running.exception()  # whoever has gone on does not read it
        while self._waiting:
            message, sender = self._waiting.popleft()
            reason = "its node does not run it any more"
            self._myRef.host.dead_letter(message, self.myAddress, sender, reason)
        super().release()

    # --- messages ---

    def receiveMessage(self, message: Any, sender: ActorAddress, /) -> None:
        """Pass a message on to where it runs."""
        if isinstance(message, ChildActorExited):
            if message.childAddress is self._instance:
                self._instance_ended()
        elif not isinstance(message, ActorSystemMessage):
            self._route(message, sender)

    def receive_hook(self, message: HookMessage, sender: ActorAddress) -> Any:
        """Take in what another keeper has passed on."""
        if isinstance(message, Entered):
            self._route(message.message, sender, is_entered=True)
            return None
        return super().receive_hook(message, sender)

    def abandon(self, asker: LocalAddress) -> None:
        """End what goes on for an ask that nobody waits for any more."""
        super().abandon(asker)
        delegate = getattr(asker.question, "delegate", None)
        if isinstance(delegate, ActorRef) and delegate.abandon is not None:
            delegate.abandon(asker)

    def _route(self, message: Any, sender: ActorAddress, *, is_entered: bool = False) -> None:
        target = self._instance
        if target is None and not is_entered:
            target = self._elsewhere()
        if target is not None:
            _hand_on(message, sender, target)
        elif len(self._waiting) < self._kept.remote.config.waiting_max:
            self._waiting.append((message, sender))
        else:
            reason = f"{len(self._waiting)} messages wait for the singleton to run somewhere"
            host = self._myRef.host
            host.send(sender, MessageRejected(message, self.myAddress, reason), self.myAddress)
            host.dead_letter(message, self.myAddress, sender, reason)

    def _elsewhere(self) -> ActorRef | None:
        """Return the entrance of the keeper that holds the name, if another one does."""
        record = self._contender.record
        host = record.host
        if host is None or record.doubt or host == self._contender.me:
            return None
        wire = WireRef(PeerId(host.peer), host.incarnation, host.number, self._kept.name)
        return self._kept.remote.resolve_ref(wire)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for message, sender in waiting:
            question = getattr(sender, "question", None)
            if question is None or not question.is_over:
                self._route(message, sender)

    # --- the instance ---

    def _settle(self) -> None:
        """Bring the instance in line with what the contender says."""
        contender, now = self._contender, self._now
        if contender.token and not contender.may_act(now):
            contender.stop("its lease is over: the other nodes did not answer in time")
        if self._instance is not None and contender.token != self._instance_token:
            logger.warning(
                "singleton %r stops on this node: %s", self._kept.name, contender.why_not
            )
            self._end_instance(contender.why_not)
        if contender.token and self._instance is None and not self._is_leaving:
            self._start_instance(contender.token)
        if self._lapse_timer is not None:
            self._lapse_timer.cancel()
            self._lapse_timer = None
        if contender.token:
            self._lapse_timer = self._myRef.host.loop.call_at(contender.until, self._lapse)
        host = contender.record.host if not contender.record.doubt else None
        has_moved, self._forwards_to = host != self._forwards_to, host
        if self._waiting and (self._instance is not None or (has_moved and host is not None)):
            self._flush()

    def _lapse(self) -> None:
        self._settle()
        self._wake.set()

    def _start_instance(self, token: int) -> None:
        contender, loop = self._contender, self._myRef.host.loop
        tenure = Tenure(
            self._kept.name,
            token,
            lambda asked: contender.token == asked and contender.may_act(loop.time()),
        )
        logger.info("singleton %r runs on this node, token %d", self._kept.name, token)
        given = self._kept.spawning
        spawning = Spawning(
            args=given.args,
            kwargs=given.kwargs,
            supervision=given.supervision,
            mailbox=given.mailbox,
            on_started=lambda error: self._instance_started(token, error),
        )
        self._instance_token = token
        try:
            self._instance = self._myRef.host.creation.spawn(
                guarded(self._kept.actor_class, tenure), spawning, parent=self._myRef
            )
        except Exception as error:
            self._instance_started(token, error)

    def _instance_started(self, token: int, error: BaseException | None) -> None:
        running = self._kept.running
        if error is None:
            if not running.done():
                running.set_result(None)
        elif token == self._contender.token:
            self._instance = None
            if running.done():
                logger.error(
                    "singleton %r did not start on this node", self._kept.name, exc_info=error
                )
            else:
                running.set_exception(error)
            self._contender.stop("it did not start")
            self._contender.rest(now=self._now)
            self._wake.set()

    def _instance_ended(self) -> None:
        """Take in that it has ended by itself, or by its policy: this node's part is over."""
        self._instance = None
        if not self._is_leaving:
            self._contender.is_candidate = False
            self._contender.stop("it has ended")
            self.send(self.myAddress, ActorExitRequest())

    def _end_instance(self, why: str) -> None:
        """End the instance and its children here and now."""
        instance, self._instance = self._instance, None
        cell = None if instance is None else self._myRef.host.supervised(instance)
        if cell is not None:
            cell.reason = why
            _end_all(self._myRef.host, cell)

    # --- contending ---

    @property
    def _now(self) -> float:
        now: float = self._myRef.host.loop.time()
        return now

    async def _follow(self) -> None:
        """Look again whenever something was applied."""
        changed = self._group.when().committed().changed()
        with suppress(GroupTerminated):
            while True:
                await changed
                self._wake.set()

    async def _contend(self) -> None:
        try:
            while True:
                self._wake.clear()
                step = self._look()
                self._settle()
                if step is not None:
                    await self._carry_out(step)
                else:
                    await self._sleep(self._again_s - self._now)
        except GroupTerminated as error:
            if not self._is_leaving:
                logger.error("singleton %r is given up on this node: %s", self._kept.name, error)
                self._contender.stop("its member of the group has ended")
                self._settle()
                self.send(self.myAddress, ActorExitRequest())

    async def _sleep(self, limit_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._wake.wait()

    def _look(self) -> Step | Trust | None:
        """Take in what the claims say; return what to do about it."""
        group, contender, now = self._group, self._contender, self._now
        self._again_s = now + _LOOK_S
        if not group.is_online:
            return None
        claims: Any = group.machine
        history = group.history
        members = {member.peer_id: member for member in group.members}
        if group.is_leader and self._is_to_trust(members, history):
            return Trust(history, claims.trusted)
        if not self._is_trusted():
            return None
        record = claims.records.get(self._kept.name, NOTHING)
        contender.receive_record(record, now=now)
        contender.receive_reach(self._is_in_reach(record.host, members), now=now)
        runs_elsewhere = record.host not in (None, contender.me) and not record.doubt
        if runs_elsewhere and not self._kept.running.done():
            self._kept.running.set_result(None)
        former = self._former_self(claims.records)
        if former is not None:
            return former
        wall_s = self._kept.node.clock.wall()
        step = contender.next_step(now=now, wall_s=wall_s)
        self._again_s = min(self._again_s, contender.get_timer())
        return step

    def _is_trusted(self) -> bool:
        """Whether nobody but this history decides; see `claims`."""
        claims: Any = self._group.machine
        return claims.trusted in (b"", self._group.history)

    def _is_to_trust(self, members: Mapping[PeerId, Member], history: bytes) -> bool:
        """Whether the leader is to say that three vote in this history, maybe once more.

        Who is cut off goes on in a history of its own. Of two that took no commands either may
        go on when they meet; so this one takes one when somebody is lost.
        """
        claims: Any = self._group.machine
        bonded = {peer for peer, member in members.items() if member.is_bonded}
        has_lost, self._bonded = not self._bonded <= bonded, bonded
        if claims.trusted == history:
            return has_lost
        return sum(member.is_voter for member in members.values()) >= _TRUSTED_VOTERS

    def _is_in_reach(self, host: SingletonHost | None, members: Mapping[PeerId, Member]) -> bool:
        if host is None or host == self._contender.me:
            return True
        member = members.get(PeerId(host.peer))
        return member is not None and member.is_bonded

    def _former_self(self, records: dict[str, NameRecord]) -> Doubt | None:
        """Return a doubt in a holder that was this node's, and is there no more."""
        me, cells = self._contender.me, self._myRef.host.cells
        for name, record in records.items():
            host = record.host
            if host is None or host.peer != me.peer or record.doubt:
                continue
            if host.incarnation != me.incarnation or host.number not in cells:
                return self._contender.doubt(name, record)
        return None

    async def _carry_out(self, step: Step | Trust) -> None:
        group, limit_s = self._group, self._kept.settings.lease / 2
        try:
            if isinstance(step, Check):
                asked_s, history = self._now, group.history
                answer = await group.query(step.name, Consistency.STRONG, timeout=limit_s)
                if group.history == history and self._is_trusted():
                    self._contender.receive_answer(answer.result, asked_s=asked_s)
            else:
                await group.execute(step, timeout=limit_s)
                if isinstance(step, Reassure):
                    self._contender.receive_announced(step.token)
        except (GroupOffline, QueryOffline):
            await self._sleep(_RETRY_S)


def _hand_on(message: Any, sender: ActorAddress, target: ActorRef) -> None:
    question = getattr(sender, "question", None)
    if question is not None:
        question.delegate = target
    target.deliver(message, sender)


def _end_all(host: Any, cell: SupervisedCell) -> None:
    for child in list(cell.children):
        below = host.supervised(child)
        if below is not None:
            below.reason = "the lease of its parent is over"
            _end_all(host, below)
    cell.end_all()
