"""Settlements as rows that people read."""

from __future__ import annotations

from .messages import Fill, Settlement, account_of, as_amounts, demo_key
from .rules import amount_out
from .service import SOLVERS, UNIT, USERS

COLUMNS = ("round", "who", "what", "gives", "gets", "over asked", "solver", "quotes")
WIDTHS = (5, 6, 15, 16, 16, 10, 6, 6)

_NAMES = {account_of(demo_key(name)): name for name in (*USERS, *SOLVERS)}


def name_of(account: str) -> str:
    """Return what an account is called in the demo, or its first digits."""
    return _NAMES.get(account, account[:6])


def amount_text(asset: str, amount: int) -> str:
    """Return an amount for people: ``2,000.00 usdc``."""
    label = asset.partition(":")[2].removesuffix(".near")
    if asset not in UNIT:
        return f"{amount:,} {label}"
    whole = amount / UNIT[asset]
    return f"{whole:,.2f} {label}" if whole >= 1 else f"{whole:.5f} {label}"


def fill_row(round_: int, fill: Fill) -> tuple[str, ...]:
    """Return the cells of a settled intent."""
    intent, quote = fill.intent, fill.quote
    given = ", ".join(amount_text(a, -n) for a, n in as_amounts(fill.legs[0].diff).items() if n < 0)
    if quote is None:
        receiver = name_of(intent.receiver) if intent.kind == "transfer" else intent.receiver
        got = f"to {receiver}"
        return (str(round_), name_of(intent.signer), intent.kind, given, got, "", "", "")
    asked = {asset: amount for asset, amount in as_amounts(intent.diff).items() if amount > 0}
    ((wanted, least),) = asked.items()
    got_amount = amount_out(intent, quote)
    return (
        str(round_),
        name_of(intent.signer),
        intent.kind,
        given,
        amount_text(wanted, got_amount),
        f"{(got_amount - least) / least:+.2%}",
        name_of(quote.solver),
        str(fill.quote_count),
    )


def rows_of(settlement: Settlement) -> list[tuple[str, ...]]:
    """Return the rows of a settlement: its fills, and what was given up."""
    rows = [fill_row(settlement.round, fill) for fill in settlement.fills]
    return rows + [
        (str(settlement.round), number[:6], "expired", "", "", "", "", "")
        for number in settlement.expired
    ]


def line(cells: tuple[str, ...]) -> str:
    """Return a row as one line of text."""
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()
