"""A moment of the soak, on every carrier; `python -m tests.soak` goes on for as long as wanted."""

import pytest

from tests.soak.life import WARM_UP_ROUNDS, live

from .endpoints import KINDS

ROUNDS = 12


@pytest.mark.parametrize("carrier", KINDS)
async def test_a_long_life_leaves_nothing_behind(carrier: str) -> None:
    await live(carrier, seed=1, goes_on=lambda tally: tally.rounds < WARM_UP_ROUNDS + ROUNDS)
