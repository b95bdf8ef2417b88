"""A line chart as SVG: a few series over a few points, both axes logarithmic if wanted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 80, 150, 40, 56
COLOURS = ("#2563eb", "#dc2626", "#16a34a", "#9333ea", "#d97706", "#64748b")
MARGIN = 1.25  # of the values, beside the highest and the lowest


@dataclass(frozen=True, slots=True)
class Series:
    """What one line shows: its name, and its points in the order of x."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: its title, what its axes show, and its lines; y begins at 0 unless logarithmic."""

    title: str
    x_name: str
    y_name: str
    series: Sequence[Series]
    is_y_logarithmic: bool = False

    def draw(self) -> str:
        """Return the chart as an SVG document."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        xs = sorted({x for one in self.series for x, _ in one.points})
        ys = [y for one in self.series for _, y in one.points]
        top = max(ys) * MARGIN
        bottom = min(ys) / MARGIN if self.is_y_logarithmic else 0.0

        def place_x(x: float) -> float:
            share = xs.index(x) / max(1, len(xs) - 1)
            return LEFT + share * (WIDTH - LEFT - RIGHT)

        def place_y(y: float) -> float:
            if self.is_y_logarithmic:
                share = math.log(y / bottom) / math.log(top / bottom)
            else:
                share = y / top
            return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="sans-serif" font-size="13">'
        )
        yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
        yield f'<text x="{LEFT}" y="22" font-size="15">{escape(self.title)}</text>'
        for y in _ticks(bottom, top, is_logarithmic=self.is_y_logarithmic):
            at = place_y(y)
            yield (
                f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" '
                'stroke="#e2e8f0"/>'
            )
            yield f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{shown(y)}</text>'
        for x in xs:
            at, below = place_x(x), HEIGHT - BOTTOM + 18
            yield f'<text x="{at:.1f}" y="{below}" text-anchor="middle">{shown(x)}</text>'
        middle, below = (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14
        yield f'<text x="{middle}" y="{below}" text-anchor="middle">{escape(self.x_name)}</text>'
        yield f'<text x="{LEFT}" y="{TOP - 2}" fill="#64748b">{escape(self.y_name)}</text>'
        for number, one in enumerate(self.series):
            colour = COLOURS[number % len(COLOURS)]
            points = [(place_x(x), place_y(y)) for x, y in one.points]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
            for x, y in points:
                yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
            at = TOP + 16 + 20 * number
            yield (
                f'<text x="{WIDTH - RIGHT + 14}" y="{at}" fill="{colour}">{escape(one.name)}</text>'
            )
        yield "</svg>"


def shown(value: float) -> str:
    """Return a number as people write it: 1500 as 1.5 k."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def _ticks(bottom: float, top: float, *, is_logarithmic: bool) -> list[float]:
    if is_logarithmic:
        exponents = range(math.floor(math.log10(bottom)), math.ceil(math.log10(top)) + 1)
        found = [step * 10.0**exponent for exponent in exponents for step in (1, 2, 5)]
        return [one for one in found if bottom <= one <= top]
    step = 10.0 ** math.floor(math.log10(top))
    while top / step < 4:
        step /= 2
    return [step * number for number in range(int(top / step) + 1)]
