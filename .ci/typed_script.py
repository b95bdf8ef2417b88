"""A user's typed program: actors, groups, collections and criteria, as strict mypy sees them.

It is checked against the installed wheel, and run there; also with the oldest dependencies.
"""

# ruff: noqa: D101, D102, D103, T201

import asyncio
import tempfile
from os import environ

import msgspec
from thespian.actors import Actor, ActorAddress, ActorTypeDispatcher, WakeupMessage
from thespian.initmsgs import initializing_messages
from thespian.troupe import troupe

from mosaik_actors import (
    ApplyContext,
    Criteria,
    GroupKey,
    Map,
    Network,
    Record,
    StateMachine,
    where,
)
from mosaik_actors.runtime import AsyncActorSystem


class Greeter(Actor):
    def receiveMessage(self, message: object, sender: ActorAddress) -> None:
        if isinstance(message, str):
            self.send(sender, f"hello, {message}")


@initializing_messages([("name", str)])
class Named(ActorTypeDispatcher):
    name: str

    async def receiveMsg_int(self, number: int, sender: ActorAddress) -> None:
        self.wakeupAfter(0.001, (number, sender))

    def receiveMsg_WakeupMessage(self, message: WakeupMessage, sender: ActorAddress) -> None:
        number, customer = message.payload
        self.send(customer, (self.name, number))


@troupe(max_count=2)
class Doubler(Actor):
    async def receiveMessage(self, message: object, sender: ActorAddress) -> None:
        if isinstance(message, int):
            self.send(sender, 2 * message)


class Trade(Record, frozen=True):
    symbol: str
    size: float
    is_open: bool
    limit: float | None = None


def wanted() -> Criteria:
    by_class = where((Trade.symbol == "ETH") & ~(Trade.size > 10))
    by_type = where(Trade).limit > 3
    by_function = where(lambda trade: trade.limit.is_none())
    listed = where(Trade).symbol.in_(["ETH", "BTC"]) & where(Trade).is_open
    return (by_class | by_type | by_function) & (Trade.is_open == True) & listed  # noqa: E712


class Add(msgspec.Struct, frozen=True):
    amount: int


class Counter(StateMachine):
    Command = Add
    signature = "typed-script.counter.1"

    def __init__(self) -> None:
        self.total = 0

    def apply(self, command: Add, ctx: ApplyContext) -> None:
        self.total += command.amount

    def query(self, query: None) -> int:
        return self.total


async def use_actors(system: AsyncActorSystem) -> None:
    assert await system.ask(system.createActor(Greeter), "world", 5) == "hello, world"
    assert await system.ask(system.createActor(Doubler), 21, 5) == 42
    named = system.createActor(Named)
    system.tell(named, "ann")
    assert await system.ask(named, 1, 5) == ("ann", 1)


async def use_streams(one: Network, two: Network) -> None:
    consumer = two.streams.consumer(Trade, criteria=wanted())
    producer = one.streams.produce(Trade)
    await producer.when().online()
    await producer.send(Trade("XRP", 1.0, True))
    await producer.send(Trade("ETH", 1.0, True))
    assert (await consumer.recv()).symbol == "ETH"


async def use_groups(one: Network, two: Network) -> None:
    key = GroupKey("a secret that the members share")
    group, other = one.groups.join(key, Counter()), two.groups.join(key, Counter())
    await group.when().online()
    await group.execute(Add(5))
    await other.when().online()
    assert (await other.query(None)).result == 5


async def use_collections(one: Network, two: Network) -> None:
    prices = Map[str, float].writer(one, "prices")
    await prices.when().online()
    version = await prices.insert("ETH", 3120.5)
    reader = Map[str, float].reader(two, "prices")
    await reader.when().reaches(version)
    assert dict(reader) == {"ETH": 3120.5}


async def main() -> None:
    async with (
        Network("typed-script") as one,
        Network("typed-script") as two,
        asyncio.timeout(60),
    ):
        await use_actors(one.node.system)
        await use_streams(one, two)
        await use_groups(one, two)
        await use_collections(one, two)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        environ["MOSAIK_RUNTIME_DIR"] = folder  # a machine may run this twice at a time
        asyncio.run(main())
    print("typed script: actors, a stream with criteria, a group and a map")
