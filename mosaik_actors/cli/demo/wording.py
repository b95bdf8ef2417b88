"""Figures of the demo as short texts, and how far a run has come.

Pure functions, shared by the live table, the log lines and the summary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from . import claims
from .facts import Facts, SensorFacts
from .records import Cpu, Disk, Measure, Memory

_BARS: Final = "▁▂▃▄▅▆▇█"


def describe(measure: Measure) -> str:
    """Return a measurement in a few words."""
    if isinstance(measure, Cpu):
        return f"{measure.percent:.0f} % busy, load {measure.load_1min:.2f}"
    if isinstance(measure, Memory):
        return f"{size(measure.used_bytes)} of {size(measure.total_bytes)} used"
    if isinstance(measure, Disk):
        read, written = size(measure.read_bytes_per_s), size(measure.written_bytes_per_s)
        return f"r {read}/s  w {written}/s"
    return f"{measure.packets_per_s:.0f} packets/s, {size(measure.received_bytes_per_s)}/s"


def size(count: float) -> str:
    """Return a number of bytes with a unit, three digits or so."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.5 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def milliseconds(seconds: float | None) -> str:
    """Return a short duration in milliseconds, or a dash for None."""
    if seconds is None:
        return "-"
    value = seconds * 1000
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def moment(seconds: float | None) -> str:
    """Return a duration in seconds, or a dash for None."""
    return "-" if seconds is None else f"{seconds:.2f}"


def curve(figures: Sequence[float]) -> str:
    """Return a row of bars, as high as the figures are between their lowest and highest."""
    if not figures:
        return ""
    low, high = min(figures), max(figures)
    if high == low:
        return _BARS[0] * len(figures)
    top = len(_BARS) - 1
    return "".join(_BARS[round((figure - low) / (high - low) * top)] for figure in figures)


def state_of(sensor: SensorFacts) -> tuple[str, str]:
    """Return what a sensor process is doing, and the tone of it: good, bad or plain."""
    if sensor.killed_at is not None:
        return ("✘ lost" if sensor.stream_lost_at is not None else "✘ killed"), "bad"
    if sensor.exit_code:
        return f"✘ exit {sensor.exit_code}", "bad"
    if sensor.exit_code == 0:
        return "○ ended", "plain"
    if sensor.first_item_at is not None:
        return "● live", "good"
    return ("○ joined" if sensor.node.peer else "○ starts"), "plain"


class Progress(Enum):
    """Whether a step of the run is behind, at hand or ahead."""

    DONE = "done"
    NOW = "now"
    AHEAD = "ahead"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the run, in a word or two."""

    text: str
    progress: Progress


def steps(facts: Facts, *, sensor_count: int) -> list[Step]:
    """Return the steps of the run and how far it has come, decided by the facts."""
    complete = len(facts.initial) == sensor_count
    done = [
        ("find each other", complete and claims.all_found_each_other(facts).holds),
        ("stream", complete and claims.all_streamed(facts).holds),
        ("kill one", facts.victim is not None),
        ("notice", claims.loss_was_noticed(facts).holds),
        ("replace it", facts.replacement is not None),
        ("heal", claims.replacement_joined(facts).holds and claims.network_healed(facts).holds),
        ("stream on", facts.ended_at is not None),
    ]
    found: list[Step] = []
    for text, is_done in done:
        is_next = all(step.progress is Progress.DONE for step in found)
        if is_next:
            found.append(Step(text, Progress.DONE if is_done else Progress.NOW))
        else:
            found.append(Step(text, Progress.AHEAD))
    return found
