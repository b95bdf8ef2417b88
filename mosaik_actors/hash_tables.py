"""What it would cost Python to put members with given hashes into a set or mapping.

Python's tables look for a free place along a way that the hash alone decides. The
hashes of numbers are no secret, so a peer can choose numbers whose ways lead all
along the places that are used: 64 kB of such integers took 80 ms, 1.3 MB a minute,
though no two of them hash alike. `steps_in_table` walks these ways with nothing but
the hashes, and gives up when it took too many steps.

A hash has 64 bits, of which each step uses up 5. After 13 steps the way is the same
for all: it leads in one circle through every place. So only these 13 are walked in
Python; the rest of a way is one search in bytes that are ordered as the circle is. And
a member that is there already takes as many steps as when it was put in, because what
is used stays used until the table grows.

The sources are ``Objects/dictobject.c`` and ``Objects/setobject.c`` of CPython, which
are the same in this from 3.11 to 3.14. Where another interpreter differs, the check
is one of another table, still the same for all who decode.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import lru_cache
from operator import eq
from typing import Final

PLACES_MIN: Final = 2048  # smaller tables cannot cost much, so the walk begins with this one

_PERTURB_SHIFT: Final = 5
_NEIGHBOURS: Final = 9  # places that a set looks at in the same step
_FAST_GROWTH_MAX: Final = 50_000  # of a set
_HASH_MASK: Final = 2**64 - 1
_CIRCLES_KEPT: Final = 5  # 0.5 MB: those of the tables that 64 kB can fill
_KEPT_PLACES_MAX: Final = PLACES_MIN << _CIRCLES_KEPT - 1


def steps_in_table(hashes: Sequence[int], *, is_set: bool, steps_max: int) -> int:
    """Return how many steps it takes to put in members with these hashes, in this order.

    A member that is there already counts too. Members of one hash are taken for one.
    Past `steps_max` it is looked no further.
    """
    in_order = sorted(hashes)
    has_twins = any(map(eq, in_order, in_order[1:]))
    table = _Table(PLACES_MIN, is_set=is_set, has_twins=has_twins)
    at = table.put(hashes, 0, steps_max)
    steps = table.step_count
    while table.is_full and steps <= steps_max:
        known = table.members()
        table = _Table(_places_next(len(known), is_set), is_set=is_set, has_twins=has_twins)
        table.put(known, 0, steps_max - steps)
        at = table.put(hashes, at, steps_max - steps)
        steps += table.step_count
    return steps


def _places_next(count: int, is_set: bool) -> int:
    if not is_set:
        return 1 << (count * 3 - 1).bit_length()
    return 1 << (count * (2 if count > _FAST_GROWTH_MAX else 4)).bit_length()


def _circle(place_count: int) -> tuple[array[int], array[int]]:
    """Return the places in the order in which all ways end, and the number of each in it."""
    places = array("I", bytes(4 * place_count))
    numbers = array("I", bytes(4 * place_count))
    place = 0
    for number in range(place_count):
        places[number] = place
        numbers[place] = number
        place = (place * 5 + 1) & (place_count - 1)
    return places, numbers


_kept_circle = lru_cache(maxsize=_CIRCLES_KEPT)(_circle)


class _Table:
    """The places of one table, until it has to grow.

    Attributes:
        step_count: How many steps all members took.
        is_full: Whether it has to grow.
    """

    __slots__ = (
        "_circle",
        "_closed",
        "_closed_in_circle",
        "_has_twins",
        "_hashes",
        "_is_set",
        "_places",
        "_room",
        "_steps_of",
        "_used",
        "is_full",
        "step_count",
    )

    def __init__(self, place_count: int, *, is_set: bool, has_twins: bool) -> None:
        self.step_count = 0
        self.is_full = False
        self._is_set = is_set
        self._has_twins = has_twins
        # The last one is that with which it grows.
        self._room = -(-(place_count - 1) * 3 // 5) if is_set else place_count * 2 // 3
        self._hashes: list[int] = []
        self._places: list[int] = []
        # By text, because Python hashes that with a secret.
        self._steps_of: dict[str, int] = {}
        # Of a set a place is closed when its neighbours are used too: a way leads on from there.
        # That is found out when a way comes by, once for each place.
        self._used = bytearray(place_count)
        self._closed = bytearray(place_count) if is_set else self._used
        self._closed_in_circle = bytearray(place_count)
        self._circle = (_kept_circle if place_count <= _KEPT_PLACES_MAX else _circle)(place_count)

    def members(self) -> list[int]:
        """Return the hashes in the order in which the next table takes them over."""
        if self._is_set:
            return [hash_ for _, hash_ in sorted(zip(self._places, self._hashes, strict=True))]
        return self._hashes

    def put(self, hashes: Sequence[int], at: int, steps_max: int) -> int:
        """Put in hashes from one on; return where it ended: done, full or past the steps."""
        # One loop, because it runs for every member of large sets and mappings.
        is_set, used, closed = self._is_set, self._used, self._closed
        in_circle, (places, numbers) = self._closed_in_circle, self._circle
        steps_of = self._steps_of if self._has_twins else None
        mask = len(used) - 1
        last = mask - _NEIGHBOURS if is_set else -1
        step_count, room = self.step_count, self._room - len(self._hashes)
        add_hash, add_place = self._hashes.append, self._places.append
        for hash_ in hashes[at:] if at else hashes:
            at += 1
            if steps_of is not None and (before := steps_of.get(str(hash_))) is not None:
                step_count += before
                if step_count > steps_max:
                    break
                continue
            steps = 1
            free = place = hash_ & mask
            if used[place]:
                rest = hash_ & _HASH_MASK
                while True:
                    if not closed[place]:
                        free = place
                        if not is_set or not used[place]:
                            break
                        if place <= last:
                            free = used.find(0, place, place + _NEIGHBOURS + 1)
                            if free >= 0:
                                break
                        closed[place] = in_circle[numbers[place]] = 1
                    if rest:
                        rest >>= _PERTURB_SHIFT
                        place = (place * 5 + rest + 1) & mask
                        steps += 1
                    else:
                        number = numbers[place]
                        ahead = in_circle.find(0, number)
                        if ahead < 0:
                            ahead = in_circle.find(0) + mask + 1
                        steps += ahead - number
                        place = places[ahead & mask]
            step_count += steps
            if step_count > steps_max:
                break
            if steps_of is not None:
                steps_of[str(hash_)] = steps
            add_hash(hash_)
            used[free] = 1
            if is_set:
                add_place(free)
            else:
                in_circle[numbers[free]] = 1
            room -= 1
            if not room:
                self.is_full = True
                break
        self.step_count = step_count
        return at
