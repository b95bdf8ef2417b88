"""What the demo claims at the end, each claim checked against the observed facts.

The demo succeeds when every claim holds. A claim is decided by what was
observed alone: a process that never reported, a moment that was never noted,
a stream that went silent make it fail, and `detail` says which.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from .facts import Facts

SILENCE_MAX_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class CheckedClaim:
    """One claim: what it says, whether it holds, and the figures or the reason."""

    text: str
    holds: bool
    detail: str


def check(facts: Facts, *, sensor_count: int) -> list[CheckedClaim]:
    """Return all claims about a finished run that was to have `sensor_count` sensors."""
    return [
        all_started(facts, sensor_count),
        all_found_each_other(facts),
        all_streamed(facts),
        loss_was_noticed(facts),
        latest_survived(facts),
        replacement_joined(facts),
        network_healed(facts),
        nothing_out_of_order(facts),
        survivors_lost_nothing(facts),
        survivors_streamed_on(facts),
        all_ended_cleanly(facts),
    ]


def all_started(facts: Facts, sensor_count: int) -> CheckedClaim:
    """Check that the processes exist."""
    pids = [sensor.pid for sensor in facts.initial]
    return CheckedClaim(
        f"{sensor_count + 1} processes shared nothing but the network's name",
        len(pids) == sensor_count and facts.collector.peer is not None,
        f"the collector and {len(pids)} sensors",
    )


def all_found_each_other(facts: Facts) -> CheckedClaim:
    """Check that each of the first processes had all the others in its catalog."""
    text = "every process found every other, with no address configured"
    return _slowest(text, facts.all_found_s(facts.initial), "has not found all the others")


def all_streamed(facts: Facts) -> CheckedClaim:
    """Check that readings of each sensor arrived."""
    first = {
        one.name: None if one.first_item_at is None else one.first_item_at - one.node.started_at
        for one in facts.initial
    }
    text = "readings of every sensor arrived"
    return _slowest(text, first, "sent nothing that arrived", what="first item: ")


def loss_was_noticed(facts: Facts) -> CheckedClaim:
    """Check that a sensor was killed and that all others noticed it."""
    text = "one was killed without warning, and all others noticed"
    victim = facts.victim
    if victim is None or victim.killed_at is None:
        return CheckedClaim(text, False, "none was killed")
    peer = victim.node.peer
    noticed: dict[str, float | None] = {
        name: node.forgot_at.get(peer) if peer is not None else None
        for name, node in facts.nodes(facts.survivors)
    }
    noticed["its stream"] = victim.stream_lost_at
    after = {name: None if at is None else at - victim.killed_at for name, at in noticed.items()}
    return _slowest(text, after, "has not noticed", what=f"{victim.name}: after ")


def latest_survived(facts: Facts) -> CheckedClaim:
    """Check that every living process has what the killed one had written into the shared map."""
    text = "what it had written into the shared map is there, the same at every process"
    victim = facts.victim
    if victim is None or victim.written is None:
        return CheckedClaim(text, False, "the killed one had written nothing")
    living = facts.survivors + [one for one in (facts.replacement,) if one is not None]
    kept = {name: node.latest.get(victim.name) for name, node in facts.nodes(living)}
    wrong = [name for name, number in kept.items() if number is None or number < victim.written]
    if wrong:
        return CheckedClaim(text, False, f"not at: {', '.join(wrong)}")
    if len(set(kept.values())) != 1:
        return CheckedClaim(text, False, f"not the same: {kept}")
    return CheckedClaim(text, True, f"reading {kept['collector']} of {victim.name}")


def replacement_joined(facts: Facts) -> CheckedClaim:
    """Check that the replacement found all that live, was found by them, and streamed."""
    text = "its replacement found its place and streamed"
    new = facts.replacement
    if new is None:
        return CheckedClaim(text, False, "none was started")
    found_s = facts.all_found_s([*facts.survivors, new])[new.name]
    if found_s is None:
        return CheckedClaim(text, False, f"{new.name} has not found all the others")
    if new.first_item_at is None:
        return CheckedClaim(text, False, f"{new.name} sent nothing that arrived")
    first_s = new.first_item_at - new.node.started_at
    return CheckedClaim(
        text, True, f"{new.name}: found all in {found_s:.2f} s, streamed in {first_s:.2f} s"
    )


def network_healed(facts: Facts) -> CheckedClaim:
    """Check that in the end each living node knows exactly the living ones of the run."""
    living = facts.survivors + [one for one in (facts.replacement,) if one is not None]
    nodes = dict(facts.nodes(living))
    everybody = {one.node.peer for one in facts.sensors.values()} | {facts.collector.peer}
    alive = {node.peer for node in nodes.values()}
    wrong = [name for name, node in nodes.items() if node.knows & everybody != alive - {node.peer}]
    return CheckedClaim(
        "in the end every process knew exactly the living ones",
        not wrong and None not in alive,
        f"wrong at: {', '.join(wrong)}" if wrong else f"{len(nodes)} of {len(nodes)}",
    )


def nothing_out_of_order(facts: Facts) -> CheckedClaim:
    """Check the order of the readings of each sensor, the killed one included."""
    total = sum(one.item_count for one in facts.sensors.values())
    wrong = {
        one.name: one.out_of_order_count for one in facts.sensors.values() if one.out_of_order_count
    }
    return CheckedClaim(
        "no reading arrived out of order",
        not wrong and total > 0,
        f"{_counts(wrong)} out of order" if wrong else f"{total} readings",
    )


def survivors_lost_nothing(facts: Facts) -> CheckedClaim:
    """Check that the readings of each survivor arrived without a gap."""
    wrong = {one.name: one.lost_count for one in facts.survivors if one.lost_count}
    total = sum(one.item_count for one in facts.survivors)
    return CheckedClaim(
        "no reading of a survivor was lost, from the first to the last",
        not wrong and total > 0,
        f"{_counts(wrong)} lost" if wrong else f"{total} readings",
    )


def survivors_streamed_on(facts: Facts) -> CheckedClaim:
    """Check that no living sensor had gone silent when the observation stopped."""
    end = facts.ended_at
    living = facts.survivors + [one for one in (facts.replacement,) if one is not None]
    silent = [
        one.name
        for one in living
        if end is None or one.last_item_at is None or end - one.last_item_at > SILENCE_MAX_S
    ]
    return CheckedClaim(
        "the others streamed until the end",
        not silent and bool(living),
        f"silent for more than {SILENCE_MAX_S:.0f} s: {', '.join(silent)}"
        if silent
        else f"{len(living)} sensors",
    )


def all_ended_cleanly(facts: Facts) -> CheckedClaim:
    """Check that each process that was not killed left the network and exited with 0."""
    asked = [one for one in facts.sensors.values() if one.killed_at is None]
    wrong = [f"{one.name} with {one.exit_code}" for one in asked if one.exit_code != 0]
    wrong += [
        f"{one.name}, killed, with {one.exit_code}"
        for one in facts.sensors.values()
        if one.killed_at is not None and one.exit_code != -signal.SIGKILL
    ]
    return CheckedClaim(
        "every process that was not killed left when asked to",
        not wrong and bool(asked),
        f"ended wrongly: {', '.join(wrong)}" if wrong else f"{len(asked)} processes",
    )


def _slowest(
    text: str, after_s: dict[str, float | None], missing: str, *, what: str = ""
) -> CheckedClaim:
    """Return a claim that holds when all happened; its figure is the slowest."""
    absent = [name for name, seconds in after_s.items() if seconds is None]
    if absent or not after_s:
        return CheckedClaim(text, False, f"{', '.join(absent) or 'nobody'} {missing}")
    happened = {name: seconds for name, seconds in after_s.items() if seconds is not None}
    name = max(happened, key=happened.__getitem__)
    return CheckedClaim(text, True, f"{what}{happened[name]:.2f} s at the latest ({name})")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def failures(claims: Iterable[CheckedClaim]) -> list[CheckedClaim]:
    """Return the claims that do not hold."""
    return [claim for claim in claims if not claim.holds]
