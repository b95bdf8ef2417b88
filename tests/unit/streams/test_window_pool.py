"""One window for all producers of a consumer, with the cores of both sides."""

from __future__ import annotations

from collections import deque
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.errors import RemoteError
from mosaik_actors.streams.config import SHARE_ITEMS_MIN
from mosaik_actors.streams.consuming.session import ReceiverSession
from mosaik_actors.streams.consuming.window_pool import WindowPool, WindowWanted
from mosaik_actors.streams.producing.fanout import (
    Batch,
    FanOut,
    FramesReady,
    LaggardFound,
    WindowChanged,
)
from mosaik_actors.streams.wire import (
    Accepted,
    Window,
    is_window,
    read_data,
    read_window,
    window_frame,
)

MB = 1 << 20


class Line:
    """One producer and its link to the consumer, both ways in order."""

    def __init__(self, buffer_items: int) -> None:
        self.core = FanOut(buffer_items=buffer_items, buffer_bytes=MB, disconnect_lagging=False)
        self.session: ReceiverSession | None = None
        self.downward: deque[bytes] = deque()
        self.upward: deque[int | Window] = deque()
        self.inbox: deque[tuple[int, int]] = deque()

    def subscribe(self, asked: Window) -> ReceiverSession:
        granted = self.core.subscribe("c", window_items=asked.items, window_bytes=asked.bytes)
        accepted = Accepted(
            start=1,
            first_sequence=granted.sent,
            window_items=granted.window_items,
            window_bytes=granted.window_bytes,
        )
        self.session = ReceiverSession(accepted, asked)
        return self.session

    def publish(self, count: int, size: int = 10) -> None:
        if self.session is None or self.session.is_over:
            return
        count = min(count, self.core.room()[0])
        while count > 0:
            part = min(count, self.core.frame_items_max)
            self.core.publish([Batch(part, (bytes(size),))])
            count -= part
        self.pump()

    def pump(self) -> None:
        while (event := self.core.next_event()) is not None:
            if isinstance(event, FramesReady):
                self.downward.extend(event.frames)
            elif isinstance(event, WindowChanged):
                self.downward.append(window_frame(event.window))
            else:
                assert not isinstance(event, LaggardFound)

    def arrive(self) -> None:
        session = self.session
        if not self.downward or session is None or session.is_over:
            return
        frame = self.downward.popleft()
        if is_window(frame):
            session.receive_window(read_window(frame))
            self.acknowledge()
        else:
            session.receive_frame(frame)
            self.inbox.append((read_data(frame)[1], len(frame)))

    def take(self) -> None:
        assert self.session is not None
        if self.inbox and self.session.take(*self.inbox.popleft()):
            self.acknowledge()

    def acknowledge(self) -> None:
        assert self.session is not None
        sequence = self.session.make_ack()
        if sequence is not None and not self.session.is_over:
            self.upward.append(sequence)

    def hear(self) -> None:
        if self.upward:
            word = self.upward.popleft()
            if isinstance(word, Window):
                self.core.change_window("c", word)
            else:
                self.core.receive_ack("c", word)
            self.pump()

    @property
    def waiting_items(self) -> int:
        return sum(count for count, _ in self.inbox)


class Consumer:
    """A pool, and the lines to all producers."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.pool = WindowPool(window)
        self.lines: list[Line] = []
        self.wanted: list[Line] = []

    def want(self, line: Line) -> None:
        self.lines.append(line)
        self.wanted.append(line)

    def open_wanted(self) -> None:
        while self.wanted:
            line = self.wanted[0]
            window = self.pool.reserve(line, waiting_count=len(self.wanted))
            if window is None:
                break
            self.wanted.pop(0)
            self.pool.open(line, line.subscribe(window))
        for change in self.pool.next_changes(waiting_count=len(self.wanted)):
            (line,) = [one for one in self.lines if one.session is change.session]
            line.upward.append(change.window)

    def end(self, line: Line) -> None:
        if line.session is not None and not line.session.is_over:
            line.core.unsubscribe("c")
            line.downward.clear()
            self.pool.end(line.session)

    @property
    def is_done(self) -> bool:
        return not self.wanted and all(
            line.core.is_drained and not line.downward and not line.inbox for line in self.lines
        )

    def check(self) -> None:
        standing = sum(one.session is not None and not one.session.is_over for one in self.lines)
        bound = max(self.window.items, SHARE_ITEMS_MIN * (standing + len(self.wanted)))
        assert sum(line.waiting_items for line in self.lines) <= bound


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 12), st.sampled_from([64, 128, 1000]))
def test_all_producers_share_one_window_and_all_get_through(
    seed: int, line_count: int, window_items: int
) -> None:
    rng = Random(seed)
    consumer = Consumer(Window(window_items, MB))
    for _ in range(line_count):
        consumer.want(Line(rng.choice([50, 1024])))
    for _ in range(300):
        line = rng.choice(consumer.lines)
        match rng.randrange(7):
            case 0:
                line.publish(rng.randint(1, 200))
            case 1 | 2:
                line.arrive()
            case 3:
                if line.inbox:
                    line.take()
            case 4 | 5:
                line.hear()
            case _ if rng.random() < 0.2:
                consumer.end(line)
                consumer.want(Line(rng.choice([50, 1024])))
        consumer.open_wanted()
        consumer.check()
    # Once the application takes what comes, everybody gets in, and everything through.
    for _ in range(2000):
        if consumer.is_done:
            break
        for line in consumer.lines:
            line.arrive()
            if line.inbox:
                line.take()
            line.hear()
        consumer.open_wanted()
        consumer.check()
    assert consumer.is_done


def test_nobody_is_subscribed_to_while_an_ended_subscription_fills_the_window() -> None:
    consumer = Consumer(Window(128, MB))
    first = Line(1024)
    consumer.want(first)
    for _ in range(20):
        consumer.open_wanted()
        first.publish(8)
        first.hear()
        first.arrive()
    assert first.waiting_items == 128
    for _ in range(5):
        consumer.end(first)
        again = Line(1024)
        consumer.want(again)
        consumer.open_wanted()
        assert consumer.wanted == [again]
        consumer.lines.remove(again)
        consumer.wanted.clear()
    assert consumer.pool.waiting.items == 128
    # Half a window is free again when half of it was taken.
    again = Line(1024)
    consumer.want(again)
    while first.waiting_items > 64:
        consumer.open_wanted()
        assert consumer.wanted
        first.take()
    consumer.open_wanted()
    assert not consumer.wanted


def test_a_window_of_bytes_is_shared_too() -> None:
    consumer = Consumer(Window(10_000, 256 * 1024))
    lines = [Line(1024) for _ in range(4)]
    for line in lines:
        consumer.want(line)
    for _ in range(100):
        consumer.open_wanted()
        for line in lines:
            line.publish(1, size=1024)
            line.hear()
            line.arrive()
    waiting = [sum(size for _, size in line.inbox) for line in lines]
    assert sum(waiting) <= 256 * 1024
    assert min(waiting) > 32 * 1024


def test_a_newcomer_makes_the_others_make_do_with_less_and_they_get_it_back() -> None:
    consumer = Consumer(Window(128, MB))
    first, second = Line(1024), Line(1024)
    consumer.want(first)
    consumer.open_wanted()
    assert first.session is not None
    consumer.open_wanted()
    first.hear()
    first.arrive()
    assert first.session.window.items == 128
    consumer.want(second)
    consumer.open_wanted()
    assert first.session.asked == Window(64, MB // 2)
    assert consumer.wanted == [second]
    first.hear()
    first.arrive()
    consumer.open_wanted()
    assert not consumer.wanted
    consumer.end(second)
    consumer.open_wanted()
    assert first.session.asked == Window(128, MB)


def test_one_that_cannot_be_opened_leaves_room_for_others() -> None:
    pool = WindowPool(Window(1024, MB))
    reserved: list[int] = []
    while (window := pool.reserve(len(reserved), waiting_count=1)) is not None:
        reserved.append(window.items)
    assert reserved[:2] == [512, 256]
    assert sum(reserved) <= 1024
    pool.release(0)
    assert pool.reserve("other", waiting_count=1) is not None


def test_a_producer_that_takes_more_than_was_asked_for_breaks_the_rules() -> None:
    accepted = Accepted(start=1, first_sequence=0, window_items=64, window_bytes=1000)
    session = ReceiverSession(accepted, Window(64, 1000))
    with pytest.raises(RemoteError, match="asked for None"):
        session.receive_window(Window(64, 1000))
    session.ask_window(Window(32, 1000))
    with pytest.raises(RemoteError, match="asked for"):
        session.receive_window(Window(33, 1000))
    session.receive_window(Window(30, 1000))
    assert session.limit.items == 30


def test_the_larger_window_is_in_force_until_the_producer_answered() -> None:
    accepted = Accepted(start=1, first_sequence=0, window_items=64, window_bytes=1000)
    session = ReceiverSession(accepted)
    session.ask_window(Window(16, 100))
    assert session.held == Window(64, 1000)
    session.receive_window(Window(16, 100))
    assert session.held == Window(16, 100)
    session.ask_window(Window(20, 2000))
    assert session.held == Window(20, 2000)


def test_a_smaller_window_waits_for_the_frames_that_were_cut_for_the_larger_one() -> None:
    core = FanOut(buffer_items=100, buffer_bytes=MB)
    core.subscribe("c", window_items=64, window_bytes=MB)
    for _ in range(3):
        core.publish([Batch(32, (b"",))])
    while core.next_event() is not None:
        pass
    core.change_window("c", Window(16, MB))
    assert core.next_event() is None  # one frame of 32 waits
    assert core.frame_items_max == 8
    core.receive_ack("c", 32)
    frames, changed = core.next_event(), core.next_event()
    assert isinstance(frames, FramesReady)
    assert frames.item_count == 32
    assert changed == WindowChanged("c", Window(16, MB))


def test_a_wanted_change_names_its_session() -> None:
    pool = WindowPool(Window(1024, MB))
    window = pool.reserve("a", waiting_count=1)
    assert window is not None
    session = ReceiverSession(
        Accepted(start=1, first_sequence=0, window_items=window.items, window_bytes=window.bytes),
        window,
    )
    pool.open("a", session)
    assert pool.next_changes(waiting_count=0) == [WindowWanted(session, Window(1024, MB))]
    assert pool.next_changes(waiting_count=0) == []  # one question at a time
