"""Many deadlines with few timers; each still comes at its moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from math import inf
from random import Random
from typing import Any

import pytest

from mosaik_actors.runtime.messaging.deadlines import GRAIN_S, QuestionDeadlines


class Timer:
    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at, self.call, self.is_cancelled = at, call, False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """Has timers and a clock, and nothing else."""

    def __init__(self) -> None:
        self.now, self.timers, self.made_count = 0.0, list[Timer](), 0

    def call_at(self, when: float, call: Callable[..., None], *arguments: Any) -> Timer:
        self.made_count += 1
        timer = Timer(when, lambda: call(*arguments))
        self.timers.append(timer)
        return timer

    @property
    def living(self) -> list[Timer]:
        return [timer for timer in self.timers if not timer.is_cancelled]

    def run_until(self, end: float) -> None:
        while due := [timer for timer in self.living if timer.at <= end]:
            first = min(due, key=lambda timer: timer.at)
            self.now = max(self.now, first.at)
            self.timers.remove(first)
            first.call()
        self.now = end


def made() -> tuple[Loop, QuestionDeadlines]:
    loop: Any = Loop()
    return loop, QuestionDeadlines(loop)


def test_asks_that_are_answered_share_one_timer_and_leave_none() -> None:
    loop, deadlines = made()
    numbers = [deadlines.add(key, 30.0 + key / 10_000, 0.0, pytest.fail) for key in range(1000)]
    assert loop.made_count == 1
    for key, number in enumerate(numbers):
        deadlines.discard(key, number)
        deadlines.discard(key, number)
    assert loop.living == []


@pytest.mark.parametrize("seed", range(5))
def test_each_comes_at_its_moment_unless_it_was_discarded(seed: int) -> None:
    rng = Random(seed)
    loop, deadlines = made()
    came: dict[int, float] = {}
    expected: dict[int, float] = {}
    open_: dict[int, int] = {}

    def note(key: int) -> None:
        came[key] = loop.now

    for key in range(300):
        if rng.random() < 0.3:
            loop.run_until(loop.now + rng.random() * GRAIN_S)
        deadline = loop.now + rng.choice((0.0, 0.001, 0.3, 0.5, 0.7, 2.0)) * rng.random()
        expected[key] = deadline
        open_[key] = deadlines.add(key, deadline, loop.now, partial(note, key))
        if rng.random() < 0.5:
            one = rng.choice(list(open_))
            deadlines.discard(one, open_.pop(one))
            if one not in came:
                del expected[one]
    loop.run_until(loop.now + 10)
    assert came == expected
    assert loop.living == []


def test_what_never_ends_is_taken_too() -> None:
    loop, deadlines = made()
    for key, deadline in enumerate((1e12, inf)):
        deadlines.discard(key, deadlines.add(key, deadline, 0.0, pytest.fail))
    assert loop.living == []


async def test_on_a_real_loop() -> None:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[float] = loop.create_future()
    now = loop.time()
    QuestionDeadlines(loop).add("a", now + 0.02, now, lambda: done.set_result(loop.time()))
    assert await done >= now + 0.02 - 0.001
