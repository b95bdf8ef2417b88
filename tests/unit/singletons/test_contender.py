"""A contender: when it claims, doubts, answers and acts; and several of them at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import pytest

from mosaik_actors.errors import ConfigError
from mosaik_actors.singletons.claims import (
    NOTHING,
    Claim,
    Claims,
    Doubt,
    NameRecord,
    Reassure,
    Release,
    SingletonHost,
)
from mosaik_actors.singletons.config import Singleton
from mosaik_actors.singletons.contender import Check, Contender, Step
from mosaik_actors.singletons.tenure import LeaseOver, Tenure

from .test_claims import CONTEXT

LEASE_S = 5.0
ME, OTHER = (SingletonHost(bytes([number] * 32), b"i", number) for number in (1, 2))


def contender() -> Contender:
    return Contender("x", ME, LEASE_S, Random(1))


def step(one: Contender, now: float) -> Step | None:
    return one.next_step(now=now, wall_s=0)


def acting(now: float = 0.0) -> Contender:
    """Return one that has claimed a free name, and may act."""
    one = contender()
    assert step(one, now) == Check("x"), "its own copy may be an old one"
    one.receive_answer(NOTHING, asked_s=now)
    claim = step(one, now)
    assert isinstance(claim, Claim)
    one.receive_record(NameRecord(claim.token, ME, 0, LEASE_S), now=now)
    assert step(one, now) == Reassure("x", claim.token, LEASE_S)
    one.receive_answer(one.record, asked_s=now)
    assert not one.may_act(now), "it has not said that it acts"
    one.receive_announced(claim.token)
    assert step(one, now) == Check("x")
    one.receive_answer(one.record, asked_s=now)
    assert one.may_act(now)
    return one


def test_lease_runs_from_before_the_query() -> None:
    one = acting()
    assert step(one, 1.0) is None
    assert one.get_timer() == LEASE_S / 4
    assert step(one, 1.25) == Check("x")
    one.receive_answer(one.record, asked_s=1.25)  # at whatever time it comes
    assert one.may_act(1.25 + LEASE_S - 0.01)
    assert not one.may_act(1.25 + LEASE_S)


def test_who_has_stopped_gives_its_token_back_and_claims_a_new_one() -> None:
    one = acting()
    first = one.record
    assert step(one, LEASE_S) == Release("x", first.token)
    assert "its lease is over" in one.why_not
    # No answer makes it act with this token again.
    one.receive_answer(first, asked_s=LEASE_S)
    assert not one.may_act(LEASE_S)
    free = NameRecord(first.token, None, 0, LEASE_S)
    one.receive_record(free, now=LEASE_S)
    one.receive_answer(free, asked_s=LEASE_S)
    claim = step(one, LEASE_S)
    assert isinstance(claim, Claim)
    assert claim.token > first.token


def test_holder_answers_a_doubt() -> None:
    one = acting()
    doubted = NameRecord(one.token, ME, 7, LEASE_S)
    one.receive_record(doubted, now=1.0)
    assert step(one, 1.0) == Reassure("x", one.token, LEASE_S)
    one.receive_answer(doubted, asked_s=4.0)
    assert not one.may_act(LEASE_S), "an answer with a doubt is no lease"


@pytest.mark.parametrize(
    "record", [NameRecord(1 << 40, OTHER, 0, LEASE_S), NameRecord(1 << 40, None, 3, LEASE_S)]
)
def test_holder_stops_at_once_when_its_place_is_gone(record: NameRecord) -> None:
    by_copy, by_answer = acting(), acting()
    by_copy.receive_record(record, now=1.0)
    by_answer.receive_answer(record, asked_s=1.0)
    assert not by_copy.may_act(1.0)
    assert not by_answer.may_act(1.0)


def test_copy_that_is_being_filled_neither_stops_nor_claims() -> None:
    one = acting()
    one.receive_record(NOTHING, now=1.0)
    assert one.may_act(1.0)
    assert step(one, 1.0) in (None, Check("x"))


def test_candidate_doubts_a_holder_that_is_gone_and_waits_for_its_lease() -> None:
    one = contender()
    held = NameRecord(1 << 40, OTHER, 0, LEASE_S)
    one.receive_record(held, now=0.0)
    one.receive_reach(True, now=0.0)
    assert step(one, 100.0) is None
    one.receive_reach(False, now=100.0)
    assert step(one, 100.0) is None, "for a moment it may be out of reach"
    doubt = step(one, 100.5)
    assert isinstance(doubt, Doubt)
    doubted = NameRecord(held.token, OTHER, doubt.drawn, LEASE_S)
    one.receive_record(doubted, now=101.0)
    assert step(one, 106.74) is None
    assert one.get_timer() == 101.0 + 1.1 * LEASE_S + 0.25
    assert step(one, 106.75) == Check("x")
    one.receive_answer(doubted, asked_s=106.75)
    claim = step(one, 106.75)
    assert isinstance(claim, Claim)
    assert (claim.expected, claim.doubt) == (held.token, doubt.drawn)


def test_candidate_that_was_wrong_is_more_patient() -> None:
    one = contender()
    held = NameRecord(1 << 40, OTHER, 0, LEASE_S)
    now = 0.0
    waits = []
    for _ in range(8):
        one.receive_record(held, now=now)
        one.receive_reach(False, now=now)
        begun = now
        while (doubt := step(one, now)) is None:
            now = one.get_timer()
        assert isinstance(doubt, Doubt)
        waits.append(now - begun)
        one.receive_record(NameRecord(held.token, OTHER, doubt.drawn, LEASE_S), now=now)
        one.receive_record(held, now=now)
        one.receive_reach(True, now=now)
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_who_could_not_start_it_rests() -> None:
    one = acting()
    one.stop("it did not start")
    one.rest(now=0.0)
    one.receive_record(NameRecord(one.record.token, None, 0, LEASE_S), now=0.0)
    assert step(one, 9.9) is None
    assert step(one, 10.0) == Check("x")


def test_tenure_gives_its_token_while_it_lasts() -> None:
    until = [True]
    tenure = Tenure("x", 5, lambda token: until[0] and token == 5)
    assert tenure.token == 5
    until[0] = False
    with pytest.raises(LeaseOver, match="singleton 'x' may not act with token 5 any more"):
        tenure.token  # noqa: B018  # reading it raises


def test_settings_are_checked() -> None:
    assert Singleton().voters == 1
    for wrong in ({"voters": 2}, {"voters": 7}, {"lease": 0.5}):
        with pytest.raises(ConfigError):
            Singleton(**wrong)


@dataclass
class Node:
    """A node of the model: a contender, a clock of its own, and what is on its way to it."""

    contender: Contender
    rate: float
    offset: float
    stands_until: float = 0.0
    cut_until: float = 0.0
    waits_for: tuple[float, Step, float] | None = None  # when it is done, what, asked at
    answer: NameRecord = NOTHING
    is_done: bool = False

    def clock(self, now: float) -> float:
        return self.offset + now * self.rate


@dataclass
class World:
    """Some nodes, and a machine that applies what reaches it one after the other."""

    rng: Random
    nodes: list[Node]
    claims: Claims = field(default_factory=Claims)
    tokens: list[int] = field(default_factory=list)
    idle_s: float = 0.0

    def step(self, now: float, span_s: float) -> None:
        rng = self.rng
        for node in self.nodes:
            if rng.random() < 0.0015:
                node.stands_until = now + rng.choice([1, 4, 8, 20])
            if rng.random() < 0.0015:
                node.cut_until = now + rng.choice([1, 4, 8, 20])
            is_cut = now < node.cut_until
            if node.waits_for is not None:
                due, what, _ = node.waits_for
                if now >= due and not node.is_done and not is_cut:
                    if not isinstance(what, Check):
                        self.claims.apply(what, CONTEXT)
                    node.answer = self.claims.query("x")
                    node.is_done = True
                    node.waits_for = (now + rng.choice([0, 0, 0.1, 3]), *node.waits_for[1:])
            if now >= node.stands_until:
                self.run(node, now, is_cut)
        acts = [n.contender.token for n in self.nodes if n.contender.may_act(n.clock(now))]
        # One that stands still looks at nothing: by its clock it is over when it goes on.
        assert len(acts) <= 1, (now, acts)
        self.idle_s = 0.0 if acts else self.idle_s + span_s
        for token in acts:
            if not self.tokens or token != self.tokens[-1]:
                assert token > max(self.tokens, default=0), "it rises with each move"
                self.tokens.append(token)

    def run(self, node: Node, now: float, is_cut: bool) -> None:
        one, clock = node.contender, node.clock(now)
        if node.waits_for is not None:
            due, what, asked_s = node.waits_for
            if not (node.is_done and now >= due and not is_cut):
                return
            node.waits_for = None
            if isinstance(what, Check):
                one.receive_answer(node.answer, asked_s=asked_s)
            elif isinstance(what, Reassure):
                one.receive_announced(what.token)
        if not is_cut and self.rng.random() < 0.5:
            one.receive_record(self.claims.query("x"), now=clock)
        holder = next((n for n in self.nodes if n.contender.me == one.record.host), None)
        is_gone = holder is not None and max(holder.stands_until, holder.cut_until) > now
        one.receive_reach(not is_gone and self.rng.random() < 0.98, now=clock)
        todo = one.next_step(now=clock, wall_s=self.rng.uniform(0, 3))
        if todo is not None:
            node.waits_for, node.is_done = (
                (now + self.rng.choice([0, 0, 0.2, 1]), todo, clock),
                False,
            )


@pytest.mark.parametrize("seed", range(6))
def test_at_most_one_acts_whatever_stands_still_or_is_cut_off(seed: int) -> None:
    """With clocks that differ by 4 % in speed, late commands, and doubts without a reason."""
    rng = Random(seed)
    nodes = [
        Node(
            Contender("x", SingletonHost(bytes([n] * 32), b"i", n), LEASE_S, Random(seed * 10 + n)),
            rate=rng.uniform(0.98, 1.02),
            offset=rng.uniform(0, 1000),
        )
        for n in range(3)
    ]
    world = World(rng, nodes)
    span_s, now = 0.05, 0.0
    while now < 300:
        world.step(now, span_s)
        now += span_s
    assert len(world.tokens) > 1
    # Left alone, one of them acts within seconds.
    for node in nodes:
        node.stands_until = node.cut_until = 0.0
    quiet = Random(0)
    quiet.random = lambda: 0.4  # type: ignore[method-assign]
    quiet.choice = lambda options: options[0]  # type: ignore[assignment, method-assign]
    world.rng = quiet
    until = now + 15
    while now < until:
        world.step(now, span_s)
        now += span_s
    assert world.idle_s == 0
