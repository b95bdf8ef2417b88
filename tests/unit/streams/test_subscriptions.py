from __future__ import annotations

from random import Random
from typing import Any

import pytest

from mosaik_actors.ids import PeerId
from mosaik_actors.streams.config import Backoff
from mosaik_actors.streams.consuming.subscriptions import (
    ProducerCandidate,
    ProducerGivenUp,
    SubscriptionDropped,
    Subscriptions,
    SubscriptionState,
    SubscriptionWanted,
    SyncWanted,
)
from mosaik_actors.transport.address import PeerAddr
from mosaik_actors.transport.close import CloseCode, CloseReason

from .fakes import peer_id

A, B = peer_id("a"), peer_id("b")
TIMEOUT = CloseReason(CloseCode.UNEXPECTED_CLOSE, "no answer")
UNKNOWN = CloseReason(CloseCode.UNKNOWN_PEER, remote=True)


def addr(peer: PeerId, port: int = 1) -> PeerAddr:
    return PeerAddr(peer, (("127.0.0.1", port),))


def candidate(
    peer: PeerId, *, start: int = 1, port: int = 1, allowed: bool = True
) -> ProducerCandidate:
    return ProducerCandidate(addr(peer, port), start, allowed)


def core(**backoff: Any) -> Subscriptions:
    values: dict[str, Any] = {"initial": 1.0, "factor": 2.0, "max": 4.0, "jitter": 0.0, **backoff}
    return Subscriptions(Backoff(**values), Random(1))


def events(subscriptions: Subscriptions) -> list[Any]:
    found = []
    while (event := subscriptions.next_event()) is not None:
        found.append(event)
    return found


def opened(subscriptions: Subscriptions, peer: PeerId = A, now: float = 0.0) -> None:
    """Subscribe to one producer."""
    subscriptions.receive_catalog({peer: candidate(peer)}, now=now)
    (wanted,) = events(subscriptions)
    assert subscriptions.receive_opened(peer, wanted.attempt, 1, now=now)


def test_producers_are_tried_as_soon_as_they_are_seen() -> None:
    subscriptions = core()
    subscriptions.receive_catalog({A: candidate(A), B: candidate(B)}, now=0)
    assert events(subscriptions) == [
        SubscriptionWanted(addr(A), 1),
        SubscriptionWanted(addr(B), 2),
    ]
    subscriptions.receive_catalog({A: candidate(A), B: candidate(B)}, now=0)
    assert events(subscriptions) == []  # they are being opened
    assert subscriptions.state_of(A) is SubscriptionState.OPENING


def test_who_did_not_allow_us_is_tried_at_once_with_other_tickets() -> None:
    """Synced with first, so that it knows of them; others keep their waits."""
    subscriptions = core()
    subscriptions.receive_catalog({A: candidate(A), B: candidate(B)}, now=0)
    first, second = events(subscriptions)
    not_allowed = CloseReason(CloseCode.STREAM_NOT_ALLOWED, "no valid ticket", remote=True)
    subscriptions.receive_failed(A, first.attempt, not_allowed, now=0)
    subscriptions.receive_failed(B, second.attempt, TIMEOUT, now=0)
    subscriptions.receive_own_change(now=0.5)
    assert events(subscriptions) == [SyncWanted(addr(A))]
    subscriptions.receive_synced(A, now=0.6)
    (wanted,) = events(subscriptions)
    assert wanted.addr == addr(A)

    # Also when it was a subscription that ended.
    assert subscriptions.receive_opened(A, wanted.attempt, 1, now=0.7)
    subscriptions.receive_closed(A, now=5, was_refused=True)
    events(subscriptions)  # it is B's turn by now
    subscriptions.receive_own_change(now=5.1)
    assert events(subscriptions) == [SyncWanted(addr(A))]


def test_a_subscription_that_is_not_allowed_any_more_ends_with_the_reason() -> None:
    subscriptions = core()
    opened(subscriptions)
    reason = CloseReason(CloseCode.STREAM_NOT_ALLOWED, "no valid ticket: expired")
    refused = ProducerCandidate(addr(A), 1, False, None, reason)
    subscriptions.receive_catalog({A: refused}, now=1)
    assert events(subscriptions) == [SubscriptionDropped(A, reason)]


def test_failures_are_retried_after_growing_waits() -> None:
    subscriptions = core()
    subscriptions.receive_catalog({A: candidate(A)}, now=0)
    now = 0.0
    for wait_s in (1, 2, 4, 4):
        (wanted,) = events(subscriptions)
        subscriptions.receive_failed(A, wanted.attempt, TIMEOUT, now=now)
        assert subscriptions.get_timer() == now + wait_s
        subscriptions.handle_timer(now=now + wait_s - 0.01)
        assert events(subscriptions) == []
        now += wait_s
        subscriptions.handle_timer(now=now)


def test_a_success_starts_the_waits_anew() -> None:
    subscriptions = core()
    subscriptions.receive_catalog({A: candidate(A)}, now=0)
    (first,) = events(subscriptions)
    subscriptions.receive_failed(A, first.attempt, TIMEOUT, now=0)
    subscriptions.handle_timer(now=1)
    (second,) = events(subscriptions)
    assert subscriptions.receive_opened(A, second.attempt, 1, now=1)
    assert subscriptions.get_timer() is None
    subscriptions.receive_closed(A, now=5)
    assert subscriptions.get_timer() == 6


def test_a_producer_that_accepts_and_fails_again_and_again_is_asked_less_and_less_often() -> None:
    subscriptions = core()
    subscriptions.receive_catalog({A: candidate(A)}, now=0)
    now = 0.0
    for wait_s in (1, 2, 4, 4):
        (wanted,) = events(subscriptions)
        assert subscriptions.receive_opened(A, wanted.attempt, 1, now=now)
        now += 0.5 if wait_s > 1 else 0.0
        subscriptions.receive_closed(A, now=now)
        assert subscriptions.get_timer() == now + wait_s
        now += wait_s
        subscriptions.handle_timer(now=now)


def test_a_producer_is_given_up_as_configured_until_it_restarts_or_moves() -> None:
    subscriptions = core(attempts_max=1)
    for producer in (candidate(A), candidate(A, start=2), candidate(A, start=2, port=9)):
        subscriptions.receive_catalog({A: producer}, now=0)
        (wanted,) = events(subscriptions)
        assert wanted.addr == producer.addr
        subscriptions.receive_failed(A, wanted.attempt, TIMEOUT, now=0)
        assert events(subscriptions) == [ProducerGivenUp(A, 1)]
        assert subscriptions.get_timer() is None


def test_a_producer_that_does_not_know_us_is_synced_with_and_tried_at_once() -> None:
    subscriptions = core()
    subscriptions.receive_catalog({A: candidate(A)}, now=0)
    (first,) = events(subscriptions)
    subscriptions.receive_failed(A, first.attempt, UNKNOWN, now=0)
    assert events(subscriptions) == [SyncWanted(addr(A))]
    assert subscriptions.state_of(A) is SubscriptionState.SYNCING
    subscriptions.receive_synced(A, now=0.2)
    (second,) = events(subscriptions)
    # Still unknown: syncing did not help, so from here it is an ordinary failure.
    subscriptions.receive_failed(A, second.attempt, UNKNOWN, now=0.3)
    assert events(subscriptions) == []
    assert subscriptions.get_timer() == pytest.approx(1.3)


def test_a_restarted_producer_is_picked_up_at_once() -> None:
    subscriptions = core()
    opened(subscriptions)
    subscriptions.receive_catalog({A: candidate(A, start=2)}, now=5)
    dropped, wanted = events(subscriptions)
    assert isinstance(dropped, SubscriptionDropped)
    assert dropped.peer_id == A
    assert isinstance(wanted, SubscriptionWanted)


def test_a_restart_ends_the_wait_for_the_former_life() -> None:
    subscriptions = core()
    opened(subscriptions)
    subscriptions.receive_closed(A, now=1)
    subscriptions.receive_catalog({A: candidate(A, start=2)}, now=1.1)
    assert events(subscriptions) == [SubscriptionWanted(addr(A), 2)]


def test_an_answer_to_a_former_attempt_is_not_wanted() -> None:
    subscriptions = core()
    subscriptions.receive_catalog({A: candidate(A)}, now=0)
    (old,) = events(subscriptions)
    subscriptions.receive_catalog({A: candidate(A, start=2, port=2)}, now=0)
    (new,) = events(subscriptions)
    assert not subscriptions.receive_opened(A, old.attempt, 1, now=0)
    subscriptions.receive_failed(A, old.attempt, TIMEOUT, now=0)
    assert subscriptions.state_of(A) is SubscriptionState.OPENING
    assert subscriptions.receive_opened(A, new.attempt, 2, now=0)


def test_a_link_that_was_quicker_than_gossip_is_kept() -> None:
    """What the new life sent already would be lost with it."""
    subscriptions = core()
    subscriptions.receive_catalog({A: candidate(A)}, now=0)
    (wanted,) = events(subscriptions)
    assert subscriptions.receive_opened(A, wanted.attempt, 2, now=0)
    subscriptions.receive_catalog({A: candidate(A, start=2)}, now=0.1)
    assert events(subscriptions) == []
    assert subscriptions.state_of(A) is SubscriptionState.ACTIVE
    subscriptions.receive_catalog({A: candidate(A, start=3)}, now=0.2)
    dropped, again = events(subscriptions)
    assert isinstance(dropped, SubscriptionDropped)
    assert isinstance(again, SubscriptionWanted)


@pytest.mark.parametrize("answers", [True, False])
def test_an_attempt_that_outlives_a_restart_counts_for_the_life_that_answers(
    answers: bool,
) -> None:
    subscriptions = core()
    subscriptions.receive_catalog({A: candidate(A)}, now=0)
    (old,) = events(subscriptions)
    subscriptions.receive_catalog({A: candidate(A, start=2)}, now=0.1)
    assert events(subscriptions) == []  # the attempt may lead to the new life
    if answers:  # it was the former one
        assert not subscriptions.receive_opened(A, old.attempt, 1, now=0.2)
    else:
        subscriptions.receive_failed(A, old.attempt, TIMEOUT, now=0.2)
    (again,) = events(subscriptions)
    assert again == SubscriptionWanted(addr(A), 2)  # at once
    assert subscriptions.receive_opened(A, again.attempt, 2, now=0.3)


def test_a_producer_that_restarted_elsewhere_is_tried_there_as_well() -> None:
    subscriptions = core()
    subscriptions.receive_catalog({A: candidate(A)}, now=0)
    events(subscriptions)
    subscriptions.receive_catalog({A: candidate(A, start=2, port=2)}, now=0.1)
    assert events(subscriptions) == [SubscriptionWanted(addr(A, 2), 2)]
    subscriptions.receive_catalog({A: candidate(A, start=3, port=3)}, now=0.2)
    assert events(subscriptions) == []  # enough at once
    subscriptions.receive_failed(A, 1, TIMEOUT, now=0.3)
    assert events(subscriptions) == []  # the other one goes on
    subscriptions.receive_failed(A, 2, TIMEOUT, now=0.4)
    assert events(subscriptions) == [SubscriptionWanted(addr(A, 3), 3)]
    assert subscriptions.receive_opened(A, 3, 3, now=0.5)


def test_a_producer_that_says_an_older_start_than_gossip_is_not_asked_again_and_again() -> None:
    subscriptions = core()
    subscriptions.receive_catalog({A: candidate(A, start=5)}, now=0)
    (wanted,) = events(subscriptions)
    assert subscriptions.receive_opened(A, wanted.attempt, 4, now=0)
    assert events(subscriptions) == []


def test_a_producer_that_is_not_allowed_any_more_is_dropped() -> None:
    subscriptions = core()
    opened(subscriptions)
    subscriptions.receive_catalog({A: candidate(A, allowed=False)}, now=1)
    (dropped,) = events(subscriptions)
    assert dropped.peer_id == A
    subscriptions.receive_catalog({A: candidate(A)}, now=2)
    assert isinstance(events(subscriptions)[0], SubscriptionWanted)


def test_a_producer_that_left_the_catalog_keeps_its_link_until_that_ends() -> None:
    subscriptions = core()
    opened(subscriptions)
    subscriptions.receive_catalog({}, now=1)
    assert events(subscriptions) == []
    assert subscriptions.state_of(A) is SubscriptionState.ACTIVE
    subscriptions.receive_closed(A, now=2)
    assert subscriptions.state_of(A) is None
    assert subscriptions.get_timer() is None


def test_an_attempt_outlives_that_its_producer_left_the_catalog() -> None:
    """A restarted node's first entry names no streams yet."""
    subscriptions = core()
    subscriptions.receive_catalog({A: candidate(A)}, now=0)
    (wanted,) = events(subscriptions)
    subscriptions.receive_catalog({}, now=1)
    assert subscriptions.receive_opened(A, wanted.attempt, 2, now=1)
    subscriptions.receive_catalog({A: candidate(A, start=2)}, now=2)
    assert events(subscriptions) == []
    assert subscriptions.state_of(A) is SubscriptionState.ACTIVE


def test_a_producer_that_left_while_it_was_tried_in_vain_is_forgotten() -> None:
    subscriptions = core()
    subscriptions.receive_catalog({A: candidate(A)}, now=0)
    (wanted,) = events(subscriptions)
    subscriptions.receive_catalog({}, now=1)
    subscriptions.receive_failed(A, wanted.attempt, TIMEOUT, now=1)
    assert subscriptions.state_of(A) is None
    assert subscriptions.get_timer() is None


def test_an_impossible_transition_is_a_bug_of_ours() -> None:
    subscriptions = core()
    subscriptions.receive_catalog({A: candidate(A)}, now=0)
    producer = subscriptions._producers[A]
    with pytest.raises(AssertionError, match=r"OPENING does not become .*OPENING"):
        producer.become(SubscriptionState.OPENING)


def too_slow_again(subscriptions: Subscriptions, now: float, **closed: Any) -> tuple[float, float]:
    """End the subscription as too slow after 100 s; return when, and when it is tried again."""
    ended_at = now + 100
    subscriptions.receive_closed(A, now=ended_at, was_too_slow=True, **closed)
    retry_at = subscriptions.get_timer()
    assert retry_at is not None
    subscriptions.handle_timer(now=retry_at)
    (wanted,) = events(subscriptions)
    assert subscriptions.receive_opened(A, wanted.attempt, 1, now=retry_at)
    return ended_at, retry_at


def test_who_is_too_slow_again_and_again_comes_back_less_and_less_often() -> None:
    subscriptions = core()
    opened(subscriptions)
    waits, now = [], 0.0
    for _ in range(4):
        ended_at, now = too_slow_again(subscriptions, now)
        waits.append(now - ended_at)
    assert waits == [1, 2, 4, 4]


def test_an_end_for_another_reason_does_not_forgive_a_slow_consumer() -> None:
    subscriptions = core()
    opened(subscriptions)
    _, now = too_slow_again(subscriptions, 0.0)
    _, now = too_slow_again(subscriptions, now)
    subscriptions.receive_closed(A, now=now + 100)
    assert subscriptions.get_timer() == now + 104


def test_a_consumer_that_took_a_good_part_is_forgiven() -> None:
    subscriptions = core()
    opened(subscriptions)
    _, now = too_slow_again(subscriptions, 0.0)
    _, now = too_slow_again(subscriptions, now)
    ended_at, now = too_slow_again(subscriptions, now, has_progressed=True)
    assert now - ended_at == 1
