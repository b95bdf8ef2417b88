"""Who breaks rules, how often, and for how long nothing more is heard from them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.ids import SecretKey
from mosaik_actors.transport import scores as scores_module
from mosaik_actors.transport.config import TransportConfig
from mosaik_actors.transport.scores import Scores

A, B = (SecretKey.from_seed(name).peer_id for name in "ab")
CONFIG = TransportConfig(faults_max=4, fault_half_life=60, refusal_min=30, refusal_max=240)


def break_rules(scores: Scores, now: float, count: int = 4) -> list[float]:
    return [scores.receive_fault(A, now=now) for _ in range(count)]


def test_a_peer_is_refused_for_twice_as_long_each_time() -> None:
    scores, now, refusals = Scores(CONFIG), 0.0, []
    for _ in range(5):
        *before, refusal_s = break_rules(scores, now)
        assert before == [0, 0, 0]
        assert scores.refused_for_s(A, now=now + refusal_s / 2) == refusal_s / 2
        now += refusal_s
        assert not scores.refused_for_s(A, now=now)
        refusals.append(refusal_s)
    assert refusals == [30, 60, 120, 240, 240]
    # After a long time without one it begins anew.
    assert break_rules(scores, now + 241)[-1] == 30
    assert scores.fault_count(A) == 24


def test_a_mistake_now_and_then_is_forgotten() -> None:
    scores = Scores(CONFIG)
    for minute in range(1000):
        assert not scores.receive_fault(A, now=60.0 * minute)
    assert scores.score(A, now=60_000) <= 2
    assert scores.score(B, now=0) == scores.fault_count(B) == 0


def test_what_is_forgiven_is_gone() -> None:
    scores = Scores(CONFIG)
    break_rules(scores, 0)
    scores.forgive(A)
    assert not scores.refused_for_s(A, now=1)
    assert not scores.known()
    assert break_rules(scores, 1)[-1] == 30


def test_those_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores_module, "PEERS_MAX", 3)
    scores = Scores(CONFIG)
    peers = [SecretKey.from_seed(str(n)).peer_id for n in range(5)]
    for peer in peers:
        scores.receive_fault(peer, now=0)
    assert scores.known() == peers[2:]


_Steps = st.lists(st.tuples(st.floats(0, 500), st.booleans()), max_size=60)


@given(_Steps)
def test_scores_only_fall_by_waiting_and_refusals_never_grow(
    steps: list[tuple[float, bool]],
) -> None:
    scores, now = Scores(CONFIG), 0.0
    for wait_s, is_fault in steps:
        before = scores.score(A, now=now), scores.refused_for_s(A, now=now)
        now += wait_s
        after = scores.score(A, now=now), scores.refused_for_s(A, now=now)
        assert after[0] <= before[0]
        assert after[1] == pytest.approx(max(0.0, before[1] - wait_s))
        if is_fault:
            refusal_s = scores.receive_fault(A, now=now)
            assert not (refusal_s and after[1]), "a refusal is never made longer while it lasts"
            assert refusal_s == 0 or CONFIG.refusal_min <= refusal_s <= CONFIG.refusal_max
        assert scores.score(A, now=now) < CONFIG.faults_max
        assert scores.score(B, now=now) == 0


@given(st.integers(1, 20), st.floats(0.01, 100))
def test_a_steady_rate_is_refused_if_and_only_if_it_is_above_the_limit(
    faults_max: int, interval_s: float
) -> None:
    """Compared with the sum of the geometric series that a steady rate comes to."""
    config = TransportConfig(faults_max=faults_max, fault_half_life=10)
    scores, refused, total = Scores(config), False, 0.0
    for number in range(100):
        total = total * 0.5 ** (interval_s / 10) + 1
        refused = bool(scores.receive_fault(A, now=number * interval_s))
        is_close = total == pytest.approx(faults_max - 1)
        assert refused == (total > faults_max - 1) or is_close
        if refused or is_close:
            return
