"""Quorum arithmetic against brute force."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.groups.raft.quorum import agreed, is_won, majority, reached
from mosaik_actors.ids import PeerId

from ..cores import peer

numbers = st.integers(0, 12)
groups = st.lists(st.integers(0, 8).map(peer), min_size=1, max_size=7, unique=True)


def majorities(voters: list[PeerId]) -> list[set[PeerId]]:
    size = next(n for n in range(len(voters) + 1) if 2 * n > len(voters))
    return [set(chosen) for chosen in combinations(voters, size)]


@given(st.lists(numbers, min_size=1, max_size=7))
def test_reached_is_the_best_value_that_some_majority_has(values: list[int]) -> None:
    chosen = combinations(values, majority(len(values)))
    assert reached(values) == max(min(some) for some in chosen)


def test_nobody_reaches_nothing() -> None:
    assert reached([]) == 0
    assert agreed((), {}) == 0


@given(
    st.lists(groups, min_size=1, max_size=2), st.dictionaries(st.integers(0, 8).map(peer), numbers)
)
def test_agreed_needs_a_majority_of_each_configuration(
    configurations: list[list[PeerId]], values: dict[PeerId, int]
) -> None:
    slow = min(
        max(min(values.get(voter, 0) for voter in some) for some in majorities(voters))
        for voters in configurations
    )
    assert agreed(configurations, values) == slow


@given(
    st.lists(groups, min_size=1, max_size=2),
    st.dictionaries(st.integers(0, 8).map(peer), st.booleans()),
)
def test_election_is_won_and_lost_as_brute_force_says(
    configurations: list[list[PeerId]], votes: dict[PeerId, bool]
) -> None:
    def won(hopeful: bool) -> bool:
        return all(
            any(all(votes.get(voter, hopeful) for voter in some) for some in majorities(voters))
            for voters in configurations
        )

    expected = True if won(hopeful=False) else None if won(hopeful=True) else False
    assert is_won(configurations, votes) is expected


@given(groups)
def test_majorities_overlap(voters: list[PeerId]) -> None:
    assert all(a & b for a in majorities(voters) for b in majorities(voters))
