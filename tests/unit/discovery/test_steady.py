"""Jumps of the wall clock that do not last are not followed."""

from mosaik_actors.discovery.catalog.steady import SETTLE_S, SteadyClock


def test_without_jumps_it_is_the_wall_clock() -> None:
    clock = SteadyClock()
    # The difference to the monotonic clock grows slowly, as when the time is slewed.
    for second in range(100):
        assert clock.read(1000 + second * 1.01, second) == (1000 + second * 1.01, 0)
    assert not is_unsettled(clock)


def test_a_short_jump_is_not_followed() -> None:
    for jump in (3600, -3600, 15, -15):
        clock = SteadyClock()
        clock.read(1000, 0)
        assert clock.read(1001 + jump, 1) == (1001, 0)
        assert is_unsettled(clock)
        assert clock.read(1005 + jump, 5) == (1005, 0)
        assert clock.read(1006, 6) == (1006, 0)
        assert not is_unsettled(clock)
        # The next jump begins anew.
        clock.read(1007 + jump, 7)
        assert clock.read(1007 + SETTLE_S + jump - 1, 7 + SETTLE_S - 1)[1] == 0


def test_a_jump_that_lasts_is_followed_and_told_once() -> None:
    clock = SteadyClock()
    clock.read(1000, 0)
    clock.read(4601, 1)
    now, jump_s = clock.read(4601 + SETTLE_S, 1 + SETTLE_S)
    assert (now, jump_s) == (4601 + SETTLE_S, 3600)
    assert clock.read(4602 + SETTLE_S, 2 + SETTLE_S) == (4602 + SETTLE_S, 0)
    assert not is_unsettled(clock)


def test_a_clock_that_jumps_about_is_followed_when_it_rests() -> None:
    clock = SteadyClock()
    clock.read(1000, 0)
    for second in range(1, 60):
        offset = 500 if second % 2 else -500
        assert clock.read(1000 + second + offset, second) == (1000 + second, 0)


def is_unsettled(clock: SteadyClock) -> bool:
    return clock.due_at is not None
