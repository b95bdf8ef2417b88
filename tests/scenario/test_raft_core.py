"""Raft cores through faults drawn from seeds, and every state compared.

The simulator is `tests.unit.groups.raft_simulator`: cores only, one seed for
everything. `tests/mutations/groups.py` shows that it notices deliberate bugs.
"""

from collections import Counter

import pytest

from tests.unit.groups.raft_simulator import Options, Simulation

# (name, first seed, number of seeds, options). The seeds that found bugs are
# among them: 257 (a leader that removed itself and was never heard), 271 (a
# restarted follower that was never told what is committed), 19 (a full window
# of lost messages, compacted away).
SUITES = {
    "default": (0, 280, Options()),
    "small groups that change": (1000, 60, Options(nodes=4, voters=2, changes=4.0)),
    "even groups": (2000, 40, Options(nodes=6, voters=4)),
    "crashes and slow disks": (
        3000,
        60,
        Options(nodes=3, changes=0, crashes=2.5, slow_disks=3.0),
    ),
    "forgotten sessions": (4000, 30, Options(sessions=2, compactions=5.0)),
    "bad weather": (5000, 30, Options(loss=0.3, duplicates=0.3, delay_s=0.06)),
    "clocks": (6000, 40, Options(clock_jumps=4.0, slow_clocks=1.0, transfers=2.0)),
    # In 51143 votes come so late that who wins a term has a later leader already.
    "late votes": (51_140, 4, Options()),
}
SHARDS = 4


@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("suite", SUITES)
def test_no_fault_breaks_an_invariant(suite: str, shard: int) -> None:
    first, number, options = SUITES[suite]
    total: Counter[str] = Counter()
    for seed in range(first + shard, first + number, SHARDS):
        print(f"seed {seed} {options}")  # noqa: T201  # shown when it fails
        total += Simulation(seed, options).run()
    assert total["seeds"] == len(range(first + shard, first + number, SHARDS))
    assert total["answered"] > 5 * total["seeds"]
    assert total["elections"] >= total["seeds"]


def test_suite_meets_every_kind_of_fault() -> None:
    total: Counter[str] = Counter()
    for seed in range(20):
        total += Simulation(seed).run()
    for kind in (
        "crashes",
        "partitions",
        "clock jumps",
        "slow clocks",
        "slow disks",
        "changes",
        "transfers",
    ):
        assert total[kind] >= 5, kind
    for kind in ("compactions", "installs", "ranges"):
        assert total[kind] >= 5, kind


def test_seed_replays_exactly() -> None:
    runs = [Simulation(7), Simulation(7)]
    assert runs[0].run() == runs[1].run()
    assert runs[0].history == runs[1].history
    assert runs[0].witness.entries == runs[1].witness.entries
