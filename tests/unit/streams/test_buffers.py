"""The two buffers between handles and actors: outbox and inbox."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.errors import Empty
from mosaik_actors.runtime.resuming import resume
from mosaik_actors.streams.consuming.inbox import PAUSE_ITEMS, Inbox
from mosaik_actors.streams.consuming.session import ReceiverSession
from mosaik_actors.streams.producing.encoded import single_items
from mosaik_actors.streams.producing.encoding import ItemEncoder
from mosaik_actors.streams.producing.outbox import Outbox
from mosaik_actors.streams.wire import Accepted, data_frame
from mosaik_actors.waiters import Waiters

MB = 1 << 20


def no_future(*_: Any) -> Any:
    raise AssertionError("nobody waits in this test")


def outbox(items_max: int = 4, bytes_max: int = MB) -> tuple[Outbox, list[int]]:
    wakes: list[int] = []
    box = Outbox(
        items_max=items_max,
        bytes_max=bytes_max,
        wake=lambda: wakes.append(1),
        make_future=no_future,
    )
    box.set_online(True)
    return box, wakes


def test_only_the_first_item_of_a_burst_asks_for_a_flush() -> None:
    box, wakes = outbox()
    for entry in (b"a", b"b", b"c"):
        box.append(entry)
    assert wakes == [1]
    assert box.take(10, MB) == [b"a", b"b", b"c"]
    box.append(b"d")
    assert wakes == [1, 1]


def test_an_outbox_is_bounded_and_closed_while_offline() -> None:
    box, _ = outbox(items_max=2)
    box.append(b"a")
    box.append(b"b")
    assert not box.has_room(1)
    box.set_online(False)
    assert box.take(10, MB) == [b"a", b"b"]
    assert not box.has_room(1)
    box.set_online(True)
    assert box.has_room(1)
    box.close()
    box.set_online(True)
    assert not box.has_room(1)


def test_taking_stops_at_the_room_there_is() -> None:
    box, _ = outbox(items_max=10)
    for entry in (b"aa", b"bb", b"cc", b"dd"):
        box.append(entry)
    assert box.take(0, MB) == []
    assert box.take(2, 0) == []
    assert box.take(3, 4) == [b"aa", b"bb"]
    assert box.take(10, 1) == [b"cc"]  # one at least, however large
    assert box.take(10, MB) == [b"dd"]


@pytest.mark.parametrize("size", [10, 5_000, 100_000])
def test_entries_of_any_size_are_bounded_in_bytes_but_one_always_passes(size: int) -> None:
    box, wakes = outbox(items_max=100, bytes_max=2 * size)
    entry = bytes(size)
    assert box.has_room(10 * size)
    box.append(entry)
    box.append(entry)
    assert not box.has_room(1)
    assert box.extend([entry]) == 0
    box.take(1, MB)
    assert box.has_room(size)
    assert not box.has_room(size + 1)
    assert box.extend([entry] * 3) == 1
    assert len(box.take_all()) == 2
    assert box.extend([bytes(3 * size), entry]) == 1
    assert wakes == [1, 1]
    assert box.byte_count == 3 * size


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), max_size=60))
def test_an_outbox_counts_its_bytes(steps: list[tuple[int, int]]) -> None:
    box, _ = outbox(items_max=10, bytes_max=50)
    for action, size in steps:
        if action == 0 and box.has_room(size):
            box.append(bytes(size))
        elif action == 1:
            box.extend([bytes(size), bytes(3 * size), b"x"])
        elif action == 2:
            box.take(size % 5, size)
        elif action == 3:
            box.take(10, 1000)
        assert box.byte_count == sum(map(len, box.entries))
        assert len(box.entries) <= 10
        assert box.byte_count <= 50 or len(box.entries) == 1


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("send"), st.integers(1, 9)),
            st.tuples(st.just("send_many"), st.lists(st.integers(1, 9), max_size=200)),
            st.tuples(st.just("take"), st.tuples(st.integers(0, 90), st.integers(0, 900))),
            st.tuples(st.just("online"), st.booleans()),
        ),
        max_size=40,
    )
)
def test_an_outbox_treats_runs_as_it_treats_the_items_in_them(steps: list[Any]) -> None:
    """Two outboxes, one of which gets each item as an entry of its own, do the same."""
    encoder = ItemEncoder(bytes)
    (batches, _), (items, _) = outbox(70, 700), outbox(70, 700)
    for action, value in steps:
        if action == "send":
            entry = encoder.encode(bytes(value))
            assert batches.has_room(len(entry)) == items.has_room(len(entry))
            if batches.has_room(len(entry)):
                batches.append(entry)
                items.append(entry)
        elif action == "send_many":
            entries = encoder.encode_many([bytes(size) for size in value])
            single = single_items(entries)
            done = batches.extend(entries)
            rest = single_items(entries[done:])
            assert rest == single[items.extend(list(single)) :]
        elif action == "take":
            taken: list[Any] = batches.take(*value)
            assert single_items(taken) == items.take(*value)
        else:
            batches.set_online(value)
            items.set_online(value)
        waiting: list[Any] = batches.entries
        assert single_items(waiting) == items.entries
        assert (batches.item_count, batches.byte_count) == (len(items.entries), items.byte_count)
        assert batches.is_ready == items.is_ready
        assert not batches.room or batches.room - len(batches.entries) == items.room - len(
            items.entries
        )
    everything: list[Any] = batches.take_all()
    assert single_items(everything) == items.take_all()
    assert (batches.item_count, batches.byte_count) == (0, 0)


def session(window_items: int = 10) -> ReceiverSession:
    return ReceiverSession(
        Accepted(start=1, first_sequence=0, window_items=window_items, window_bytes=64 * MB)
    )


def deliver(box: Inbox, origin: ReceiverSession, items: list[Any]) -> None:
    frame = data_frame(origin.expected, len(items), b"")
    origin.receive_frame(frame)
    box.put(origin, items.copy(), len(items), len(frame))


def test_an_acknowledgement_is_due_when_the_last_item_of_a_frame_is_taken() -> None:
    due: list[ReceiverSession] = []
    box = Inbox(on_ack_due=due.append, make_future=no_future, resume=no_future)
    origin = session(window_items=4)
    deliver(box, origin, [1, 2])
    assert (box.pop(), due) == (1, [])
    assert (box.pop(), due) == (2, [origin])
    with pytest.raises(Empty):
        box.pop()


@given(st.lists(st.lists(st.integers(), min_size=1, max_size=5), max_size=8), st.integers(0, 10**6))
def test_items_come_out_in_order_however_they_are_taken(frames: list[list[int]], seed: int) -> None:
    rng = Random(seed)
    origin = session(window_items=1000)
    box = Inbox(on_ack_due=lambda _: None, make_future=no_future, resume=no_future)
    out: list[int] = []
    for frame in frames:
        deliver(box, origin, frame)
        if rng.random() < 0.5 and not box.is_empty:
            out.append(box.pop())
        if rng.random() < 0.5:
            limit = rng.randint(1, 7)
            some = box.pop_many(limit)
            assert len(some) <= limit
            out += some
    out += box.pop_many(10**6)
    assert out == [item for frame in frames for item in frame]
    assert origin.taken == origin.expected
    assert box.is_empty


async def test_waiters_are_woken_in_order_and_cancelled_ones_pass_their_turn_on() -> None:
    waiters = Waiters(asyncio.get_running_loop().create_future)
    woken: list[int] = []

    async def wait(number: int) -> None:
        await waiters.wait()
        woken.append(number)

    tasks = [asyncio.ensure_future(wait(n)) for n in range(4)]
    await asyncio.sleep(0)
    waiters.wake(1)
    tasks[0].cancel()  # after it was woken
    tasks[2].cancel()  # while it waits
    await asyncio.wait(tasks[:3])
    assert woken == [1]
    waiters.wake_all()
    await tasks[3]
    assert woken == [1, 3]
    assert not waiters


async def test_a_wake_right_after_a_cancellation_goes_to_the_next_waiter() -> None:
    """The cancelled task has not had its turn yet when the wake takes its place away."""
    waiters = Waiters(asyncio.get_running_loop().create_future)
    first, second = (asyncio.ensure_future(waiters.wait()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    waiters.wake(1)
    await asyncio.wait([first, second], timeout=5)
    assert first.cancelled()
    assert second.done()
    assert second.exception() is None


async def test_receivers_go_on_at_once_as_far_as_there_is_something_for_them() -> None:
    loop = asyncio.get_running_loop()
    box = Inbox(on_ack_due=lambda _: None, make_future=loop.create_future, resume=resume)
    origin = session(window_items=10)
    order: list[object] = []

    async def receive(number: int) -> None:
        for _ in range(2):
            await box.receivers.wait()
            order.append((number, box.pop()))

    def go() -> None:
        box.resume_receivers()  # there is nothing
        deliver(box, origin, ["a"])
        deliver(box, origin, ["b", "c"])
        box.resume_receivers()  # who waits again, waits for the next time
        order.append("three")
        deliver(box, origin, ["d", "e"])
        box.resume_receivers()
        order.append("two")

    tasks = [asyncio.ensure_future(receive(n)) for n in range(5)]
    await asyncio.sleep(0)
    tasks[0].cancel()  # its turn is the next one's
    loop.call_soon(go)
    await asyncio.wait(tasks[:1], timeout=5)
    await asyncio.sleep(0)
    assert order == [(1, "a"), (2, "b"), (3, "c"), "three", (4, "d"), (1, "e"), "two"]
    assert [task.done() for task in tasks] == [True, True, False, False, False]
    assert len(box.receivers.waiting) == 3
    for task in tasks:
        task.cancel()


def test_a_pause_is_due_after_many_items_and_hides_the_rest_until_then() -> None:
    box = Inbox(on_ack_due=lambda _: None, make_future=no_future, resume=no_future)
    origin = session(window_items=10_000)
    deliver(box, origin, list(range(PAUSE_ITEMS)))
    deliver(box, origin, [-1, -2])
    box.pop_many(PAUSE_ITEMS)
    assert (box.is_pause_due, box.items, box.is_empty) == (True, [], False)
    box.resume()
    assert (box.is_pause_due, box.items, box.is_empty) == (False, [-2, -1], False)
