"""The claims machine: what is granted in one history, what a merge of two leaves, the fence."""

from __future__ import annotations

from random import Random

import pytest

from mosaik_actors.errors import DecodeError
from mosaik_actors.groups.machine.machine import ApplyContext
from mosaik_actors.ids import GroupId, NetworkId
from mosaik_actors.singletons.claims import (
    DRAWN_BITS,
    DRAWN_MAX,
    NAMES_MAX,
    NOTHING,
    SECONDS_MAX,
    TOKEN_MAX,
    Claim,
    Claims,
    Command,
    Doubt,
    NameRecord,
    Reassure,
    Release,
    SingletonHost,
    Trust,
)
from mosaik_actors.singletons.fence import Fence, OutdatedToken

CONTEXT = ApplyContext(1, 1, 1, 1, GroupId("g"), NetworkId("n"))
HERE, THERE = (SingletonHost(bytes([number] * 32), b"i", number) for number in (1, 2))


def apply(claims: Claims, command: Command) -> bool:
    return claims.apply(command, CONTEXT)


def claim(record: NameRecord, host: SingletonHost, *, drawn: int = 1, wall_s: int = 0) -> Claim:
    return Claim("x", host, record.token, record.doubt, 5.0, drawn, wall_s)


def test_first_of_two_claims_is_granted_whatever_is_drawn() -> None:
    claims = Claims()
    first, second = claim(NOTHING, HERE, drawn=1), claim(NOTHING, THERE, drawn=9)
    assert apply(claims, first)
    assert not apply(claims, second)
    assert claims.query("x") == NameRecord(first.token, HERE, 0, 5.0)


def test_doubt_opens_name_unless_holder_answers() -> None:
    claims = Claims()
    apply(claims, claim(NOTHING, HERE))
    held = claims.query("x")
    assert not apply(claims, claim(held, THERE)), "it is held"
    assert apply(claims, Doubt("x", held.token, 7))
    assert not apply(claims, Doubt("x", held.token, 8)), "one doubt at a time"
    doubted = claims.query("x")
    assert apply(claims, Reassure("x", held.token, 5.0))
    assert not apply(claims, claim(doubted, THERE, drawn=9)), "the holder was in time"
    apply(claims, Doubt("x", held.token, 9))
    assert not apply(claims, claim(doubted, THERE, drawn=9)), "of the doubt before"
    assert apply(claims, claim(claims.query("x"), THERE))
    taken = claims.query("x")
    assert taken.host == THERE
    assert taken.token > held.token
    # What the former holder says now is of no effect.
    assert not apply(claims, Reassure("x", held.token, 5.0))
    assert not apply(claims, Release("x", held.token))
    assert claims.query("x") == taken


def test_released_name_is_free_and_its_token_stays() -> None:
    claims = Claims()
    apply(claims, claim(NOTHING, HERE))
    before = claims.query("x")
    assert apply(claims, Release("x", before.token))
    assert claims.query("x").host is None
    assert apply(claims, claim(claims.query("x"), HERE))
    assert claims.query("x").token > before.token


def test_token_is_at_least_the_wall_clock_and_fits_63_bits() -> None:
    assert claim(NOTHING, HERE, wall_s=1000).token >> DRAWN_BITS == 1000
    high = NameRecord(token=2000 << DRAWN_BITS)
    assert claim(high, HERE, wall_s=1000).token >> DRAWN_BITS == 2001
    assert claim(high, HERE, wall_s=SECONDS_MAX, drawn=DRAWN_MAX).token < TOKEN_MAX
    claims = Claims()
    claims.records["x"] = NameRecord(token=TOKEN_MAX)
    assert not apply(claims, claim(claims.query("x"), HERE)), "none is higher"


def test_higher_token_of_another_history_makes_name_contested() -> None:
    """Both began with nothing; one holds the name with the lower token when they meet."""
    low, high = claim(NOTHING, HERE, drawn=3), claim(NOTHING, THERE, drawn=4)
    claims = Claims()
    apply(claims, low)
    apply(claims, Reassure("x", low.token, 5.0))
    # What the other history has is replayed.
    assert not apply(claims, high)
    assert apply(claims, Reassure("x", high.token, 7.0))
    contested = claims.query("x")
    assert (contested.token, contested.host, contested.lease_s) == (high.token, None, 7.0)
    for of_neither in (Reassure("x", low.token, 5.0), Reassure("x", high.token, 7.0)):
        assert not apply(claims, of_neither)
    assert not apply(claims, claim(NameRecord(high.token), HERE)), "it is not free"
    assert apply(claims, claim(contested, HERE)), "but in doubt, for who has waited for a lease"
    # The other way round the higher one stands.
    claims = Claims()
    for command in (high, low, Reassure("x", low.token, 5.0)):
        apply(claims, command)
    assert claims.query("x") == NameRecord(high.token, THERE, 0, 5.0)


def test_trust_is_exchanged_for_the_one_expected() -> None:
    claims = Claims()
    assert apply(claims, Trust(b"one", b""))
    assert not apply(claims, Trust(b"two", b""))
    assert apply(claims, Trust(b"two", b"one"))
    assert claims.trusted == b"two"


def test_names_are_bounded() -> None:
    claims = Claims()
    claims.records = {str(number): NameRecord() for number in range(NAMES_MAX)}
    assert not apply(claims, claim(NOTHING, HERE))


def test_snapshot_is_restored() -> None:
    claims, other = Claims(), Claims()
    apply(claims, claim(NOTHING, HERE))
    apply(claims, Trust(b"one", b""))
    other.restore(claims.snapshot())
    assert other.records == claims.records
    assert other.trusted == b"one"
    with pytest.raises(DecodeError):
        other.restore([b"nonsense"])


class History:
    """One history: a machine, what was applied, and candidates that go by what they saw."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.claims = Claims()
        self.log: list[Command] = []
        self.acted: list[int] = []
        self.seen: list[NameRecord] = [NOTHING]

    def apply(self, command: Command) -> None:
        before = self.claims.query("x")
        apply(self.claims, command)
        after = self.claims.query("x")
        self.log.append(command)
        assert after.token >= before.token
        if after.token > before.token and isinstance(command, Claim):
            assert before.doubt == command.doubt if before.doubt else before.host is None
        self.seen = [*self.seen[-2:], after]

    def live(self) -> None:
        """Let somebody say something, going by a state that was seen not long ago."""
        rng, now = self.rng, self.claims.query("x")
        record = rng.choice([now, now, *self.seen])
        drawn = rng.randint(1, 50)
        choice = rng.randrange(8)
        if choice < 3:
            if record.host is None or record.doubt:
                wall_s = rng.choice([0, 0, rng.randint(0, 4)])
                host = rng.choice([HERE, THERE])
                self.apply(claim(record, host, drawn=drawn, wall_s=wall_s))
        elif choice < 6:
            if record.host is not None:
                self.apply(Reassure("x", record.token, 5.0))
                if self.claims.query("x") == NameRecord(record.token, record.host, 0, 5.0):
                    self.acted.append(record.token)
        elif choice == 6:
            self.apply(Doubt("x", record.token, drawn))
        else:
            self.apply(Release("x", record.token))


@pytest.mark.parametrize("seed", range(4))
def test_tokens_rise_across_merges(seed: int) -> None:
    """Histories that began apart, or parted, are merged while the winner goes on."""
    for round_number in range(100):
        rng = Random(seed * 1000 + round_number)
        one, two = History(rng), History(rng)
        if rng.random() < 0.5:  # two goes on with what one had: a takeover
            for _ in range(rng.randrange(5)):
                one.live()
            two.claims.restore(one.claims.snapshot())
            two.acted = list(one.acted)
            two.seen = [two.claims.query("x")]
        begun = len(one.log)
        for history in (one, two):
            for _ in range(rng.randrange(12)):
                history.live()
        acted = max([*one.acted, *two.acted, 0])
        winner, loser = (one, two) if rng.random() < 0.5 else (two, one)
        replayed = loser.log[begun:] if loser is one else loser.log
        for command in replayed:
            winner.apply(command)
            while rng.random() < 0.2:
                winner.live()
        assert winner.claims.query("x").token >= acted, (seed, round_number)
        # Nobody holds the name with a token that is lower than one that was acted with.
        for _ in range(6):
            winner.live()
        assert winner.claims.query("x").token >= max([acted, *winner.acted])


def test_fence_refuses_what_is_lower_than_what_was_seen() -> None:
    fence = Fence()
    for token in (0, 5, 5, 7):
        fence.check(token)
    with pytest.raises(OutdatedToken, match="token 6 is outdated: 7 has been seen") as caught:
        fence.check(6)
    assert (caught.value.token, caught.value.highest) == (6, 7)
    assert not fence.admits(6)
    assert Fence(fence.highest).admits(7)
