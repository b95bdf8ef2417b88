"""The producer's side, alone and played against the consumer's side."""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.errors import RemoteError
from mosaik_actors.streams.consuming.session import ReceiverSession
from mosaik_actors.streams.producing.fanout import (
    CONFIRM_S,
    Batch,
    FanOut,
    FramesReady,
    LaggardFound,
)
from mosaik_actors.streams.producing.limits import Rate
from mosaik_actors.streams.wire import Accepted, ack_frame, data_frame, read_ack, read_data

KB = 1024


def fan_out(**changes: Any) -> FanOut:
    settings_: dict[str, Any] = {"buffer_items": 10, "buffer_bytes": 100 * KB, **changes}
    return FanOut(**settings_)


def batch(item_count: int, byte_count: int = 10) -> Batch:
    return Batch(item_count, (bytes(byte_count),))


def events(core: FanOut) -> list[Any]:
    found = []
    while (event := core.next_event()) is not None:
        found.append(event)
    return found


def sequences(found: list[Any], key: str) -> list[int]:
    return [
        read_data(frame)[0]
        for event in found
        if isinstance(event, FramesReady) and event.key == key
        for frame in event.frames
    ]


def test_all_subscribers_get_the_same_bytes_object() -> None:
    core = fan_out()
    for key in "abc":
        core.subscribe(key, window_items=10, window_bytes=KB)
    core.publish([batch(3)])
    frames = [event.frames[0] for event in events(core)]
    assert len(frames) == 3
    assert frames[0] is frames[1] is frames[2]


def test_a_subscriber_starts_at_its_subscription() -> None:
    core = fan_out()
    core.publish([batch(4)])
    assert core.subscribe("late", window_items=10, window_bytes=KB).sent == 4
    core.publish([batch(2)])
    assert sequences(events(core), "late") == [4]


def test_frames_beyond_the_window_wait_for_acknowledgements() -> None:
    core = fan_out()
    core.subscribe("a", window_items=4, window_bytes=KB)
    for _ in range(4):
        core.publish([batch(2)])
    assert sequences(events(core), "a") == [0, 2]
    core.receive_ack("a", 2)
    assert sequences(events(core), "a") == [4]
    core.receive_ack("a", 6)
    assert sequences(events(core), "a") == [6]
    assert core.is_drained
    assert not core.is_idle


def test_bytes_in_flight_are_bounded_too_but_one_frame_always_passes() -> None:
    core = fan_out()
    core.subscribe("a", window_items=10, window_bytes=KB)
    core.publish([batch(1, 50 * KB), batch(1), batch(1)])
    assert sequences(events(core), "a") == [0]
    core.receive_ack("a", 1)
    assert sequences(events(core), "a") == [1, 2]


def test_below_half_the_window_a_frame_of_any_size_may_follow() -> None:
    """All that is in flight may be taken by then, and no acknowledgement be due."""
    core = fan_out()
    core.subscribe("a", window_items=10, window_bytes=KB)
    core.publish([batch(1, 400), batch(1, 90 * KB), batch(1, 10)])
    assert sequences(events(core), "a") == [0, 1]


def test_the_slowest_subscriber_decides_how_much_room_there_is() -> None:
    core = fan_out()
    core.subscribe("fast", window_items=10, window_bytes=KB)
    core.subscribe("slow", window_items=2, window_bytes=KB)
    assert core.room()[0] == 10
    core.publish([batch(3), batch(3)])
    core.receive_ack("fast", 6)
    assert core.room()[0] == 4
    core.unsubscribe("slow")
    assert core.room()[0] == 10


def test_a_frame_holds_half_the_smallest_window_at_most() -> None:
    core = fan_out()
    assert core.frame_items_max == 5
    core.subscribe("a", window_items=3, window_bytes=KB)
    assert core.frame_items_max == 2


@pytest.mark.parametrize("sequence", [3, 100, -1])
def test_an_acknowledgement_of_what_was_not_sent_breaks_the_rules(sequence: int) -> None:
    core = fan_out()
    core.subscribe("a", window_items=10, window_bytes=KB)
    core.publish([batch(2)])
    with pytest.raises(RemoteError, match=f"acknowledged {sequence}, expected 0 to 2"):
        core.receive_ack("a", sequence)
    core.receive_ack("a", 2)
    with pytest.raises(RemoteError, match="acknowledged 1"):
        core.receive_ack("a", 1)  # acknowledgements never go back


def test_a_laggard_that_blocks_for_the_grace_is_removed() -> None:
    core = fan_out(lag_grace_s=0.5)
    core.subscribe("stalled", window_items=10, window_bytes=KB)
    core.subscribe("healthy", window_items=10, window_bytes=KB)
    core.publish([batch(5), batch(5)])
    core.receive_ack("healthy", 10)
    events(core)
    assert core.get_timer() is None  # it is behind, but holds nobody up yet
    core.note_blocked(now=1.0)
    assert core.get_timer() == 1.5
    core.handle_timer(now=1.49)
    assert events(core) == []
    core.handle_timer(now=1.5)
    assert events(core) == []  # perhaps it was us who stood still
    assert core.get_timer() == 1.5 + CONFIRM_S
    core.handle_timer(now=1.5 + CONFIRM_S)
    assert events(core) == [LaggardFound("stalled", 10)]
    assert core.room()[0] == 10


def test_a_producer_that_stood_still_does_not_blame_its_consumers() -> None:
    core = fan_out(lag_grace_s=0.5)
    core.subscribe("healthy", window_items=10, window_bytes=KB)
    core.publish([batch(5), batch(5)])
    events(core)
    core.note_blocked(now=1.0)
    core.handle_timer(now=60.0)  # the process was stopped for a minute
    core.receive_ack("healthy", 10)  # what lay in the socket meanwhile
    core.handle_timer(now=60.0 + CONFIRM_S)
    assert events(core) == []
    assert core.get_timer() is None


def test_a_subscriber_that_takes_something_is_not_a_laggard() -> None:
    core = fan_out(lag_grace_s=0.5)
    core.subscribe("slow", window_items=10, window_bytes=KB)
    core.publish([batch(5), batch(5)])
    core.note_blocked(now=1.0)
    core.receive_ack("slow", 5)
    assert core.get_timer() is None
    core.publish([batch(5)])
    core.note_blocked(now=1.4)
    assert core.get_timer() == pytest.approx(1.9)


@pytest.mark.parametrize("window_items", [1, 2, 10])
def test_a_subscriber_that_takes_less_than_half_in_the_grace_is_a_laggard(
    window_items: int,
) -> None:
    core = fan_out(lag_grace_s=1.0)
    core.subscribe("slow", window_items=window_items, window_bytes=KB)
    core.publish([batch(1)] * 10)
    core.note_blocked(now=1.0)
    for taken in range(1, 5):  # one item at a time, four in all, each soon enough
        core.receive_ack("slow", taken, now=1.0 + taken / 5)
        core.publish([batch(1)])
        core.note_blocked(now=1.0 + taken / 5)
        assert core.get_timer() == 2.0
    core.handle_timer(now=2.0)
    core.receive_ack("slow", 4, now=2.0)
    core.handle_timer(now=2.0 + CONFIRM_S)
    assert LaggardFound("slow", 10) in events(core)


def test_half_of_what_it_may_be_behind_earns_a_new_grace_in_bytes_too() -> None:
    core = fan_out(lag_grace_s=1.0, buffer_items=1000, buffer_bytes=10 * KB)
    core.subscribe("slow", window_items=1000, window_bytes=10 * KB)
    core.publish([batch(1, KB)] * 10)
    core.note_blocked(now=1.0)
    core.receive_ack("slow", 4, now=1.5)
    assert core.get_timer() == 2.0
    core.receive_ack("slow", 5, now=1.6)
    assert core.get_timer() is None


def test_without_grace_a_laggard_is_removed_at_once() -> None:
    core = fan_out(lag_grace_s=0)
    core.subscribe("stalled", window_items=10, window_bytes=KB)
    core.publish([batch(5), batch(5)])
    events(core)
    core.note_blocked(now=1.0)
    assert events(core) == [LaggardFound("stalled", 10)]


def test_by_policy_everybody_waits_for_the_slowest() -> None:
    core = fan_out(disconnect_lagging=False)
    core.subscribe("stalled", window_items=10, window_bytes=KB)
    core.publish([batch(5), batch(5)])
    events(core)
    core.note_blocked(now=1.0)
    core.handle_timer(now=1e9)
    assert core.get_timer() is None
    assert events(core) == []
    assert core.room()[0] == 0


def test_what_no_longer_blocks_has_no_timer() -> None:
    core = fan_out()
    core.subscribe("stalled", window_items=10, window_bytes=KB)
    core.publish([batch(5), batch(5)])
    core.note_blocked(now=1.0)
    core.note_unblocked()
    assert core.get_timer() is None


def accepted(**changes: int) -> Accepted:
    return Accepted(
        **{"start": 1, "first_sequence": 0, "window_items": 10, "window_bytes": 64 << 20, **changes}
    )


def test_in_a_small_window_an_acknowledgement_is_due_when_half_is_taken() -> None:
    session = ReceiverSession(accepted())
    session.receive_frame(data_frame(0, 4, b"x"))
    session.receive_frame(data_frame(4, 4, b"x"))
    assert session.make_ack() is None  # received, but nothing is taken
    assert not session.take(4, 14)
    assert session.take(4, 14)
    assert session.make_ack() == 8
    assert session.make_ack() is None


@pytest.mark.parametrize(
    ("window_items", "due_items"), [(1, 1), (64, 32), (300, 64), (1024, 128), (16_384, 2048)]
)
def test_an_acknowledgement_is_due_after_an_eighth_of_the_window(
    window_items: int, due_items: int
) -> None:
    """Producers are ready for half a window: it is never due later than that."""
    session = ReceiverSession(accepted(window_items=window_items))
    for n in range(due_items):
        session.receive_frame(data_frame(n, 1, b"x"))
        assert session.take(1, 14) is (n == due_items - 1)
    assert due_items <= max(1, window_items // 2)


def test_an_eighth_of_the_bytes_taken_makes_an_acknowledgement_due() -> None:
    session = ReceiverSession(accepted(window_bytes=16 << 20))
    for n in range(2):
        frame = data_frame(n, 1, bytes(1 << 20))
        session.receive_frame(frame)
        assert session.take(1, len(frame)) is (n == 1)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (data_frame(3, 1, b""), "items from 3 on, expected 2"),
        (data_frame(1, 1, b""), "items from 1 on, expected 2"),  # a duplicate
        (data_frame(2, 9, b""), "9 items"),
        (data_frame(2, 1, bytes(2 * KB)), "the window is 10 items and 1024 bytes"),
        (ack_frame(2), "a data frame of 9 bytes"),
        (b"\x07" + bytes(20), "kind 7"),
    ],
)
def test_a_producer_that_breaks_sequence_or_credit_is_refused(frame: bytes, reason: str) -> None:
    session = ReceiverSession(accepted(window_bytes=KB))
    session.receive_frame(data_frame(0, 2, bytes(600)))
    with pytest.raises(RemoteError, match=reason) as caught:
        session.receive_frame(frame)
    assert caught.value.close_code == 400
    session.receive_frame(data_frame(2, 2, b""))  # nothing changed


class Consumer:
    """A consumer with links that keep order, and an application that takes at its own pace."""

    def __init__(self, core: FanOut, key: str, window_items: int, window_bytes: int) -> None:
        self.key = key
        self.core = core
        subscription = core.subscribe(key, window_items=window_items, window_bytes=window_bytes)
        self.first = subscription.sent
        self.session = ReceiverSession(
            Accepted(
                start=1,
                first_sequence=subscription.sent,
                window_items=subscription.window_items,
                window_bytes=subscription.window_bytes,
            )
        )
        self.to_consumer: deque[bytes] = deque()
        self.to_producer: deque[bytes] = deque()
        self.inbox: deque[tuple[int, int]] = deque()
        self.received: list[int] = []

    def arrive(self) -> None:
        if self.to_consumer:
            frame = self.to_consumer.popleft()
            first, count, _ = read_data(frame)
            self.session.receive_frame(frame)
            self.received += range(first, first + count)
            self.inbox.append((count, len(frame)))

    def take(self) -> None:
        if self.inbox and self.session.take(*self.inbox.popleft()):
            sequence = self.session.make_ack()
            assert sequence is not None
            self.to_producer.append(ack_frame(sequence))

    def acknowledge(self) -> None:
        if self.to_producer:
            self.core.receive_ack(self.key, read_ack(self.to_producer.popleft()))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**9),
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 3000)), min_size=1, max_size=3),
    st.integers(100, 3000),
)
def test_every_subscriber_gets_everything_once_in_order_and_nothing_stalls(
    seed: int, buffer_items: int, windows: list[tuple[int, int]], buffer_bytes: int
) -> None:
    rng = Random(seed)
    core = FanOut(buffer_items=buffer_items, buffer_bytes=buffer_bytes, disconnect_lagging=False)
    consumers = {
        str(n): Consumer(core, str(n), items, size) for n, (items, size) in enumerate(windows)
    }
    total = 60

    def publish() -> None:
        items, byte_room = core.room()
        count = min(items, core.frame_items_max, total - core.next_sequence)
        if count <= 0 or byte_room <= 0:
            return
        lone = (
            core.publish_lone(b"\x91", bytes(rng.randint(0, 500))) if rng.random() < 0.5 else None
        )
        if lone is not None:
            (only,) = consumers.values()
            only.to_consumer.append(lone[0])
        else:
            core.publish([Batch(rng.randint(1, count), (bytes(rng.randint(0, 500)),))])

    def pump() -> None:
        while (event := core.next_event()) is not None:
            assert isinstance(event, FramesReady)
            assert isinstance(event.key, str)
            consumers[event.key].to_consumer.extend(event.frames)

    def step(action: int) -> None:
        if action == 0:
            publish()
        else:
            consumer = rng.choice(list(consumers.values()))
            (consumer.arrive, consumer.take, consumer.acknowledge)[action - 1]()
        pump()
        for subscription in core.subscriptions.values():
            assert subscription.behind_items <= buffer_items

    for _ in range(300):
        step(rng.randrange(4))
    # With everybody willing, all must arrive, whatever the windows.
    for _ in range(total * 40):
        if (
            core.next_sequence == total
            and all(not c.to_consumer and not c.inbox for c in consumers.values())
            and core.is_drained
        ):
            break
        for action in range(4):
            publish() if action == 0 else None
            for consumer in consumers.values():
                consumer.arrive()
                consumer.take()
                consumer.acknowledge()
            pump()
    for consumer in consumers.values():
        assert consumer.received == list(range(consumer.first, total))


def test_a_lone_item_takes_the_short_way_only_where_nothing_else_decides() -> None:
    core = fan_out()
    core.subscribe("a", window_items=3, window_bytes=KB)
    found = core.publish_lone(b"ab", b"cd")
    assert found == (data_frame(0, 1, b"abcd"), 17)
    core.publish([batch(1)])
    assert core.publish_lone(b"", b"") is None  # it would overtake what is to be written
    assert sequences(events(core), "a") == [1]
    assert core.publish_lone(b"", bytes(2 * KB)) is None  # beyond the window, in bytes
    assert core.publish_lone(b"", b"") is not None
    assert core.publish_lone(b"", b"") is None  # and in items
    core.receive_ack("a", 3)
    assert core.is_idle
    core.subscribe("b", window_items=3, window_bytes=KB)
    assert core.publish_lone(b"", b"") is None
    core.unsubscribe("a")
    assert core.publish_lone(b"", b"") is not None
    core.unsubscribe("b")
    assert core.publish_lone(b"", b"") is None
    core.subscribe("c", window_items=3, window_bytes=KB, filter_group="odd")
    assert core.publish_lone(b"", b"") is None
    slow = fan_out(consumer_rate=Rate(items=1))
    slow.subscribe("a", window_items=3, window_bytes=KB)
    assert slow.publish_lone(b"", b"") is None


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**9), st.booleans())
def test_each_filter_group_is_a_stream_of_its_own_while_subscribers_come_and_go(
    seed: int, has_rates: bool
) -> None:
    rng = Random(seed)
    rates = {"consumer_rate": Rate(items=400), "total_rate": Rate(bytes=60_000)}
    core = fan_out(buffer_items=12, disconnect_lagging=False, **(rates if has_rates else {}))
    sessions: dict[int, ReceiverSession] = {}
    wanted: dict[int, list[int]] = {}
    got: dict[int, list[int]] = {}
    held: dict[int, deque[tuple[int, int]]] = {}
    now, value = 0.0, 0

    def filter_group_of(key: int) -> int | None:
        return None if key % 4 == 0 else key % 4

    def join(key: int) -> None:
        subscription = core.subscribe(
            key, window_items=8, window_bytes=1000, filter_group=filter_group_of(key), now=now
        )
        sessions[key] = ReceiverSession(
            Accepted(
                start=1,
                first_sequence=subscription.sent,
                window_items=subscription.window_items,
                window_bytes=subscription.window_bytes,
            )
        )
        wanted[key], got[key], held[key] = [], [], deque()

    def publish() -> None:
        nonlocal value
        room = core.room()
        if not min(room) or not sessions:
            return
        count = min(rng.randint(1, 5), room[0], core.frame_items_max)
        values = list(range(value, value + count))
        value += count
        for filter_group in dict.fromkeys(map(filter_group_of, sessions)):
            share = [one % 250 for one in values if filter_group is None or one % filter_group == 0]
            if share:
                core.publish(
                    [Batch(len(share), (bytes(share),))], filter_group=filter_group, now=now
                )
        for key in sessions:
            filter_group = filter_group_of(key)
            wanted[key] += [
                one % 250 for one in values if filter_group is None or one % filter_group == 0
            ]

    def pump() -> None:
        while (event := core.next_event()) is not None:
            assert isinstance(event, FramesReady)
            key = event.key
            if key in sessions:
                for frame in event.frames:
                    item_count, data = sessions[key].receive_frame(frame)
                    got[key] += list(data)
                    held[key].append((item_count, len(frame)))

    def take(key: int) -> None:
        if held[key] and sessions[key].take(*held[key].popleft()):
            sequence = sessions[key].make_ack()
            assert sequence is not None
            core.receive_ack(key, sequence, now=now)

    def leave(key: int) -> None:
        core.unsubscribe(key)
        assert got[key] == wanted[key][: len(got[key])]
        del sessions[key]

    keys = iter(range(1, 1000))
    for _ in range(400):
        action = rng.random()
        if action < 0.05 or not sessions:
            join(next(keys))
        elif action < 0.07:
            leave(rng.choice(list(sessions)))
        elif action < 0.5:
            publish()
        else:
            take(rng.choice(list(sessions)))
        now += rng.choice([0.0, 0.001, 0.01])
        core.handle_timer(now=now)
        pump()
    # In the end everybody has what its filter group got since it came.
    for _ in range(3000):
        for key in sessions:
            take(key)
        now += 0.01
        core.handle_timer(now=now)
        pump()
    assert {key: got[key] for key in sessions} == {key: wanted[key] for key in sessions}
