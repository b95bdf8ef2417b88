"""`MosaikActor` on an actor system without a node: hooks, timers, tasks, asks, supervision."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from thespian.actors import (
    Actor,
    ActorAddress,
    ActorExitRequest,
    InvalidActorSpecification,
)

from mosaik_actors import (
    DROP_NEWEST,
    DROP_OLDEST,
    REJECT,
    ActorGone,
    ActorRef,
    AskCircle,
    AskPoisoned,
    AskRejected,
    AskTimeout,
    AskUndeliverable,
    AsyncActorSystem,
    ChildFailed,
    Closed,
    DeadLetter,
    Escalate,
    Mailbox,
    MessageRejected,
    MosaikActor,
    Request,
    Restart,
    Stop,
)
from mosaik_actors.runtime.supervised import Spawning
from tests.waiting import until

FAST = Restart(backoff=(0.0, 0.0), max_restarts=3, within=60)


class Log(Request[list[Any]]):
    """What happened to you?"""


class Block(Request[None]):
    until: Any


class Work:
    def __init__(self, number: int) -> None:
        self.number = number


class Fail:
    pass


class Recorder(MosaikActor):
    def __init__(self, log: list[Any], name: str = "it") -> None:
        self.log, self.name = log, name

    async def started(self) -> None:
        await asyncio.sleep(0)
        self.log.append(f"{self.name} started")

    async def stopping(self) -> None:
        await asyncio.sleep(0)
        self.log.append(f"{self.name} stopping")

    def receiveMsg_Work(self, work: Work, sender: ActorRef) -> None:
        self.log.append(work.number)

    def receiveMsg_Log(self, message: Log, sender: ActorRef) -> list[Any]:
        return list(self.log)

    async def receiveMsg_Block(self, message: Block, sender: ActorRef) -> None:
        await message.until.wait()

    def receiveMsg_Fail(self, message: Fail, sender: ActorRef) -> None:
        raise ValueError("on purpose")

    def receiveMsg_ActorGone(self, gone: ActorGone, sender: ActorRef) -> None:
        self.log.append(("gone", gone.ref, gone.reason))

    def receiveMsg_ChildFailed(self, failed: ChildFailed, sender: ActorRef) -> None:
        self.log.append(("failed", failed.reason, failed.decision))

    def receiveMsg_ChildActorExited(self, exited: Any, sender: Any) -> None:
        self.log.append("child exited")
        self.why = exited.reason

    def receiveMsg_MessageRejected(self, rejected: MessageRejected, sender: ActorRef) -> None:
        self.log.append(("rejected", rejected.message))


def spawn(system: AsyncActorSystem, actor_class: type, *args: Any, **settings: Any) -> ActorRef:
    return system.host.creation.spawn(actor_class, Spawning(args=args, **settings))


async def test_hooks_are_the_first_and_the_last_that_happens() -> None:
    log: list[Any] = []
    async with AsyncActorSystem() as system:
        ref = spawn(system, Recorder, log)
        ref.tell(Work(1))
        assert await ref.ask(Log()) == ["it started", 1]
        await ref.stop()
        assert log == ["it started", 1, "it stopping"]
        with pytest.raises(AskUndeliverable):
            await ref.ask(Log())


async def test_thespians_own_way_to_create_it_works_too() -> None:
    class Greeter(MosaikActor):
        def receiveMsg_str(self, text: str, sender: ActorAddress) -> None:
            self.send(sender, f"hello {text}")

    async with AsyncActorSystem() as system:
        greeter = system.createActor(Greeter)
        assert await system.ask(greeter, "world", 5) == "hello world"
        with pytest.raises(Closed, match="no node"):
            _ = system.host.cells[greeter.number].actor.net  # type: ignore[attr-defined]


async def test_an_exit_does_not_wait_behind_what_is_in_the_mailbox() -> None:
    log: list[Any] = []
    async with AsyncActorSystem() as system:
        ref = spawn(system, Recorder, log)
        await ref.ask(Log())
        for number in range(30_000):
            ref.tell(Work(number))
        system.tell(ref, ActorExitRequest())
        await until(lambda: "it stopping" in log)
        assert len(log) < 5000  # what one turn of the loop had begun


async def test_timers_are_keyed_cancelled_and_do_not_pile_up() -> None:
    ticks: list[Any] = []

    class Clock(MosaikActor):
        def started(self) -> None:
            self.after(0.0, "replaced", key="once")
            self.after(0.001, "once", key="once")
            self.ticking = self.every(0.001, "tick")
            self.after(0, "waits in the mailbox", key="cancelled")

        async def receiveMsg_str(self, text: str, sender: ActorRef) -> None:
            ticks.append(text)
            if text == "tick":
                self.cancel_timer("cancelled")
                await asyncio.sleep(0.02)  # several rounds
                if ticks.count("tick") == 2:
                    self.ticking.cancel()
                    ticks.append(self.ticking.is_active)

        def receiveMsg_Log(self, message: Log, sender: ActorRef) -> list[Any]:
            return ticks

    async with AsyncActorSystem() as system:
        ref = spawn(system, Clock)
        await until(lambda: False in ticks)
        assert await ref.ask(Log()) == ticks
        assert ticks.count("once") == 1
        assert ticks.count("tick") == 2
        assert "replaced" not in ticks


async def test_tasks_end_with_the_actor_and_their_errors_are_its_failures() -> None:
    ended = asyncio.Event()
    started = asyncio.Event()

    class Worker(Recorder):
        async def started(self) -> None:
            self.start_task(self.work())
            self.pipe(asyncio.sleep(0, "piped"))

        async def work(self) -> None:
            try:
                started.set()
                await asyncio.sleep(1000)
            finally:
                ended.set()

        def receiveMsg_str(self, text: str, sender: ActorRef) -> None:
            self.log.append(text)
            self.start_task(self.break_down())

        async def break_down(self) -> None:
            raise ValueError("in a task")

    log: list[Any] = []
    async with AsyncActorSystem() as system:
        parent = spawn(system, Recorder, log, "parent")
        actor: Any = system.host.supervised(parent)
        await parent.ask(Log())
        child = actor.actor.spawn(Worker, args=(log,), supervision=Stop())
        await started.wait()
        await until(lambda: "child exited" in log)
        await ended.wait()
        assert "piped" in log
        assert actor.actor.why == "failed: ValueError: in a task"
        assert ("failed", "failed: ValueError: in a task", "stopped") in log
        with pytest.raises(AskUndeliverable):
            await child.ask(Log())


async def test_a_circle_of_asks_fails_at_once_and_names_it() -> None:
    class Hop(Request[str]):
        pass

    class Link(MosaikActor):
        next: ActorRef

        async def receiveMsg_Hop(self, message: Hop, sender: ActorRef) -> str:
            try:
                return await self.next.ask(Hop())
            except AskCircle as circle:
                return " -> ".join(circle.circle)

    async with AsyncActorSystem(name="s") as system:
        refs = [spawn(system, Link) for _ in range(3)]
        actors: list[Any] = [system.host.cells[ref.number].actor for ref in refs]
        for index, actor in enumerate(actors):
            actor.next = refs[(index + 1) % 3]
        names = [ref.label for ref in refs]
        assert await refs[0].ask(Hop(), 5) == " -> ".join([*names, names[0]])
        # Two that ask each other at the same moment, each for its own reasons.
        actors[0].next, actors[1].next = refs[1], refs[0]
        both = await asyncio.gather(refs[0].ask(Hop(), 5), refs[1].ask(Hop(), 5))
        assert any(" -> " in answer for answer in both)
        # To ask oneself is the smallest circle; beside the mailbox it is none.
        actors[0].next = refs[0]
        assert await refs[0].ask(Hop(), 5) == f"{names[0]} -> {names[0]}"


async def test_who_gives_up_cancels_the_handler_and_skips_what_waits() -> None:
    cancelled: list[str] = []

    class Slow(Request[int]):
        name: str

    class Sleeper(MosaikActor):
        async def receiveMsg_Slow(self, message: Slow, sender: ActorRef) -> int:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                cancelled.append(message.name)
                raise
            return 1

        def receiveMsg_str(self, text: str, sender: ActorRef) -> None:
            self.send(sender, "alive")

    async with AsyncActorSystem() as system:
        ref = spawn(system, Sleeper)
        asks = [ref.ask(Slow("first"), 0.02), ref.ask(Slow("second"), 0.01)]
        outcomes = await asyncio.gather(*asks, return_exceptions=True)
        assert all(isinstance(outcome, AskTimeout) for outcome in outcomes)
        assert await ref.ask("how are you?", 5) == "alive"
        assert cancelled == ["first"]


async def test_a_deadline_limits_the_asks_of_the_handler() -> None:
    class Outer(Request[str]):
        pass

    class Silent(MosaikActor):
        def receiveMsg_str(self, text: str, sender: ActorRef) -> None:
            """Answer nothing."""

    class Asker(MosaikActor):
        other: ActorRef

        async def receiveMsg_Outer(self, message: Outer, sender: ActorRef) -> str:
            loop = asyncio.get_running_loop()
            began = loop.time()
            try:
                await self.other.ask("?", 100)
            except AskTimeout:
                took.append(loop.time() - began)
                raise
            return ""

    took: list[float] = []
    async with AsyncActorSystem() as system:
        asker, silent = spawn(system, Asker), spawn(system, Silent)
        cell: Any = system.host.cells[asker.number]
        cell.actor.other = silent
        with pytest.raises(AskTimeout):
            await asker.ask(Outer(), 0.05)
        await until(lambda: took or cell.handling is None)


async def test_a_stream_of_answers_waits_for_its_reader_and_ends_with_it() -> None:
    class Rows(Request[int]):
        pass

    made: list[int] = []

    class Table(MosaikActor):
        async def receiveMsg_Rows(self, message: Rows, sender: ActorRef) -> AsyncIterator[int]:
            try:
                for number in range(1000):
                    made.append(number)
                    yield number
            finally:
                made.append(-1)

    async with AsyncActorSystem() as system:
        ref = spawn(system, Table)
        async with ref.stream(Rows(), window=4) as rows:
            assert [await anext(rows) for _ in range(3)] == [0, 1, 2]
            await asyncio.sleep(0.01)
            assert len(made) <= 10
        await until(lambda: made[-1] == -1)
        with pytest.raises(AskPoisoned, match=r"ref\.stream"):
            await ref.ask(Rows(), 5)


async def test_a_restarted_actor_has_its_address_its_mailbox_and_a_new_state() -> None:
    log: list[Any] = []
    made: list[Recorder] = []

    class Restarted(Recorder):
        def __init__(self, log: list[Any]) -> None:
            super().__init__(log)
            made.append(self)

    async with AsyncActorSystem() as system:
        ref = spawn(system, Restarted, log, supervision=FAST)
        ref.tell(Fail())
        ref.tell(Work(2))
        assert await ref.ask(Log(), 5) == ["it started", "it started", 2]
        assert len(made) == 2
        # More often than the limit: it ends, with the error as reason.
        watched: list[Any] = []
        watcher = spawn(system, Recorder, watched)
        ref.watch(watcher)
        for _ in range(3):
            ref.tell(Fail())
        await until(lambda: len(watched) > 1)
        assert watched[1] == ("gone", ref, "failed: ValueError: on purpose")


async def test_parents_hear_of_failures_and_siblings_share_their_fate() -> None:
    log: list[Any] = []
    async with AsyncActorSystem() as system:
        parent = spawn(system, Recorder, log, "parent")
        await parent.ask(Log())
        cell: Any = system.host.supervised(parent)
        policy = Restart(backoff=(0, 0), all_for_one=True)
        first = cell.actor.spawn(Recorder, args=(log, "first"), supervision=policy)
        second = cell.actor.spawn(Recorder, args=(log, "second"), supervision=policy)
        await asyncio.gather(first.ask(Log()), second.ask(Log()))
        first.tell(Fail())
        await until(lambda: log.count("first started") == 2 and log.count("second started") == 2)
        assert ("failed", "failed: ValueError: on purpose", "restarted") in log
        # What a child escalates is its parent's failure.
        third = cell.actor.spawn(Recorder, args=(log, "third"), supervision=Escalate())
        third.tell(Fail())
        await until(lambda: "child exited" in log)
        assert ("failed", "failed: ValueError: on purpose", "escalated") in log


@pytest.mark.parametrize("overflow", [REJECT, DROP_OLDEST, DROP_NEWEST])
async def test_a_full_mailbox_gives_up_what_its_policy_says(overflow: Any) -> None:
    log: list[Any] = []
    letters: list[DeadLetter] = []
    async with AsyncActorSystem() as system:
        system.host.letters.listener = letters.append
        sender_log: list[Any] = []
        sender = spawn(system, Recorder, sender_log)
        ref = spawn(system, Recorder, log, mailbox=Mailbox(3, overflow))
        gate = asyncio.Event()
        blocked = asyncio.ensure_future(ref.ask(Block(gate)))
        await until(lambda: system.host.cells[ref.number].parked and log)
        cell: Any = system.host.cells[ref.number]
        assert cell.age_s == 0.0
        for number in range(5):
            system.host.cells[sender.number].actor_send(ref, Work(number))
        assert len(cell.mailbox) == 3
        if overflow is REJECT:
            with pytest.raises(AskRejected, match="full, 3 messages wait"):
                await ref.ask(Log())
        await asyncio.sleep(0.01)
        figures = system.mailboxes()[1]
        assert figures.age_s > 0
        assert figures.rejected == (3 if overflow is REJECT else 2)
        gate.set()
        await blocked
        await until(lambda: len(log) == 4)
        assert log[1:] == ([2, 3, 4] if overflow is DROP_OLDEST else [0, 1, 2])
        assert {letter.reason for letter in letters} == {"its mailbox is full, 3 messages wait"}
        assert {letter.type for letter in letters} <= {"Work", "Log"}
        if overflow is REJECT:
            await until(lambda: len(sender_log) == 3)
            assert [entry[1].number for entry in sender_log[1:]] == [3, 4]


async def test_a_plain_actor_can_be_supervised_and_keeps_the_order_of_its_exit() -> None:
    class Plain(Actor):
        def __init__(self, log: list[Any]) -> None:
            self.log = log

        def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
            if message == "fail":
                raise ValueError("on purpose")
            if not isinstance(message, ActorExitRequest):
                self.log.append(message)

    log: list[Any] = []
    async with AsyncActorSystem() as system:
        ref = spawn(system, Plain, log, supervision=FAST)
        ref.tell("fail")
        ref.tell("after")
        await until(lambda: log == ["after"])
        assert [one.restarts for one in system.mailboxes()] == [1]


async def test_a_spawn_that_fails_says_why() -> None:
    class Broken(MosaikActor):
        def started(self) -> None:
            raise ValueError("cannot start")

    outcome: list[Any] = []
    async with AsyncActorSystem() as system:
        ref = spawn(system, Broken, on_started=outcome.append)
        await until(lambda: outcome)
        assert isinstance(outcome[0], ValueError)
        assert ref.number not in system.host.cells


async def test_what_no_handler_takes_is_refused_to_who_asks_at_once() -> None:
    """As it is to who asks from another node; what is told is left out, as Thespian does."""

    class Unknown(Request[int]):
        pass

    async with AsyncActorSystem() as system:
        ref = spawn(system, Recorder, [])
        for message in ("a text", 3, Unknown()):
            kind = type(message).__name__
            with pytest.raises(AskRejected, match=f"Recorder has no handler for {kind}$"):
                await ref.ask(message)
        with pytest.raises(AskRejected, match="Recorder has no handler for Unknown"):
            [row async for row in ref.stream(Unknown())]
        ref.tell("a text")
        assert await ref.ask(Log()) == ["it started"]


async def test_an_actor_in_place_of_its_class_is_refused() -> None:
    async with AsyncActorSystem() as system:
        with pytest.raises(InvalidActorSpecification, match="expected the class"):
            system.host.creation.spawn(Recorder([]), Spawning())


async def test_exits_during_a_back_off_end_the_actor() -> None:
    log: list[Any] = []
    async with AsyncActorSystem() as system:
        ref = spawn(system, Recorder, log, supervision=Restart(backoff=(1000, 1000)))
        ref.tell(Fail())
        cell: Any = system.host.cells[ref.number]
        await until(lambda: cell.actor is None)
        await ref.stop(5)
        assert cell.dead


async def test_a_restart_from_outside_of_its_turn_does_not_run_what_waits() -> None:
    """A task fails while messages are queued: they are for the new actor."""
    log: list[Any] = []
    async with AsyncActorSystem() as system:
        ref = spawn(system, Recorder, log, supervision=Restart(backoff=(0.01, 1)))
        await ref.ask(Log())
        cell: Any = system.host.supervised(ref)
        ref.tell(Work(1))  # queued for its turn
        cell.fail(ValueError("in a task"))
        await until(lambda: len(log) == 3)
        assert log == ["it started", "it started", 1]
