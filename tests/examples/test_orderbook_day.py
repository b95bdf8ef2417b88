"""A day at the exchange: its orders, its gate, its report; and a leader that is killed at noon."""

import math
from typing import Any
from xml.etree import ElementTree

import pytest
from book import Cancel, OrderBook, Place, Summary
from day_actors import Exchange, Session
from day_flow import TRADERS, day_of_orders, liveliness
from day_gate import Gate
from day_report import Day, draw, figures, percentile
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors import TransportConfig
from mosaik_actors.testing import Cluster, scenario


def test_a_day_is_the_same_for_its_seed_and_every_number_follows_the_last() -> None:
    day = list(day_of_orders(3000, seed=4))
    assert day == list(day_of_orders(3000, seed=4))
    assert day != list(day_of_orders(3000, seed=5))
    for trader in TRADERS:
        numbers = [one.number for one in day if one.trader == trader]
        assert numbers == list(range(1, len(numbers) + 1))
    assert liveliness(0) > liveliness(0.5) < liveliness(1)
    # Something happens in it: fills, whole and in part, and orders that are taken back.
    book = OrderBook()
    done = [book.execute(one) for one in day]
    placed = [(one, d) for one, d in zip(day, done, strict=True) if isinstance(one, Place)]
    cancelled = [d for one, d in zip(day, done, strict=True) if isinstance(one, Cancel)]
    assert any(d.trades and not d.left for _, d in placed)
    assert any(d.trades and d.left for _, d in placed)
    assert any(d.left for d in cancelled)
    assert 0.2 < book.query(Summary())[0] / len(day) < 1


def place(trader: str, number: int) -> Place:
    return Place(trader, number, "buy", 1, 1)


def test_a_gate_lets_no_gap_and_no_repetition_through() -> None:
    gate = Gate({"a": 2})
    orders = [place("a", 3), place("b", 1), place("a", 5), place("a", 2), place("a", 4)]
    assert gate.sort(orders) == ([orders[0], orders[1], orders[4]], [orders[3]])
    assert gate.held_back == 1
    assert gate.sort([place("a", 5), place("a", 3)]) == ([place("a", 5)], [place("a", 3)])


@given(st.lists(st.integers(0, 50)), st.sampled_from((0.5, 0.9, 0.99, 1.0)))
def test_percentiles_are_the_nearest_rank(values: list[int], share: float) -> None:
    values.sort()
    if not values:
        assert percentile(values, share) == 0
        return
    rank = math.ceil(round(share * len(values), 9))
    assert percentile(values, share) == values[max(0, rank - 1)]


@pytest.mark.parametrize("count", [0, 1, 500])
def test_a_report_is_drawn_whatever_there_is_of_a_day(count: int) -> None:
    day = Day(5000.0, [0.001 * (n % 7) for n in range(count)], fills=[n % 3 for n in range(count)])
    day.prices = [(n / 100, 99, 101) for n in range(min(count, 100))]
    day.orders, day.elapsed_s = count, 0.1
    picture = ElementTree.fromstring(draw(day))
    lines = picture.iter("{http://www.w3.org/2000/svg}polyline")
    assert all("nan" not in one.attrib["points"] for one in lines)
    assert (
        figures(day)[0]
        == f"{count} orders in 0.1 s: {count * 10} a second, 5000 wanted; 0 sent again"
    )
    assert "p99 6.0" in figures(day)[2] or count < 500


SETTINGS: dict[str, Any] = {
    "nodes": 4,
    "transport": TransportConfig(idle_timeout=3.0, keep_alive_interval=0.8),
    "traces_messages": False,
}


@scenario(seeds=range(1), **SETTINGS)
async def test_a_leader_killed_at_noon_loses_no_order(cluster: Cluster) -> None:
    made: list[Exchange] = []

    class Watched(Exchange):
        def started(self) -> None:
            made.append(self)
            super().started()

    for index in range(3):
        await cluster.net(index).actors.spawn(Watched, name="exchange")
    ends: list[Session] = []

    class Shown(Session):
        def stopping(self) -> None:
            ends.append(self)

    await cluster.net(3).actors.spawn(Shown, args=(4.0, 200.0))
    await cluster.until(lambda: book_of(made[0]).trade_count > 50)
    (leader,) = (index for index, one in enumerate(made) if one.group.is_leader)
    await cluster.crash(leader)
    # The day goes on with the other two, and ends with its own check passed.
    await cluster.until(lambda: bool(ends), timeout=60)
    assert ends[0].day.again > 0
    assert ends[0].day.orders == 800
    assert not ends[0].due
    left = [book_of(one) for index, one in enumerate(made) if index != leader]
    assert all(sum(book.last_numbers.values()) == 800 for book in left)
    assert left[0].query(Summary()) == left[1].query(Summary())


def book_of(exchange: Exchange) -> OrderBook:
    machine = exchange.group.machine
    assert isinstance(machine, OrderBook)
    return machine
