"""Fault schedules: what is drawn, and how one is made small."""

from itertools import combinations
from random import Random

import pytest

from mosaik_actors.errors import ConfigError
from mosaik_actors.testing.conditions import NetworkConditions
from mosaik_actors.testing.faults import (
    KINDS,
    Fault,
    FaultKind,
    FaultPlan,
    FaultSchedule,
    shrink,
    weather_of,
)

LONG = FaultPlan(duration=2000.0, interval=1.0, length=5.0)


def test_same_generator_state_gives_the_same_schedule() -> None:
    assert LONG.draw(Random(3), 5) == LONG.draw(Random(3), 5)
    assert LONG.draw(Random(3), 5) != LONG.draw(Random(4), 5)


def test_all_kinds_happen_at_the_rate_that_was_asked_for() -> None:
    schedule = LONG.draw(Random(1), 5)
    assert {fault.kind for fault in schedule} == set(KINDS)
    assert 1500 < len(schedule) < 2300
    assert schedule.numbers == tuple(range(len(schedule)))
    times = [fault.at for fault in schedule]
    assert times == sorted(times)
    assert times[0] > 0
    assert times[-1] < 2000
    assert all(set(fault.nodes) <= set(range(5)) for fault in schedule)


@pytest.mark.parametrize("down_max", [1, 2])
@pytest.mark.parametrize("seed", range(5))
def test_no_more_nodes_are_down_at_a_time_than_may_be(seed: int, down_max: int) -> None:
    plan = FaultPlan(duration=500, interval=0.5, length=8, down_max=down_max)
    down = [fault for fault in plan.draw(Random(seed), 5) if fault.kind in DOWN]
    assert down
    for fault in down:
        together = [other for other in down if other.at <= fault.at < other.at + other.length]
        assert len(together) <= down_max


DOWN: tuple[FaultKind, ...] = ("crash", "stop", "pause")


def test_node_that_is_down_is_not_taken_down_again() -> None:
    down = [fault for fault in LONG.draw(Random(2), 3) if fault.kind in DOWN]
    for one, other in combinations(down, 2):
        if one.nodes == other.nodes:
            assert one.at + one.length <= other.at or other.at + other.length <= one.at


def test_single_node_is_never_cut_off_from_itself() -> None:
    kinds = {fault.kind for fault in LONG.draw(Random(1), 1)}
    assert kinds == set(KINDS) - {"partition", "one_way"}


def test_part_of_a_schedule_keeps_numbers_and_times() -> None:
    schedule = LONG.draw(Random(1), 5)
    part = schedule.only([7, 3, 100_000])
    assert part.numbers == (3, 7)
    assert list(part) == [schedule.faults[3], schedule.faults[7]]
    assert str(schedule.only([])) == "no faults"


def test_schedule_reads_well() -> None:
    faults = (
        Fault(2, 1.5, 3.25, "partition", (0, 2)),
        Fault(5, 2.0, 1.0, "skew", (1,), {"offset": -2.5, "drift": 0.001}),
    )
    assert str(FaultSchedule(faults)).splitlines() == [
        "#2 at 1.50 s for 3.25 s: partition n0 n2",
        "#5 at 2.00 s for 1.00 s: skew n1 offset=-2.5, drift=0.001",
    ]


def test_weather_changes_what_it_names_and_keeps_the_rest() -> None:
    usual = NetworkConditions(latency=0.5, bandwidth=1000.0, mtu=1300)
    fault = Fault(0, 0.0, 1.0, "weather", (), {"loss": 0.1, "latency": 0.2})
    assert weather_of(fault, usual) == NetworkConditions(
        latency=0.2, loss=0.1, bandwidth=1000.0, mtu=1300
    )


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"duration": 0}, "duration is 0"),
        ({"interval": -1}, "interval is -1"),
        ({"length": 0}, "length is 0"),
        ({"kinds": ()}, "kinds is empty"),
        ({"kinds": ("meteor",)}, "kinds has 'meteor'"),
        ({"down_max": 0}, "down_max is 0"),
        ({"loss_max": 1}, "loss_max is 1"),
        ({"delay_max": 0}, "delay_max is 0"),
    ],
)
def test_plan_that_cannot_be_is_refused(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        FaultPlan(**settings)  # type: ignore[arg-type]


def schedule_of(count: int) -> FaultSchedule:
    return FaultSchedule(tuple(Fault(n, float(n), 1.0, "crash", (0,)) for n in range(count)))


@pytest.mark.parametrize("seed", range(60))
def test_shrinking_finds_the_smallest_set_when_failing_is_monotone(seed: int) -> None:
    """One set of faults is to blame: the brute-force answer, over all subsets, is that set."""
    rng = Random(seed)
    count = rng.randint(1, 10)
    guilty = frozenset(rng.sample(range(count), rng.randint(0, min(4, count))))

    def fails(schedule: FaultSchedule) -> bool:
        return guilty <= set(schedule.numbers)

    smallest = next(
        chosen
        for size in range(count + 1)
        for chosen in combinations(range(count), size)
        if fails(schedule_of(count).only(chosen))
    )
    assert shrink(schedule_of(count), fails).numbers == smallest


@pytest.mark.parametrize("seed", range(60))
def test_shrunk_schedule_fails_and_none_smaller_by_one_does(seed: int) -> None:
    """For any function that fails on the whole, monotone or not (1-minimality)."""
    count = 8
    judged: dict[tuple[int, ...], bool] = {tuple(range(count)): True}
    rng = Random(seed)

    def fails(schedule: FaultSchedule) -> bool:
        return judged.setdefault(schedule.numbers, rng.random() < 0.4)

    small = shrink(schedule_of(count), fails, tries_max=10_000)
    assert fails(small)
    for number in small.numbers:
        assert not fails(small.only(set(small.numbers) - {number}))


def test_shrinking_stops_after_so_many_tries_with_what_it_has() -> None:
    tries = 0

    def fails(schedule: FaultSchedule) -> bool:
        nonlocal tries
        tries += 1
        return {5, 90} <= set(schedule.numbers)

    small = shrink(schedule_of(100), fails, tries_max=5)
    assert tries <= 6
    assert {5, 90} <= set(small.numbers)
    assert len(small) < 100
