"""The tests notice deliberate bugs; ``python -m tests.mutations.groups`` tries all of them."""

import pytest

from .groups import MUTATIONS, QUICK, Mutation, catch, mutated


@pytest.mark.parametrize("name", QUICK)
def test_bug_is_noticed(name: str) -> None:
    (mutation,) = (m for m in MUTATIONS if m.name == name)
    assert catch(mutation, seeds_max=10), f"nobody noticed: {name}"


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_mutation_fits_the_source_and_is_taken_back(mutation: Mutation) -> None:
    with mutated(mutation):
        pass
    with mutated(mutation):
        pass
