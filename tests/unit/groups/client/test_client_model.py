"""Exactly once and in order, whatever the network and the leaders do (thesis 6.3)."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.groups.client.calls import Submission
from mosaik_actors.groups.client.client import SubmissionFailed

from ..client_model import Call, Faults, Model

SEEDS = st.integers(0, 2**32 - 1)
SHARES = st.sampled_from([0.0, 0.05, 0.3])

FAULTS = st.builds(
    Faults,
    loss=SHARES,
    doubling=SHARES,
    refusal=SHARES,
    delay_s=st.sampled_from([0.0, 0.02, 0.5]),
    leader_change=st.sampled_from([0.0, 0.005, 0.05]),
    missed_answers=st.sampled_from([0.0, 0.02, 0.2]),
    client_count=st.just(1000),
)


def played(seed: int, faults: Faults) -> Model:
    model = Model(Random(seed), faults)
    model.run(300)
    model.finish()
    model.check()
    return model


@given(SEEDS, FAULTS)
@settings(max_examples=60, deadline=None)
def test_commands_take_effect_once_and_in_order(seed: int, faults: Faults) -> None:
    model = played(seed, faults)
    assert not model.renewal_count


@given(SEEDS, FAULTS)
@settings(max_examples=40, deadline=None)
def test_forgotten_client_never_applies_anything_twice(seed: int, faults: Faults) -> None:
    forgetful = Faults(
        faults.loss,
        faults.doubling,
        faults.refusal,
        faults.delay_s,
        faults.leader_change,
        faults.missed_answers,
        client_count=2,
    )
    played(seed, forgetful)


def test_model_plays_what_it_is_for() -> None:
    """Each kind of outcome happens; else the tests above would show little."""
    calm = played(1, Faults(0, 0, 0, 0, 0, 0))
    done = [call for call in calm.calls.values() if isinstance(call.outcome, Submission)]
    assert len(done) > 100
    assert {call.waits for call in done} == {True, False}
    assert {len(call.commands) for call in done} == {1, 2, 5, 30}
    bad = played(2, Faults(leader_change=0.05))
    outcomes = [call.outcome for call in bad.calls.values()]
    failures = [outcome for outcome in outcomes if isinstance(outcome, SubmissionFailed)]
    assert {failed.may_take_effect for failed in failures} == {True, False}
    assert any(call.is_cancelled and call.never for call in bad.calls.values())
    assert sum(played(seed, Faults(client_count=2)).renewal_count for seed in range(5)) > 3


def outcome_of(call: Call) -> object:
    outcome = call.outcome
    return list(outcome.positions) if isinstance(outcome, Submission) else outcome


def test_same_seed_plays_the_same() -> None:
    one, other = (played(5, Faults(client_count=2)) for _ in range(2))
    assert one.applied == other.applied
    found = [[outcome_of(call) for call in model.calls.values()] for model in (one, other)]
    assert found[0] == found[1]
