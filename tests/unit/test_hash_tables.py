"""How many steps Python's sets and mappings take, and numbers that were made to take many."""

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from mosaik_actors.codec import FAST, UNTYPED, codec_for
from mosaik_actors.errors import DecodeError
from mosaik_actors.hash_tables import steps_in_table
from mosaik_actors.wire_limits import STEPS_PER_KEY_MAX, STEPS_PER_MEMBER_MAX

_BITS = 13  # of a table for 2731 to 5461 keys


def _along(place: int, hash_: int, step: int) -> int:
    return (place * 5 + (hash_ >> 5 * step) + 1) & ((1 << _BITS) - 1)


def _colliding(first_count: int, count: int, rng: Random) -> list[int]:
    """Return keys that fill one chain of places, then some whose ways lead all along it."""
    chain = [0]
    while len(chain) < first_count:
        chain.append(_along(chain[-1], 0, 1))
    number = {place: at for at, place in enumerate(chain)}

    def ways() -> Iterator[int]:
        while True:
            hash_ = place = rng.choice(chain)
            for step in range(1, 10):  # the lowest bits so that the first steps meet used places
                wanted = [
                    more
                    for bits in range(32)
                    if _along(place, more := hash_ | bits << _BITS + 5 * (step - 1), step) in number
                ]
                if not wanted:
                    break
                hash_ = rng.choice(wanted)
                place = _along(place, hash_, step)
            else:
                for step in range(10, 13):
                    place = _along(place, hash_, step)
                    if place not in number:
                        break
                else:
                    if number[place] < first_count // 2:
                        yield hash_

    found = ways()
    return [*chain, *dict.fromkeys(next(found) for _ in range(count))]


@pytest.fixture(scope="module")
def keys() -> list[int]:
    """Return a chain of integers, and some that each take a thousand steps or more along it."""
    return _colliding(2731, 200, Random(1))


def test_the_steps_are_those_of_a_slow_and_obvious_table() -> None:
    rng = Random(2)
    hashes = [rng.choice((rng.getrandbits(60), rng.getrandbits(4) << 40)) for _ in range(1200)]

    places: dict[int, int] = {}
    steps = 0
    for hash_ in hashes:
        place, rest = hash_ % 2048, hash_
        steps += 1
        while places.get(place, hash_) != hash_:
            steps += 1
            rest //= 32
            place = (place * 5 + rest + 1) % 2048
        places[place] = hash_

    assert steps_in_table(hashes, is_set=False, steps_max=10**6) == steps
    assert steps_in_table(hashes, is_set=True, steps_max=10**6) < steps


def test_the_steps_of_a_set_are_those_of_a_slow_and_obvious_one() -> None:
    rng = Random(4)
    hashes = [rng.choice((rng.getrandbits(60), rng.getrandbits(9) << 40)) for _ in range(1200)]

    places: dict[int, int] = {}
    steps = 0
    for hash_ in hashes:
        place, rest = hash_ % 2048, hash_
        while True:
            steps += 1
            near = range(place, place + 10 if place + 9 < 2048 else place + 1)
            free = next((one for one in near if places.get(one, hash_) == hash_), None)
            if free is not None:
                break
            rest //= 32
            place = (place * 5 + rest + 1) % 2048
        places[free] = hash_

    assert steps_in_table(hashes, is_set=True, steps_max=10**6) == steps


def test_it_is_looked_no_further_than_asked(keys: list[int]) -> None:
    # The way of one key is not cut short.
    assert 10_000 < steps_in_table(keys, is_set=False, steps_max=10_000) < 10_000 + 4096


@pytest.mark.parametrize("type_", [dict[int, int], dict[float | int, int], dict[Any, int], Any])
def test_integers_whose_places_collide_become_no_keys(type_: Any, keys: list[int]) -> None:
    typed = codec_for(dict[int, int])
    data = typed.encode(dict.fromkeys(keys, 1))
    form = UNTYPED if type_ is Any else FAST

    with pytest.raises(DecodeError, match="made to collide"):
        codec_for(type_).decode(form + data[1:])


def test_a_key_that_is_sent_again_and_again_counts_each_time(keys: list[int]) -> None:
    worst = [*keys[:2731], *[keys[-1]] * 1000]
    steps_max = STEPS_PER_KEY_MAX * len(worst)

    assert steps_in_table(worst, is_set=False, steps_max=steps_max) > steps_max


@pytest.mark.parametrize("shift", [0, 10, 13, 20, 40, 44, 50])
@pytest.mark.parametrize("is_set", [True, False])
def test_numbers_that_follow_a_rule_are_taken(shift: int, is_set: bool) -> None:
    # 5462: a mapping has just grown, 4916: a set, so these take the most steps.
    for count in (4916, 5462):
        for step in (1 << shift, 2.0**-shift, 10 ** (shift // 3)):
            hashes = [hash(number * step) for number in range(count)]
            steps_max = (STEPS_PER_MEMBER_MAX if is_set else STEPS_PER_KEY_MAX) * count
            assert steps_in_table(hashes, is_set=is_set, steps_max=steps_max) < steps_max


def test_large_sets_and_mappings_of_numbers_survive_a_round_trip() -> None:
    for value in (
        {number / 4096 for number in range(3000)},
        {number << 40: number for number in range(3000)},
    ):
        kind: Any = set[float] if isinstance(value, set) else dict[int, int]
        assert codec_for(kind).decode(codec_for(kind).encode(value)) == value
