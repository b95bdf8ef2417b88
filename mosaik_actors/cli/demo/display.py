"""Where a run of the demo is shown: a live table, or log lines."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console
from rich.live import Live

from . import view
from .claims import CheckedClaim
from .facts import Facts, SensorFacts
from .wording import describe, milliseconds

PLAIN_COLUMNS: Final = 160
STATUS_INTERVAL_S: Final = 2.0


class Display(Protocol):
    """Shows a run. Used as a context manager while the run goes on."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the terminal as it was."""

    def update(self, facts: Facts, *, now: float) -> None:
        """Show the facts as they are now."""

    def summarize(self, facts: Facts, claims: Sequence[CheckedClaim]) -> None:
        """Show the account of a finished run, after the context."""


class LiveDisplay:
    """A table that is drawn over and over in the terminal."""

    def __init__(self, console: Console, *, sensor_count: int) -> None:
        self._console = console
        self._sensor_count = sensor_count
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def update(self, facts: Facts, *, now: float) -> None:
        """Draw the table."""
        picture = view.live(facts, self._console, now=now, sensor_count=self._sensor_count)
        self._live.update(picture, refresh=True)

    def summarize(self, facts: Facts, claims: Sequence[CheckedClaim]) -> None:
        """Print the summary below the last table."""
        self._console.print(view.summary(facts, claims))


class PlainDisplay:
    """One line per event, and the state of all sensors every few seconds."""

    def __init__(self) -> None:
        self._console = Console(width=PLAIN_COLUMNS, color_system=None, highlight=False)
        self._shown_count = 0
        self._status_at: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def update(self, facts: Facts, *, now: float) -> None:
        """Print what is new."""
        if self._status_at is None:
            self._print(f"network {facts.network}")
            self._status_at = now
        new_count = min(facts.event_count - self._shown_count, len(facts.events))
        for event in list(facts.events)[len(facts.events) - new_count :]:
            self._print(f"{event.at - facts.started_at:7.2f} s  {event.text}")
        self._shown_count = facts.event_count
        if now - self._status_at >= STATUS_INTERVAL_S:
            self._status_at = now
            for sensor in facts.sensors.values():
                if sensor.measure is not None and sensor.stream_lost_at is None:
                    self._print(f"{now - facts.started_at:7.2f} s  {_status(sensor, now=now)}")

    def summarize(self, facts: Facts, claims: Sequence[CheckedClaim]) -> None:
        """Print the summary."""
        self.update(facts, now=facts.ended_at or facts.started_at)
        self._console.print(view.summary(facts, claims))

    @staticmethod
    def _print(text: str) -> None:
        print(text, flush=True)


def _status(sensor: SensorFacts, *, now: float) -> str:
    measure = describe(sensor.measure) if sensor.measure is not None else ""
    return (
        f"{sensor.name:<10} {measure:<36} {sensor.rate(now=now):3.0f} items/s, "
        f"{sensor.item_count} so far, p50 {milliseconds(sensor.latency_s(0.5))} ms, "
        f"knows {len(sensor.node.knows)}"
    )
