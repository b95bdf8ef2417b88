"""The search for the largest datagram a path carries (RFC 8899)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.transport.quic.path_mtu import (
    BASE,
    PROBE_TIMEOUT_S,
    PROBES_MAX,
    RAISE_AFTER_S,
    RESOLUTION_BYTES,
    PathMtu,
    SendProbe,
)


class Path:
    """A path that carries datagrams of up to `carries` bytes, and counts the probes."""

    def __init__(self, limit: int, carries: int) -> None:
        self.mtu = PathMtu(limit, now=0.0)
        self.carries = carries
        self.now = 0.0
        self.probes: list[SendProbe] = []

    def run_until(self, end: float) -> None:
        """Play all timers up to `end`; a probe that fits is answered at once."""
        while (due := self.mtu.get_timer()) is not None and due <= end:
            self.now = max(self.now, due)
            probe = self.mtu.handle_timer(now=self.now)
            if probe is not None:
                self.probes.append(probe)
                if probe.datagram_bytes <= self.carries:
                    self.mtu.receive_answer(probe.sequence, now=self.now)
        self.now = end


def test_path_that_carries_the_limit_needs_one_probe() -> None:
    path = Path(limit=1472, carries=1500)
    path.run_until(60)
    assert path.mtu.current_bytes == 1472
    assert [probe.datagram_bytes for probe in path.probes] == [1472]


@given(st.integers(BASE, 9000), st.integers(BASE, 9000))
def test_search_ends_just_below_what_the_path_carries(limit: int, carries: int) -> None:
    path = Path(limit, carries)
    path.run_until(RAISE_AFTER_S / 2)
    best = min(limit, carries)
    assert best - RESOLUTION_BYTES <= path.mtu.current_bytes <= best
    assert not path.mtu.is_searching
    assert len(path.probes) <= PROBES_MAX * 16


def test_size_is_given_up_only_after_several_losses() -> None:
    """RFC 8899 section 5.1.2: MAX_PROBES before a size counts as too large."""
    path = Path(limit=1472, carries=BASE)
    path.run_until(PROBE_TIMEOUT_S * (PROBES_MAX - 1))
    assert [probe.datagram_bytes for probe in path.probes] == [1472] * PROBES_MAX


def test_search_starts_again_because_paths_change() -> None:
    """RFC 8899 section 5.1.1: PMTU_RAISE_TIMER."""
    path = Path(limit=1472, carries=1300)
    path.run_until(RAISE_AFTER_S / 2)
    assert path.mtu.current_bytes < 1300 + 1
    path.carries = 1472
    path.run_until(RAISE_AFTER_S * 3)
    assert path.mtu.current_bytes == 1472


def test_black_hole_falls_back_to_the_base_and_searches_below() -> None:
    """RFC 8899 section 4.3."""
    path = Path(limit=1472, carries=1472)
    path.run_until(10)
    path.carries = 1350
    path.mtu.receive_black_hole(now=path.now)
    assert path.mtu.current_bytes == BASE
    path.run_until(200)
    assert 1350 - RESOLUTION_BYTES <= path.mtu.current_bytes <= 1350


def test_late_or_unknown_answers_change_nothing() -> None:
    path = Path(limit=1472, carries=0)
    path.run_until(1.5)
    stale = path.probes[0].sequence
    path.mtu.receive_answer(stale, now=path.now)
    path.mtu.receive_answer(12345, now=path.now)
    assert path.mtu.current_bytes == BASE


@pytest.mark.parametrize("limit", [BASE, BASE - 1])
def test_no_search_where_there_is_nothing_to_find(limit: int) -> None:
    assert PathMtu(limit, now=0.0).get_timer() is None
