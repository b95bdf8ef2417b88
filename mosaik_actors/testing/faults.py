"""Faults: what is to go wrong, when, and for how long; drawn from a seed.

A `FaultPlan` says what may happen. `FaultPlan.draw` makes a `FaultSchedule` of
it: a list of faults, each with a number, a time and a length, that means the
same in every run. A schedule is data: a subset of it is a schedule, too, which
is how a failing one is made smaller (`shrink`, after Zeller and Hildebrandt,
"Simplifying and Isolating Failure-Inducing Input", 2002).

Pure: applying a schedule to a cluster is the business of `FaultRunner`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from ..config import require_above, require_between
from ..errors import ConfigError
from .conditions import NetworkConditions

FaultKind = Literal[
    "crash",
    "stop",
    "pause",
    "partition",
    "one_way",
    "skew",
    "weather",
    "slow_disk",
    "full_disk",
]
KINDS: tuple[FaultKind, ...] = (
    "crash",
    "stop",
    "pause",
    "partition",
    "one_way",
    "skew",
    "weather",
)
DISK_KINDS: tuple[FaultKind, ...] = ("slow_disk", "full_disk")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        number: Its place in the schedule it was drawn into.
        at: When it begins, in seconds after the schedule began.
        length: For how many seconds it lasts; then it is undone.
        kind: What.
        nodes: The indexes of the nodes that it is about.
        settings: More about it: a clock's offset, the weather.
    """

    number: int
    at: float
    length: float
    kind: FaultKind
    nodes: tuple[int, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        who = " ".join(f"n{index}" for index in self.nodes)
        more = ", ".join(f"{name}={value:g}" for name, value in self.settings.items())
        return (
            f"#{self.number} at {self.at:.2f} s for {self.length:.2f} s: {self.kind} {who} {more}"
        ).rstrip()


@dataclass(frozen=True, slots=True)
class FaultSchedule:
    """Faults in the order of their times."""

    faults: tuple[Fault, ...] = ()

    def only(self, numbers: Iterable[int]) -> FaultSchedule:
        """Return the schedule with only the faults of these numbers."""
        wanted = frozenset(numbers)
        return FaultSchedule(tuple(fault for fault in self.faults if fault.number in wanted))

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of its faults."""
        return tuple(fault.number for fault in self.faults)

    def __len__(self) -> int:
        return len(self.faults)

    def __iter__(self) -> Iterator[Fault]:
        return iter(self.faults)

    def __str__(self) -> str:
        return "\n".join(map(str, self.faults)) or "no faults"


@dataclass(frozen=True, kw_only=True)
class FaultPlan:
    """What may go wrong in a scenario.

    Attributes:
        duration: For how many seconds faults begin.
        interval: Seconds between two faults on average.
        length: Seconds that a fault lasts on average.
        kinds: What may happen; naming a kind twice makes it twice as likely.
            `KINDS` by default; `DISK_KINDS` are for nodes that use their disk.
        down_max: How many nodes may be down or paused at the same time; None
            for all of them.
        clock_offset: How far a clock may be set off, in seconds.
        loss_max: The worst loss of bad weather.
        delay_max: The worst latency of bad weather, in seconds.
        disk_delay_max: How long a slow disk takes at worst, in seconds.
    """

    duration: float = 60.0
    interval: float = 4.0
    length: float = 6.0
    kinds: tuple[FaultKind, ...] = KINDS
    down_max: int | None = None
    clock_offset: float = 5.0
    loss_max: float = 0.2
    delay_max: float = 0.3
    disk_delay_max: float = 0.5

    def __post_init__(self) -> None:
        require_above("duration", self.duration)
        require_above("interval", self.interval)
        require_above("length", self.length)
        known = (*KINDS, *DISK_KINDS)
        for kind in self.kinds:
            if kind not in known:
                raise ConfigError(f"kinds has {kind!r}, expected some of {', '.join(known)}")
        if not self.kinds:
            raise ConfigError(f"kinds is empty, expected some of {', '.join(known)}")
        if self.down_max is not None:
            require_above("down_max", self.down_max)
        require_between("loss_max", self.loss_max, 0, 0.9)
        require_above("delay_max", self.delay_max)
        require_above("disk_delay_max", self.disk_delay_max)

    def draw(self, rng: Random, node_count: int) -> FaultSchedule:
        """Return a schedule for so many nodes; the same generator state gives the same one."""
        faults: list[Fault] = []
        down: list[tuple[float, int]] = []  # until when, which node
        at = rng.expovariate(1 / self.interval)
        while at < self.duration:
            kind = rng.choice(self.kinds)
            length = 0.1 + rng.expovariate(1 / self.length)
            nodes, settings = self._details(kind, rng, node_count)
            down = [(until, node) for until, node in down if until > at]
            if kind in ("crash", "stop", "pause"):
                nodes = tuple(node for node in nodes if node not in {node for _, node in down})
                if self.down_max is not None and len(down) + len(nodes) > self.down_max:
                    nodes = ()
                down += [(at + length, node) for node in nodes]
            if nodes or kind == "weather":
                faults.append(Fault(len(faults), at, length, kind, nodes, settings))
            at += rng.expovariate(1 / self.interval)
        return FaultSchedule(tuple(faults))

    def _details(
        self, kind: FaultKind, rng: Random, node_count: int
    ) -> tuple[tuple[int, ...], dict[str, Any]]:
        everybody = range(node_count)
        match kind:
            case "partition":
                size = rng.randint(1, max(1, node_count // 2))
                return (tuple(sorted(rng.sample(everybody, size))) if node_count > 1 else ()), {}
            case "one_way":
                return (tuple(rng.sample(everybody, 2)) if node_count > 1 else ()), {}
            case "skew":
                offset = rng.uniform(-self.clock_offset, self.clock_offset)
                return (rng.choice(everybody),), {
                    "offset": offset,
                    "drift": rng.uniform(-1e-3, 1e-3),
                }
            case "slow_disk":
                delay = rng.uniform(0.001, self.disk_delay_max)
                return (rng.choice(everybody),), {"delay": delay}
            case "weather":
                return (), {
                    "latency": rng.uniform(0.001, self.delay_max),
                    "jitter": rng.uniform(0, self.delay_max / 2),
                    "loss": rng.uniform(0, self.loss_max),
                    "duplication": rng.choice((0.0, 0.05)),
                    "reordering": rng.choice((0.0, 0.1)),
                }
            case _:
                return (rng.choice(everybody),), {}


def weather_of(fault: Fault, usual: NetworkConditions) -> NetworkConditions:
    """Return the network's conditions while a fault of the kind "weather" lasts."""
    fields = {name: getattr(usual, name) for name in usual.__dataclass_fields__}
    return NetworkConditions(**{**fields, **fault.settings})


def shrink(
    schedule: FaultSchedule, still_fails: Callable[[FaultSchedule], bool], *, tries_max: int = 200
) -> FaultSchedule:
    """Return a smaller schedule that fails, too; with enough tries, none smaller by one fault does.

    Args:
        schedule: A schedule that fails.
        still_fails: Runs a schedule and tells.
        tries_max: After so many runs the smallest schedule so far is returned.
    """
    numbers = list(schedule.numbers)
    tries = 0
    if numbers and still_fails(FaultSchedule()):
        return FaultSchedule()
    pieces = 2
    while len(numbers) >= 2 and tries < tries_max:
        size = max(1, len(numbers) // pieces)
        chunks = [numbers[start : start + size] for start in range(0, len(numbers), size)]
        for chunk in chunks:
            rest = [number for number in numbers if number not in chunk]
            tries += 1
            if still_fails(schedule.only(rest)):
                numbers, pieces = rest, max(2, pieces - 1)
                break
            if tries >= tries_max:
                break
        else:
            if size == 1:
                break
            pieces = min(len(numbers), pieces * 2)
    return schedule.only(numbers)
