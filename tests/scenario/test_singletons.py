"""Singletons on virtual time: hosts that crash, stand still or are cut off, and late writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from mosaik_actors import (
    ActorRef,
    AskFailed,
    AskPoisoned,
    AskTimeout,
    ConfigError,
    Fence,
    LeaseOver,
    MosaikActor,
    OutdatedToken,
    Request,
    Singleton,
)
from mosaik_actors.testing.cluster import Cluster
from mosaik_actors.testing.scenario import scenario

SEEDS = range(1)
NAME = "billing"


@dataclass
class Acts:
    """What the instances did, in order of time, as only a simulation can know."""

    all: list[tuple[float, int, int]] = field(default_factory=list)
    cancelled: int = 0

    def note(self, node: int, token: int) -> None:
        self.all.append((asyncio.get_running_loop().time(), node, token))

    def check(self) -> None:
        """At most one acts: who acts with a lower token does so before the next one begins."""
        tokens = [token for _, _, token in self.all]
        assert tokens == sorted(tokens)
        assert len({(node, token) for _, node, token in self.all}) == len(set(tokens))

    @property
    def hosts(self) -> list[int]:
        """The hosts, each as often as it got the name."""
        found: dict[int, int] = {}
        for _, node, token in self.all:
            found.setdefault(token, node)
        return list(found.values())


class Where(Request[list[int]]):
    """On which node, with which token?"""


class Rows(Request[int]):
    """So many numbers."""

    count: int


class Fail(Request[int]):
    """Fail."""


class Never(Request[int]):
    """Answer never."""


class Quit(Request[None]):
    """End by yourself."""


class Write(Request[int]):
    """A line for the ledger."""

    token: int


class Billing(MosaikActor):
    """Does something ten times a second."""

    def __init__(self, node: int, acts: Acts) -> None:
        self.node = node
        self.acts = acts

    def started(self) -> None:
        self.every(0.1, "tick")
        self.start_task(self.go_on())

    async def go_on(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            self.acts.note(self.node, self.fencing_token)

    def receiveMsg_str(self, text: str, sender: ActorRef) -> None:
        self.acts.note(self.node, self.fencing_token)

    def receiveMsg_Where(self, message: Where, sender: ActorRef) -> list[int]:
        return [self.node, self.fencing_token]

    async def receiveMsg_Rows(self, rows: Rows, sender: ActorRef) -> AsyncIterator[int]:
        for number in range(rows.count):
            yield number

    def receiveMsg_Fail(self, message: Fail, sender: ActorRef) -> int:
        raise ValueError("on purpose")

    async def receiveMsg_Never(self, message: Never, sender: ActorRef) -> int:
        try:
            await asyncio.sleep(10_000)
        finally:
            self.acts.cancelled += 1
        return 0

    def receiveMsg_Quit(self, message: Quit, sender: ActorRef) -> None:
        raise SystemExit(0)


class Ledger(MosaikActor):
    """What the singleton acts on: it has the fence."""

    def __init__(self) -> None:
        self.fence = Fence()
        self.lines: list[int] = []

    def receiveMsg_Write(self, write: Write, sender: ActorRef) -> int:
        self.fence.check(write.token)
        self.lines.append(write.token)
        return len(self.lines)


async def spawn_all(
    cluster: Cluster, acts: Acts, *indexes: int, singleton: Singleton | bool = True
) -> list[ActorRef]:
    return list(
        await asyncio.gather(
            *(
                cluster.net(index).actors.spawn(
                    Billing, args=(index, acts), name=NAME, singleton=singleton
                )
                for index in indexes
            )
        )
    )


async def ask(cluster: Cluster, ref: ActorRef, within_s: float) -> list[int]:
    """Ask until there is an answer: what is on its way when a host goes is lost."""
    async with asyncio.timeout(within_s):
        while True:
            try:
                return await ref.ask(Where(), timeout=within_s)
            except AskFailed:
                await cluster.sleep(0.2)


@scenario(nodes=4, seeds=SEEDS)
async def test_paused_host_is_replaced_and_its_late_writes_are_refused(cluster: Cluster) -> None:
    """It is only paused: it does not know, and what it had begun arrives late."""
    acts = Acts()
    ledger = await cluster.net(3).actors.spawn(Ledger, name="ledger")
    refs = await spawn_all(cluster, acts, 0, 1, 2)
    # All claimed at once, one has it, and each reference leads there; so does the name.
    [first] = {tuple(await ref.ask(Where())) for ref in refs}
    host, old = first
    others = [index for index in (0, 1, 2) if index != host]
    resolved = await cluster.net(3).actors.resolve(NAME)
    assert await resolved.ask(Where()) == [host, old]
    at_host = await cluster.net(host).actors.resolve("ledger")
    assert await at_host.ask(Write(old)) == 1
    await cluster.until(lambda: sum(m.is_voter for m in groups(cluster, others[0]).members) == 3)
    await cluster.until(lambda: acts.hosts == [host])

    cluster.pause(host)
    node, new = await ask(cluster, refs[others[0]], 12)
    assert node in others
    assert new > old
    assert await ledger.ask(Write(new)) == 2

    cluster.resume(host)
    await cluster.sleep(1)  # the link that it had was given up
    with pytest.raises(Exception, match=f"token {old} is outdated: {new} has been seen") as caught:
        await at_host.ask(Write(old))
    assert OutdatedToken.__name__ in str(caught.value)
    # Its own reference leads to the new host, and the name to one that knows.
    assert await ask(cluster, refs[host], 5) == [node, new]
    again = await cluster.net(3).actors.resolve(NAME)
    assert await ask(cluster, again, 5) == [node, new]
    await cluster.sleep(2)
    acts.check()
    assert acts.hosts == [host, node]

    # In order it is handed over at once.
    begun = cluster.loop.time()
    await refs[node].stop()
    last = await ask(cluster, refs[host], 5)
    assert cluster.loop.time() - begun < 1
    assert last[0] != node
    assert last[1] > new
    acts.check()


def groups(cluster: Cluster, index: int) -> Any:
    return next(iter(cluster.net(index).groups))


@scenario(nodes=4, seeds=SEEDS)
async def test_asks_are_passed_on_with_all_that_belongs_to_them(cluster: Cluster) -> None:
    """By the host's own reference, by that of another candidate, and from a fourth node."""
    acts = Acts()
    refs = await spawn_all(cluster, acts, 0, 1, 2)
    host, _ = await refs[0].ask(Where())
    for index in (0, 1, 2):  # by its name there, whichever the fourth node would choose
        name = await cluster.net(3).actors._ask_holder(NAME, cluster.nodes[index].peer_id)
        assert name is not None
        refs.append(name)
    for number, ref in enumerate(refs):
        assert (await ref.ask(Where()))[0] == host
        assert [row async for row in ref.stream(Rows(300))] == list(range(300))
        with pytest.raises(AskPoisoned, match="on purpose"):
            await ref.ask(Fail())
        with pytest.raises(AskFailed):
            await ref.ask(Write(1), timeout=1)  # it has no handler for it
        with pytest.raises(AskTimeout):
            await ref.ask(Never(), timeout=0.5)
        await cluster.until(lambda number=number: acts.cancelled == number + 1)  # type: ignore[misc]


# With this seed the learner's history would go on after the second partition, if it could.
@scenario(nodes=4, seeds=[10])
async def test_host_that_crashes_or_is_cut_off_is_replaced(cluster: Cluster) -> None:
    acts = Acts()
    refs = await spawn_all(cluster, acts, 0, 1, 2, 3)
    await cluster.until(lambda: groups(cluster, 0).machine.trusted != b"")
    host, _ = await refs[0].ask(Where())

    # Cut off, also as the leader: it stops before another one begins.
    cluster.partition(host)
    other = next(index for index in range(4) if index != host)
    second, token = await ask(cluster, refs[other], 15)
    assert second != host
    cluster.heal()
    await cluster.sleep(8)
    assert await ask(cluster, refs[host], 5) == [second, token]

    # Whoever does not vote and is cut off from all voters runs none of its own.
    voters = {m.peer_id for m in groups(cluster, other).members if m.is_voter}
    [learner] = [i for i in range(4) if cluster.nodes[i].peer_id not in voters]
    cluster.partition(learner)
    await cluster.sleep(25)
    acts.check()
    assert acts.all[-1][1] != learner
    cluster.heal()
    await cluster.sleep(8)
    third, _ = await ask(cluster, refs[learner], 5)

    # Back under its key before anybody misses it, it knows that its former self is gone.
    await cluster.restart(third)
    [again] = await spawn_all(cluster, acts, third)
    fourth, _ = await ask(cluster, again, 10)
    other = next(index for index in range(4) if index != third)
    assert (await ask(cluster, refs[other], 5))[0] == fourth
    acts.check()


@scenario(nodes=2, seeds=SEEDS)
async def test_two_that_began_apart_become_one_with_a_higher_token(cluster: Cluster) -> None:
    """With one voter each runs its own until they meet; then the lower token is no good."""
    acts = Acts()
    cluster.skew(1, offset=-1000)  # its tokens are lower, whoever comes first
    cluster.partition(0)
    refs = await spawn_all(cluster, acts, 0, 1)
    tokens = [(await ref.ask(Where()))[1] for ref in refs]
    assert tokens[1] < tokens[0]
    cluster.heal()
    await cluster.until(
        lambda: (
            len({tuple(groups(cluster, i).history for i in (0, 1))}) == 1
            and all(groups(cluster, i).is_online for i in (0, 1))
            and groups(cluster, 0).history == groups(cluster, 1).history
        )
    )
    await cluster.sleep(15)
    answers = {tuple(await ask(cluster, ref, 10)) for ref in refs}
    [(host, token)] = answers
    assert token >= max(tokens)
    # On two nodes it moves when the host dies, too.
    await cluster.crash(host)
    moved, higher = await ask(cluster, refs[1 - host], 25)
    assert moved == 1 - host
    assert higher > token


@scenario(nodes=3, seeds=SEEDS)
async def test_with_three_voters_a_minority_never_runs_it(cluster: Cluster) -> None:
    acts = Acts()
    strict = Singleton(voters=3, lease=2)
    cluster.partition(2)
    spawning = [
        asyncio.ensure_future(spawn_all(cluster, acts, index, singleton=strict))
        for index in range(3)
    ]
    await cluster.sleep(20)
    assert not any(task.done() for task in spawning)
    assert acts.all == []
    cluster.heal()
    refs = [(await task)[0] for task in spawning]
    host, _ = await ask(cluster, refs[2], 5)
    cluster.partition(host)
    await cluster.sleep(10)
    cluster.heal()
    await ask(cluster, refs[host], 10)
    acts.check()
    assert len(acts.hosts) == 2


@scenario(nodes=3, seeds=SEEDS)
async def test_at_most_one_acts_in_whatever_happens(cluster: Cluster) -> None:
    """Nodes stand still, are cut off, one way too; clocks are wrong. In the end there is one."""
    acts = Acts()
    rng = cluster.randomness.branch("faults")
    for index in range(3):
        cluster.skew(index, offset=rng.uniform(-500, 500), drift=rng.uniform(-0.01, 0.01))
    refs = await spawn_all(cluster, acts, 0, 1, 2, singleton=Singleton(lease=2))
    await cluster.until(lambda: groups(cluster, 0).machine.trusted != b"")
    for _ in range(15):
        index = rng.randrange(3)
        match rng.randrange(5):
            case 0:
                cluster.pause(index)
            case 1:
                cluster.partition(index)
            case 2:
                cluster.cut(index, (index + 1) % 3, one_way=rng.random() < 0.5)
            case 3:
                cluster.heal()
            case _:
                cluster.resume(0, 1, 2)
        await cluster.sleep(rng.choice([0.5, 2, 4, 8]))
    cluster.heal()
    cluster.resume(0, 1, 2)
    count = len(acts.all)
    await cluster.sleep(20)
    acts.check()
    assert len(acts.all) > count
    assert len({tuple(await ask(cluster, ref, 10)) for ref in refs}) == 1


class Broken(MosaikActor):
    def started(self) -> None:
        raise ValueError("no such account")


class Plain(MosaikActor):
    def receiveMsg_Where(self, message: Where, sender: ActorRef) -> list[int]:
        return [self.fencing_token]


@scenario(nodes=2, seeds=SEEDS)
async def test_errors_and_ends(cluster: Cluster) -> None:
    acts = Acts()
    here, there = cluster.net(0).actors, cluster.net(1).actors
    for wrong in (
        {"name": None},
        {"isolated": True},
        {"serves": "billing"},
        {"singleton": "yes"},
    ):
        with pytest.raises(ConfigError):
            await here.spawn(Billing, **{"name": NAME, "singleton": True, **wrong})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no such account"):
        await here.spawn(Broken, name=NAME, singleton=True)
    plain = await here.spawn(Plain)
    with pytest.raises(Exception, match="Plain is no singleton"):
        await plain.ask(Where())

    # What fails here leaves the name to others; one that ends by itself goes to another node.
    [first] = await spawn_all(cluster, acts, 0)
    [second] = await spawn_all(cluster, acts, 1)
    assert (await second.ask(Where()))[0] == 0
    with pytest.raises(AskFailed):
        await second.ask(Quit(), timeout=5)
    assert (await ask(cluster, second, 5))[0] == 1
    with pytest.raises(AskFailed):
        await first.ask(Where(), timeout=5)
    await second.stop()
    acts.check()
    assert here is not there


class Mark(msgspec.Struct, frozen=True):
    number: int


class Slow(MosaikActor):
    """Stands still in the middle of its work, as a process may."""

    def __init__(self, acts: list[str]) -> None:
        self.acts = acts

    async def receiveMsg_Mark(self, mark: Mark, sender: ActorRef) -> None:
        self.acts.append(f"began {mark.number}")
        try:
            await asyncio.sleep(1)
            self.acts.append(f"ended {mark.number}")
        finally:
            try:
                self.fencing_token  # noqa: B018  # reading it raises
            except LeaseOver:
                self.acts.append("over")


@scenario(nodes=3, seeds=SEEDS)
async def test_paused_instance_does_nothing_more_when_it_goes_on(cluster: Cluster) -> None:
    """What waits in its mailbox, and the handler that was at work, come to nothing."""
    acts: list[str] = []
    refs = []
    for index in range(3):
        net = cluster.net(index)
        refs.append(await net.actors.spawn(Slow, args=(acts,), name=NAME, singleton=True))
    await cluster.sleep(3)
    refs[0].tell(Mark(1))
    refs[0].tell(Mark(2))
    await cluster.sleep(0.5)
    cluster.pause(0)
    await cluster.sleep(12)
    assert acts == ["began 1"]
    cluster.resume(0)
    await cluster.sleep(3)
    assert acts == ["began 1", "over"]
    refs[0].tell(Mark(3))
    await cluster.sleep(2)
    assert acts[2:4] == ["began 3", "ended 3"]
