"""Rates: token buckets alone, in the fan-out, and between nodes."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from mosaik_actors.errors import ConfigError
from mosaik_actors.streams.producing.fanout import Batch, FanOut, FramesReady, LaggardFound
from mosaik_actors.streams.producing.limits import BURST_S, Rate, Throttle, TokenBucket

from .nodes import take, world
from .test_streams import Tick, ticks


def test_a_bucket_lets_its_rate_through_whatever_the_sizes() -> None:
    rng = Random(5)
    for _ in range(50):
        rate = rng.choice([1.0, 30.0, 5e5])
        bucket = TokenBucket(rate, now=0.0)
        now = passed = 0.0
        while now < 20:
            if bucket.is_open(now=now):
                amount = rng.randint(1, max(1, int(rate)))
                bucket.take(amount)
                passed += amount
            else:
                opens_at = bucket.opens_at()
                assert opens_at > now
                assert bucket.is_open(now=opens_at + 1e-9)
                now = opens_at + 1e-9
        # What was taken too much is paid back after `now`, one amount at most.
        assert passed <= rate * now + bucket.burst + rate + 1
        assert passed >= rate * 20 - 1 - rate


def test_a_bucket_saves_up_no_more_than_a_burst() -> None:
    bucket = TokenBucket(1000.0, now=0.0)
    assert bucket.is_open(now=3600.0)
    bucket.take(int(1000 * BURST_S))
    assert not bucket.is_open(now=3600.0)


def test_a_throttle_opens_when_all_its_buckets_do() -> None:
    throttle = Throttle(Rate(items=10, bytes=1000), now=0.0)
    throttle.take(1, 500)
    assert not throttle.is_open(now=0.1)
    assert throttle.opens_at() > 0.4
    with pytest.raises(ConfigError):
        Rate(items=0)


def batch(count: int, size: int = 10) -> Batch:
    return Batch(count, (bytes(size),))


def play(core: FanOut, seconds: float, offered: int) -> dict[str, list[float]]:
    """Offer items as fast as there is room, take all at once; return when items left."""
    left: dict[str, list[float]] = {key: [] for key in core.subscriptions}
    now = 0.0
    while now < seconds and offered:
        count = min(core.room()[0], core.frame_items_max, offered)
        if count:
            offered -= count
            core.publish([batch(count)], now=now)
        else:
            core.note_blocked(now=now)
        while (event := core.next_event()) is not None:
            assert isinstance(event, FramesReady), "nobody is too slow here"
            left[event.key] += [now] * event.item_count
            core.receive_ack(event.key, core.subscriptions[event.key].sent, now=now)
        if not count:
            timer = core.get_timer()
            assert timer is not None, "something is held back"
            now = max(timer, now + 1e-9)
            core.handle_timer(now=now)
    return left


def fan_out(**settings: object) -> FanOut:
    return FanOut(buffer_items=100, buffer_bytes=1 << 20, lag_grace_s=0.0, **settings)  # type: ignore[arg-type]


def test_items_leave_at_the_rate_of_each_consumer() -> None:
    core = fan_out(consumer_rate=Rate(items=200))
    for key in "ab":
        core.subscribe(key, window_items=1000, window_bytes=1 << 20)
    left = play(core, 10, 10_000)
    for times in left.values():
        assert len(times) == pytest.approx(2000, rel=0.05)
        halves = sum(at < 5 for at in times), sum(at >= 5 for at in times)
        assert halves[0] == pytest.approx(halves[1], rel=0.05)


def test_a_total_is_shared_fairly_and_nobody_is_called_too_slow() -> None:
    core = fan_out(total_rate=Rate(items=300))
    for key in "abc":
        core.subscribe(key, window_items=1000, window_bytes=1 << 20)
    left = play(core, 10, 10_000)
    assert sum(map(len, left.values())) == pytest.approx(3000, rel=0.05)
    for times in left.values():
        assert len(times) == pytest.approx(1000, rel=0.12)


def test_bytes_are_limited_too() -> None:
    core = fan_out(consumer_rate=Rate(bytes=10_000))
    core.subscribe("a", window_items=1000, window_bytes=1 << 20)
    sent, now = 0, 0.0
    while now < 10:
        if core.room()[0]:
            core.publish([batch(1, 300)], now=now)
        while (event := core.next_event()) is not None:
            assert isinstance(event, FramesReady)
            sent += sum(map(len, event.frames))
            core.receive_ack("a", core.subscriptions["a"].sent, now=now)
        if core.is_throttled:
            now = core.get_timer() or now
            core.handle_timer(now=now)
    assert sent == pytest.approx(100_000, rel=0.05)
    assert core.frame_bytes_max == 10_000 * BURST_S


def test_one_that_takes_nothing_is_too_slow_in_spite_of_a_rate() -> None:
    core = fan_out(consumer_rate=Rate(items=1000))
    core.subscribe("a", window_items=1000, window_bytes=1 << 20)
    now, found = 0.0, []
    for _ in range(10_000):
        if core.room()[0]:
            core.publish([batch(1)], now=now)
        else:
            core.note_blocked(now=now)
        while (event := core.next_event()) is not None:
            if isinstance(event, LaggardFound):
                found.append(event)
        now += 0.001
        core.handle_timer(now=now)
        if found:
            break
    assert [event.behind_items for event in found] == [100]


async def test_rates_hold_between_nodes() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer = a.streams.producer(Tick, consumer_rate=Rate(items=500))
        consumer = b.streams.consume(Tick)
        await producer.when().online()
        loop = asyncio.get_running_loop()
        started = loop.time()
        await producer.send_many(ticks(200))
        assert await take(consumer, 200) == ticks(200)
        # 25 at once as a burst, the other 175 at 500 per second.
        assert 0.3 < loop.time() - started < 3
        await producer.send_many(ticks(50))
        await asyncio.gather(producer.close(), take(consumer, 50))  # closing drains at the rate
