"""A day at the exchange: three that keep the book, and one that sends a day's orders and reports.

Orders come in by one stream and reports, with the fills, go out by another. All three exchanges
hear the orders; the one that leads puts them into the book. What was not reported is sent again,
so a leader that dies loses none.
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import msgspec
from book import (
    Cancel,
    Command,
    Depth,
    Done,
    OrderBook,
    Place,
    Summary,
)
from day_flow import day_of_orders
from day_gate import NOTHING_NEW, Gate
from day_report import Day, draw, figures
from thespian.actors import ActorExitRequest

from mosaik_actors import (
    ActorRef,
    AskFailed,
    ConsensusConfig,
    Consistency,
    Deployment,
    DeploymentConfig,
    GroupKey,
    GroupOffline,
    LeaderElected,
    MosaikActor,
    Request,
    public,
    stream,
)

BATCH = 1000
PARTS = 60


class Order(msgspec.Struct, frozen=True, array_like=True):
    """What is sent to the exchanges."""

    command: Place | Cancel


class Report(msgspec.Struct, frozen=True, array_like=True):
    """What became of an order: its fills, and what is left of it."""

    trader: str
    number: int
    done: Done


class MarketConfig(DeploymentConfig):
    """What all that take part agree on."""

    consensus: ConsensusConfig = field(default_factory=lambda: ConsensusConfig(initial_voters=3))


class Market(Deployment[MarketConfig]):
    """Orders in, reports with the fills out. The group of the exchanges is no public part."""

    service = "examples.orderbook"

    orders = public(stream(Order))
    reports = public(stream(Report))


DAY = MarketConfig(name="examples.orderbook.day")
SECRET = "of the exchanges, and in an example known to everybody"


class TopOfBook(Request[dict[str, list[tuple[int, int]]]]):
    """The best price and its size, for each side."""


class BookState(Request[tuple[int, int, str]]):
    """How many trades, how much was traded, and a digest of the whole book."""


class Exchange(MosaikActor):
    """Keeps a copy of the book; takes orders while it leads."""

    gate: Gate | None = None

    def started(self) -> None:
        market = Market.bind(self.net, DAY)
        key = GroupKey(bytes(Market.deployment_id(DAY).derive(SECRET)))
        self.group = self.join(key, OrderBook(), consensus=DAY.consensus, name="orderbook")
        self.reports = self.keep(market.reports.producer())
        self.orders = self.keep(market.orders.consumer())
        self.start_task(self._serve())

    def receiveMsg_LeaderElected(self, event: LeaderElected, sender: ActorRef) -> None:
        self.gate = None  # what was let through under another leader counts no more

    async def receiveMsg_TopOfBook(self, message: TopOfBook, sender: ActorRef) -> Any:
        return (await self.group.query(Depth(1), Consistency.WEAK)).result

    async def receiveMsg_BookState(self, message: BookState, sender: ActorRef) -> Any:
        return (await self.group.query(Summary(), Consistency.STRONG)).result

    async def _serve(self) -> None:
        await self.group.when().online()
        while True:
            orders = await self.orders.recv_many(BATCH)
            if self.group.is_leader:
                with suppress(GroupOffline):  # who sent them sends them again
                    await self._take([order.command for order in orders])

    async def _take(self, commands: list[Command]) -> None:
        if self.gate is None:
            # All that was committed before, by whomever: then the numbers are right.
            await self.group.query(Depth(1), Consistency.STRONG)
            machine = self.group.machine
            assert isinstance(machine, OrderBook)
            self.gate = Gate(machine.last_numbers)
        fresh, known = self.gate.sort(commands)
        found = [(command, NOTHING_NEW) for command in known]
        if fresh:
            try:
                positions = await self.group.execute_many(fresh)
            except GroupOffline:
                self.gate = None
                raise
            found += [
                (one, position.result if position.has_result else NOTHING_NEW)
                for one, position in zip(fresh, positions, strict=True)
            ]
        if self.reports.is_online:
            await self.reports.send_many([Report(c.trader, c.number, done) for c, done in found])


class Session(MosaikActor):
    """Sends the day's orders at a steady rate, and ends with a report and a check.

    Args:
        seconds: How long the day is; ORDERBOOK_SECONDS goes before it.
        rate: Orders a second.
        plot: Where the picture goes; ORDERBOOK_PLOT goes before it.
    """

    def __init__(self, seconds: float = 20.0, rate: float = 5000.0, plot: str = "") -> None:
        seconds = float(os.environ.get("ORDERBOOK_SECONDS", seconds))
        self.rate = rate
        self.plot = os.environ.get("ORDERBOOK_PLOT", plot)
        self.commands = list(day_of_orders(round(seconds * rate)))
        self.due: dict[tuple[str, int], tuple[int, float]] = {}  # not reported yet
        self.day = Day(rate, [0.0] * len(self.commands), fills=[0] * PARTS)
        self.all_reported = asyncio.Event()

    def started(self) -> None:
        market = Market.bind(self.net, DAY)
        self.orders = self.keep(market.orders.producer())
        self.reports = self.keep(market.reports.consumer())
        self.start_task(self._hear())
        self.start_task(self._trade())

    async def _hear(self) -> None:
        loop, day = asyncio.get_running_loop(), self.day
        while True:
            reports = await self.reports.recv_many(BATCH)
            now = loop.time()
            for report in reports:
                found = self.due.pop((report.trader, report.number), None)
                if found is None:
                    continue  # it was sent again, and is reported twice
                index, due = found
                day.latencies_s[index] = now - due
                day.fills[index * PARTS // len(self.commands)] += len(report.done.trades)
            if not self.due:
                self.all_reported.set()

    async def _trade(self) -> None:
        exchanges = await self._open()
        loop = asyncio.get_running_loop()
        started = loop.time()
        ahead = enumerate(self.commands)
        looking = self.start_task(self._look(exchanges, started))
        repeating = self.start_task(self._repeat())
        while batch := list(islice(ahead, 50)):
            for index, command in batch:
                self.due[command.trader, command.number] = (index, started + index / self.rate)
            await asyncio.sleep(max(0.0, started + batch[-1][0] / self.rate - loop.time()))
            self.all_reported.clear()
            await self.orders.send_many([Order(command) for _, command in batch])
        await self.all_reported.wait()
        self.day.elapsed_s = loop.time() - started
        for task in (looking, repeating):
            task.cancel()
        await self._conclude(exchanges)
        self.send(self.ref, ActorExitRequest())

    async def _open(self) -> Sequence[ActorRef]:
        """Wait until all three keep the book and take orders, and one leads."""
        await self.orders.when().subscribed().minimum_of(3)
        exchanges: Sequence[ActorRef] = []
        while len(exchanges) < 3:
            exchanges = await self.net.actors.resolve_all("exchange")
        await asyncio.gather(*(one.ask(BookState(), timeout=30) for one in exchanges))
        await self.reports.when().online()
        return exchanges

    async def _look(self, exchanges: Sequence[ActorRef], started: float) -> None:
        """Ask for the top of the book, now and then, one exchange after the other."""
        loop, length_s = asyncio.get_running_loop(), len(self.commands) / self.rate
        for exchange in cycle(exchanges):
            await asyncio.sleep(length_s / PARTS)
            with suppress(AskFailed):  # one may have died
                top = await exchange.ask(TopOfBook(), timeout=10)
                if top["buy"] and top["sell"]:
                    part = (loop.time() - started) / length_s
                    self.day.prices.append((part, top["buy"][0][0], top["sell"][0][0]))

    async def _repeat(self) -> None:
        """Send again, in order, what should have been reported long ago."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1)
            late = [index for index, due in self.due.values() if due < loop.time() - 2]
            if late:
                self.day.again += len(late)
                await self.orders.send_many([Order(self.commands[index]) for index in late])

    async def _conclude(self, exchanges: Sequence[ActorRef]) -> None:
        asked = (one.ask(BookState(), timeout=30) for one in exchanges)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        states = [answer for answer in answers if not isinstance(answer, BaseException)]
        if len(states) < 2:
            raise AssertionError(f"only {len(states)} exchanges are left")
        self.day.orders = len(self.commands)
        self.day.trades, self.day.volume, digest = states[0]
        for line in figures(self.day):
            print(line, flush=True)
        if self.plot:
            await asyncio.to_thread(Path(self.plot).write_text, draw(self.day))
            print(f"plot: {self.plot}")
        if len({tuple(state) for state in states}) != 1:
            raise AssertionError(f"the books differ: {states}")
        print(f"checked: {len(states)} identical books, state {digest}", flush=True)
        if self.day.again:
            return  # the orders of different traders may have changed places
        alone = OrderBook()
        for command in self.commands:
            alone.execute(command)
        if alone.query(Summary()) != tuple(states[0]):
            raise AssertionError("one book alone comes to another end")
        print("checked: one book alone comes to the same end", flush=True)
