"""``mosaik-actors tdx``: quotes, tickets and measurements of trusted domains."""

from __future__ import annotations

import argparse
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .failure import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..tee.measurements import Measurements
    from ..tee.quote import Quote
    from ..tee.ticket import TdxTicket
    from ..tee.validator import Tdx
    from . import Subparsers

FILE_BYTES_MAX: Final = 128 * 1024
REGISTERS: Final = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3")

_EPILOG = """\
examples:
  mosaik-actors tdx measure                                what this trusted domain runs
  mosaik-actors tdx inspect quote.bin                      what a quote or a ticket says
  mosaik-actors tdx verify quote.bin --mrtd 91eb...        whether it is genuine, and runs that
  mosaik-actors tdx verify node.ticket --peer ID --network my-app --collateral folder
  mosaik-actors tdx predict --firmware OVMF.fd --kernel vmlinuz --initrd initrd --cmdline "..."

A file is a quote or the data of a ticket, as bytes or as hexadecimal digits.
"""


def add(subparsers: Subparsers) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "tdx",
        help="inspect and verify quotes of trusted domains, predict measurements",
        description="Quotes, tickets and measurements of Intel TDX trusted domains.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    inspect = verbs.add_parser("inspect", help="show what a quote or a ticket says, unchecked")
    inspect.add_argument("file", type=Path, help="a quote, or a ticket's data")
    inspect.set_defaults(run=run_inspect)

    verify = verbs.add_parser("verify", help="check a quote or a ticket in full")
    verify.add_argument("file", type=Path, help="a quote, or a ticket's data")
    for name in REGISTERS:
        verify.add_argument(f"--{name}", metavar="HEX", help=f"what {name} has to be")
    verify.add_argument(
        "--collateral", type=Path, metavar="PATH", help="a file or folder of collateral"
    )
    verify.add_argument(
        "--accept-status", metavar="STATUS", action="append", help="of the TCB; may be repeated"
    )
    verify.add_argument(
        "--root", type=Path, metavar="FILE", action="append", default=[],
        help="another root to trust than Intel's (a certificate); for simulated quotes",
    )  # fmt: skip
    verify.add_argument(
        "--simulated", metavar="SEED", help="trust the simulated root with that seed"
    )
    verify.add_argument("--at", metavar="TIME", help="check as of then, as 2025-06-20T12:00:00Z")
    verify.add_argument("--peer", metavar="ID", help="whose ticket it has to be")
    verify.add_argument("--network", metavar="NAME", help="for which network it has to be")
    verify.set_defaults(run=run_verify)

    measure = verbs.add_parser("measure", help="show what this trusted domain runs")
    measure.set_defaults(run=run_measure)

    predict = verbs.add_parser("predict", help="work out registers from the files of an image")
    predict.add_argument("--firmware", type=Path, metavar="FILE", help="a TDVF image: MRTD")
    predict.add_argument("--kernel", type=Path, metavar="FILE", help="with EFI stub: RTMR1")
    predict.add_argument("--initrd", type=Path, metavar="FILE", help="with --cmdline: RTMR2")
    predict.add_argument("--cmdline", metavar="TEXT", help="the kernel's command line: RTMR2")
    predict.add_argument(
        "--verbatim", action="store_true",
        help="the firmware does not append ' initrd=initrd', as it does when QEMU boots directly",
    )  # fmt: skip
    predict.set_defaults(run=run_predict)


def run_inspect(options: argparse.Namespace) -> int:
    """Show what a file says."""
    quote, ticket = _read(options.file)
    _print_quote(quote, ticket)
    print("nothing of this is checked: mosaik-actors tdx verify")
    return 0


def run_verify(options: argparse.Namespace) -> int:
    """Check a file, and say what it proves."""
    from ..clock import validating_at, validation_time
    from ..tee.collateral import format_time
    from ..tickets.validator import InvalidTicket

    quote, ticket = _read(options.file)
    validator = _make_validator(options)
    now = _parse_time(options.at) if options.at else validation_time()
    _print_quote(quote, ticket)
    try:
        if ticket is not None:
            with validating_at(now):
                validator.validate(ticket.to_ticket().data, _Holder(options, ticket))
        elif options.peer or options.network:
            raise CommandFailed("a quote alone names no peer and no network: give a ticket's data")
        checked = validator.check_quote(quote.encode(), now=now)
        validator.check_measurements(_measurements(quote))
    except InvalidTicket as exc:
        raise CommandFailed(f"not accepted: {exc}") from exc
    _print_row("TCB", checked.status)
    _print_row("advisories", ", ".join(checked.advisory_ids) or "none")
    _print_row("root", str(checked.root))
    _print_row("good until", format_time(checked.expires))
    if checked.is_simulated:
        print("accepted, but SIMULATED: it proves nothing about hardware")
    else:
        print("accepted")
    return 0


def run_measure(_options: argparse.Namespace) -> int:
    """Show this trusted domain's measurements."""
    from ..tee.measurements import Measurements

    _print_measurements(Measurements.local())
    return 0


def run_predict(options: argparse.Namespace) -> int:
    """Work out what can be from the files that were given."""
    from ..tee.prediction import predict_rtmr1, predict_rtmr2
    from ..tee.tdvf import measure_firmware

    if options.initrd and options.cmdline is None:
        raise CommandFailed("--initrd needs --cmdline: RTMR2 has both; --cmdline '' for none")
    wanted: list[tuple[str, Callable[[], object]]] = []
    if options.firmware:
        wanted.append(("mrtd", lambda: measure_firmware(options.firmware.read_bytes())))
    if options.kernel:
        wanted.append(("rtmr1", lambda: predict_rtmr1(options.kernel.read_bytes())))
    if options.cmdline is not None:
        initrd = options.initrd.read_bytes() if options.initrd else None
        wanted.append(
            ("rtmr2", lambda: predict_rtmr2(options.cmdline, initrd, is_verbatim=options.verbatim))
        )
    if not wanted:
        raise CommandFailed("nothing to work out: give --firmware, --kernel or --cmdline")
    for name, predict in wanted:
        _print_row(name, str(predict()))
    print("rtmr0 is not worked out: it has the TD HOB and what else the host says of the machine")
    return 0


class _Holder:
    """Who is taken to show the ticket: who was named, or else who it says."""

    def __init__(self, options: argparse.Namespace, ticket: TdxTicket) -> None:
        from ..ids import NetworkId, PeerId

        self.peer_id = _parse(PeerId, options.peer) if options.peer else ticket.peer_id
        self.network_id = NetworkId(options.network) if options.network else ticket.network_id


def _make_validator(options: argparse.Namespace) -> Tdx:
    from ..tee.simulated import SimulatedRoot
    from ..tee.validator import Tdx

    roots: list[Any] = [path.read_bytes() for path in options.root]
    if options.simulated:
        roots.append(SimulatedRoot(options.simulated))
    required = {name: getattr(options, name) for name in REGISTERS}
    accepted = {"accept_status": options.accept_status} if options.accept_status else {}
    return Tdx(**required, **accepted, roots=roots, collateral=options.collateral)


def _read(path: Path) -> tuple[Quote, TdxTicket | None]:
    """Return the quote in a file, and the ticket that it is in, if it is."""
    from ..errors import DecodeError
    from ..tee.quote import Quote
    from ..tee.ticket import TdxTicket
    from ..tickets.validator import InvalidTicket

    with path.open("rb") as file:
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise CommandFailed(f"{path} has more than {FILE_BYTES_MAX} bytes: no quote or ticket")
    with suppress(ValueError):  # else it is bytes as they are
        data = bytes.fromhex(data.decode("ascii"))
    try:
        return Quote.parse(data), None
    except DecodeError as exc:
        reason = str(exc)
    try:
        ticket = TdxTicket.from_data(data)
    except InvalidTicket as exc:
        raise CommandFailed(f"{path} is no quote ({reason}) and no ticket ({exc})") from exc
    return ticket.quote, ticket


def _measurements(quote: Quote) -> Measurements:
    from ..tee.measurements import Measurements

    return Measurements.of(quote.report)


def _print_quote(quote: Quote, ticket: TdxTicket | None) -> None:
    if ticket is not None:
        _print_row("peer", str(ticket.peer_id))
        _print_row("network", str(ticket.network_id))
        _print_row("started", ticket.started.isoformat())
        _print_row("quoted", ticket.quoted.isoformat())
        _print_row("expires", str(ticket.expiration))
    kind = "1.5" if quote.report.mr_service_td is not None else "1.0"
    _print_row("quote", f"version {quote.version}, TD {kind} report")
    _print_measurements(_measurements(quote))
    _print_row("report data", quote.report.report_data.hex())
    _print_row("debug", "YES: its host can look inside" if quote.report.is_debug else "no")


def _print_measurements(measurements: Measurements) -> None:
    for name, value in measurements.items():
        _print_row(name, str(value))


def _print_row(name: str, value: str) -> None:
    print(f"{name:<12} {value}")


def _parse(kind: Callable[[str], Any], text: str) -> Any:
    try:
        return kind(text)
    except ValueError as exc:
        raise CommandFailed(str(exc)) from exc


def _parse_time(text: str) -> float:
    moment: datetime = _parse(datetime.fromisoformat, text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
