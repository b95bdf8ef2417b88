"""The measurements of one trusted domain: what it was built of, and what it loaded since."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, Self

from .measurement import Measurement
from .quote import Quote, TdReport
from .sources import QuoteSource, find_source


@dataclass(frozen=True, slots=True)
class Measurements:
    """The registers of one trusted domain.

    Attributes:
        mrtd: What it was built of.
        rtmr0: The firmware's configuration.
        rtmr1: What was loaded to boot.
        rtmr2: The command line and the initial file system.
        rtmr3: What applications extended.
    """

    mrtd: Measurement
    rtmr0: Measurement
    rtmr1: Measurement
    rtmr2: Measurement
    rtmr3: Measurement

    @classmethod
    def of(cls, report: TdReport) -> Self:
        """Return what a report says."""
        registers = (report.mr_td, report.rtmr0, report.rtmr1, report.rtmr2, report.rtmr3)
        return cls(*map(Measurement, registers))

    @classmethod
    def local(cls, source: QuoteSource | None = None) -> Self:
        """Return those of the trusted domain that this process runs in. Blocks.

        Args:
            source: Who makes quotes, such as a `SimulatedTd`; the kernel when None.

        Raises:
            TdxUnavailable: This is no trusted domain, or its kernel makes no quote; says why.
        """
        data = (source or find_source()).quote(bytes(64))
        return cls.of(Quote.parse(data).report)

    def __getitem__(self, register: str) -> Measurement:
        if register not in REGISTERS:
            raise KeyError(register)
        found: Measurement = getattr(self, register)
        return found

    def items(self) -> list[tuple[str, Measurement]]:
        """Return the registers' names and values, MRTD first."""
        return [(name, self[name]) for name in REGISTERS]


REGISTERS: Final = tuple(field.name for field in fields(Measurements))
