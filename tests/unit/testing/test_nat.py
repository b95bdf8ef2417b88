"""NAT behaviours, in the terms of RFC 4787."""

import pytest

from mosaik_actors.testing.nat import MAPPING_TIMEOUT_S, Nat, NatKind

INSIDE = ("10.0.0.1", 4433)
A, A2, B = ("192.0.2.1", 1000), ("192.0.2.1", 2000), ("192.0.2.2", 1000)
KINDS: list[NatKind] = ["full_cone", "restricted", "port_restricted", "symmetric"]


def make(kind: NatKind) -> Nat:
    return Nat(kind, "198.18.0.1")


@pytest.mark.parametrize("kind", KINDS[:3])
def test_endpoint_independent_mapping_shows_one_address_to_all(kind: NatKind) -> None:
    """RFC 4787 section 4.1."""
    nat = make(kind)
    assert len({nat.send(INSIDE, remote, now=0.0) for remote in (A, A2, B)}) == 1
    assert nat.send(("10.0.0.1", 5000), A, now=0.0) != nat.send(INSIDE, A, now=0.0)


def test_address_and_port_dependent_mapping_shows_each_another_address() -> None:
    """RFC 4787 section 4.1."""
    nat = make("symmetric")
    shown = [nat.send(INSIDE, remote, now=0.0) for remote in (A, A2, B)]
    assert len(set(shown)) == 3
    assert [nat.send(INSIDE, remote, now=1.0) for remote in (A, A2, B)] == shown
    assert {host for host, _ in shown} == {"198.18.0.1"}


@pytest.mark.parametrize(
    ("kind", "may_answer"),
    [
        ("full_cone", {"A": True, "A2": True, "B": True}),
        ("restricted", {"A": True, "A2": True, "B": False}),
        ("port_restricted", {"A": True, "A2": False, "B": False}),
        ("symmetric", {"A": True, "A2": False, "B": False}),
    ],
)
def test_filtering_decides_who_may_answer(kind: NatKind, may_answer: dict[str, bool]) -> None:
    """RFC 4787 section 5."""
    nat = make(kind)
    outside = nat.send(INSIDE, A, now=0.0)
    heard = {
        name: nat.receive(outside, source, now=1.0) == INSIDE
        for name, source in (("A", A), ("A2", A2), ("B", B))
    }
    assert heard == may_answer


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_comes_in_before_anything_went_out(kind: NatKind) -> None:
    assert make(kind).receive(("198.18.0.1", 20_000), A, now=0.0) is None


@pytest.mark.parametrize("kind", KINDS)
def test_mapping_is_kept_by_what_goes_out_and_given_up_after_its_time(kind: NatKind) -> None:
    """RFC 4787 section 4.3: outbound refresh; two minutes at least."""
    nat = make(kind)
    outside = nat.send(INSIDE, A, now=0.0)
    assert nat.send(INSIDE, A, now=100.0) == outside
    assert nat.receive(outside, A, now=100.0 + MAPPING_TIMEOUT_S) == INSIDE
    # What came in has not kept it.
    assert nat.receive(outside, A, now=100.1 + MAPPING_TIMEOUT_S) is None
    again = nat.send(INSIDE, A, now=300.0)
    assert again != outside
    assert nat.receive(outside, A, now=300.0) is None
    assert nat.receive(again, A, now=300.0) == INSIDE


def test_leave_to_answer_is_given_up_for_each_remote_of_its_own() -> None:
    nat = make("port_restricted")
    outside = nat.send(INSIDE, A, now=0.0)
    nat.send(INSIDE, B, now=90.0)
    assert nat.receive(outside, A, now=150.0) is None
    assert nat.receive(outside, B, now=150.0) == INSIDE


def test_hole_punching_works_between_cones_and_fails_between_symmetric_ones() -> None:
    """RFC 5128 section 3.3: each side sends to what the other showed to a third one."""
    for kind, works in [(kind, kind != "symmetric") for kind in KINDS]:
        one, other = Nat(kind, "198.18.0.1"), Nat(kind, "198.18.0.2")
        meeting_point = ("192.0.2.9", 1)
        seen_one = one.send(INSIDE, meeting_point, now=0.0)
        seen_other = other.send(INSIDE, meeting_point, now=0.0)
        first = one.send(INSIDE, seen_other, now=1.0)
        second = other.send(INSIDE, seen_one, now=1.0)
        assert (one.receive(seen_one, second, now=2.0) is not None) == works
        assert (other.receive(seen_other, first, now=2.0) is not None) == works
