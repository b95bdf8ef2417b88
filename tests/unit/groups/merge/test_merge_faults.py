"""Histories that meet while everything goes wrong: see `merge_world`."""

import pytest

from ..merge_world import Options, World, options_of


@pytest.mark.parametrize("seed", range(24))
def test_histories_become_one_and_lose_nothing(seed: int) -> None:
    counts = World(seed, options_of(seed)).run()
    assert counts["commands"] > 20


@pytest.mark.parametrize("seed", range(100, 106))
def test_histories_that_keep_being_founded_become_one(seed: int) -> None:
    """Whoever gives up a history may begin another one before it joins."""
    options = Options(nodes=7, histories=5, founders=8.0, fault_s=15.0)
    counts = World(seed, options).run()
    assert counts["histories"] > 5


@pytest.mark.parametrize("seed", range(200, 206))
def test_histories_merge_while_leaders_change_all_the_time(seed: int) -> None:
    options = Options(elections=6.0, restarts=1.0, blocks=2.0, loss=0.2)
    World(seed, options).run()


def test_histories_merge_soon_when_nothing_goes_wrong() -> None:
    options = Options(
        loss=0.0, duplicates=0.0, elections=0.0, restarts=0.0, blocks=0.0, compactions=0.0
    )
    for seed in range(5):
        world = World(seed, options)
        world.run()
        assert world.counts["abandoned"] >= 2
        assert world.now < options.fault_s + 5, f"seed {seed} took until {world.now}"


def test_run_repeats_exactly() -> None:
    assert World(7, options_of(7)).run() == World(7, options_of(7)).run()
