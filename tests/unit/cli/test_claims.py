"""Each claim of the demo holds for a good run, and fails when the facts say otherwise."""

from collections.abc import Callable
from types import FunctionType

import pytest

from mosaik_actors.cli.demo import claims
from mosaik_actors.cli.demo.facts import Facts

from .recorded import (
    COLLECTOR,
    END_AT,
    KINDS,
    NEW_PID,
    VICTIM_PID,
    WRITTEN,
    good_run,
    peer_of,
    reading,
)

Spoil = Callable[[Facts], object]


def names_of_failed(facts: Facts) -> set[str]:
    """Return the names of the claims' functions that do not hold."""
    checks: dict[str, claims.CheckedClaim] = {
        "all_started": claims.all_started(facts, len(KINDS)),
        "all_found_each_other": claims.all_found_each_other(facts),
        "all_streamed": claims.all_streamed(facts),
        "loss_was_noticed": claims.loss_was_noticed(facts),
        "latest_survived": claims.latest_survived(facts),
        "replacement_joined": claims.replacement_joined(facts),
        "network_healed": claims.network_healed(facts),
        "nothing_out_of_order": claims.nothing_out_of_order(facts),
        "survivors_lost_nothing": claims.survivors_lost_nothing(facts),
        "survivors_streamed_on": claims.survivors_streamed_on(facts),
        "all_ended_cleanly": claims.all_ended_cleanly(facts),
    }
    assert list(checks.values()) == claims.check(facts, sensor_count=len(KINDS))
    return {name for name, claim in checks.items() if not claim.holds}


def test_all_claims_hold_for_a_good_run() -> None:
    facts = good_run()
    assert names_of_failed(facts) == set()
    assert claims.failures(claims.check(facts, sensor_count=len(KINDS))) == []


def test_no_claim_holds_for_a_run_in_which_nothing_happened() -> None:
    facts = Facts("demo-test", now=0.0)
    everything = {name for name, one in vars(claims).items() if isinstance(one, FunctionType)}
    everything -= {"check", "failures", "_slowest", "_counts", "dataclass"}
    assert names_of_failed(facts) == everything


def _sensor_that_never_knew_another(facts: Facts) -> None:
    del facts.sensors[100].node.known_at[peer_of(101)]


def _collector_that_never_knew_one(facts: Facts) -> None:
    del facts.collector.known_at[peer_of(100)]


def _silent_from_the_start(facts: Facts) -> None:
    sensor = facts.sensors[100]
    sensor.first_item_at = sensor.last_item_at = None


def _silent_in_the_end(facts: Facts) -> None:
    facts.sensors[101].last_item_at = END_AT - claims.SILENCE_MAX_S - 0.1


def _nobody_killed(facts: Facts) -> None:
    facts.sensors[VICTIM_PID].killed_at = None


def _loss_not_noticed_by_a_survivor(facts: Facts) -> None:
    del facts.sensors[103].node.forgot_at[peer_of(VICTIM_PID)]


def _stream_end_not_noticed(facts: Facts) -> None:
    facts.sensors[VICTIM_PID].stream_lost_at = None


def _nothing_written_by_the_victim(facts: Facts) -> None:
    facts.sensors[VICTIM_PID].written = None


def _latest_not_at_the_collector(facts: Facts) -> None:
    del facts.collector.latest["disk"]


def _latest_older_at_a_survivor(facts: Facts) -> None:
    facts.sensors[101].node.latest = {"disk": WRITTEN - 1}


def _latest_not_at_the_replacement(facts: Facts) -> None:
    facts.sensors[NEW_PID].node.latest = {}


def _latest_not_the_same(facts: Facts) -> None:
    facts.sensors[100].node.latest = {"disk": WRITTEN + 2}


def _no_replacement(facts: Facts) -> None:
    del facts.sensors[NEW_PID]


def _replacement_unknown_to_one(facts: Facts) -> None:
    del facts.sensors[100].node.known_at[peer_of(NEW_PID)]


def _replacement_that_found_nobody(facts: Facts) -> None:
    facts.sensors[NEW_PID].node.known_at.clear()


def _replacement_that_sent_nothing(facts: Facts) -> None:
    facts.sensors[NEW_PID].first_item_at = None


def _survivor_wrongly_forgotten(facts: Facts) -> None:
    facts.collector.forgot_at[peer_of(101)] = END_AT - 1


def _reading_missing(facts: Facts) -> None:
    facts.sensors[101].item_count -= 1


def _reading_missing_from_the_killed(facts: Facts) -> None:
    facts.sensors[VICTIM_PID].item_count -= 1


def _reading_too_late(facts: Facts) -> None:
    facts.ended_at = None
    facts.receive_reading(reading(100, 3), now=END_AT)
    facts.receive_end(now=END_AT)


def _survivor_that_crashed(facts: Facts) -> None:
    facts.sensors[100].exit_code = 1


def _survivor_that_had_to_be_killed(facts: Facts) -> None:
    facts.sensors[100].exit_code = -9


def _victim_that_left_by_itself(facts: Facts) -> None:
    facts.sensors[VICTIM_PID].exit_code = 0


def _process_that_never_ended(facts: Facts) -> None:
    facts.sensors[103].exit_code = None


def _one_too_few(facts: Facts) -> None:
    del facts.sensors[103]


@pytest.mark.parametrize(
    ("spoil", "failed"),
    [
        (_sensor_that_never_knew_another, {"all_found_each_other", "network_healed"}),
        (_collector_that_never_knew_one, {"all_found_each_other", "network_healed"}),
        (_silent_from_the_start, {"all_streamed", "survivors_streamed_on"}),
        (_silent_in_the_end, {"survivors_streamed_on"}),
        (
            _nobody_killed,
            {"loss_was_noticed", "latest_survived", "network_healed", "all_ended_cleanly"},
        ),
        (_loss_not_noticed_by_a_survivor, {"loss_was_noticed", "network_healed"}),
        (_stream_end_not_noticed, {"loss_was_noticed"}),
        (_nothing_written_by_the_victim, {"latest_survived"}),
        (_latest_not_at_the_collector, {"latest_survived"}),
        (_latest_older_at_a_survivor, {"latest_survived"}),
        (_latest_not_at_the_replacement, {"latest_survived"}),
        (_latest_not_the_same, {"latest_survived"}),
        (_no_replacement, {"replacement_joined"}),
        (_replacement_unknown_to_one, {"network_healed"}),
        (_replacement_that_found_nobody, {"replacement_joined", "network_healed"}),
        (_replacement_that_sent_nothing, {"replacement_joined"}),
        (_survivor_wrongly_forgotten, {"network_healed"}),
        (_reading_missing, {"survivors_lost_nothing"}),
        (_reading_missing_from_the_killed, set()),
        (_reading_too_late, {"nothing_out_of_order", "survivors_lost_nothing"}),
        (_survivor_that_crashed, {"all_ended_cleanly"}),
        (_survivor_that_had_to_be_killed, {"all_ended_cleanly"}),
        (_victim_that_left_by_itself, {"all_ended_cleanly"}),
        (_process_that_never_ended, {"all_ended_cleanly"}),
        (_one_too_few, {"all_started"}),
    ],
)
def test_a_spoiled_fact_fails_the_claims_about_it(spoil: Spoil, failed: set[str]) -> None:
    facts = good_run()
    spoil(facts)
    assert failed <= names_of_failed(facts)
    # Claims about something else still hold; leaving one out may touch several.
    if spoil not in (_nobody_killed, _no_replacement, _one_too_few):
        assert names_of_failed(facts) == failed


def test_a_failed_claim_names_who_is_to_blame() -> None:
    facts = good_run()
    facts.sensors[103].out_of_order_count = 7
    facts.sensors[100].node.known_at.clear()
    by_text = {claim.text: claim.detail for claim in claims.check(facts, sensor_count=4)}
    assert by_text["no reading arrived out of order"] == "net-io 7 out of order"
    assert "cpu has not found all the others" in by_text.values()


def test_the_figures_are_those_of_the_slowest() -> None:
    facts = good_run()
    assert claims.all_found_each_other(facts).detail == "1.00 s at the latest (collector)"
    assert claims.loss_was_noticed(facts).detail == "disk: after 2.00 s at the latest (collector)"
    found = claims.replacement_joined(facts).detail
    assert found == "disk-2: found all in 0.50 s, streamed in 0.60 s"


def test_a_visitor_that_comes_and_goes_changes_nothing() -> None:
    facts = good_run(is_ended=False)
    others = dict.fromkeys((*facts.collector.knows, "ab" * 32), 0.001)
    facts.receive_catalog(others, now=15.0)
    assert claims.network_healed(facts).holds
    others.pop("ab" * 32)
    facts.receive_catalog(others, now=16.0)
    assert claims.network_healed(facts).holds
    assert COLLECTOR not in facts.collector.knows
