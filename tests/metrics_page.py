"""The table of metrics in ``docs/metrics.md``: ``python -m tests.metrics_page`` writes it anew.

It stands between two marks of the page; all else there is written by hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mosaik_actors.metrics.families import FAMILIES

PAGE: Final = Path(__file__).parents[1] / "docs" / "metrics.md"
BEGIN: Final = "<!-- metrics: begin -->\n"
END: Final = "<!-- metrics: end -->\n"


def render() -> str:
    """Return the page with the table that the code has."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    rows = [
        f"| `{family.name}` | {family.kind} | {' '.join(f'`{label}`' for label in family.labels)} "
        f"| {family.help} |"
        for family in FAMILIES
    ]
    head = ["| Metric | Kind | Labels | Meaning |", "| --- | --- | --- | --- |"]
    return before + BEGIN + "\n".join([*head, *rows, ""]) + END + after


if __name__ == "__main__":
    PAGE.write_text(render())
