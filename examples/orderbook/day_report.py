"""What became of a day: figures, and a picture of them as SVG. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

WIDTH, HEIGHT, MARGIN = 900, 190, 60
SHARES = (0.5, 0.9, 0.99, 0.999)


@dataclass
class Day:
    """What was measured.

    Attributes:
        rate: Orders a second that were to be sent.
        latencies_s: For each order, from when it was due to when its report came.
        prices: Bid and ask at the top of the book, at parts of the day.
        fills: How many trades, for each part of the day.
        orders: How many orders and cancellations there were.
        trades: How many trades the book has made, and how much was traded.
        volume: See `trades`.
        elapsed_s: From the first order to the last report.
        again: How many orders were sent again.
    """

    rate: float
    latencies_s: list[float] = field(default_factory=list)
    prices: list[tuple[float, int, int]] = field(default_factory=list)
    fills: list[int] = field(default_factory=list)
    orders: int = 0
    trades: int = 0
    volume: int = 0
    elapsed_s: float = 0.0
    again: int = 0


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """Return the smallest value that so many are not above (nearest rank); 0 of none."""
    if not sorted_values:
        return 0.0
    return sorted_values[max(0, -int(-share * len(sorted_values) // 1) - 1)]


def figures(day: Day) -> list[str]:
    """Return the report as lines."""
    ordered = sorted(day.latencies_s)
    found = (f"p{share * 100:g} {percentile(ordered, share) * 1e3:.1f}" for share in SHARES)
    shares = ", ".join(found)
    rate = day.orders / max(day.elapsed_s, 1e-9)
    return [
        f"{day.orders} orders in {day.elapsed_s:.1f} s: {rate:.0f} a second, "
        f"{day.rate:.0f} wanted; {day.again} sent again",
        f"{day.trades} fills, volume {day.volume}",
        f"latency in ms, from due to reported: {shares}, "
        f"max {(ordered[-1] if ordered else 0) * 1e3:.1f}",
    ]


def draw(day: Day) -> str:
    """Return the picture: prices, fills, and latency over the day."""
    charts = [
        _chart(0, "top of book", [
            ("#2a7", [bid for _, bid, _ in day.prices]),
            ("#c33", [ask for _, _, ask in day.prices]),
        ]),
        _bars(1, "fills", day.fills),
        _chart(2, "latency in ms: p50, p99", [
            ("#36c", _over_time(day.latencies_s, 0.5)),
            ("#c80", _over_time(day.latencies_s, 0.99)),
        ], from_zero=True),
    ]  # fmt: skip
    height = 3 * HEIGHT + MARGIN
    caption = " &#183; ".join(escape(line) for line in figures(day)[:2])
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            'font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
            *charts,
            f'<text x="{MARGIN}" y="{height - 20}">{caption}</text>',
            "</svg>",
            "",
        ]
    )


def _over_time(latencies_s: Sequence[float], share: float, points: int = 100) -> list[float]:
    size = max(1, len(latencies_s) // points)
    starts = range(0, len(latencies_s), size)
    return [percentile(sorted(latencies_s[at : at + size]), share) * 1e3 for at in starts]


def _frame(place: int, title: str, low: float, high: float) -> str:
    top, bottom = place * HEIGHT + 30, (place + 1) * HEIGHT - 10
    return (
        f'<text x="{MARGIN}" y="{top - 8}" font-weight="bold">{escape(title)}</text>'
        f'<path d="M{MARGIN} {top}V{bottom}H{WIDTH - 20}" fill="none" stroke="#888"/>'
        f'<text x="{MARGIN - 6}" y="{top + 8}" text-anchor="end">{high:.6g}</text>'
        f'<text x="{MARGIN - 6}" y="{bottom}" text-anchor="end">{low:.6g}</text>'
    )


def _chart(
    place: int,
    title: str,
    lines: Sequence[tuple[str, Sequence[float]]],
    *,
    from_zero: bool = False,
) -> str:
    values = [value for _, line in lines for value in line] or [0.0]
    low, high = (0.0 if from_zero else min(values)), max(values)
    top, bottom = place * HEIGHT + 30, (place + 1) * HEIGHT - 10
    scale = (bottom - top) / ((high - low) or 1)
    made = [_frame(place, title, low, high)]
    for color, line in lines:
        step = (WIDTH - 20 - MARGIN) / max(1, len(line) - 1)
        points = " ".join(
            f"{MARGIN + at * step:.1f},{bottom - (value - low) * scale:.1f}"
            for at, value in enumerate(line)
        )
        made.append(f'<polyline points="{points}" fill="none" stroke="{color}"/>')
    return "".join(made)


def _bars(place: int, title: str, values: Sequence[int]) -> str:
    top, bottom = place * HEIGHT + 30, (place + 1) * HEIGHT - 10
    high = max(values, default=0)
    edges = [
        MARGIN + at * (WIDTH - 20 - MARGIN) / max(1, len(values)) for at in range(len(values) + 1)
    ]
    bars = [
        f'<rect x="{left:.1f}" y="{bottom - value * (bottom - top) / (high or 1):.1f}" '
        f'width="{max(0.5, right - left - 1):.1f}" '
        f'height="{value * (bottom - top) / (high or 1):.1f}" fill="#79b"/>'
        for (left, right), value in zip(pairwise(edges), values, strict=True)
    ]
    return _frame(place, title, 0, high) + "".join(bars)
