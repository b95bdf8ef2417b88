"""What a simulated path does to datagrams and to chunks of streams."""

from itertools import pairwise
from random import Random
from statistics import median
from typing import Any

import pytest

from mosaik_actors.errors import ConfigError
from mosaik_actors.testing.conditions import NetworkConditions, Path, lognormal, uniform

DRAWS = 20_000


def path(seed: int = 1, **settings: object) -> Path:
    return Path(NetworkConditions(**settings), Random(seed))  # type: ignore[arg-type]


def test_plain_path_delivers_once_after_its_latency() -> None:
    assert path(latency=0.25).plan_datagram(1000, now=2.0) == [2.25]
    assert path(latency=0.25).plan_chunk(1_000_000, now=2.0) == 2.25


def test_loss_is_the_share_that_vanishes() -> None:
    lossy = path(loss=0.2)
    lost = sum(not lossy.plan_datagram(100, now=0.0) for _ in range(DRAWS))
    assert 0.19 < lost / DRAWS < 0.21


def test_duplication_is_the_share_that_arrives_twice() -> None:
    twofold = path(duplication=0.1, jitter=0.01)
    counts = [len(twofold.plan_datagram(100, now=0.0)) for _ in range(DRAWS)]
    assert set(counts) == {1, 2}
    assert 0.09 < counts.count(2) / DRAWS < 0.11


def test_reordering_is_the_share_that_is_overtaken() -> None:
    unruly = path(latency=0.1, reordering=0.1)
    arrivals = [unruly.plan_datagram(100, now=n * 0.001)[0] for n in range(DRAWS)]
    overtaken = sum(a > b for a, b in pairwise(arrivals))
    assert 0.08 < overtaken / DRAWS < 0.1  # two held back in a row do not pass each other


def test_constant_latency_reorders_nothing() -> None:
    calm = path(latency=0.1)
    arrivals = [calm.plan_datagram(100, now=n * 0.001)[0] for n in range(100)]
    assert arrivals == sorted(arrivals)


def test_jitter_is_added_evenly() -> None:
    shaky = path(latency=0.1, jitter=0.2)
    delays = [shaky.plan_datagram(100, now=0.0)[0] for _ in range(DRAWS)]
    assert min(delays) >= 0.1
    assert max(delays) <= 0.3
    assert median(delays) == pytest.approx(0.2, abs=0.005)


def test_latency_may_be_drawn() -> None:
    far = path(latency=lognormal(0.05, 0.5))
    delays = sorted(far.plan_datagram(1, now=0.0)[0] for _ in range(DRAWS))
    assert median(delays) == pytest.approx(0.05, rel=0.03)
    assert delays[int(DRAWS * 0.99)] > 0.12  # a long tail
    near = path(latency=uniform(0.01, 0.02))
    assert all(0.01 <= near.plan_datagram(1, now=0.0)[0] <= 0.02 for _ in range(1000))


def test_bandwidth_lets_datagrams_queue_and_drops_what_does_not_fit() -> None:
    thin = path(latency=0.0, bandwidth=1000, queue_bytes=3000)
    arrivals = [thin.plan_datagram(1000, now=0.0) for _ in range(6)]
    assert arrivals == [[1.0], [2.0], [3.0], [4.0], [], []]
    # What has left makes room.
    assert thin.plan_datagram(1000, now=2.0) == [5.0]
    assert thin.plan_datagram(1000, now=60.0) == [61.0]


def test_datagram_larger_than_the_mtu_never_arrives() -> None:
    assert path(mtu=1400).plan_datagram(1400, now=0.0)
    assert not path(mtu=1400).plan_datagram(1401, now=0.0)


def test_chunks_of_a_stream_arrive_in_order_and_all_of_them() -> None:
    wild = path(latency=uniform(0.0, 0.5), jitter=0.2, loss=0.3, reordering=0.3, duplication=0.3)
    arrivals = [wild.plan_chunk(1000, now=n * 0.01) for n in range(2000)]
    assert arrivals == sorted(arrivals)
    assert all(arrival >= n * 0.01 for n, arrival in enumerate(arrivals))


def test_loss_costs_a_chunk_round_trips() -> None:
    delays = [path(seed, latency=0.1, loss=0.3).plan_chunk(10, now=0.0) for seed in range(2000)]
    steps = sorted({round(delay, 6) for delay in delays})
    # Each loss is noticed after a round trip that doubles: 0.2, then 0.4, then 0.8 s more.
    assert steps[:4] == [0.1, 0.3, 0.7, 1.5]
    assert 0.67 < delays.count(0.1) / 2000 < 0.73


def test_bandwidth_delays_chunks_without_dropping_any() -> None:
    thin = path(latency=0.5, bandwidth=1000, queue_bytes=1)
    assert [thin.plan_chunk(1000, now=0.0) for _ in range(4)] == [1.5, 2.5, 3.5, 4.5]


def test_same_seed_gives_the_same_plans() -> None:
    def plans(seed: int) -> list[list[float]]:
        wild = path(seed, latency=lognormal(0.1), loss=0.1, duplication=0.1, reordering=0.1)
        return [wild.plan_datagram(100, now=float(n)) for n in range(200)]

    assert plans(7) == plans(7) != plans(8)


def test_usual_delay_draws_nothing_from_the_path() -> None:
    one, other = (path(latency=lognormal(0.1), jitter=0.02) for _ in range(2))
    assert one.usual_delay() == pytest.approx(0.11, rel=0.5)
    assert one.plan_datagram(1, now=0.0) == other.plan_datagram(1, now=0.0)
    assert path(latency=0.2, jitter=0.1).usual_delay() == 0.25


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"latency": -1.0}, "latency is -1"),
        ({"jitter": -0.1}, "jitter is -0.1"),
        ({"loss": 1.0}, "loss is 1.0, expected 0 to below 1"),
        ({"duplication": 1.5}, "duplication is 1.5"),
        ({"reordering": -1}, "reordering is -1"),
        ({"bandwidth": 0.0}, "bandwidth is 0"),
        ({"queue_bytes": 0}, "queue_bytes is 0"),
        ({"mtu": 1199}, "mtu is 1199"),
    ],
)
def test_conditions_that_cannot_be_are_refused(setting: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        path(**setting)
