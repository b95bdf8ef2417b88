"""What it would cost Python to put members with given hashes into a set or mapping.

Python's tables look for a free place along a way that the hash alone decides. The
hashes of numbers are no secret, so a peer can choose numbers whose ways lead all
along the places that are used: 64 kB of such integers took 80 ms, 1.3 MB a minute,
though no two of them hash alike. `steps_in_table` walks these ways with nothing but
the hashes, and gives up when it took too many steps.

The sources are ``Objects/dictobject.c`` and ``Objects/setobject.c`` of CPython, which
are the same in this from 3.11 to 3.14. Where another interpreter differs, the check
is one of another table, still the same for all who decode.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import eq
from typing import Final

PLACES_MIN: Final = 2048  # smaller tables cannot cost much, so the walk begins with this one

_PERTURB_SHIFT: Final = 5
_NEIGHBOURS: Final = 9  # places that a set looks at in the same step
_FAST_GROWTH_MAX: Final = 50_000  # of a set
_HASH_MASK: Final = 2**64 - 1


def steps_in_table(hashes: Sequence[int], *, is_set: bool, steps_max: int) -> int:
    """Return how many steps it takes to put in members with these hashes, in this order.

    A member that is there already counts too. Members of one hash are taken for one.
    Past `steps_max` it is looked no further.
    """
    put = _put_in_set if is_set else _put_in_mapping
    table: list[int | None] = [None] * PLACES_MIN
    known: list[int] = []
    at = steps = 0
    while at < len(hashes) and steps <= steps_max:
        place_count = len(table)
        # The last one is that with which it grows.
        room = -(-(place_count - 1) * 3 // 5) if is_set else place_count * 2 // 3
        at, taken = put(table, hashes, at, known, room, steps_max - steps)
        steps += taken
        if len(known) == room and steps <= steps_max:
            if is_set:  # which is taken over place by place, a mapping in the order of its keys
                known = [one for one in table if one is not None]
            table = [None] * _places_next(room, is_set)
            _, taken = put(table, known, 0, [], room, steps_max - steps)
            steps += taken
    return steps


def _places_next(count: int, is_set: bool) -> int:
    if not is_set:
        return 1 << (count * 3 - 1).bit_length()
    return 1 << (count * (2 if count > _FAST_GROWTH_MAX else 4)).bit_length()


# These two are one loop each, because they run for every member of large sets and mappings.


def _put_in_mapping(
    table: list[int | None],
    hashes: Sequence[int],
    at: int,
    known: list[int],
    room: int,
    steps_max: int,
) -> tuple[int, int]:
    """Put in hashes from one on; return where it ended, full or past the steps, and the steps."""
    mask = len(table) - 1
    steps = 0
    for hash_ in hashes[at:]:
        at += 1
        steps += 1
        place = hash_ & mask
        found = table[place]
        rest = hash_ & _HASH_MASK
        while found is not None and found != hash_ and steps <= steps_max:
            steps += 1
            rest >>= _PERTURB_SHIFT
            place = (place * 5 + rest + 1) & mask
            found = table[place]
        if steps > steps_max:
            break
        if found is None:
            table[place] = hash_
            known.append(hash_)
            if len(known) == room:
                break
    return at, steps


def _put_in_set(
    table: list[int | None],
    hashes: Sequence[int],
    at: int,
    known: list[int],
    room: int,
    steps_max: int,
) -> tuple[int, int]:
    """Do what `_put_in_mapping` does, with the neighbours that a set looks at in each step."""
    in_order = sorted(hashes)
    has_twins = any(map(eq, in_order, in_order[1:]))
    mask = len(table) - 1
    last = mask - _NEIGHBOURS
    used = bytearray(
        [one is not None for one in table]
    )  # finds what is free faster than the table itself
    steps = 0
    for hash_ in hashes[at:]:
        at += 1
        steps += 1
        place = hash_ & mask
        found = table[place]
        rest = hash_ & _HASH_MASK
        while found is not None and found != hash_ and steps <= steps_max:
            if place <= last:
                free = used.find(0, place + 1, place + 1 + _NEIGHBOURS)
                if has_twins:
                    near = table[place + 1 : free if free > 0 else place + 1 + _NEIGHBOURS]
                    if hash_ in near:
                        found = hash_
                        break
                if free > 0:
                    place, found = free, None
                    break
            steps += 1
            rest >>= _PERTURB_SHIFT
            place = (place * 5 + rest + 1) & mask
            found = table[place]
        if steps > steps_max:
            break
        if found is None:
            table[place] = hash_
            used[place] = 1
            known.append(hash_)
            if len(known) == room:
                break
    return at, steps
