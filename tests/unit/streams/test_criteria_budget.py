"""What one peer's criteria may cost: counted, and cut off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from mosaik_actors.ids import SecretKey
from mosaik_actors.streams.config import StreamsConfig
from mosaik_actors.streams.criteria.budget import FREE_S, PEERS_MAX, CriteriaBudget
from mosaik_actors.streams.criteria.criteria import CriteriaError, Record, where
from mosaik_actors.streams.producing.item_filter import (
    MEASURED_EACH,
    MEASURED_MAX_S,
    SETTLED_EACH_S,
    ItemFilter,
)
from tests.waiting import until

from .nodes import world

ALICE, BOB = (SecretKey.from_seed(name).peer_id for name in ("alice", "bob"))


class Reading(Record, frozen=True):
    n: int
    text: str = ""


def costly(number: int = 0) -> Any:
    """Return criteria that never hold and cost about as much as may be."""
    wanted = where(Reading.n == -1)
    for n in range(200):
        wanted = wanted | (Reading.n == -2 - n - 1000 * number)
    return wanted


def test_a_bucket_fills_with_work_and_drains_with_time() -> None:
    budget = CriteriaBudget(0.25, 2.0)
    budget.charge(ALICE, 2.5, 0, now=0.0)
    assert budget.is_over(ALICE, now=0.0)
    assert not budget.is_over(ALICE, now=2.0)
    assert not budget.may_subscribe(ALICE, now=5.9)  # until half of the grace has drained
    assert budget.may_subscribe(ALICE, now=6.0)
    assert budget.may_subscribe(BOB, now=0.0)


def test_what_honest_criteria_cost_is_not_counted() -> None:
    budget = CriteriaBudget(0.0, 0.001)
    budget.charge(ALICE, 1_000_000 * FREE_S, 1_000_000, now=0.0)
    assert not budget.is_over(ALICE, now=0.0)


def test_buckets_are_bounded_and_the_fullest_stay() -> None:
    budget = CriteriaBudget(0.25, 2.0)
    budget.charge(ALICE, 3.0, 0, now=0.0)
    for n in range(PEERS_MAX + 10):
        budget.charge(SecretKey.from_seed(str(n)).peer_id, 1.0, 0, now=0.0)
    assert len(budget._held) == PEERS_MAX
    assert budget.is_over(ALICE, now=0.0)


def test_a_peer_gets_its_share_of_the_seconds_however_long_it_goes_on() -> None:
    """The attacker subscribes anew every five seconds, 10 KB each; the node spends its share.

    The criteria cost a second of work each second while they are judged. Over ten minutes
    that is about 150 s and not 600, as `share` and `grace_s` say.
    """
    budget = CriteriaBudget(0.25, 2.0)
    spent_s, sent_bytes, is_subscribed = 0.0, 0, False
    for tenth in range(6000):
        now = tenth / 10
        if not is_subscribed and budget.may_subscribe(ALICE, now=now):
            is_subscribed = True
            sent_bytes += 10_000
        if is_subscribed:
            budget.charge(ALICE, 0.1, 0, now=now)
            spent_s += 0.1
            is_subscribed = not budget.is_over(ALICE, now=now)
    assert 0.9 * 0.25 * 600 <= spent_s <= 0.25 * 600 + 2.0 + 0.1
    assert spent_s / sent_bytes <= 3e-4  # 300 us for each byte that it sends
    assert not budget._held_by(BOB, 600.0)


def item_filter_with(times: Iterator[float], spent: list[int]) -> ItemFilter:
    return ItemFilter(Reading, lambda: None, lambda: spent.append(1), lambda: next(times))


def test_a_filter_measures_one_item_of_many_and_shares_the_cost_of_a_group() -> None:
    spent: list[int] = []
    clock = (n * 0.0005 for n in range(1000))
    item_filter = item_filter_with(clock, spent)
    both = item_filter.open_filter_group(msgspec.msgpack.encode(["==", ["n"], 1]))
    item_filter.join(both, ALICE)
    item_filter.join(both, BOB)
    item_filter.join(item_filter.open_filter_group(msgspec.msgpack.encode(["==", ["n"], 2])), BOB)
    for _ in range(MEASURED_EACH - 1):
        item_filter.filter_groups_of(Reading(1))
    assert not spent
    assert item_filter.filter_groups_of(Reading(1)) == (both,)
    took_s = 0.0005 * MEASURED_EACH
    assert took_s >= SETTLED_EACH_S / 2
    assert spent == [1]
    for _ in range(MEASURED_EACH):
        item_filter.filter_groups_of(Reading(3))
    assert spent == [1]  # asked for, and not done yet
    shares, item_count = item_filter.settle()
    assert item_count == 2 * MEASURED_EACH
    assert shares == pytest.approx({ALICE: took_s, BOB: 3 * took_s})
    assert item_filter.settle() == ({ALICE: 0.0, BOB: 0.0}, 0)


def test_a_process_that_stood_still_is_nobodys_fault() -> None:
    item_filter = item_filter_with(iter([0.0, 60.0]), [])
    item_filter.join(item_filter.open_filter_group(msgspec.msgpack.encode(["==", ["n"], 1])), ALICE)
    for _ in range(MEASURED_EACH):
        item_filter.filter_groups_of(Reading(1))
    assert item_filter.settle()[0] == {ALICE: MEASURED_MAX_S * MEASURED_EACH}


def test_defaults_and_limits() -> None:
    assert StreamsConfig().criteria_share == 0.25
    with pytest.raises(ValueError, match="criteria_share is 2"):
        StreamsConfig(criteria_share=2)
    with pytest.raises(ValueError, match="criteria_grace is 0"):
        StreamsConfig(criteria_grace=0)


async def test_a_peer_whose_criteria_cost_too_much_loses_them_and_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with world(criteria_share=0.0, criteria_grace=0.01) as nodes:
        a, b, c = [await nodes.start(name) for name in "abc"]
        producer = a.streams.produce(Reading)
        greedy = [b.streams.consumer(Reading, criteria=costly(n)) for n in range(3)]
        plain = b.streams.consume(Reading)
        honest = c.streams.consumer(Reading, criteria=where(Reading.n > 5))
        await producer.when().subscribed().minimum_of(2)
        await until(lambda: len(producer.consumers()) == 5)
        sent = 0
        while len(producer.consumers()) > 2:
            await producer.send(Reading(sent))
            assert await plain.recv() == Reading(sent)
            sent += 1
        for consumer in greedy:
            await until(lambda one=consumer: a.peer_id in one.refusals())  # type: ignore[misc]
            refusal = consumer.refusals()[a.peer_id]
            assert isinstance(refusal, CriteriaError)
            assert "more time than a peer may" in str(refusal)
        # The same peer without criteria, and others with honest ones, have noticed nothing.
        await producer.send(Reading(sent))
        assert await plain.recv() == Reading(sent)
        assert [(await honest.recv()).n for _ in range(sent - 5)] == list(range(6, sent + 1))
    said = [one for one in caplog.records if one.name.endswith("actors.producer")]
    assert [one.levelname for one in said].count("WARNING") == 1
