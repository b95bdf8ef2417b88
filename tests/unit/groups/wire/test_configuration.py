"""Configurations: which changes are legal, and which one is in force."""

from itertools import chain, combinations

import pytest

from mosaik_actors.errors import DecodeError
from mosaik_actors.groups.wire.configuration import (
    Configurations,
    IllegalChange,
    check_change,
    check_voters,
    decode_voters,
    demote,
    encode_voters,
    promote,
    remove,
)
from mosaik_actors.groups.wire.records import LEARNER_COUNT_MAX, VOTER_COUNT_MAX, Voters

from ..cores import peer, voters_of


def test_changes_keep_the_order() -> None:
    current = voters_of(1, 3, learners=(2,))
    assert promote(current, peer(2)) == voters_of(1, 2, 3)
    assert demote(current, peer(1)) == voters_of(3, learners=(1, 2))
    assert remove(current, peer(3)) == voters_of(1, learners=(2,))
    assert remove(current, peer(2)) == voters_of(1, 3)


@pytest.mark.parametrize(
    "bad",
    [
        Voters((), (peer(1),)),
        Voters((peer(2), peer(1)), ()),
        Voters((peer(1), peer(1)), ()),
        Voters((peer(1),), (peer(1),)),
        Voters((peer(1),), (peer(3), peer(2))),
        voters_of(*range(VOTER_COUNT_MAX + 1)),
    ],
)
def test_what_is_no_configuration_is_refused(bad: Voters) -> None:
    with pytest.raises(IllegalChange):
        check_voters(bad)
    with pytest.raises(DecodeError):
        decode_voters(encode_voters(bad))


def test_learners_are_bounded() -> None:
    many = tuple(type(peer(0))(n.to_bytes(32)) for n in range(1, LEARNER_COUNT_MAX + 2))
    check_voters(Voters((peer(250),), many[:-1]))
    with pytest.raises(IllegalChange, match="learners"):
        check_voters(Voters((peer(250),), many))


def test_legal_changes_are_those_with_one_voter_more_or_less() -> None:
    """All pairs of configurations of four peers, against the rule in plain words."""
    everybody = range(4)
    subsets = [set(c) for c in chain.from_iterable(combinations(everybody, n) for n in range(5))]
    checked = 0
    for before in subsets[1:]:
        current = voters_of(*before, learners=tuple(set(everybody) - before))
        for after in subsets[1:]:
            target = voters_of(*after)
            checked += 1
            if target != current and len(before ^ after) <= 1:
                check_change(current, target)
            else:
                with pytest.raises(IllegalChange):
                    check_change(current, target)
    assert checked == 225


def test_voter_must_have_been_a_learner() -> None:
    with pytest.raises(IllegalChange, match="no learner"):
        check_change(voters_of(0), voters_of(0, 1))


def test_round_trip() -> None:
    voters = voters_of(1, 2, learners=(3,))
    assert decode_voters(encode_voters(voters)) == voters


@pytest.mark.parametrize(
    "data", [b"", b"\xc0", b"\x92\x90\x90", bytes(100), b"\x92\x91\xc4\x01a\x90"]
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_voters(data)


def test_latest_is_in_force_and_the_one_before_decides_with_it() -> None:
    known = Configurations(0, voters_of(0, 1))
    known.append(5, voters_of(0, 1, 2, learners=(3,)))
    assert known.latest == voters_of(0, 1, 2, learners=(3,))
    assert known.is_pending(4)
    assert known.deciding(4) == (voters_of(0, 1).voters, voters_of(0, 1, 2).voters)
    assert known.members(4) == [peer(n) for n in range(4)]
    assert not known.is_pending(5)
    assert known.deciding(5) == (voters_of(0, 1, 2).voters,)


def test_first_configuration_of_a_joiner_has_none_before_it() -> None:
    known = Configurations(0, Voters())
    assert known.deciding(0) == ()
    known.append(3, voters_of(0))
    assert known.deciding(0) == (voters_of(0).voters,)


def test_truncation_brings_the_one_before_back() -> None:
    known = Configurations(0, voters_of(0, 1))
    known.append(5, voters_of(0, 1, 2))
    assert not known.truncate(6)
    assert known.truncate(5)
    assert known.latest == voters_of(0, 1)


def test_compaction_keeps_what_was_in_force() -> None:
    known = Configurations(0, voters_of(0))
    known.append(3, voters_of(0, 1))
    known.append(7, voters_of(0, 1, 2))
    assert [known.at(index) for index in (2, 3, 6, 7)] == [
        voters_of(0),
        voters_of(0, 1),
        voters_of(0, 1),
        voters_of(0, 1, 2),
    ]
    known.compact(5)
    assert known.at(5) == voters_of(0, 1)
    assert list(known.between(5, 9)) == [(7, voters_of(0, 1, 2))]
    with pytest.raises(AssertionError):
        known.at(4)
