from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any

import pytest

from mosaik_actors.errors import Closed
from mosaik_actors.handles.stream_view import StreamWhen
from mosaik_actors.streams.conditions import Condition
from mosaik_actors.streams.shared import Channel, StreamState
from mosaik_actors.when import Wait

from .fakes import NETWORK, peer, peer_id


def connect(state: StreamState, name: str, *tags: str) -> None:
    state.channels[name] = Channel(
        totals=state.totals,
        stream_id=NETWORK,
        producer_id=peer_id("me"),
        consumer_id=peer_id(name),
        peer=peer(name, tags),
        now=0.0,
    )
    state.show(is_online=True)


def disconnect(state: StreamState, name: str) -> None:
    del state.channels[name]
    state.show(is_online=bool(state.channels))


def when(state: StreamState) -> StreamWhen:
    return StreamWhen(state, state)


async def started(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Return a task that ran until it waits."""
    task = asyncio.ensure_future(coroutine)
    await asyncio.sleep(0)
    return task


async def wait_for(wait: Wait[None]) -> None:
    await wait


def test_a_condition_counts_peers_that_meet_everything() -> None:
    peers = [peer("a", ["x"]), peer("b", ["x", "y"]), peer("c")]
    assert Condition().holds(peers)
    assert not Condition().holds([])
    assert Condition().minimum_of(3).holds(peers)
    assert not Condition().minimum_of(4).holds(peers)
    assert Condition().minimum_of(2).with_tags("x").holds(peers)
    assert not Condition().minimum_of(2).with_tags("x", "y").holds(peers)
    only_a = Condition().with_predicate(lambda info: info.peer_id == peer_id("a"))
    assert only_a.holds(peers)
    assert not only_a.with_tags("y").holds(peers)
    assert Condition().minimum_of(4).unmet().holds(peers)
    assert Condition().unmet().unmet().holds(peers)
    assert Condition().minimum_of(0).holds([])
    with pytest.raises(ValueError, match="0 or more"):
        Condition().minimum_of(-1)


async def test_a_condition_that_holds_does_not_wait() -> None:
    state = StreamState()
    connect(state, "a", "validator")
    await asyncio.wait_for(wait_for(when(state).online()), 1)
    await asyncio.wait_for(wait_for(when(state).subscribed().with_tags("validator")), 1)
    assert when(state).offline().is_met is False
    assert when(state).unsubscribed().is_met is False
    assert when(state).unsubscribed().unmet().is_met is True
    assert when(state).online().unmet().is_met is False


async def test_waiting_ends_when_enough_peers_are_there() -> None:
    state = StreamState()
    waiting = await started(wait_for(when(state).subscribed().minimum_of(2)))
    connect(state, "a")
    await asyncio.sleep(0)
    assert not waiting.done()
    connect(state, "b")
    await asyncio.wait_for(waiting, 1)


async def test_awaiting_again_waits_for_the_next_time_it_comes_true() -> None:
    state = StreamState()
    connect(state, "a")
    wait = when(state).subscribed()
    await wait
    again = await started(wait_for(wait))
    connect(state, "b")  # still true: not a new time
    await asyncio.sleep(0)
    assert not again.done()
    disconnect(state, "a")
    disconnect(state, "b")
    connect(state, "c")
    await asyncio.wait_for(again, 1)


async def test_a_short_absence_between_two_awaits_is_not_missed() -> None:
    state = StreamState()
    connect(state, "a")
    wait = when(state).subscribed()
    await wait
    disconnect(state, "a")
    connect(state, "a")
    await asyncio.wait_for(wait_for(wait), 1)


async def test_several_waiters_of_one_condition_are_all_woken() -> None:
    state = StreamState()
    wait = when(state).online()
    waiting = [await started(wait_for(wait)) for _ in range(3)]
    connect(state, "a")
    await asyncio.wait_for(asyncio.gather(*waiting), 1)


async def test_a_waiter_can_be_cancelled_and_the_others_do_not_notice() -> None:
    state = StreamState()
    wait = when(state).online()
    first, second = await started(wait_for(wait)), await started(wait_for(wait))
    first.cancel()
    await asyncio.sleep(0)
    assert first.cancelled()
    connect(state, "a")
    await asyncio.wait_for(second, 1)


async def test_a_waiter_cancelled_as_it_is_woken_loses_nothing() -> None:
    state = StreamState()
    wait = when(state).online()
    waiting = await started(wait_for(wait))
    connect(state, "a")
    waiting.cancel()
    await asyncio.sleep(0)
    assert waiting.cancelled()
    await asyncio.wait_for(wait_for(wait), 1)


async def test_closing_ends_every_wait() -> None:
    state = StreamState()
    connect(state, "a")
    hopeless = await started(wait_for(when(state).subscribed().minimum_of(2)))
    offline = await started(wait_for(when(state).offline()))
    state.channels.clear()
    state.close()
    with pytest.raises(Closed):
        await hopeless
    await offline
    with pytest.raises(Closed):
        await when(state).online()


async def test_a_predicate_that_raises_concerns_only_who_waits_for_it() -> None:
    state = StreamState()
    connect(state, "a")
    calls = 0

    def fails_later(_peer: object) -> bool:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise ZeroDivisionError("the user's own mistake")
        return False

    broken = await started(wait_for(when(state).subscribed().with_predicate(fails_later)))
    sound = await started(wait_for(when(state).subscribed().minimum_of(2)))
    connect(state, "b")  # must not raise here
    with pytest.raises(ZeroDivisionError):
        await broken
    await asyncio.wait_for(sound, 5)


async def test_a_forgotten_wait_leaves_nothing_behind() -> None:
    state = StreamState()
    connect(state, "a")
    await when(state).subscribed()
    gc.collect()
    assert not state.is_watched
