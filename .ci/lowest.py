"""Prints pip constraints that pin every dependency to the lowest version pyproject.toml allows.

Optional ones that users get are included; the tools of developers are not. Each needs a
lower bound: without one there is nothing to test, and that is an error.
"""

# ruff: noqa: D103, T201

import re
import sys
import tomllib
from pathlib import Path

USED = ("mdns", "tdx", "demo")


def lowest(requirement: str) -> str:
    found = re.fullmatch(r"([A-Za-z0-9_-]+)\s*>=\s*([0-9.]+)\s*(,.*)?", requirement)
    if found is None:
        sys.exit(f"{requirement!r} has no lower bound of the form name>=version")
    return f"{found[1]}=={found[2]}"


def main() -> None:
    path = Path(__file__).parents[1] / "pyproject.toml"
    project = tomllib.loads(path.read_text())["project"]
    requirements = list(project["dependencies"])
    for extra in USED:
        requirements += project["optional-dependencies"][extra]
    print("\n".join(map(lowest, requirements)))


if __name__ == "__main__":
    main()
