"""Actors across nodes, on virtual time: names, messages, asks, watches, partitions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from thespian.actors import Actor, ActorAddress, ActorTypeDispatcher

from mosaik_actors import (
    ActorGone,
    ActorRef,
    AlreadyExists,
    AskPoisoned,
    AskRejected,
    AskTimeout,
    AskUndeliverable,
    Balance,
    ChildFailed,
    DeadLetter,
    EntryInserted,
    LeaderElected,
    MosaikActor,
    NotResolved,
    PeerDiscovered,
    Request,
    Restart,
    Resume,
    Stop,
)
from mosaik_actors.testing.cluster import Cluster
from mosaik_actors.testing.scenario import scenario

SEEDS = range(1)


class Note(msgspec.Struct, frozen=True):
    number: int


class Introduce(msgspec.Struct, frozen=True):
    other: ActorRef


class Count(Request[int]):
    """How many notes came?"""


class Numbers(Request[list[int]]):
    """Which notes came?"""


class Rows(Request[int]):
    count: int


class Fail(Request[int]):
    """Fail."""


class Wait(Request[int]):
    """Answer never."""


class Cancelled(Request[int]):
    """How many handlers were cancelled?"""


class Pass(Request[str]):
    """Ask the one you were introduced to to pass it on."""


class Stranger(msgspec.Struct, frozen=True):
    number: int


class Book(MosaikActor):
    """Takes notes."""

    def __init__(self, title: str = "book") -> None:
        self.title = title
        self.numbers: list[int] = []
        self.cancelled = 0
        self.other: ActorRef | None = None
        self.gone: list[ActorGone] = []

    def receiveMsg_Note(self, note: Note, sender: ActorRef) -> None:
        self.numbers.append(note.number)

    def receiveMsg_Count(self, message: Count, sender: ActorRef) -> int:
        return len(self.numbers)

    def receiveMsg_Numbers(self, message: Numbers, sender: ActorRef) -> list[int]:
        return self.numbers

    async def receiveMsg_Rows(self, rows: Rows, sender: ActorRef) -> AsyncIterator[int]:
        for number in range(rows.count):
            yield number

    def receiveMsg_Fail(self, message: Fail, sender: ActorRef) -> int:
        raise ValueError("on purpose")

    async def receiveMsg_Wait(self, message: Wait, sender: ActorRef) -> int:
        try:
            await asyncio.sleep(10_000)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return 0

    def receiveMsg_Cancelled(self, message: Cancelled, sender: ActorRef) -> int:
        return self.cancelled

    def receiveMsg_Introduce(self, message: Introduce, sender: ActorRef) -> None:
        self.other = message.other
        self.watch(message.other)

    def receiveMsg_ActorGone(self, gone: ActorGone, sender: ActorRef) -> None:
        self.gone.append(gone)

    async def receiveMsg_Pass(self, message: Pass, sender: ActorRef) -> str:
        assert self.other is not None
        return await self.other.ask(Pass())

    def receiveMsg_str(self, text: str, sender: ActorRef) -> None:
        self.send(sender, f"{self.title}: {text}")


class Plain(ActorTypeDispatcher):
    """A Thespian actor that knows of no network: forwards, and answers the first that asks."""

    def receiveMsg_Introduce(self, message: Introduce, sender: ActorAddress) -> None:
        for number in range(3):
            self.send(message.other, Note(number))
        self.send(message.other, "hello")

    def receiveMsg_str(self, text: str, sender: ActorAddress) -> None:
        self.answer = text


@scenario(nodes=3, seeds=SEEDS)
async def test_an_actor_is_found_by_name_told_and_asked_from_another_node(cluster: Cluster) -> None:
    near, far = cluster.net(0), cluster.net(1)
    book = await near.actors.spawn(Book, args=("atlas",), name="book")
    ref = await far.actors.resolve("book")
    assert ref.peer_id == near.peer_id
    assert ref.name == "book"
    assert not ref.is_local
    assert await far.actors.resolve("book") is ref
    assert await near.actors.resolve("book") is book

    # Tells arrive in order, and before an ask that is made after them.
    for number in range(1000):
        ref.tell(Note(number))
    assert await ref.ask(Count()) == 1000
    assert await ref.ask(Numbers()) == list(range(1000))
    assert await ref.ask("hi") == "atlas: hi"
    # Many at once.
    assert await asyncio.gather(*(ref.ask(Count()) for _ in range(100))) == [1000] * 100
    assert [row async for row in ref.stream(Rows(200), window=8)] == list(range(200))
    with pytest.raises(AskPoisoned, match="on purpose"):
        await ref.ask(Fail())
    with pytest.raises(AskRejected, match=r"Book has no handler for .*Stranger"):
        await ref.ask(Stranger(1))


@scenario(nodes=2, seeds=SEEDS)
async def test_references_travel_and_plain_actors_take_part(cluster: Cluster) -> None:
    near, far = cluster.net(0), cluster.net(1)
    book = await near.actors.spawn(Book, name="book")
    plain = await far.actors.spawn(Plain, name="plain")
    # The plain actor gets the reference in a message, and sends as to any address.
    (await near.actors.resolve("plain")).tell(Introduce(book))
    await cluster.until(lambda: _actor(plain).__dict__.get("answer") == "book: hello")
    assert await book.ask(Numbers()) == [0, 1, 2]


@scenario(nodes=2, seeds=SEEDS)
async def test_a_circle_of_asks_across_nodes_fails_at_once_and_is_named(cluster: Cluster) -> None:
    near, far = cluster.net(0), cluster.net(1)
    first = await near.actors.spawn(Book, name="first")
    second = await far.actors.spawn(Book, name="second")
    first.tell(Introduce(await near.actors.resolve("second")))
    second.tell(Introduce(await far.actors.resolve("first")))
    before = cluster.now
    with pytest.raises(AskPoisoned, match=r"closes a circle of asks: first .*second .*first"):
        await first.ask(Pass())
    assert cluster.now - before < 5


@scenario(nodes=2, seeds=SEEDS)
async def test_who_gives_up_cancels_the_handler_at_the_other_node(cluster: Cluster) -> None:
    book = await cluster.net(0).actors.spawn(Book, name="book")
    ref = await cluster.net(1).actors.resolve("book")
    with pytest.raises(AskTimeout):
        await ref.ask(Wait(), timeout=1)
    task = asyncio.ensure_future(ref.ask(Wait()))
    await cluster.sleep(1)
    task.cancel()
    assert await ref.ask(Cancelled()) == 2
    assert await book.ask(Cancelled()) == 2


@scenario(nodes=2, seeds=SEEDS)
async def test_what_nobody_takes_is_a_dead_letter_with_its_reason(cluster: Cluster) -> None:
    near, far = cluster.net(0), cluster.net(1)
    book = await near.actors.spawn(Book, name="book")
    ref = await far.actors.resolve("book")
    letters = far.actors.events()
    ref.tell(Stranger(1))
    letter: Any = await anext(letters)
    assert isinstance(letter, DeadLetter)
    assert "Stranger" in letter.type
    assert "has no handler" in letter.reason
    await book.stop()
    ref.tell(Note(1))
    letter = await anext(letters)
    assert "exited" in letter.reason
    with pytest.raises(AskUndeliverable) as caught:
        await ref.ask(Count())
    assert str(caught.value) == (
        f"book #{ref.number} on peer {near.peer_id.short} did not answer Count, which was not "
        "delivered: it has exited, or was never announced to other nodes"
    )
    with pytest.raises(NotResolved):
        await far.actors.resolve("book", timeout=3)


@scenario(nodes=3, seeds=SEEDS)
async def test_an_actor_hears_of_the_end_of_one_at_another_node(cluster: Cluster) -> None:
    book = await cluster.net(0).actors.spawn(Book, name="book")
    watcher = await cluster.net(1).actors.spawn(Book)
    ref = await cluster.net(1).actors.resolve("book")
    watcher.tell(Introduce(ref))
    await watcher.ask(Count())
    await cluster.sleep(1)
    await book.stop()
    await cluster.until(lambda: _gone(watcher) == [ActorGone(ref, "it exited")])

    # A node that crashes takes its actors along.
    await cluster.net(2).actors.spawn(Book, name="other")
    other = await cluster.net(1).actors.resolve("other")
    watcher.tell(Introduce(other))
    await cluster.sleep(1)
    await cluster.crash(2)
    await cluster.until(lambda: len(_gone(watcher)) == 2)
    assert _gone(watcher)[1].ref is other

    # Its next run is another one: what was meant for the former self does not reach it.
    await cluster.restart(2)
    again = await cluster.net(2).actors.spawn(Book, name="other")
    found = await cluster.net(1).actors.resolve("other", timeout=60)
    assert found is not other
    other.tell(Note(1))
    with pytest.raises(AskUndeliverable, match="restarted"):
        await other.ask(Count())
    assert await again.ask(Count()) == 0


@scenario(nodes=2, seeds=SEEDS)
async def test_a_host_is_cut_off_and_comes_back(cluster: Cluster) -> None:
    near, far = cluster.net(0), cluster.net(1)
    book = await near.actors.spawn(Book, name="book")
    watcher = await far.actors.spawn(Book)
    ref = await far.actors.resolve("book")
    watcher.tell(Introduce(ref))
    ref.tell(Note(1))
    await cluster.sleep(1)
    cluster.partition([0], [1])
    # It counts as gone; what is sent meanwhile is a dead letter that says why.
    await cluster.until(lambda: len(_gone(watcher)) == 1)
    letters = far.actors.events()
    ref.tell(Note(2))
    letter: Any = await anext(letters)
    assert letter.type == "Note"
    assert "reached" in letter.reason or "answer" in letter.reason
    with pytest.raises(AskUndeliverable) as caught:
        await ref.ask(Count())
    assert not caught.value.may_be_delivered
    begin = f"book #{ref.number} on peer {near.peer_id.short} did not answer Count, which was not"
    assert str(caught.value).startswith(f"{begin} delivered: its node ")
    assert "103" not in str(caught.value)
    cluster.heal()
    # The actor has lived on: the same reference leads to it again.
    assert await far.actors.resolve("book", timeout=120) is ref
    ref.tell(Note(3))
    await cluster.sleep(1)
    assert await ref.ask(Numbers()) == [1, 3]
    assert await book.ask(Count()) == 2


@scenario(nodes=2, seeds=SEEDS)
async def test_an_ask_says_what_may_have_become_of_its_message(cluster: Cluster) -> None:
    near, far = cluster.net(0), cluster.net(1)
    book = await near.actors.spawn(Book, name="book")
    ref = await far.actors.resolve("book")
    assert await ref.ask(Count()) == 0
    who = f"book #{ref.number} on peer {near.peer_id.short} did not answer Wait"

    # The actor has taken it, and is still busy when the time is over.
    with pytest.raises(AskTimeout) as late:
        await ref.ask(Wait(), timeout=1)
    assert str(late.value) == f"{who} within 1 s, which may have been delivered"

    # It has taken it when its node is lost.
    cut = asyncio.ensure_future(ref.ask(Wait(), timeout=600))
    await cluster.sleep(1)
    cluster.partition([0], [1])
    with pytest.raises(AskUndeliverable) as lost:
        await cut
    assert lost.value.may_be_delivered
    assert str(lost.value).startswith(f"{who}, which may have been delivered: ")

    # From now on nothing reaches it, and that is known.
    with pytest.raises(AskUndeliverable) as unsent:
        await ref.ask(Wait(), timeout=600)
    assert not unsent.value.may_be_delivered
    assert str(unsent.value).startswith(f"{who}, which was not delivered: its node ")
    assert await book.ask(Cancelled()) == 2


@scenario(nodes=4, seeds=SEEDS)
async def test_one_name_at_two_nodes_at_once(cluster: Cluster) -> None:
    """Both live on; `resolve` gives all nodes the same one, `nearest` each its own."""
    nets = [cluster.net(index) for index in range(4)]
    refs = await asyncio.gather(
        nets[0].actors.spawn(Book, name="book"), nets[1].actors.spawn(Book, name="book")
    )
    with pytest.raises(AlreadyExists) as taken:
        await nets[0].actors.spawn(Book, name="book")
    assert taken.value.existing is refs[0]
    await cluster.sleep(20)
    chosen = [await net.actors.resolve("book") for net in nets]
    smallest = min(net.peer_id for net in nets[:2])
    assert {ref.peer_id for ref in chosen} == {smallest}
    assert await nets[0].actors.resolve("book", nearest=True) is refs[0]
    assert await nets[1].actors.resolve("book", nearest=True) is refs[1]
    everywhere = await nets[3].actors.resolve_all("book")
    assert [ref.peer_id for ref in everywhere] == sorted(net.peer_id for net in nets[:2])
    # When the chosen one ends, its name leads to the other.
    await refs[0].stop()
    await cluster.sleep(5)
    left = await nets[3].actors.resolve("book")
    assert left.peer_id == nets[1].peer_id


def _actor(ref: ActorRef) -> Actor:
    cells: Any = ref.host
    actor: Actor = cells.cells[ref.number].actor
    return actor


def _gone(ref: ActorRef) -> list[ActorGone]:
    actor = _actor(ref)
    assert isinstance(actor, Book)
    return actor.gone


@scenario(nodes=2, seeds=SEEDS)
async def test_an_actor_may_be_for_some_nodes_only(cluster: Cluster) -> None:
    near, far = cluster.net(0), cluster.net(1)
    book = await near.actors.spawn(Book, name="book", require=lambda peer: "trader" in peer.tags)
    hub = await near.actors.spawn(Book, name="hub")
    with pytest.raises(NotResolved):
        await far.actors.resolve("book", timeout=2)
    # A reference alone does not let it in either.
    shared = await far.actors.spawn(Book, name="shared")
    _actor(hub).send(await near.actors.resolve("shared"), Introduce(book))
    await cluster.until(lambda: getattr(_actor(shared), "other", None) is not None)
    ref: Any = getattr(_actor(shared), "other", None)
    with pytest.raises(AskRejected, match="may not use it"):
        await ref.ask(Count())
    far.discovery.add_tags("trader")
    await cluster.sleep(5)
    assert await ref.ask(Count()) == 0
    assert await far.actors.resolve("book") is ref


class Job(Request[int]):
    number: int


class Laborer(MosaikActor):
    """Does each job once, slowly."""

    def __init__(self, done: list[int]) -> None:
        self.done = done

    async def receiveMsg_Job(self, job: Job, sender: ActorRef) -> int:
        await asyncio.sleep(0.05)
        self.done.append(job.number)
        return job.number


@scenario(nodes=4, seeds=SEEDS)
async def test_a_pool_under_churn_answers_each_request_once_or_says_so(cluster: Cluster) -> None:
    done: list[int] = []
    pools = [cluster.net(3).actors.pool("jobs", balance=balance) for balance in Balance]
    members = [
        await cluster.net(index % 3).actors.spawn(Laborer, args=(done,), serves="jobs")
        for index in range(6)
    ]
    await cluster.sleep(5)
    numbers = range(300)
    asks = [
        asyncio.ensure_future(pools[number % 3].ask(Job(number), timeout=120)) for number in numbers
    ]
    await cluster.sleep(0.3)
    await members[0].stop()
    await cluster.crash(1)
    await cluster.net(0).actors.spawn(Laborer, args=(done,), serves="jobs")
    outcomes = await asyncio.gather(*asks, return_exceptions=True)
    assert len(done) == len(set(done))  # none was handled twice
    for number, outcome in zip(numbers, outcomes, strict=True):
        assert outcome == number or isinstance(outcome, AskUndeliverable)
    assert sum(not isinstance(outcome, int) for outcome in outcomes) < 200

    # Those that may be repeated are all answered, whoever goes.
    asks = [
        asyncio.ensure_future(pools[0].ask(Job(number), timeout=120, repeatable=True))
        for number in numbers
    ]
    await cluster.sleep(0.3)
    await cluster.crash(2)
    assert await asyncio.gather(*asks) == list(numbers)


class Tick(msgspec.Struct, frozen=True):
    number: int


class Seen(Request[list[str]]):
    """What came as messages?"""


class Gate(MosaikActor):
    """Uses everything of its node, and tells what comes of it."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def started(self) -> None:
        self.ticks = self.consume(Tick)
        self.out = self.produce(Tick, stream_id="out")
        self.group: Any = self.join("gates")
        self.prices = self.map("prices", str, int)
        self.watch_peers()

    def receiveMsg_Tick(self, tick: Tick, sender: ActorRef) -> None:
        assert self.source_of(sender) is self.ticks
        self.seen.append(f"tick {tick.number}")

    def receiveMsg_LeaderElected(self, event: LeaderElected, sender: ActorRef) -> None:
        self.seen.append("leader")

    def receiveMsg_EntryInserted(self, event: EntryInserted[str, int], sender: ActorRef) -> None:
        assert self.source_of(sender) is self.prices
        self.seen.append(f"{event.key} {event.value}")

    def receiveMsg_PeerDiscovered(self, event: PeerDiscovered, sender: ActorRef) -> None:
        self.seen.append("peer")

    def receiveMsg_Seen(self, message: Seen, sender: ActorRef) -> list[str]:
        return self.seen

    def receiveMsg_Fail(self, message: Fail, sender: ActorRef) -> int:
        raise ValueError("on purpose")


@scenario(nodes=1, seeds=SEEDS)
async def test_what_an_actor_opens_comes_as_messages_and_ends_with_it(cluster: Cluster) -> None:
    net = cluster.net(0)
    gate = await net.actors.spawn(Gate, supervision=Restart(backoff=(1, 1)))
    await cluster.until(lambda: "leader" in _seen(gate))
    await _of(gate).prices.when().online()
    await _of(gate).prices.insert("ETH", 3)
    group = _of(gate).group
    await cluster.until(lambda: "ETH 3" in _seen(gate))
    assert len(net.groups) == 2

    # A restart closes what the former self held, and opens it anew.
    with pytest.raises(AskPoisoned):
        await gate.ask(Fail())
    await cluster.sleep(5)
    assert _of(gate).group is not group
    await _of(gate).group.when().online()
    await gate.stop()
    await cluster.until(lambda: len(net.groups) == 0)


@scenario(nodes=2, seeds=SEEDS)
async def test_items_of_streams_come_in_order_and_no_faster_than_they_are_handled(
    cluster: Cluster,
) -> None:
    gate = await cluster.net(1).actors.spawn(Gate)
    producer = cluster.net(0).streams.produce(Tick)
    await producer.when().online()
    await producer.send_many([Tick(number) for number in range(3000)])
    await cluster.until(lambda: _seen(gate).count("tick 2999") == 1)
    ticks = [text for text in _seen(gate) if text.startswith("tick")]
    assert ticks == [f"tick {number}" for number in range(3000)]
    assert await gate.ask(Seen()) == _seen(gate)
    assert "out" in cluster.net(1).discovery.me.entry.streams[0].name


class Storm(MosaikActor):
    """The parent of workers that fail, each by a policy of its own."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.failures = 0
        self.ended: list[str] = []

    def started(self) -> None:
        policies: list[Any] = [
            Resume(),
            Restart(backoff=(0.01, 0.1), max_restarts=3, within=1000),
            Stop(),
        ]
        self.children = [
            self.spawn(Book, supervision=policies[index % 3]) for index in range(self.workers)
        ]
        for child in self.children:
            self.watch(child)

    def receiveMsg_ChildFailed(self, failed: ChildFailed, sender: ActorRef) -> None:
        self.failures += 1

    def receiveMsg_ActorGone(self, gone: ActorGone, sender: ActorRef) -> None:
        self.ended.append(gone.reason)


@scenario(nodes=1, seeds=SEEDS)
async def test_a_storm_of_failures_ends_as_the_policies_say(cluster: Cluster) -> None:
    storm = await cluster.net(0).actors.spawn(Storm, args=(300,))
    actor = _actor(storm)
    assert isinstance(actor, Storm)
    for _ in range(10):
        for child in actor.children:
            child.tell(Fail())
        await cluster.sleep(1)
    # 100 resume for ever; 100 restart three times and end at the fourth; 100 end at once.
    await cluster.until(lambda: len(actor.ended) == 200)
    assert set(actor.ended) == {"failed: ValueError: on purpose"}
    assert actor.failures == 100 * 10 + 100 * 4 + 100
    assert await asyncio.gather(*(child.ask(Count()) for child in actor.children[::3])) == [0] * 100


def _of(ref: ActorRef) -> Gate:
    actor = _actor(ref)
    assert isinstance(actor, Gate)
    return actor


def _seen(ref: ActorRef) -> list[str]:
    return _of(ref).seen
