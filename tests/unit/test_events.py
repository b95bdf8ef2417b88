from __future__ import annotations

import asyncio
import gc
from contextlib import suppress

import pytest

from mosaik_actors.events import Events
from mosaik_actors.shared_state import Lagged, SharedState


async def take(events: Events[str], count: int) -> list[str | Lagged]:
    async with asyncio.timeout(5):
        return [await anext(events) for _ in range(count)]


async def test_it_begins_when_it_is_made_and_not_when_it_is_awaited() -> None:
    state = SharedState(10)
    state.publish("before")
    events: Events[str] = Events(state)
    state.publish("a")
    assert await take(events, 1) == ["a"]
    waiting = asyncio.ensure_future(take(events, 2))
    await asyncio.sleep(0)
    state.publish("b", "c")
    assert await waiting == ["b", "c"]


async def test_it_survives_waits_that_time_out_or_are_cancelled() -> None:
    state = SharedState(10)
    events: Events[str] = Events(state)
    for number in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(events), 0.001)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.001):
                async for _ in events:
                    raise AssertionError("nothing has happened")
        state.publish(str(number))
        assert await take(events, 1) == [str(number)]


async def test_an_event_that_comes_as_a_wait_is_cancelled_is_not_lost() -> None:
    state = SharedState(10)
    events: Events[str] = Events(state)
    waiting = asyncio.ensure_future(take(events, 1))
    await asyncio.sleep(0)
    state.publish("a")
    waiting.cancel()
    await asyncio.sleep(0)
    assert waiting.cancelled()
    assert await take(events, 1) == ["a"]


async def test_it_ends_after_what_was_left() -> None:
    state = SharedState(10)
    events, late = Events[str](state), Events[str](state)
    waiting = asyncio.ensure_future(take(late, 3))
    state.publish("a", "b")
    state.close()
    assert [event async for event in events] == ["a", "b"]
    assert [event async for event in events] == []
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_several_tasks_share_what_comes() -> None:
    state = SharedState(10)
    events: Events[str] = Events(state)
    both = [asyncio.ensure_future(take(events, 2)) for _ in range(2)]
    await asyncio.sleep(0)
    state.publish("a")
    await asyncio.sleep(0)
    state.publish("b", "c", "d")
    assert sorted(str(event) for taken in await asyncio.gather(*both) for event in taken) == [
        *"abcd"
    ]


async def test_one_that_is_dropped_leaves_nothing_behind() -> None:
    state = SharedState(10)
    events: Events[str] = Events(state)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(events), 0.001)
    del events
    gc.collect()
    assert not state.is_watched
