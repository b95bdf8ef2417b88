"""`Tdx`: who is let in is a trusted domain (TD) that runs the right software.

    Tdx(mrtd="91eb...", rtmr1="0084...")           # what has to be running
    Tdx(mrtd="91eb...", variants=[{"rtmr2": a}, {"rtmr2": b}])
    Tdx.from_local()                               # the same as here

A ticket is accepted when all of this holds, in this order: it is a TDX ticket of that peer, for
that network; its quote is bound to that; the times are right; the measurements are those that
are required; the quote is genuine (`checking`). What costs most comes last.

The measurements are a baseline and variants: a register named by the baseline has to have its
value; and where there are variants, at least one of them has to match in all registers that it
names. Without any, every genuine TD is accepted, whatever it runs.

It holds until the first of: the ticket's expiration, `max_age` after the quote, the expiry of
the certificates and the collateral. Who stays longer shows a newer ticket.

Clock: wall, in seconds since the Unix epoch.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from ..clock import validation_time
from ..config import require_above, seconds
from ..errors import ConfigError
from ..ids import NetworkId, PeerId, UniqueId
from ..tickets.validator import Expiration, InvalidTicket, TicketHolder
from .checking import TCB_STATUSES, UP_TO_DATE, CheckedQuote, QuoteChecker, QuoteRefused
from .measurement import Measurement
from .measurements import REGISTERS, Measurements
from .packing import TDX_CLASS, require_extra
from .quote import QuoteError
from .roots import CollateralIssuer, TrustedRoot
from .sources import QuoteSource
from .store import CollateralFile, CollateralSource, CollateralStore, default_store, store_at
from .ticket import TdxTicket

logger = logging.getLogger(__name__)

MeasurementLike = Measurement | str | bytes
Required = Mapping[str, Measurement]
TIME_DRIFT_S: Final = 10.0


class Tdx:
    """Reads TDX tickets.

    Args:
        mrtd: What a TD has to have been built of: 48 bytes or 96 hexadecimal digits, as the
            others. None requires nothing of a register.
        rtmr0: What its register 0 has to be.
        rtmr1: What its register 1 has to be.
        rtmr2: What its register 2 has to be.
        rtmr3: What its register 3 has to be.
        variants: Several sets of values, of which one has to match as well: `Measurements`,
            or mappings from names of registers to values.
        roots: Which roots are trusted beside Intel's: a `SimulatedRoot`, or a certificate. For
            tests: a quote below them proves nothing about hardware.
        accept_status: Which statuses of a machine's TCB are accepted.
        max_age: How old a quote may be, in seconds or as a `timedelta`; None is as old as its
            ticket allows.
        max_time_drift: How far ahead of this clock a peer's may be, in seconds.
        collateral: Where collateral is: a folder, a file, or a `CollateralSource`. None is the
            folder of ``MOSAIK_COLLATERAL_DIR``, or of the user's cache. No part of `signature`.

    Raises:
        ConfigError: An argument is wrong, or the extra ``tdx`` is not installed.
    """

    class_id = TDX_CLASS
    may_hold_again = True  # when it was the collateral that ended, and there is newer

    def __init__(
        self,
        mrtd: MeasurementLike | None = None,
        rtmr0: MeasurementLike | None = None,
        rtmr1: MeasurementLike | None = None,
        rtmr2: MeasurementLike | None = None,
        rtmr3: MeasurementLike | None = None,
        *,
        variants: Iterable[Measurements | Mapping[str, MeasurementLike]] = (),
        roots: Iterable[TrustedRoot | CollateralIssuer | bytes | str] = (),
        accept_status: Iterable[str] = (UP_TO_DATE,),
        max_age: float | timedelta | None = None,
        max_time_drift: float | timedelta = TIME_DRIFT_S,
        collateral: CollateralSource | Path | str | None = None,
    ) -> None:
        require_extra()
        given = zip(REGISTERS, (mrtd, rtmr0, rtmr1, rtmr2, rtmr3), strict=True)
        self._baseline: Required = {n: Measurement(v) for n, v in given if v is not None}
        self._variants = tuple(map(_as_required, variants))
        self._roots = tuple(map(TrustedRoot.make, roots))
        self._accept_status = _as_statuses(accept_status)
        self._max_age_s = None if max_age is None else seconds(max_age)
        self._max_time_drift_s = seconds(max_time_drift)
        if self._max_age_s is not None:
            require_above("max_age", self._max_age_s)
        if not self._max_time_drift_s >= 0:  # nan neither: nothing is later than that
            raise ConfigError(f"max_time_drift is {self._max_time_drift_s}, expected 0 or more")
        self._collateral = collateral
        self._checker = QuoteChecker(self._roots, self._accept_status, _as_source(collateral))
        self._signature = self._sign()
        if self.is_simulated:
            logger.warning(
                "SIMULATED roots are trusted (%s): quotes below them prove nothing about hardware",
                ", ".join(map(str, self._roots)),
            )

    @classmethod
    def from_local(cls, source: QuoteSource | None = None, **settings: Any) -> Self:
        """Return what requires the measurements of this very TD. Blocks.

        Args:
            source: Who makes quotes, such as a `SimulatedTd`; the kernel when None.
            settings: Further arguments of the class. A simulated TD's root is trusted only
                where it is named here.

        Raises:
            TdxUnavailable: This is no trusted domain.
        """
        required: dict[str, Any] = dict(Measurements.local(source).items())
        return cls(**required, **settings)

    def require_own_mrtd(self, source: QuoteSource | None = None) -> Tdx:
        """Return what requires this TD's MRTD as well. Blocks; raises `TdxUnavailable`."""
        return self._with_own("mrtd", source)

    def require_own_rtmr0(self, source: QuoteSource | None = None) -> Tdx:
        """Return what requires this TD's RTMR0 as well. Blocks; raises `TdxUnavailable`."""
        return self._with_own("rtmr0", source)

    def require_own_rtmr1(self, source: QuoteSource | None = None) -> Tdx:
        """Return what requires this TD's RTMR1 as well. Blocks; raises `TdxUnavailable`."""
        return self._with_own("rtmr1", source)

    def require_own_rtmr2(self, source: QuoteSource | None = None) -> Tdx:
        """Return what requires this TD's RTMR2 as well. Blocks; raises `TdxUnavailable`."""
        return self._with_own("rtmr2", source)

    def require_own_rtmr3(self, source: QuoteSource | None = None) -> Tdx:
        """Return what requires this TD's RTMR3 as well. Blocks; raises `TdxUnavailable`."""
        return self._with_own("rtmr3", source)

    @property
    def signature(self) -> UniqueId:
        """Another one for each setting that changes what is accepted."""
        return self._signature

    @property
    def is_simulated(self) -> bool:
        """Whether it trusts other roots than Intel's."""
        return any(root.is_simulated for root in self._roots)

    def __repr__(self) -> str:
        parts = [f"{name}={value.short}" for name, value in self._baseline.items()]
        if self.is_simulated:
            parts.append("SIMULATED roots")
        return f"Tdx({', '.join(parts)})"

    def validate(self, data: bytes, peer: TicketHolder) -> Expiration:
        """Return until when a ticket holds. Blocks for a millisecond: the quote is checked.

        Raises:
            InvalidTicket: It is not accepted; says why not.
        """
        ticket = TdxTicket.from_data(data)
        now = validation_time()
        self._check_owner(ticket, peer.peer_id, peer.network_id)
        end = self._check_times(ticket, now)
        self.check_measurements(ticket.measurements)
        checked = self.check_quote(ticket.quote_bytes, now=now)
        return Expiration.at(min(end, checked.expires))

    def check_quote(self, quote: bytes, *, now: float) -> CheckedQuote:
        """Return what a quote proves, whatever it is bound to. Blocks for a millisecond.

        Raises:
            InvalidTicket: It is not genuine, or not good enough.
        """
        try:
            return self._checker.check(quote, now=now)
        except QuoteRefused as exc:
            raise InvalidTicket(str(exc), valid_from=now + exc.retry_s) from exc
        except QuoteError as exc:
            raise InvalidTicket(str(exc)) from exc

    def check_measurements(self, measured: Measurements) -> None:
        """Raise `InvalidTicket` unless `measured` are what is required; says what differs."""
        for name, value in self._baseline.items():
            if measured[name] != value:
                raise InvalidTicket(
                    f"its {name} is {measured[name].short}..., expected {value.short}..."
                )
        if self._variants and not any(_matches(one, measured) for one in self._variants):
            raise InvalidTicket(f"its measurements match none of {len(self._variants)} variants")

    def _check_owner(self, ticket: TdxTicket, peer: PeerId, network: NetworkId) -> None:
        if ticket.peer_id != peer:
            raise InvalidTicket(f"it is the ticket of peer {ticket.peer_id.short}")
        if ticket.network_id != network:
            raise InvalidTicket(f"it is for the network {ticket.network_id.short}")

    def _check_times(self, ticket: TdxTicket, now: float) -> float:
        """Return when the ticket ends by its own word and by its age."""
        binding = ticket.binding
        latest = now + self._max_time_drift_s
        if binding.started > latest or binding.quoted > latest:
            raise InvalidTicket(
                f"it was made at {ticket.quoted.isoformat()}, which has not come yet",
                valid_from=max(binding.started, binding.quoted) - self._max_time_drift_s,
            )
        if binding.quoted < binding.started:
            raise InvalidTicket("it was made before its node started")
        end = float(binding.expiration) or float("inf")
        if end <= now:
            raise InvalidTicket(f"it expired at {ticket.expiration}")
        if self._max_age_s is not None:
            end = min(end, binding.quoted + self._max_age_s)
            if end <= now:
                raise InvalidTicket(
                    f"its quote is {now - binding.quoted:.0f} s old, at most {self._max_age_s:.0f}"
                )
        return end

    def _with_own(self, register: str, source: QuoteSource | None) -> Tdx:
        own = Measurements.local(source)[register]
        required = self._baseline.get(register, own)
        if required != own:
            raise ConfigError(f"{register} is {required}, but here it is {own}")
        baseline: dict[str, Any] = {**self._baseline, register: own}
        return Tdx(
            **baseline,
            variants=self._variants,
            roots=self._roots,
            accept_status=self._accept_status,
            max_age=self._max_age_s,
            max_time_drift=self._max_time_drift_s,
            collateral=self._collateral,
        )

    def _sign(self) -> UniqueId:
        settings = {
            "baseline": _name(self._baseline),
            "variants": sorted(map(_name, self._variants)),
            "roots": sorted(root.key_id.hex() for root in self._roots),
            "accept_status": sorted(self._accept_status),
            "max_age": self._max_age_s,
            "max_time_drift": self._max_time_drift_s,
        }
        return TDX_CLASS.derive("validator").derive(msgspec.json.encode(settings))


def _as_required(variant: Measurements | Mapping[str, MeasurementLike]) -> Required:
    if not isinstance(variant, Measurements | Mapping):
        raise ConfigError(f"a variant is {variant!r}, expected Measurements or a mapping")
    unknown = [name for name, _ in variant.items() if name not in REGISTERS]
    if unknown or not list(variant.items()):
        raise ConfigError(
            f"a variant names {unknown or 'no register'}, expected some of {', '.join(REGISTERS)}"
        )
    return {name: Measurement(value) for name, value in variant.items()}


def _as_statuses(given: Iterable[str]) -> tuple[str, ...]:
    statuses = (given,) if isinstance(given, str) else tuple(given)
    if not statuses or not set(statuses) <= set(TCB_STATUSES):
        raise ConfigError(
            f"accept_status is {statuses!r}, expected some of {', '.join(TCB_STATUSES)}"
        )
    return statuses


def _as_source(given: CollateralSource | Path | str | None) -> CollateralSource:
    if given is None:
        return default_store()
    if isinstance(given, Path | str):
        path = Path(given)
        return CollateralFile(path) if path.is_file() else store_at(path)
    if not isinstance(given, CollateralStore | CollateralFile) and not hasattr(given, "find"):
        raise ConfigError(f"collateral is {given!r}, expected a folder or a file")
    return given


def _matches(required: Required, measured: Measurements) -> bool:
    return all(measured[name] == value for name, value in required.items())


def _name(required: Required) -> str:
    return ",".join(f"{name}={required[name]}" for name in sorted(required))
