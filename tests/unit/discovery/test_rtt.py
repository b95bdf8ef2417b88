"""Smoothing of round-trip times, and the choice of whom to measure."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.discovery.config import DiscoveryConfig
from mosaik_actors.discovery.rtt import RttEstimate, RttProber
from mosaik_actors.ids import PeerId

from .helpers import peer


def make(probes_max: int = 8) -> RttProber:
    config = DiscoveryConfig(rtt_probe_interval=30, rtt_probes_max=probes_max)
    return RttProber(config, Random(1), now=0.0)


def is_unmeasured(_peer: PeerId) -> bool:
    return False


def test_the_first_sample_is_the_estimate() -> None:
    """RFC 6298 (2.2)."""
    estimate = RttEstimate()
    assert estimate.receive_sample(0.1) == 0.1
    assert estimate.variation_s == 0.05


@given(st.lists(st.floats(0, 10), min_size=2, max_size=50))
def test_further_samples_are_smoothed_with_an_eighth_and_a_quarter(samples: list[float]) -> None:
    """RFC 6298 (2.3), written as the RFC has it."""
    estimate = RttEstimate()
    srtt, rttvar = samples[0], samples[0] / 2
    estimate.receive_sample(samples[0])
    for sample in samples[1:]:
        rttvar = (1 - 1 / 4) * rttvar + 1 / 4 * abs(srtt - sample)
        srtt = (1 - 1 / 8) * srtt + 1 / 8 * sample
        assert estimate.receive_sample(sample) == pytest.approx(srtt)
        assert estimate.variation_s == pytest.approx(rttvar)


def test_what_the_transport_smoothed_is_not_smoothed_again() -> None:
    estimate = RttEstimate()
    assert estimate.receive_smoothed(0.1) == 0.1
    assert estimate.receive_smoothed(0.3) == 0.3
    assert estimate.variation_s == pytest.approx(0.75 * 0.05 + 0.25 * 0.2)


def test_a_pong_counts_once_for_the_peer_that_was_asked() -> None:
    prober = make()
    number = prober.start_round([peer("a"), peer("b")], now=30.0)
    assert prober.receive_pong(peer("c"), number, now=30.1) is None
    assert prober.receive_pong(peer("a"), number ^ 1, now=30.1) is None
    assert prober.receive_pong(peer("a"), number, now=30.2) == pytest.approx(0.2)
    assert prober.receive_pong(peer("a"), number, now=30.3) is None
    # One that comes after the next round has begun tells nothing.
    prober.start_round([peer("b")], now=60.0)
    assert prober.receive_pong(peer("b"), number, now=60.1) is None


def test_rounds_follow_each_other_at_the_interval() -> None:
    prober = make()
    assert prober.get_timer() == 30.0
    prober.start_round([], now=31.0)
    assert prober.get_timer() == 61.0


def test_few_are_probed_at_a_time_the_unmeasured_first() -> None:
    prober = make(probes_max=3)
    everybody = [peer(str(number)) for number in range(10)]
    unmeasured = {everybody[4], everybody[7]}
    chosen = prober.choose_probes(everybody, lambda one: one not in unmeasured, now=0.0)
    assert len(chosen) == 3
    assert set(chosen[:2]) == unmeasured
    # All places are taken until one of them ends.
    assert prober.choose_probes(everybody, is_unmeasured, now=30.0) == []
    prober.receive_probe_ended(chosen[0], was_answered=True, now=31.0)
    assert len(prober.choose_probes(everybody, is_unmeasured, now=60.0)) == 1


def test_all_get_their_turn() -> None:
    prober = make(probes_max=2)
    everybody = [peer(str(number)) for number in range(9)]
    measured: set[PeerId] = set()
    for turn in range(5):
        for one in prober.choose_probes(everybody, measured.__contains__, now=turn * 30.0):
            measured.add(one)
            prober.receive_probe_ended(one, was_answered=True, now=turn * 30.0)
    assert measured == set(everybody)


def test_who_does_not_answer_is_asked_more_and_more_rarely() -> None:
    prober = make()
    asked_at = []
    for turn in range(120):
        if prober.choose_probes([peer("a")], is_unmeasured, now=turn * 30.0):
            asked_at.append(turn)
            prober.receive_probe_ended(peer("a"), was_answered=False, now=turn * 30.0)
    waits = [later - earlier for earlier, later in pairwise(asked_at)]
    assert waits[:6] == [2, 4, 8, 16, 32, 32]
    # Who was gone for a round starts anew.
    prober.choose_probes([peer("b")], is_unmeasured, now=3600.0)
    assert peer("a") in prober.choose_probes([peer("a")], is_unmeasured, now=3600.0)


def test_the_end_of_a_probe_that_was_not_asked_for_means_nothing() -> None:
    prober = make()
    prober.receive_probe_ended(peer("a"), was_answered=False, now=0.0)
    assert prober.choose_probes([peer("a")], is_unmeasured, now=0.0) == [peer("a")]
