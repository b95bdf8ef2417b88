"""Many meshes and bad links: never two bonds for a pair, and one for each when it is over."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.groups.mesh.bond import BondFormed, BondLost

from ..mesh_simulator import Simulation

FAULTS = 40
# A silent bond lasts 2 s, a dial 5 s, and 5 s may be waited before the next one.
QUIET_S = 20.0


def run(seed: int, count_of_nodes: int, slowness_s: float) -> Simulation:
    sim = Simulation(seed, count_of_nodes=count_of_nodes, latency_s=(0.0, slowness_s))
    sim.start()
    for _ in range(FAULTS):
        sim.run_for(sim.rng.choice((0.01, 0.1, 0.1, 0.5, 2.0)))
        sim.misbehave()

    # Faults stop, everybody is there and knows everybody.
    sim.run_for(5.0)
    sim.cut.clear()
    for node in sim.nodes:
        if not node.is_up:
            node.start()
        node.learn(sim.others_of(node))
    sim.run_for(QUIET_S)
    sim.check_converged()

    # Then nothing changes any more.
    for node in sim.nodes:
        node.events.clear()
    sim.run_for(5.0)
    sim.check_converged()
    for node in sim.nodes:
        assert not [e for _, e in node.events if isinstance(e, BondFormed | BondLost)]
    return sim


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    count_of_nodes=st.integers(2, 5),
    slowness_s=st.sampled_from((0.001, 0.02, 0.1, 0.3)),
)
def test_mesh_is_whole_again_after_any_faults(
    seed: int, count_of_nodes: int, slowness_s: float
) -> None:
    run(seed, count_of_nodes, slowness_s)


def test_same_seed_gives_the_same_run() -> None:
    first, second = run(1, 3, 0.1), run(1, 3, 0.1)
    assert first.now == second.now
    assert [node.events for node in first.nodes] == [node.events for node in second.nodes]
