"""Scenarios: tests that run on virtual time, once for each seed.

    @scenario(nodes=3, seeds=range(20))
    async def test_price_arrives(cluster: Cluster) -> None:
        ...

pytest sees an ordinary test with one case per seed. Each prints its seed, its
options and its time, which pytest shows when it fails. A case that fails says
with which seed, how to run it again, and what happened before: the error's
notes hold a timeline of faults, nodes, notes and the last messages. The same
scenario can be run by ``mosaik-actors chaos`` for as many seeds as asked.

With `faults`, a schedule drawn from the seed plays in the background from the
start of the test; ``await cluster.calm()`` ends it, undoes what is in force and
brings all nodes back, for the part of a test that demands convergence.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..clock import Randomness
from ..errors import ConfigError
from .cluster import Cluster
from .faults import FaultPlan, FaultSchedule
from .loop import run

T = TypeVar("T")

Function = Callable[[Cluster], Awaitable[Any]]

TIMELINE_LINES = 60
LIMIT_S = 3600.0


def simulate(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a simulated event loop and return its result.

    The way to use a `Cluster` outside a scenario, in a script or a notebook.
    """
    return run(main)


@dataclass(frozen=True, slots=True)
class Report:
    """How one run of a scenario went.

    Attributes:
        seed: Its seed.
        error: What it raised, None when it went well.
        digest: The digest of its trace.
        faults: The faults that it was to have.
        simulated_s: How long it took on virtual time, up to the failure if it failed.
        real_s: How long it really took.
        call_count: Calls in the history.
        timeline: What happened before the failure, as text; empty without one.
    """

    seed: int
    error: BaseException | None
    digest: str
    faults: FaultSchedule
    simulated_s: float
    real_s: float
    call_count: int
    timeline: str = ""

    @property
    def is_ok(self) -> bool:
        """Whether it went well."""
        return self.error is None


class Scenario:
    """A test function and the cluster it wants. Made by `scenario`."""

    def __init__(
        self, function: Function, nodes: int, seeds: Iterable[int], settings: dict[str, Any]
    ) -> None:
        self.function = function
        self.nodes = nodes
        self.seeds = list(seeds)
        self.faults: FaultPlan | None = settings.pop("faults", None)
        self.limit: float = settings.pop("limit", LIMIT_S)
        self.settings = settings

    @property
    def target(self) -> str:
        """How the command line names it: ``path::function``."""
        file = Path(inspect.getfile(self.function))
        with suppress(ValueError):
            file = file.relative_to(Path.cwd())
        return f"{file}::{self.function.__name__}"

    def schedule(self, seed: int) -> FaultSchedule:
        """Return the faults that a seed gives."""
        if self.faults is None:
            return FaultSchedule()
        rng = Randomness(f"faults {seed}".encode()).branch(self.function.__name__)
        return self.faults.draw(rng, self.nodes)

    def replay_command(self, seed: int, faults: FaultSchedule | None = None) -> str:
        """Return the command line that runs a seed again."""
        command = f"mosaik-actors chaos {self.target} --seed {seed}"
        if faults is not None and faults.numbers != self.schedule(seed).numbers:
            command += f" --faults {','.join(map(str, faults.numbers)) or 'none'}"
        return command

    def run(self, seed: int, faults: FaultSchedule | None = None) -> Report:
        """Run it once, on a loop of its own.

        Args:
            seed: What all decisions come from.
            faults: The faults to play instead of those that the seed gives.
        """
        chosen = self.schedule(seed) if faults is None else faults
        started = time.perf_counter()
        clusters: list[Cluster] = []
        failures: list[tuple[float, str]] = []
        error: BaseException | None = None
        try:
            run(self._main(seed, chosen, clusters, failures))
        except Exception as caught:
            error = caught
        cluster = clusters[0] if clusters else None
        ended_s, timeline = cluster.now if cluster else 0.0, ""
        if cluster is not None and error is not None:
            failures.append((ended_s, cluster.trace.timeline(TIMELINE_LINES)))
            ended_s, timeline = failures[0]
        return Report(
            seed=seed,
            error=error,
            digest=cluster.trace.digest if cluster else "",
            faults=chosen,
            simulated_s=ended_s,
            real_s=time.perf_counter() - started,
            call_count=len(cluster.history) if cluster else 0,
            timeline=timeline,
        )

    def check(self, seed: int) -> None:
        """Run it once and raise what it raised, with notes that help."""
        print(f"scenario {self.function.__name__}: seed {seed}, {self.describe()}")  # noqa: T201
        report = self.run(seed)
        print(f"{report.simulated_s:.1f} simulated seconds in {report.real_s:.2f} s")  # noqa: T201
        if report.error is not None:
            report.error.add_note(explain(self, report))
            raise report.error

    def describe(self) -> str:
        """Return the scenario's options as text; of settings classes what is not the default."""
        options = {"nodes": self.nodes, "faults": self.faults, **self.settings}
        return ", ".join(
            f"{name}={_shown(value)}" for name, value in options.items() if value is not None
        )

    async def _main(
        self,
        seed: int,
        faults: FaultSchedule,
        clusters: list[Cluster],
        failures: list[tuple[float, str]],
    ) -> None:
        cluster = Cluster(self.nodes, seed=seed, **self.settings)
        clusters.append(cluster)
        async with cluster:
            cluster.play(faults)
            try:
                await self._play(cluster)
            except Exception:
                # Now, before the nodes are closed and that fills the timeline.
                failures.append((cluster.now, cluster.trace.timeline(TIMELINE_LINES)))
                raise

    async def _play(self, cluster: Cluster) -> None:
        try:
            async with asyncio.timeout(self.limit) as limit:
                await self.function(cluster)
        except TimeoutError as exc:
            if limit.expired():
                raise TimeoutError(
                    f"the scenario did not end within {self.limit:g} simulated seconds"
                ) from exc
            raise


def scenario(
    *, nodes: int = 3, seeds: Iterable[int] = range(10), **settings: Any
) -> Callable[[Function], Callable[[int], None]]:
    """Make a scenario of an ``async def test_...(cluster)``.

    Args:
        nodes: How many nodes the cluster has.
        seeds: The seeds that pytest runs it with.
        **settings: What else `Cluster` takes; ``faults=FaultPlan(...)``; and
            ``limit``, the simulated seconds after which a run has failed.

    Returns:
        A decorator. What it makes is a pytest test of one argument, ``seed``,
        and has the `Scenario` as its attribute ``scenario``.
    """
    known = set(inspect.signature(Cluster).parameters) | {"faults", "limit"}
    if unknown := [name for name in settings if name not in known]:
        raise ConfigError(f"a scenario has no setting {unknown[0]!r}")

    def decorate(function: Function) -> Callable[[int], None]:
        made = Scenario(function, nodes, seeds, dict(settings))

        def test(seed: int) -> None:
            made.check(seed)

        test.__name__ = function.__name__
        test.__qualname__ = function.__qualname__
        test.__doc__ = function.__doc__
        test.__module__ = function.__module__
        test.scenario = made  # type: ignore[attr-defined]
        return _parametrized(test, made.seeds)

    return decorate


def explain(scenario: Scenario, report: Report) -> str:
    """Return what a person needs to look into a failed run."""
    return "\n".join(
        [
            f"seed {report.seed} failed after {report.simulated_s:.3f} simulated seconds",
            f"run it again: {scenario.replay_command(report.seed, report.faults)}",
            f"faults: {len(report.faults)}",
            "what happened, the last messages included:",
            report.timeline,
        ]
    )


def _shown(value: Any) -> str:
    if is_dataclass(value) and not isinstance(value, type):
        plain = type(value)()
        changed = [
            f"{field.name}={_shown(getattr(value, field.name))}"
            for field in fields(value)
            if getattr(value, field.name) != getattr(plain, field.name)
        ]
        return f"{type(value).__name__}({', '.join(changed)})"
    return getattr(value, "__qualname__", None) or repr(value)


def _parametrized(test: Callable[[int], None], seeds: list[int]) -> Callable[[int], None]:
    """Give pytest one case per seed; without pytest the function stays as it is."""
    try:
        import pytest
    except ImportError:
        return test
    ids = [f"seed{seed}" for seed in seeds]
    decorated: Callable[[int], None] = pytest.mark.parametrize("seed", seeds, ids=ids)(test)
    return decorated
