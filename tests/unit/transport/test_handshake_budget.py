"""How many handshakes strangers get."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.transport.config import TransportConfig
from mosaik_actors.transport.endpoint import handshake_budget
from mosaik_actors.transport.endpoint.handshake_budget import HandshakeBudget

CONFIG = TransportConfig(
    stranger_handshakes_max=8,
    stranger_handshakes_per_s=2,
    host_handshakes_max=4,
    host_handshakes_per_s=1,
)


def take(budget: HandshakeBudget, host: str, now: float = 0) -> int:
    """Return how many places there are."""
    return next(count for count in _count() if not budget.take(host, now=now))


def _count() -> Iterator[int]:
    yield from range(1000)


def test_a_host_has_its_share_and_time_gives_it_back() -> None:
    budget = HandshakeBudget(CONFIG)
    assert take(budget, "a") == 4
    assert take(budget, "b") == 4
    assert take(budget, "c") == 0  # all have theirs together as well
    assert take(budget, "a", now=1) == 1
    assert take(budget, "c", now=1) == 1


def test_what_comes_to_something_takes_no_place() -> None:
    budget = HandshakeBudget(CONFIG)
    for _ in range(1000):
        assert budget.take("a", now=0)
        budget.give_back("a", now=0)
    assert take(budget, "a") == 4


def test_half_full_a_newcomer_has_to_show_its_address() -> None:
    budget = HandshakeBudget(CONFIG)
    assert not budget.is_strained("a", now=0)
    budget.take("a", now=0)
    assert not budget.is_strained("a", now=0)
    budget.take("a", now=0)
    assert budget.is_strained("a", now=0)
    assert not budget.is_strained("b", now=0)
    take(budget, "b")
    assert budget.is_strained("c", now=0)
    assert not budget.is_strained("c", now=10)


def test_hosts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake_budget, "HOSTS_MAX", 2)
    budget = HandshakeBudget(TransportConfig(host_handshakes_max=1))
    for host in "abc":
        assert take(budget, host) == 1
    assert len(budget._hosts) == 2
    assert take(budget, "c") == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 3)), max_size=80))
def test_no_more_than_a_burst_and_the_rate_get_a_place(steps: list[tuple[str, float]]) -> None:
    budget, now, taken = HandshakeBudget(CONFIG), 0.0, dict.fromkeys("abc", 0)
    for host, wait_s in steps:
        now += wait_s
        taken[host] += budget.take(host, now=now)
        assert all(count <= 4 + now for count in taken.values())
        assert sum(taken.values()) <= 8 + 2 * now


def test_honest_extremes_are_not_made_to_wait() -> None:
    """With the settings as they come: 200 behind one address, and 1,000 nodes within 10 s."""
    budget = HandshakeBudget(TransportConfig())
    assert all(budget.take("192.0.2.1", now=0) for _ in range(200))
    for _ in range(200):
        budget.give_back("192.0.2.1", now=0.5)
    for number in range(1000):
        now = 1 + number / 100
        assert budget.take("192.0.2.1", now=now)
        budget.give_back("192.0.2.1", now=now)
    assert not budget.is_strained("192.0.2.1", now=11)
