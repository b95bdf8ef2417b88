"""Running one scenario with many seeds, and making the first failure small.

What ``mosaik-actors chaos`` does, as functions: finding a scenario by its name,
running seeds in processes, and shrinking the fault schedule of a seed that
fails until no fault can be left out.
"""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

from ..errors import ConfigError
from .faults import FaultSchedule, shrink
from .scenario import Report, Scenario, explain

AHEAD_PER_JOB = 4


@dataclass(frozen=True, slots=True)
class SeedOutcome:
    """How one seed went, as it comes back from a process.

    Attributes:
        seed: The seed.
        error: What it raised, in one line; None when it went well.
        explanation: The seed, the command that runs it again and the timeline; empty when ok.
        fault_count: Faults that were played.
        call_count: Calls in the history.
        simulated_s: How long it took on virtual time.
        real_s: How long it really took.
        digest: The digest of its trace.
    """

    seed: int
    error: str | None
    explanation: str
    fault_count: int
    call_count: int
    simulated_s: float
    real_s: float
    digest: str


def load_scenario(target: str) -> Scenario:
    """Return the scenario called ``path/to/file.py::function`` or ``module:function``.

    Raises:
        ConfigError: There is none of that name; says what there is.
    """
    place, separator, name = target.partition("::") if "::" in target else target.partition(":")
    if not separator or not name:
        raise ConfigError(f"{target!r} is not path::function or module:function")
    module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place)
    made = getattr(getattr(module, name, None), "scenario", None)
    if isinstance(made, Scenario):
        return made
    known = [
        key
        for key, value in vars(module).items()
        if isinstance(getattr(value, "scenario", None), Scenario)
    ]
    there = ", ".join(known) or "none"
    raise ConfigError(f"{place} has no scenario {name!r}; it has: {there}")


def run_seed(target: str, seed: int, faults: Sequence[int] | None = None) -> SeedOutcome:
    """Run one seed, in this process.

    Args:
        target: The scenario's name.
        seed: The seed.
        faults: The numbers of the only faults to play; None for all of them.
    """
    logging.disable(logging.CRITICAL)
    try:
        made = load_scenario(target)
        schedule = None if faults is None else made.schedule(seed).only(faults)
        return _outcome(made, made.run(seed, schedule))
    finally:
        logging.disable(logging.NOTSET)


def run_seeds(target: str, seeds: Iterable[int], jobs: int) -> Generator[SeedOutcome, None, None]:
    """Run seeds in `jobs` processes and yield their outcomes as they come.

    Closing the iterator, or an interrupt, ends the processes in the middle of their work.
    """
    context = multiprocessing.get_context("spawn")
    others = multiprocessing.active_children()
    pool = ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_begin_worker, initargs=(sys.path,)
    )
    waiting = iter(seeds)
    running: set[Future[SeedOutcome]] = set()
    try:
        while True:
            while len(running) < jobs * AHEAD_PER_JOB:
                seed = next(waiting, None)
                if seed is None:
                    break
                running.add(pool.submit(run_seed, target, seed))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        if running:
            _terminate_all_but(others)
        pool.shutdown(wait=True, cancel_futures=True)


def shrink_seed(
    target: str, seed: int, *, tries_max: int = 200
) -> tuple[FaultSchedule, SeedOutcome]:
    """Return the smallest schedule found with which a failing seed fails, and how it then goes."""
    logging.disable(logging.CRITICAL)
    try:
        made = load_scenario(target)
        small = shrink(
            made.schedule(seed),
            lambda faults: not made.run(seed, faults).is_ok,
            tries_max=tries_max,
        )
        return small, _outcome(made, made.run(seed, small))
    finally:
        logging.disable(logging.NOTSET)


def _outcome(made: Scenario, report: Report) -> SeedOutcome:
    error = report.error
    return SeedOutcome(
        seed=report.seed,
        error=None if error is None else f"{type(error).__name__}: {error}".strip(),
        explanation="" if error is None else explain(made, report),
        fault_count=len(report.faults),
        call_count=report.call_count,
        simulated_s=report.simulated_s,
        real_s=report.real_s,
        digest=report.digest,
    )


def _begin_worker(path: list[str]) -> None:
    """Find the same modules as the parent does, leave Ctrl-C to it, and end with it."""
    sys.path[:] = path
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if parent := multiprocessing.parent_process():
        watch = threading.Thread(target=_end_with, args=(parent,), name="parent", daemon=True)
        watch.start()


def _end_with(parent: BaseProcess) -> None:
    """Wait for the parent's end, also a violent one, and end then, whatever runs here."""
    parent.join()
    os._exit(1)


def _terminate_all_but(others: list[BaseProcess]) -> None:
    for child in multiprocessing.active_children():
        if child not in others:
            child.terminate()


def _import_module(name: str) -> ModuleType:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ImportError as exc:
        raise ConfigError(f"cannot import {name}: {exc}") from exc


def _import_file(file: Path) -> ModuleType:
    """Import a file under the name it has in its package, so that its own imports work."""
    file = file.resolve()
    if not file.exists():
        raise ConfigError(f"there is no file {file}")
    parts = [file.stem]
    root = file.parent
    while (root / "__init__.py").exists():
        parts.insert(0, root.name)
        root = root.parent
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    return _import_module(".".join(parts))
