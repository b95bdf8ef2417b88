"""Who is asked for which range."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.groups.sync.fetch_plan import (
    HEDGE_MIN_S,
    IN_FLIGHT_MAX,
    REST_MAX_S,
    REST_S,
    STRIKES_MAX,
    STRUCK_OUT_S,
    FetchPlan,
    FetchRequest,
    Span,
    merge,
    subtract,
)

from ..cores import peer


def make_plan(*spans: Span, leader: int | None = None, timeout_s: float = 5.0) -> FetchPlan:
    plan = FetchPlan(Random(1), timeout_s=timeout_s)
    plan.set_sources(
        {peer(number): span for number, span in enumerate(spans, 1)},
        None if leader is None else peer(leader),
    )
    return plan


def ask(
    plan: FetchPlan, wanted: Span, *held: Span, now: float = 0.0, count_max: int = 10
) -> list[tuple[int, int, int]]:
    """Ask, and return (number of the peer, first, last) of each request."""
    asks = plan.next_asks(wanted, held, count_max=count_max, asks_max=99, now=now)
    return [(bytes(a.peer)[0] - 1, a.first, a.last) for a in asks]


def only(plan: FetchPlan) -> FetchRequest:
    (found,) = plan.in_flight
    return found


def test_range_is_shared_evenly() -> None:
    plan = make_plan((1, 99), (1, 99), (1, 99))
    assert ask(plan, (1, 12)) == [(1, 1, 4), (2, 5, 8), (3, 9, 12)]


def test_pieces_are_not_larger_than_they_may_be() -> None:
    plan = make_plan((1, 99), (1, 99))
    assert ask(plan, (1, 99)) == [(1, 1, 10), (2, 11, 20)]


def test_one_request_at_most_is_in_flight_to_a_peer() -> None:
    plan = make_plan((1, 99))
    assert ask(plan, (1, 99)) == [(1, 1, 10)]
    assert ask(plan, (1, 99)) == []
    plan.answered(peer(1), only(plan).number, now=0.1)
    assert ask(plan, (1, 99), (1, 10)) == [(1, 11, 20)]


def test_peers_are_asked_for_what_they_have() -> None:
    plan = make_plan((50, 99), (1, 20))
    assert ask(plan, (1, 99)) == [(1, 50, 59), (2, 1, 10)]


def test_leader_is_asked_only_for_what_no_other_has() -> None:
    plan = make_plan((1, 99), (1, 90), (5, 95), leader=1)
    assert ask(plan, (1, 99), (1, 80)) == [(2, 81, 87), (3, 88, 94), (1, 96, 99)]


def test_leader_fills_in_while_all_others_rest() -> None:
    plan = make_plan((1, 99), (1, 99), leader=1)
    plan.rest(peer(2), now=0.0)
    assert ask(plan, (1, 5)) == [(1, 1, 5)]


def test_answers_out_of_turn_are_none() -> None:
    plan = make_plan((1, 99))
    ask(plan, (1, 99))
    number = only(plan).number
    assert plan.answered(peer(1), number + 1, now=0.0) is None
    assert plan.answered(peer(2), number, now=0.0) is None
    assert plan.answered(peer(1), number, now=0.0) is not None
    assert plan.answered(peer(1), number, now=0.0) is None


def test_request_that_times_out_goes_to_another_at_once() -> None:
    plan = make_plan((1, 99), (1, 99))
    assert ask(plan, (1, 5), (3, 5)) == [(1, 1, 1), (2, 2, 2)]
    plan.answered(peer(2), plan.in_flight[1].number, now=0.1)
    assert plan.get_timer(now=0.1) == 5.0
    plan.time_out(now=5.0)
    assert ask(plan, (1, 5), (2, 5), now=5.0) == [(2, 1, 1)]
    # The late answer is taken, and its sender may be asked again at once.
    late = plan._sources[peer(1)].late
    assert late is not None
    assert plan.answered(peer(1), late.number, now=5.1) == late
    assert plan.usable(now=5.1) == [peer(2), peer(1)]


def test_rests_get_longer_until_an_answer_was_of_use() -> None:
    plan = make_plan((1, 99), timeout_s=100.0)
    pauses = []
    for _ in range(8):
        plan.rest(peer(1), now=0.0)
        due = plan.get_timer(now=0.0)
        assert due is not None
        pauses.append(due)
        assert plan.usable(now=due - 0.01) == []
        assert plan.usable(now=due) == [peer(1)]
    assert pauses[:3] == [REST_S, 2 * REST_S, 4 * REST_S]
    assert pauses[-1] == REST_MAX_S
    plan.served(peer(1))
    plan.rest(peer(1), now=0.0)
    assert plan.get_timer(now=0.0) == REST_S


def test_peer_that_is_wrong_too_often_is_left_alone_for_long() -> None:
    plan = make_plan((1, 99))
    for _ in range(STRIKES_MAX):
        assert not plan.is_hopeless
        plan.strike(peer(1), now=0.0)
    assert plan.is_hopeless
    assert plan.usable(now=STRUCK_OUT_S - 1) == []
    assert plan.usable(now=STRUCK_OUT_S) == [peer(1)]


def test_what_cannot_be_read_is_the_answer_that_was_owed_longest() -> None:
    plan = make_plan((1, 99))
    ask(plan, (1, 5))
    plan.time_out(now=5.0)
    assert ask(plan, (1, 5), now=6.0) == [(1, 1, 5)]
    plan.strike_unread(peer(1), now=6.1)
    assert only(plan).number
    plan.strike_unread(peer(1), now=6.2)
    assert plan.in_flight == []


def test_excluded_peer_is_never_asked_again() -> None:
    plan = make_plan((1, 99))
    ask(plan, (1, 99))
    plan.lacks(peer(1), is_final=True, now=0.0)
    plan.rest(peer(1), now=0.0)
    assert plan.usable(now=1e9) == []
    assert plan.get_timer(now=0.0) is None
    assert plan.is_hopeless


def test_peer_that_comes_back_begins_anew() -> None:
    plan = make_plan((1, 99))
    ask(plan, (1, 99))
    plan.set_sources({}, None)
    assert plan.in_flight == []
    plan.set_sources({peer(1): (1, 99)}, None)
    assert ask(plan, (1, 99)) == [(1, 1, 10)]


def test_what_everything_waits_for_is_asked_for_twice_but_not_thrice() -> None:
    plan = make_plan((1, 99), (1, 99), (1, 99))
    assert ask(plan, (1, 1)) == [(1, 1, 1)]
    assert plan.get_timer(now=0.0) == HEDGE_MIN_S
    assert ask(plan, (1, 1), now=HEDGE_MIN_S / 2) == []
    assert ask(plan, (1, 1), now=HEDGE_MIN_S) == [(2, 1, 1)]
    assert ask(plan, (1, 1), now=4.0) == []


def test_leader_is_no_second_choice_while_others_are_there() -> None:
    plan = make_plan((1, 99), (1, 99), leader=2)
    assert ask(plan, (1, 1)) == [(1, 1, 1)]
    assert ask(plan, (1, 1), now=4.0) == []


def test_requests_in_flight_are_bounded() -> None:
    plan = FetchPlan(Random(1), timeout_s=5.0)
    plan.set_sources({peer(number): (1, 10_000) for number in range(200)}, None)
    assert len(ask(plan, (1, 10_000))) == IN_FLIGHT_MAX


spans = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=8)


def numbers(found: list[Span]) -> set[int]:
    return {number for first, last in found for number in range(first, last + 1)}


@given(spans)
def test_merged_spans_are_the_same_numbers(some: list[Span]) -> None:
    merged = merge(some)
    assert numbers(merged) == numbers(some)
    assert all(after[0] > before[1] + 1 for before, after in pairwise(merged))


@given(spans, spans)
def test_subtraction_is_that_of_sets(some: list[Span], taken: list[Span]) -> None:
    assert numbers(subtract(merge(some), taken)) == numbers(some) - numbers(taken)


@given(spans)
def test_gaps_are_what_is_not_held(held: list[Span]) -> None:
    found = subtract([(5, 20)], held)
    assert numbers(found) == set(range(5, 21)) - numbers(held)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_asked_is_missing_and_asked_once(seed: int) -> None:
    """Except for what is asked twice because all waits for it."""
    rng = Random(seed)
    plan = FetchPlan(rng, timeout_s=1e9)
    plan.set_sources({peer(n): (rng.randint(1, 50), rng.randint(50, 100)) for n in range(5)}, None)
    held: list[Span] = []
    for _ in range(200):
        before = {number for a in plan.in_flight for number in range(a.first, a.last + 1)}
        asks = plan.next_asks((1, 100), held, count_max=7, asks_max=9, now=0.0)
        for asked in asks:
            span = set(range(asked.first, asked.last + 1))
            assert not span & before
            assert not span & numbers(held)
            before |= span
        if plan.in_flight:
            answered = rng.choice(plan.in_flight)
            plan.answered(answered.peer, answered.number, now=0.0)
            last = rng.randint(answered.first, answered.last)
            held = merge([*held, (answered.first, last)])
    owned = numbers(plan.spans)
    assert numbers(held) == owned & set(range(1, 101))
