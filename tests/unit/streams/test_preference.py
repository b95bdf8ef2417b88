"""Preferences: ranking producers, and keeping to the best of them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from mosaik_actors.errors import ConfigError
from mosaik_actors.ids import PeerId
from mosaik_actors.streams.config import Backoff
from mosaik_actors.streams.consuming.preference import (
    Preference,
    Rank,
    best,
    is_better,
    nearest,
    with_tags,
)
from mosaik_actors.streams.consuming.subscriptions import (
    ProducerCandidate,
    SubscriptionDropped,
    Subscriptions,
    SubscriptionState,
    SubscriptionWanted,
)
from mosaik_actors.transport.address import PeerAddr
from mosaik_actors.transport.close import CANCELLED
from tests.waiting import until

from .fakes import peer, peer_id
from .nodes import take, world
from .test_streams import Tick, ticks

NAMES = "abcdefgh"
IDS = {name: peer_id(name) for name in NAMES}
NAME_OF = {identity: name for name, identity in IDS.items()}


class Consumer:
    """A core, and links that open at once unless they are said to fail."""

    def __init__(self, preference: Preference, seed: int = 1) -> None:
        self.core = Subscriptions(Backoff(initial=1.0, jitter=0), Random(seed), preference)
        self.limit = preference.count
        self.now = 0.0
        self.active: list[str] = []
        self.failing: set[str] = set()
        self.moves = 0

    def show(self, **ranks: Rank) -> None:
        addrs = {name: PeerAddr(IDS[name], (("127.0.0.1", 1),)) for name in ranks}
        candidates: dict[PeerId, ProducerCandidate] = {
            IDS[name]: ProducerCandidate(addrs[name], 1, True, rank) for name, rank in ranks.items()
        }
        self.core.receive_catalog(candidates, now=self.now)
        self.pump()

    def pump(self) -> None:
        while (event := self.core.next_event()) is not None:
            if isinstance(event, SubscriptionWanted):
                name = NAME_OF[event.addr.peer_id]
                if name in self.failing:
                    self.core.receive_failed(IDS[name], event.attempt, CANCELLED, now=self.now)
                elif self.core.receive_opened(IDS[name], event.attempt, 0, now=self.now):
                    self.active.append(name)
            elif isinstance(event, SubscriptionDropped):
                self.active.remove(NAME_OF[event.peer_id])
                self.moves += 1
        assert len(self.active) <= self.limit

    def lose(self, name: str) -> None:
        self.active.remove(name)
        self.core.receive_closed(IDS[name], now=self.now)
        self.pump()

    def run_until(self, then: float) -> None:
        while (timer := self.core.get_timer()) is not None and timer <= then:
            assert timer >= self.now
            self.now = timer
            self.core.handle_timer(now=self.now)
            self.pump()
        self.now = then


def test_the_best_k_are_subscribed_to() -> None:
    consumer = Consumer(best(2, key=lambda p: 0.0))
    consumer.show(a=3.0, b=1.0, c=2.0, d=None)
    assert sorted(consumer.active) == ["b", "c"]
    assert consumer.core.get_timer() is None
    assert consumer.core.state_of(IDS["a"]) is SubscriptionState.WAITING


def test_the_next_best_takes_the_place_of_one_that_goes() -> None:
    consumer = Consumer(best(1, key=lambda p: 0.0))
    consumer.show(a=1.0, b=2.0, c=3.0)
    assert consumer.active == ["a"]
    consumer.lose("a")
    assert consumer.active == ["b"]
    # The best one is tried again when its time has come, and moved back to after a while.
    consumer.run_until(30)
    assert consumer.active == ["a"]


def test_a_better_one_must_stay_better_for_a_while() -> None:
    consumer = Consumer(nearest(1, margin=0.25, patience=5))
    consumer.show(a=0.100)
    consumer.show(a=0.100, b=0.080)  # better, but not by the margin
    consumer.run_until(20)
    assert consumer.active == ["a"]
    consumer.show(a=0.100, b=0.070)
    consumer.run_until(23)
    consumer.show(a=0.100, b=0.090)  # not any more: the clock starts anew
    consumer.show(a=0.100, b=0.070)
    consumer.run_until(27)
    assert consumer.active == ["a"]
    consumer.run_until(28)
    assert consumer.active == ["b"]
    consumer.run_until(100)
    assert consumer.moves == 1


def test_measurements_that_waver_cause_no_moves() -> None:
    rng = Random(3)
    consumer = Consumer(nearest(2))
    for _ in range(500):
        ranks = {name: 0.05 * rng.uniform(0.9, 1.1) for name in "abcd"}
        consumer.show(**ranks)
        consumer.run_until(consumer.now + 1)
    assert len(consumer.active) == 2
    assert consumer.moves == 0


def test_one_that_cannot_be_reached_is_passed_over_and_costs_nothing() -> None:
    consumer = Consumer(best(1, key=lambda p: 0.0, patience=2))
    consumer.failing = {"a"}
    consumer.show(a=1.0, b=2.0)
    assert consumer.active == ["b"]
    consumer.run_until(60)
    assert consumer.active == ["b"]
    assert consumer.moves == 0
    consumer.failing.clear()
    consumer.run_until(120)
    assert consumer.active == ["a"]


def test_equals_are_chosen_by_lot_so_that_consumers_spread() -> None:
    chosen = []
    for seed in range(40):
        consumer = Consumer(with_tags(), seed)
        consumer.show(a=0.0, b=0.0, c=0.0, d=0.0)
        consumer.run_until(100)
        chosen += consumer.active
        assert consumer.moves == 0
    assert all(chosen.count(name) >= 3 for name in "abcd")


def test_random_ranks_and_failures_end_with_the_best() -> None:
    for seed in range(60):
        rng = Random(seed)
        k = rng.randint(1, 3)
        consumer = Consumer(best(k, key=lambda p: 0.0, patience=rng.choice([0.0, 3.0])), seed)
        ranks: dict[str, Rank] = {}
        for _ in range(60):
            action = rng.random()
            if action < 0.4:
                ranks = {n: rng.uniform(0, 10) for n in NAMES if rng.random() < 0.7}
                consumer.show(**ranks)
            elif action < 0.6 and consumer.active:
                consumer.lose(rng.choice(consumer.active))
            elif action < 0.7:
                consumer.failing = {n for n in NAMES if rng.random() < 0.3}
            consumer.run_until(consumer.now + rng.uniform(0, 4))
        consumer.failing.clear()
        ranks = {n: float(rank) for rank, n in enumerate(rng.sample(NAMES, 6))}
        consumer.show(**ranks)
        for name in list(consumer.active):
            if name not in ranks:
                consumer.lose(name)  # it left the catalog, and in the end its link goes, too
        consumer.run_until(consumer.now + 300)
        assert sorted(consumer.active) == sorted(list(ranks)[:k]), seed


def test_ranks_compare_with_a_margin_and_none_is_worst() -> None:
    assert is_better(1.0, None, 0.5)
    assert not is_better(None, 1.0, 0)
    assert not is_better(None, None, 0)
    assert is_better(0.7, 1.0, 0.25)
    assert not is_better(0.8, 1.0, 0.25)
    assert is_better(-2.0, -1.0, 0.25)
    assert not is_better(-1.1, -1.0, 0.25)


def test_keys_rank_peers() -> None:
    here = peer("x", tags=["eu", "fast"])
    assert with_tags("eu", "gpu").rank(here) == 1
    assert nearest().rank(here) is None

    def broken(_: object) -> float:
        raise RuntimeError

    assert best(1, key=broken).rank(here) is None
    assert best(1, key=lambda p: float("nan")).rank(here) is None
    makers: list[Callable[[], Preference]] = [
        lambda: nearest(0), lambda: nearest(margin=2), lambda: nearest(patience=-1),
    ]  # fmt: skip
    for make in makers:
        with pytest.raises(ConfigError):
            make()


async def test_a_consumer_moves_to_a_preferred_producer_and_back() -> None:
    async with world() as nodes:
        b = await nodes.start("b")
        plain, tagged = await nodes.start("plain"), await nodes.start("tagged", "fast")
        prefer = with_tags("fast", patience=0.05)
        consumer = b.streams.consumer(Tick, prefer=prefer)
        first = plain.streams.produce(Tick)
        await consumer.when().online()
        assert [c.producer_id for c in consumer.producers()] == [plain.peer_id]
        await first.send_many(ticks(10))
        # A better one appears: the consumer moves to it; what came before comes first.
        second = tagged.streams.produce(Tick)
        await second.when().online()
        await second.send_many(ticks(10, start=10))
        assert await take(consumer, 20) == ticks(20)
        await first.when().offline()
        assert [c.producer_id for c in consumer.producers()] == [tagged.peer_id]
        # It goes: the other one will do.
        await second.close()
        await first.send(Tick(20))
        assert await consumer.recv() == Tick(20)


async def test_the_nearest_are_measured_before_there_is_a_connection() -> None:
    async with world() as nodes:
        b = await nodes.start("b")
        names = ["p", "q", "r"]
        others = [await nodes.start(name) for name in names]
        producers = [node.streams.produce(Tick) for node in others]
        consumer = b.streams.consumer(Tick, prefer=nearest(2))
        await consumer.when().subscribed().minimum_of(2)
        assert len(consumer.producers()) == 2
        await until(lambda: sum(producer.is_online for producer in producers) == 2)
        with_key = b.streams.consumer(Tick, prefer=lambda p: float(p.peer_id == others[0].peer_id))
        await with_key.when().online()
        assert len(with_key.producers()) == 1
        assert with_key.producers()[0].producer_id != others[0].peer_id


def test_a_key_of_ones_own_that_looks_at_the_distance_says_so() -> None:
    here = peer("a")
    twice = best(key=lambda info: 2 * float(str(info.rtt)))
    assert twice.judge(here) == (None, True)
    assert twice.judge(here.measured(0.25)) == (0.5, False)
    assert with_tags("eu").judge(here) == (1.0, False)


def test_key_that_is_no_function_is_refused_where_it_is_given() -> None:
    with pytest.raises(ConfigError, match=r"^a preference's key is 'eu', expected a function$"):
        best(key="eu")  # type: ignore[arg-type]
