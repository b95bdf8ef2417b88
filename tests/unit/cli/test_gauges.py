"""Gauges: rates from counters, and real readings of this machine."""

import pytest

from mosaik_actors.cli.demo.gauges import GAUGES, RateWindow
from mosaik_actors.cli.demo.records import Cpu, Disk, Memory, NetIo


def test_a_rate_is_the_growth_over_the_window() -> None:
    window = RateWindow(1.0)
    assert window.rates((0.0, 100.0), now=0.0) == (0.0, 0.0)
    assert window.rates((5.0, 100.0), now=0.5) == (10.0, 0.0)
    assert window.rates((10.0, 102.0), now=1.0) == (10.0, 2.0)
    # The burst before the window no longer counts.
    assert window.rates((10.0, 102.0), now=2.0) == (0.0, 0.0)
    assert window.rates((10.0, 102.0), now=2.0) == (0.0, 0.0)


def test_a_counter_that_goes_back_gives_zero() -> None:
    window = RateWindow(1.0)
    window.rates((100.0,), now=0.0)
    assert window.rates((1.0,), now=0.5) == (0.0,)


def test_the_window_is_bounded() -> None:
    window = RateWindow(1.0)
    for tick in range(10_000):
        rate = window.rates((float(tick),), now=tick * 0.05)
    assert rate == pytest.approx((20.0,))
    assert len(window._samples) < 30


@pytest.mark.parametrize("kind", sorted(GAUGES))
def test_every_gauge_reads_this_machine(kind: str) -> None:
    gauge = GAUGES[kind]()
    gauge.read(now=0.0)
    match gauge.read(now=1.0):
        case Cpu() as cpu:
            assert 0 <= cpu.percent <= 100
            assert cpu.load_1min >= 0
            assert cpu.processor_count >= 1
        case Memory() as memory:
            assert 0 < memory.used_bytes < memory.total_bytes
        case Disk() as disk:
            assert disk.read_bytes_per_s >= 0
            assert disk.written_bytes_per_s >= 0
            assert 0 < disk.used_percent <= 100
        case NetIo() as traffic:
            assert traffic.received_bytes_per_s >= 0
            assert traffic.sent_bytes_per_s >= 0
