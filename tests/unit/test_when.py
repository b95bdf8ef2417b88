"""How a `Wait` is awaited: the same for streams, groups and collections."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mosaik_actors.errors import Closed
from mosaik_actors.shared_state import HandleState, SharedState
from mosaik_actors.when import Change, Wait, When


class Lamp(SharedState):
    """A state with something to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.is_on = False
        self.level = 0

    def switch(self, *values: bool) -> None:
        """Show these values, one after the other."""
        for value in values:
            self.is_on = value
            self.changed()

    def dim(self, level: int) -> None:
        self.level = level
        self.changed()


def on(lamp: Lamp) -> Wait[None]:
    return When(lamp, lambda: lamp.is_on).online()


def change(lamp: Lamp) -> Change[int]:
    return Change(lamp, lambda: lamp.level)


async def plainly(wait: Wait[Any]) -> Any:
    return await wait


async def started(wait: Wait[Any]) -> asyncio.Task[Any]:
    """Return a task that awaits and has had its turn."""
    task = asyncio.ensure_future(plainly(wait))
    await turns(2)
    return task


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def soon(awaitable: Awaitable[Any]) -> Any:
    async with asyncio.timeout(5):
        return await awaitable


WAYS: dict[str, Callable[[Wait[Any]], Awaitable[Any]]] = {
    "await": plainly,
    "create_task": lambda wait: asyncio.create_task(wait),
    "ensure_future": lambda wait: asyncio.ensure_future(wait),
    "wait_for": lambda wait: asyncio.wait_for(wait, 5),
    "gather": lambda wait: asyncio.gather(wait),
    "shield": lambda wait: asyncio.shield(wait),
}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))


@every_way
async def test_the_first_await_returns_at_once_and_the_next_waits(
    way: Callable[[Wait[Any]], Awaitable[Any]],
) -> None:
    lamp = Lamp()
    lamp.switch(True)
    ready = on(lamp)
    await soon(way(ready))
    again = asyncio.ensure_future(plainly(ready))
    await turns(5)
    lamp.changed()  # another change, but not another time
    await turns(5)
    assert not again.done()
    lamp.switch(False, True)
    await soon(again)


@every_way
async def test_it_waits_until_the_condition_holds(
    way: Callable[[Wait[Any]], Awaitable[Any]],
) -> None:
    lamp = Lamp()
    waiting = asyncio.ensure_future(way(on(lamp)))
    await turns(3)
    assert not waiting.done()
    lamp.switch(True)
    await soon(waiting)


@every_way
async def test_it_ends_when_what_it_waits_at_is_closed(
    way: Callable[[Wait[Any]], Awaitable[Any]],
) -> None:
    lamp = Lamp()
    waiting = asyncio.ensure_future(way(on(lamp)))
    await turns(3)
    lamp.close(Closed(reason="the lamp is broken"))
    with pytest.raises(Closed, match="broken"):
        await soon(waiting)
    with pytest.raises(Closed, match="broken"):
        await soon(way(on(lamp)))


@every_way
async def test_a_cancelled_wait_leaves_nothing_behind_and_takes_nothing_away(
    way: Callable[[Wait[Any]], Awaitable[Any]],
) -> None:
    lamp = Lamp()
    ready = on(lamp)
    waiting = asyncio.ensure_future(way(ready))
    await turns(3)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    lamp.switch(True)
    await soon(ready)
    await turns(3)  # a shielded one ends by itself
    del ready, waiting
    gc.collect()
    assert not lamp.is_watched


@pytest.mark.parametrize("is_closed", [False, True])
@pytest.mark.parametrize("make", [on, lambda lamp: on(lamp).unmet(), change])
async def test_it_never_returns_before_the_loop_had_a_turn(
    make: Callable[[Lamp], Wait[Any]], is_closed: bool
) -> None:
    lamp = Lamp()
    wait = make(lamp)
    lamp.switch(True)
    lamp.dim(1)
    if is_closed:
        lamp.close()
    had_turn = False

    def take_turn() -> None:
        nonlocal had_turn
        had_turn = True

    asyncio.get_running_loop().call_soon(take_turn)
    try:
        async with asyncio.timeout(0.01):
            await wait
    except (Closed, TimeoutError):
        pass
    assert had_turn


async def test_a_predicate_that_raises_gives_the_loop_a_turn_too() -> None:
    lamp = Lamp()
    wait: Wait[None] = Wait(lamp, lambda: bool(1 // 0))
    turn = asyncio.ensure_future(asyncio.sleep(0))
    with pytest.raises(ZeroDivisionError):
        await wait
    await turns(1)
    assert turn.done()


async def test_a_short_absence_between_two_awaits_is_not_missed() -> None:
    lamp = Lamp()
    lamp.switch(True)
    ready = on(lamp)
    await ready
    lamp.switch(False, True)
    await soon(ready)


async def test_a_time_that_is_over_when_the_task_wakes_counts_and_so_does_the_next() -> None:
    lamp = Lamp()
    ready = on(lamp)
    waiting = await started(ready)
    lamp.switch(True, False, True)
    await soon(waiting)
    await soon(ready)


async def test_tasks_that_wait_together_are_woken_together() -> None:
    lamp = Lamp()
    ready = on(lamp)
    waiting = [await started(ready) for _ in range(3)]
    waiting += [asyncio.create_task(ready), asyncio.create_task(ready)]
    await turns(2)
    lamp.switch(True)
    await soon(asyncio.gather(*waiting))
    lamp.switch(False)
    # Also when the condition holds already as they begin.
    lamp.switch(True)
    await soon(asyncio.gather(plainly(ready), plainly(ready)))


async def test_one_of_several_tasks_is_cancelled_and_the_others_do_not_notice() -> None:
    lamp = Lamp()
    ready = on(lamp)
    first, second, third = (asyncio.create_task(ready) for _ in range(3))
    await turns(2)
    second.cancel()
    await turns(2)
    assert [task.done() for task in (first, second, third)] == [False, True, False]
    lamp.switch(True)
    await soon(asyncio.gather(first, third))


@pytest.mark.parametrize("others", [0, 1])
async def test_a_return_that_was_cancelled_on_its_way_is_there_for_the_next(others: int) -> None:
    lamp = Lamp()
    ready = on(lamp)
    waiting = await started(ready)
    rest = [await started(ready) for _ in range(others)]
    lamp.switch(True)
    waiting.cancel()
    await turns(3)
    assert waiting.cancelled()
    await asyncio.gather(*rest)
    again = await started(ready)
    # Nobody has heard of it, unless others have.
    assert again.done() is (others == 0)
    again.cancel()


async def test_a_task_that_nobody_refers_to_is_not_collected_while_it_waits() -> None:
    lamp = Lamp()
    done: list[str] = []

    async def run() -> None:
        await on(lamp)
        done.append("woken")

    asyncio.ensure_future(run())  # noqa: RUF006  # that is the point
    await turns(2)
    gc.collect()
    lamp.switch(True)
    await turns(3)
    assert done == ["woken"]


async def test_a_wait_that_is_forgotten_leaves_nothing_behind() -> None:
    lamp = Lamp()
    lamp.switch(True)
    ready = on(lamp)
    await ready
    assert [lamp.is_watched] == [True]
    del ready
    assert [lamp.is_watched] == [False]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(on(lamp).unmet(), 0.001)
    gc.collect()
    assert not lamp.is_watched


async def test_what_holds_when_it_is_closed_is_returned_once() -> None:
    lamp = Lamp()
    lamp.close()
    offline = When(lamp, lambda: lamp.is_on).offline()
    await soon(offline)
    with pytest.raises(Closed):
        await soon(offline)


async def test_a_predicate_that_raises_concerns_only_those_who_wait_for_it() -> None:
    lamp = Lamp()
    broken: Wait[None] = Wait(lamp, lambda: 1 // (1 - lamp.level) > 5)
    stopped: Wait[None] = Wait(lamp, lambda: lamp.level > 0 and next(iter(())))
    failing, stopping, sound = [await started(one) for one in (broken, stopped, on(lamp))]
    lamp.dim(1)  # must not raise here
    with pytest.raises(ZeroDivisionError):
        await failing
    with pytest.raises(RuntimeError, match="StopIteration"):
        await stopping
    lamp.switch(True)
    await soon(sound)


async def test_a_change_returns_each_new_value() -> None:
    lamp = Lamp()
    changed = change(lamp)
    assert (changed.is_met, changed.unmet().is_met) == (False, True)
    lamp.dim(3)
    assert (changed.is_met, changed.unmet().is_met) == (True, False)
    assert await soon(changed) == 3
    waiting = await started(changed)
    lamp.dim(4)
    lamp.dim(5)
    assert await waiting == 4
    assert await soon(changed) == 5
    risen = Change(lamp, lambda: lamp.level, lambda old, new: new > old)
    waiting = await started(risen)
    lamp.dim(2)
    await turns(2)
    assert not waiting.done()
    lamp.dim(6)
    assert await waiting == 6


async def test_a_change_is_not_lost_when_a_wait_for_it_is_cancelled() -> None:
    lamp = Lamp()
    changed = change(lamp)
    waiting = await started(changed)
    lamp.dim(1)
    waiting.cancel()
    await turns(3)
    assert waiting.cancelled()
    assert await soon(changed) == 1


async def test_a_handle_may_be_closed_before_others_that_share_its_state() -> None:
    lamp = Lamp()
    lamp.switch(True)
    mine = HandleState(lamp, lambda: Closed(reason="mine is closed"))
    others = HandleState(lamp, lambda: Closed(reason="the other is closed"))
    mine_off, others_off = (When(one, lambda: lamp.is_on).offline() for one in (mine, others))
    here, there = await started(mine_off), await started(others_off)
    mine.close()
    await soon(here)
    with pytest.raises(Closed, match="mine"):
        await When(mine, lambda: lamp.is_on).online()
    assert not there.done()
    await soon(When(others, lambda: lamp.is_on).online())
    lamp.close()
    await soon(there)


def test_a_wait_is_asked_without_a_loop_and_is_not_missed_when_it_is_not_awaited() -> None:
    lamp = Lamp()
    assert not on(lamp).is_met
    assert on(lamp).unmet().is_met
    with pytest.raises(RuntimeError):
        on(lamp).send(None)
