from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any

import pytest

from mosaik_actors.errors import Closed
from mosaik_actors.streams.board import Board, Channel
from mosaik_actors.streams.conditions import Condition, Wait, When

from .fakes import NETWORK, peer, peer_id


def connect(board: Board, name: str, *tags: str) -> None:
    board.channels[name] = Channel(
        stream_id=NETWORK,
        producer_id=peer_id("me"),
        consumer_id=peer_id(name),
        peer=peer(name, tags),
        now=0.0,
    )
    board.publish(is_online=True)


def disconnect(board: Board, name: str) -> None:
    del board.channels[name]
    board.publish(is_online=bool(board.channels))


def when(board: Board) -> When:
    return When(board, asyncio.get_running_loop().create_future)


async def started(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Return a task that ran until it waits."""
    task = asyncio.ensure_future(coroutine)
    await asyncio.sleep(0)
    return task


async def wait_for(wait: Wait) -> None:
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
    board = Board()
    connect(board, "a", "validator")
    await asyncio.wait_for(wait_for(when(board).online()), 1)
    await asyncio.wait_for(wait_for(when(board).subscribed().with_tags("validator")), 1)
    assert when(board).offline().is_met is False
    assert when(board).unsubscribed().is_met is False
    assert when(board).unsubscribed().unmet().is_met is True
    assert when(board).online().unmet().is_met is False


async def test_waiting_ends_when_enough_peers_are_there() -> None:
    board = Board()
    waiting = await started(wait_for(when(board).subscribed().minimum_of(2)))
    connect(board, "a")
    await asyncio.sleep(0)
    assert not waiting.done()
    connect(board, "b")
    await asyncio.wait_for(waiting, 1)


async def test_awaiting_again_waits_for_the_next_time_it_comes_true() -> None:
    board = Board()
    connect(board, "a")
    wait = when(board).subscribed()
    await wait
    again = await started(wait_for(wait))
    connect(board, "b")  # still true: not a new time
    await asyncio.sleep(0)
    assert not again.done()
    disconnect(board, "a")
    disconnect(board, "b")
    connect(board, "c")
    await asyncio.wait_for(again, 1)


async def test_a_short_absence_between_two_awaits_is_not_missed() -> None:
    board = Board()
    connect(board, "a")
    wait = when(board).subscribed()
    await wait
    disconnect(board, "a")
    connect(board, "a")
    await asyncio.wait_for(wait_for(wait), 1)


async def test_several_waiters_of_one_condition_are_all_woken() -> None:
    board = Board()
    wait = when(board).online()
    waiting = [await started(wait_for(wait)) for _ in range(3)]
    connect(board, "a")
    await asyncio.wait_for(asyncio.gather(*waiting), 1)


async def test_a_waiter_can_be_cancelled_and_the_others_do_not_notice() -> None:
    board = Board()
    wait = when(board).online()
    first, second = await started(wait_for(wait)), await started(wait_for(wait))
    first.cancel()
    await asyncio.sleep(0)
    assert first.cancelled()
    connect(board, "a")
    await asyncio.wait_for(second, 1)


async def test_a_waiter_cancelled_as_it_is_woken_loses_nothing() -> None:
    board = Board()
    wait = when(board).online()
    waiting = await started(wait_for(wait))
    connect(board, "a")
    waiting.cancel()
    await asyncio.sleep(0)
    assert waiting.cancelled()
    await asyncio.wait_for(wait_for(wait), 1)


async def test_closing_ends_every_wait() -> None:
    board = Board()
    connect(board, "a")
    hopeless = await started(wait_for(when(board).subscribed().minimum_of(2)))
    offline = await started(wait_for(when(board).offline()))
    board.channels.clear()
    board.close()
    with pytest.raises(Closed):
        await hopeless
    await offline
    with pytest.raises(Closed):
        await when(board).online()


async def test_a_predicate_that_raises_concerns_only_who_waits_for_it() -> None:
    board = Board()
    connect(board, "a")
    calls = 0

    def fails_later(_peer: object) -> bool:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise ZeroDivisionError("the user's own mistake")
        return False

    broken = await started(wait_for(when(board).subscribed().with_predicate(fails_later)))
    sound = await started(wait_for(when(board).subscribed().minimum_of(2)))
    connect(board, "b")  # must not raise here
    with pytest.raises(ZeroDivisionError):
        await broken
    await asyncio.wait_for(sound, 5)


async def test_online_takes_no_refinement() -> None:
    with pytest.raises(TypeError, match="use subscribed"):
        when(Board()).online().minimum_of(2)


async def test_a_forgotten_wait_leaves_nothing_behind() -> None:
    board = Board()
    connect(board, "a")
    await when(board).subscribed()
    gc.collect()
    assert not board._listeners
