"""Which way datagrams go: two selectors and the network between them, step by step."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count, pairwise

import pytest

from mosaik_actors.transport.address import SocketAddr
from mosaik_actors.transport.paths.candidates import CANDIDATES_MAX
from mosaik_actors.transport.paths.probes import ANSWER_BYTES, PROBE_BYTES_MIN, PathKey, PathProbe
from mosaik_actors.transport.paths.selector import (
    ANSWERS_MAX,
    DOUBT_RETRY_S,
    KEEP_S,
    KEEP_UNUSED_S,
    LOST_MAX,
    OFFER_MAX_S,
    OFFER_MIN_S,
    RETRY_S,
    ROUNDS_S,
    SEEN_MAX,
    OfferDue,
    PathSelector,
    SendTo,
    WayChanged,
    Withdraw,
)
from mosaik_actors.transport.quic.path_mtu import BASE

A, B, EVIL = ("192.0.2.1", 1), ("192.0.2.2", 1), ("198.51.100.1", 1)
SECRET = bytes(32)
KEY_A, KEY_B = PathKey(SECRET, b"a", b"b"), PathKey(SECRET, b"b", b"a")
LIMIT = 1452
PROBE_BYTE = KEY_A.probe(1)[0]


def make(*, opens: bool = False, limit: int = LIMIT) -> PathSelector:
    return PathSelector(lambda _addr: True, lambda _addr: limit, opens=opens, now=0.0)


def sent(selector: PathSelector) -> list[SendTo]:
    return [event for event in selector.next_events() if isinstance(event, SendTo)]


@dataclass
class Pair:
    """Two selectors, and what their network does to what they send."""

    carries: Callable[[SocketAddr, SocketAddr, int], bool] = lambda _source, _target, _size: True
    delay_s: Callable[[SocketAddr], float] = lambda _target: 0.01
    candidates: tuple[tuple[SocketAddr, ...], tuple[SocketAddr, ...]] = ((B,), (A,))
    now: float = 0.0
    a: PathSelector = field(default_factory=lambda: make(opens=True))
    b: PathSelector = field(default_factory=make)
    changes: list[tuple[str, SocketAddr | None]] = field(default_factory=list)
    offers_at: list[float] = field(default_factory=list)
    probe_count: int = 0

    def __post_init__(self) -> None:
        self._on_way: list[tuple[float, int, SocketAddr, SendTo]] = []
        self._count = count()

    @property
    def ways(self) -> tuple[SocketAddr | None, SocketAddr | None]:
        return self.a.direct, self.b.direct

    def begin(self) -> None:
        self.a.receive_offer(KEY_A, self.candidates[0], now=self.now)
        self.b.receive_offer(KEY_B, self.candidates[1], now=self.now)
        self.collect()

    def run_for(self, seconds: float) -> None:
        until = self.now + seconds
        while True:
            timers = [one.get_timer() for one in (self.a, self.b)]
            due = [at for at in timers if at is not None] + [at for at, *_ in self._on_way]
            if not due or min(due) > until:
                self.now = until
                return
            self.now = max(self.now, min(due))
            self._deliver()
            for one in (self.a, self.b):
                one.handle_timer(now=self.now)
            self.collect()

    def _deliver(self) -> None:
        ready = sorted(one for one in self._on_way if one[0] <= self.now)
        self._on_way = [one for one in self._on_way if one[0] > self.now]
        for _, _, source, event in ready:
            if event.remote[0] == A[0]:
                self.a.receive_datagram(event.data, source, now=self.now)
            elif event.remote[0] == B[0]:
                self.b.receive_datagram(event.data, source, now=self.now)

    def collect(self) -> None:
        for name, one, source in (("a", self.a, A), ("b", self.b, B)):
            for event in one.next_events():
                if isinstance(event, WayChanged):
                    self.changes.append((name, event.remote))
                elif isinstance(event, OfferDue):
                    self.offers_at.append(self.now)
                elif isinstance(event, SendTo) and self.carries(
                    source, event.remote, len(event.data)
                ):
                    self.probe_count += event.data[0] == PROBE_BYTE
                    at = self.now + self.delay_s(event.remote)
                    self._on_way.append((at, next(self._count), source, event))


def test_both_sides_take_the_way_that_answers_and_find_out_what_it_carries() -> None:
    pair = Pair()
    pair.begin()
    assert pair.a.direct is None
    pair.run_for(5)
    assert pair.ways == (B, A)
    assert pair.a.direct_bytes == pair.b.direct_bytes == LIMIT
    assert pair.a.comes_from_peer(B)
    assert not pair.a.comes_from_peer(EVIL)
    assert not pair.a.is_searching


def test_who_is_named_nowhere_is_found_by_its_own_probes() -> None:
    """As behind a symmetric NAT: the address that comes through was in no offer."""
    pair = Pair(candidates=((), (A,)))
    pair.begin()
    pair.run_for(5)
    assert pair.ways == (B, A)


def test_a_way_that_carries_in_one_direction_only_is_not_taken() -> None:
    pair = Pair(carries=lambda source, _target, _size: source == A)
    pair.begin()
    pair.run_for(30)
    assert pair.ways == (None, None)


def test_a_way_that_is_too_narrow_for_quic_is_not_taken() -> None:
    pair = Pair(carries=lambda _source, _target, size: size < BASE)
    pair.begin()
    pair.run_for(30)
    assert pair.a.direct is None


def test_a_way_that_dies_is_given_up_and_taken_again() -> None:
    pair = Pair()
    pair.begin()
    pair.run_for(5)
    pair.carries = lambda _source, _target, _size: False
    pair.run_for(KEEP_UNUSED_S + (LOST_MAX + 1) * RETRY_S)
    assert pair.changes[-2:] == [("a", None), ("b", None)]
    pair.carries = lambda _source, _target, _size: True
    pair.a.begin(now=pair.now)
    pair.run_for(1)
    assert pair.ways == (B, A)


def test_a_way_that_is_used_is_given_up_within_a_few_seconds() -> None:
    pair = Pair()
    pair.begin()
    pair.run_for(7)
    pair.carries = lambda _source, _target, _size: False
    pair.a.receive_use(now=pair.now)
    pair.run_for(KEEP_S + LOST_MAX * RETRY_S)
    assert pair.a.direct is None
    assert KEEP_S + LOST_MAX * RETRY_S <= 4


def test_a_way_that_swallows_large_datagrams_is_dead_too() -> None:
    pair = Pair()
    pair.begin()
    pair.run_for(5)
    assert pair.a.direct_bytes == LIMIT
    pair.carries = lambda _source, _target, size: size <= BASE
    pair.run_for(KEEP_UNUSED_S + (LOST_MAX + 2) * RETRY_S)
    assert ("a", None) in pair.changes
    pair.run_for(1)
    assert pair.a.direct == B  # with what it carries now
    assert pair.a.direct_bytes == BASE


def test_the_nearer_of_two_ways_is_taken() -> None:
    far = ("192.0.2.2", 2)
    pair = Pair(candidates=((far, B), (A,)), delay_s=lambda target: 0.3 if target == far else 0.02)
    pair.begin()
    pair.run_for(5)
    assert pair.a.direct == B


def test_offers_are_asked_for_by_one_side_and_ever_more_seldom() -> None:
    assert make().get_timer() is None
    selector = make(opens=True)
    asked_at: list[float] = []
    while len(asked_at) < 12:
        now = selector.get_timer()
        assert now is not None
        selector.handle_timer(now=now)
        asked_at += [now for event in selector.next_events() if event == OfferDue()]
    waits = [later - sooner for sooner, later in pairwise(asked_at)]
    assert waits[:3] == [OFFER_MIN_S, 2 * OFFER_MIN_S, 4 * OFFER_MIN_S]
    assert waits[-1] == OFFER_MAX_S
    # Who is seen elsewhere asks at once.
    selector.receive_move(now=asked_at[-1] + 1)
    selector.handle_timer(now=asked_at[-1] + 1)
    assert OfferDue() in selector.next_events()


def test_who_has_no_key_yet_has_nothing_to_do_but_to_ask_for_offers() -> None:
    """Else its timer would be due for ever."""
    selector = make()
    selector.receive_move(now=1.0)
    assert selector.get_timer() is None
    selector = make(opens=True)
    selector.handle_timer(now=0.0)
    selector.receive_move(now=1.0)
    selector.handle_timer(now=1.0)
    due = selector.get_timer()
    assert due is not None
    assert due > 1.0


# When the peer seems to be elsewhere.


def test_a_way_in_doubt_is_given_up_within_half_a_second_if_it_is_dead() -> None:
    pair = Pair()
    pair.begin()
    pair.run_for(7)
    pair.carries = lambda _source, _target, _size: False
    pair.b.receive_doubt(now=pair.now)
    pair.run_for(LOST_MAX * DOUBT_RETRY_S + 0.01)
    assert pair.b.direct is None
    # The one that exchanges offers does so at once: the peer may be at other addresses.
    pair.a.receive_doubt(now=pair.now)
    pair.run_for(LOST_MAX * DOUBT_RETRY_S + 0.01)
    assert pair.offers_at[-1] >= pair.now - 0.02


def test_a_way_in_doubt_that_answers_stays_and_is_not_asked_again_and_again() -> None:
    pair = Pair()
    pair.begin()
    pair.run_for(7)
    count = pair.probe_count
    for _ in range(100):
        if not pair.a.is_doubted:  # as `RelayPort` asks
            pair.a.receive_doubt(now=pair.now)
            pair.collect()
        pair.run_for(0.01)
    assert pair.changes.count(("a", None)) == 0
    assert pair.probe_count - count <= 2
    pair.run_for(KEEP_S)
    assert not pair.a.is_doubted


def test_a_probe_from_where_the_peer_was_not_yet_is_reason_for_doubt() -> None:
    elsewhere = ("192.0.2.2", 9)
    pair = Pair()
    pair.begin()
    pair.run_for(7)
    asked: list[SocketAddr] = []

    def ask(_source: SocketAddr, target: SocketAddr, _size: int) -> bool:
        asked.append(target)
        return False

    pair.carries = ask
    assert pair.a.receive_datagram(KEY_B.probe(1000), elsewhere, now=pair.now)
    pair.run_for(LOST_MAX * DOUBT_RETRY_S + 0.01)
    assert pair.a.direct is None
    assert asked[-1] == elsewhere


def test_who_gives_a_way_up_says_so_through_the_relay_and_the_other_follows() -> None:
    pair = Pair()
    pair.begin()
    pair.run_for(7)
    pair.a.give_up(now=pair.now)
    events = pair.a.next_events()
    [withdrawal] = [event for event in events if isinstance(event, Withdraw)]
    pair.a.give_up(now=pair.now)
    assert pair.a.next_events() == []
    assert pair.b.receive_withdrawal(withdrawal.data, now=pair.now)
    answers = pair.b.next_events()
    assert WayChanged(None) in answers
    assert not any(isinstance(event, Withdraw) for event in answers)
    # Once: a relay that keeps it has nothing to repeat, and can make none.
    assert not pair.b.receive_withdrawal(withdrawal.data, now=pair.now)
    assert not pair.b.receive_withdrawal(KEY_B.probe(5000), now=pair.now)
    assert not pair.b.receive_withdrawal(PathKey(bytes(31), b"a", b"b").probe(1), now=pair.now)
    assert not make().receive_withdrawal(withdrawal.data, now=pair.now)


# What others may try.


def started() -> PathSelector:
    selector = make()
    selector.receive_offer(KEY_A, [B], now=0.0)
    return selector


def test_a_probe_that_is_sent_again_from_elsewhere_gets_no_answer() -> None:
    selector = started()
    sent(selector)
    probe = KEY_B.probe(1)
    assert selector.receive_datagram(probe, B, now=0.1)
    assert sent(selector)[0].remote == B
    assert not selector.receive_datagram(probe, EVIL, now=0.1)
    assert sent(selector) == []
    assert not selector.comes_from_peer(EVIL)


def test_an_answer_counts_from_where_the_probe_went_and_once() -> None:
    selector = started()
    [first] = sent(selector)
    answer = KEY_B.answer(PathProbe(1, len(first.data)), A)
    assert not selector.receive_datagram(answer, EVIL, now=0.1)
    assert selector.receive_datagram(answer, B, now=0.1)
    assert not selector.receive_datagram(answer, B, now=0.1)
    assert selector.direct is None  # QUIC's size was not tried yet


def test_an_answer_to_a_probe_that_came_shortened_does_not_count() -> None:
    selector = started()
    [first] = sent(selector)
    selector.receive_datagram(KEY_B.answer(PathProbe(1, len(first.data)), A), B, now=0.1)
    [large] = sent(selector)
    assert len(large.data) == BASE
    assert not selector.receive_datagram(KEY_B.answer(PathProbe(2, 64), A), B, now=0.2)
    assert selector.direct is None
    assert selector.receive_datagram(KEY_B.answer(PathProbe(2, BASE), A), B, now=0.2)
    assert selector.direct == B


@pytest.mark.parametrize(
    "data",
    [
        PathKey(bytes([1]) * 32, b"b", b"a").probe(1),
        PathKey(bytes([1]) * 32, b"b", b"a").answer(PathProbe(1, 64), A),
        KEY_A.probe(1),
        KEY_B.answer(PathProbe(99, 64), A),
        KEY_B.probe(1)[:-1],
        b"",
    ],
)
def test_what_is_forged_does_nothing(data: bytes) -> None:
    selector = started()
    selector.next_events()
    assert not selector.receive_datagram(data, B, now=0.1)
    assert selector.next_events() == []


def test_keys_of_before_count_no_more() -> None:
    selector = started()
    selector.receive_offer(PathKey(bytes([1]) * 32, b"a", b"b"), [B], now=1.0)
    sent(selector)
    assert not selector.receive_datagram(KEY_B.probe(1), B, now=1.1)


def test_what_one_peer_makes_a_node_send_is_bounded() -> None:
    """Named addresses, addresses that probes come from, and floods of them."""
    selector = make()
    named = [(f"203.0.113.{number}", 1) for number in range(1, 100)]
    selector.receive_offer(KEY_A, named, now=0.0)
    out = sent(selector)
    assert len(out) == CANDIDATES_MAX
    in_bytes = 0
    for number in range(1, 2000):
        probe = KEY_B.probe(number, 16_000 if number % 7 == 0 else PROBE_BYTES_MIN)
        in_bytes += len(probe)
        selector.receive_datagram(probe, (f"198.51.{number % 99}.7", number), now=0.01)
    answers = [event for event in sent(selector) if len(event.data) == ANSWER_BYTES]
    assert len(answers) <= 2 * ANSWERS_MAX  # each with a probe of ours, of the same size
    assert sum(len(event.data) for event in answers) < in_bytes
    for _ in ROUNDS_S:
        selector.handle_timer(now=100.0)
        out += sent(selector)
    assert len(out) <= len(ROUNDS_S) * (CANDIDATES_MAX + SEEN_MAX)
    assert all(len(event.data) == PROBE_BYTES_MIN for event in out)
    assert selector.get_timer() is None
