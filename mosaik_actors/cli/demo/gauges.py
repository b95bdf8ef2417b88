"""Reading this machine: one gauge per kind of measurement, on psutil.

The system counts (bytes, busy seconds); people want rates. `RateWindow` turns
one into the other over the last second, so that a reading taken every 50 ms is
neither stale nor jumpy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import psutil

from .records import Cpu, Disk, Memory, NetIo

WINDOW_S: Final = 1.0


class RateWindow:
    """How fast some counters grow, over the last `window_s` seconds.

    ``now`` is any clock in seconds that does not go back.
    """

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._samples: deque[tuple[float, tuple[float, ...]]] = deque()

    def rates(self, counters: tuple[float, ...], *, now: float) -> tuple[float, ...]:
        """Take in the counters as they are now and return how much each grew per second.

        A counter that went back, because a device was removed or it wrapped
        around, gives 0. So do all at the first call.
        """
        samples = self._samples
        samples.append((now, counters))
        while len(samples) > 2 and samples[1][0] <= now - self._window_s:
            samples.popleft()
        then, before = samples[0]
        if now <= then:
            return (0.0,) * len(counters)
        return tuple(
            max(0.0, (new - old) / (now - then)) for new, old in zip(counters, before, strict=True)
        )


class CpuGauge:
    """Reads how busy the processors are."""

    def __init__(self) -> None:
        self._window = RateWindow()
        self._count = psutil.cpu_count() or 1

    def read(self, *, now: float) -> Cpu:
        """Return the state of the processors."""
        times = psutil.cpu_times()
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        busy = total - times.idle - getattr(times, "iowait", 0.0)
        busy_rate, total_rate = self._window.rates((busy, total), now=now)
        return Cpu(
            percent=min(100.0, 100.0 * busy_rate / total_rate) if total_rate else 0.0,
            load_1min=psutil.getloadavg()[0],
            processor_count=self._count,
        )


class MemoryGauge:
    """Reads how much memory is taken."""

    def read(self, *, now: float) -> Memory:
        """Return the state of the memory."""
        memory = psutil.virtual_memory()
        return Memory(used_bytes=memory.total - memory.available, total_bytes=memory.total)


class DiskGauge:
    """Reads what the disks do. A machine that does not count it (a container) gives 0."""

    def __init__(self) -> None:
        self._window = RateWindow()

    def read(self, *, now: float) -> Disk:
        """Return the state of the disks."""
        counters = psutil.disk_io_counters()
        moved = (counters.read_bytes, counters.write_bytes) if counters else (0, 0)
        read_rate, written_rate = self._window.rates(moved, now=now)
        return Disk(
            read_bytes_per_s=read_rate,
            written_bytes_per_s=written_rate,
            used_percent=psutil.disk_usage("/").percent,
        )


class TrafficGauge:
    """Reads what the network interfaces do; the demo's own datagrams are part of it."""

    def __init__(self) -> None:
        self._window = RateWindow()

    def read(self, *, now: float) -> NetIo:
        """Return the state of the interfaces."""
        interfaces = psutil.net_io_counters(pernic=True).values()
        moved = (
            sum(one.bytes_recv for one in interfaces),
            sum(one.bytes_sent for one in interfaces),
            sum(one.packets_recv + one.packets_sent for one in interfaces),
        )
        received_rate, sent_rate, packet_rate = self._window.rates(moved, now=now)
        return NetIo(
            received_bytes_per_s=received_rate,
            sent_bytes_per_s=sent_rate,
            packets_per_s=packet_rate,
        )


Gauge = CpuGauge | MemoryGauge | DiskGauge | TrafficGauge

GAUGES: Final[dict[str, Callable[[], Gauge]]] = {
    "cpu": CpuGauge,
    "memory": MemoryGauge,
    "disk": DiskGauge,
    "net-io": TrafficGauge,
}
