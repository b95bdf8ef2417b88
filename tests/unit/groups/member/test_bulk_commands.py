"""Many commands in one call while leaders crash: each takes effect once, in order, or never."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from mosaik_actors.groups.client.calls import Submission
from mosaik_actors.groups.client.client import SubmissionFailed
from tests.scenario.groups_machines import Journal, Put, SavedJournal

from ..member_world import World


@pytest.mark.parametrize("seed", range(3))
def test_calls_of_a_thousand_commands_survive_crashes_of_their_leaders(seed: int) -> None:
    rng = Random(seed)
    world = World(3, SavedJournal, is_durable=True, seed=seed)
    world.form(0, 1, 2)
    calls: dict[tuple[int, Any], list[Put]] = {}
    number = 0
    for _ in range(4):
        for node in world.nodes:
            for count in rng.sample((1, 1, 2, 1000, 1500), 3):
                client = f"{node.number} in life {node.life}"
                puts = [Put(client, number + one) for one in range(count)]
                number += count
                calls[node.number, world.submit(node.number, *puts, timeout_s=30)] = puts
        # In the midst: some of it is committed, some is in one log, some on its way.
        world.run(rng.random() * 0.02)
        leader = world.leader()
        assert leader is not None
        world.crash(leader.number)
        world.run(rng.random() * 0.02)
        world.start(leader.number)
        world.until(lambda: world.leader() is not None)
    world.until(lambda: all(node.member.client.is_idle for node in world.nodes), 60)
    machines = [node.machine for node in world.nodes if isinstance(node.machine, Journal)]
    journal = machines[0].journal
    world.until(lambda: all(machine.journal == journal for machine in machines))
    assert len(set(journal)) == len(journal)
    for client in {client for client, _ in journal}:
        assert (numbers := machines[0].numbers_of(client)) == sorted(numbers)
    applied_at = {command: position for position, command in enumerate(journal, 1)}
    outcomes = []
    for (at, token), puts in calls.items():
        node = world.nodes[at]
        match outcome := node.outcomes.get(token):
            case Submission():
                positions = [applied_at[put.client, put.number] for put in puts]
                assert list(outcome.positions) == positions
                for position in positions:
                    result = outcome.results[position]
                    assert result is not None
                    value = node.member.host.results.decode(result).value
                    assert value == machines[0].digests[position]
            case SubmissionFailed(may_take_effect=False):
                assert not [put for put in puts if (put.client, put.number) in applied_at]
        outcomes.append(type(outcome))
    assert outcomes.count(Submission) > len(calls) // 3
