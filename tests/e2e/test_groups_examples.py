"""The examples of groups, as several processes, one of them killed."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mosaik_actors import ApplyContext, GroupId, Network, NetworkId

from .command import Command, command
from .test_examples import EXAMPLES, run

EXCHANGE = EXAMPLES / "orderbook" / "exchange.py"
TRADER = EXAMPLES / "orderbook" / "trader.py"


def found(pattern: str, text: str) -> str:
    """Return what matches, or its first group."""
    match = re.search(pattern, text)
    assert match is not None, f"no {pattern!r} in {text}"
    return match[match.lastindex or 0]


async def test_counter_gives_everybody_the_same_total(tmp_path: Path) -> None:
    program = EXAMPLES / "counter" / "counter.py"
    outs = await asyncio.gather(
        *(run(program, "--count", "50", runtime_dir=tmp_path) for _ in range(3))
    )
    pattern = r"my last addition was command (\d+), and made it \1$"
    last = [int(found(f"(?m){pattern}", out)) for out in outs]
    assert max(last) == 150
    for out in outs:
        assert "the total is 150 after 150 commands" in out


async def test_counter_that_is_interrupted_ends_in_order(tmp_path: Path) -> None:
    one = EXAMPLES / "counter" / "counter.py"
    async with program(one, "--count", "1", runtime_dir=tmp_path) as alone:
        await alone.line("my last addition was command 1")  # and waits for two others
        assert await alone.end(signal.SIGINT) == 130
        assert alone.err == []


@asynccontextmanager
async def program(
    *arguments: str | Path, runtime_dir: Path, stdin: int = asyncio.subprocess.DEVNULL
) -> AsyncIterator[Command]:
    """Run a program, to be read line by line; killed if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "MOSAIK_RUNTIME_DIR": str(runtime_dir), "PYTHONUNBUFFERED": "1"},
    )
    running = Command(process)
    try:
        yield running
    finally:
        await running.abandon()


async def test_orderbook_survives_a_killed_leader_and_a_restart_of_all(tmp_path: Path) -> None:
    def machine(name: str) -> AbstractAsyncContextManager[Command]:
        return program(EXCHANGE, "--data", tmp_path / name, runtime_dir=tmp_path)

    def trader(name: str, orders: int) -> AbstractAsyncContextManager[Command]:
        arguments = (TRADER, "--name", name, "--orders", str(orders))
        return program(*arguments, runtime_dir=tmp_path)

    async with machine("1") as one, machine("2") as two, machine("3") as three:
        machines = [one, two, three]
        for each in machines:
            await each.line("exchange: (leads|follows)")
        [leader] = [each for each in machines if "exchange: leads" in each.out]
        async with trader("bob", 400) as bob:
            # The one that leads is killed in the middle of trading.
            await bob.line("trader: 40 sent")
            await leader.end(signal.SIGKILL)
            summary = await bob.line("trader: 400 sent in all")
        # Ctrl-C while it waits for somebody to type: it ends.
        typing = program(TRADER, "--name", "dora", runtime_dir=tmp_path, stdin=PIPE)
        async with typing as dora:
            await dora.line("trader: online as dora")
            assert await dora.end(signal.SIGINT) == 130
            assert dora.err == []
        await asyncio.gather(*(each.end(signal.SIGKILL) for each in machines if each is not leader))

    # All of them again, with what they wrote: the same book, to the last order.
    state = found(r"\d+ trades, volume \d+, state \w+", summary)
    async with machine("1") as one, machine("2") as two, machine("3") as three:
        for each in (one, two, three):
            assert state in await each.line("exchange: open")
        for each in (one, two, three):
            assert await each.end(signal.SIGTERM) == 143, each.transcript()
            assert each.err == []


async def test_peers_shows_groups_with_their_ids(runtime_dir: Path) -> None:
    async with Network("shop") as net:
        group = net.groups.join("key", name="till")
        await group.when().online()
        async with command("peers", "shop", "--watch", runtime_dir=runtime_dir) as peers:
            await peers.line(f"till#{group.id.short}")
            assert await peers.end(signal.SIGINT) == 130


# The book itself, against the obvious way to match: look through everything.


@pytest.fixture(scope="module")
def book() -> Any:
    spec = importlib.util.spec_from_file_location("book", EXAMPLES / "orderbook" / "book.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def context(position: int) -> ApplyContext:
    return ApplyContext(position, position, 1, position, GroupId("g"), NetworkId("n"))


class ObviousBook:
    """All orders in one list; each match looks for the best of them."""

    def __init__(self) -> None:
        self.orders: list[list[Any]] = []  # side, price, arrival, trader, number, size
        self.trades: list[tuple[str, str, int, int]] = []
        self.arrivals = count()

    def place(self, trader: str, number: int, side: str, price: int, size: int) -> None:
        sign = 1 if side == "buy" else -1
        while size:
            others = [o for o in self.orders if o[0] != side and sign * (price - o[1]) >= 0]
            if not others:
                self.orders.append([side, price, next(self.arrivals), trader, number, size])
                return
            best = min(others, key=lambda o: (sign * o[1], o[2]))
            done = min(size, best[5])
            size -= done
            best[5] -= done
            pair = (trader, best[3]) if side == "buy" else (best[3], trader)
            self.trades.append((*pair, best[1], done))
            self.orders = [o for o in self.orders if o[5]]

    def cancel(self, trader: str, number: int) -> None:
        self.orders = [o for o in self.orders if (o[3], o[4]) != (trader, number)]


@pytest.mark.parametrize("seed", range(10))
def test_orderbook_matches_as_the_obvious_way_does(book: Any, seed: int) -> None:
    rng = Random(seed)
    machine, obvious = book.OrderBook(), ObviousBook()
    for position in range(1, 301):
        trader = rng.choice(["ann", "bea", "cid"])
        number = machine.last_numbers.get(trader, 0) + 1
        if rng.random() < 0.15:
            order = rng.randint(1, number)
            sent = book.Cancel(trader, number, order)
            obvious.cancel(trader, order)
        else:
            side, price, size = rng.choice(book.SIDES), rng.randint(95, 105), rng.randint(1, 20)
            sent = book.Place(trader, number, side, price, size)
            obvious.place(trader, number, side, price, size)
        traded = len(obvious.trades) - len(machine.query(book.TradesSince()))
        done = machine.apply(sent, context(position))
        assert [(t.buyer, t.seller, t.price, t.size) for t in done.trades] == (
            obvious.trades[-traded:] if traded else []
        )
        if rng.random() < 0.1:  # sent again: nothing happens
            assert machine.apply(sent, context(position)) == book.Done(is_new=False)
        if rng.random() < 0.05:
            # A member that joins with a snapshot goes on as everybody else.
            parts, machine = machine.snapshot(), book.OrderBook()
            machine.restore(parts)
    trades = [(t.buyer, t.seller, t.price, t.size) for t in machine.query(book.TradesSince())]
    assert trades == obvious.trades
    assert trades
    resting = sorted([o.trader, o.number, o.side, o.price, o.size] for o in machine.orders.values())
    assert resting == sorted([o[3], o[4], o[0], o[1], o[5]] for o in obvious.orders)
    depth = machine.query(book.Depth(1))
    assert not depth["buy"] or not depth["sell"] or depth["buy"][0][0] < depth["sell"][0][0]
