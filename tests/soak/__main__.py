"""Two endpoints live a long life, on every carrier; what they must not do stops it.

    python -m tests.soak [--carrier NAME] [--seconds N] [--seed S]

Links are opened and closed, refused, cancelled, closed in the midst of what comes, aborted in
mid-frame; frames of 0 bytes to 300 KiB go both ways, one by one and in bursts; connections are
ended and dialled anew. See `driver` for what must hold after each round. At the end nothing is
alive of what belonged to the endpoints, and the package's memory has not grown. Ctrl-C ends it
with what came until then. When a check fails, the exit code is 1, and the seed is shown, which
plans the same again.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
import tracemalloc
from contextlib import suppress

from tests.unit.transport.endpoints import KINDS

from .driver import SoakFailed, Tally
from .life import live

PROGRESS_S = 1.0


class Progress:
    """Shows how far it is, in one line that is written over."""

    def __init__(self, carrier: str, seconds: float) -> None:
        self.tally = Tally()
        self._carrier = carrier
        self._begun_at = time.monotonic()
        self._shown_at = 0.0
        self._seconds = seconds

    def goes_on(self, tally: Tally) -> bool:
        """Show what was done by now; return whether there is time for more."""
        self.tally = tally
        now = time.monotonic()
        if now - self._shown_at >= PROGRESS_S:
            self._shown_at = now
            self.show("\r")
        return now - self._begun_at < self._seconds

    def show(self, end: str) -> None:
        """Write the line."""
        tally, passed_s = self.tally, time.monotonic() - self._begun_at
        held_mb = tracemalloc.get_traced_memory()[0] / 1e6
        sys.stdout.write(
            f"{self._carrier:7}{passed_s:5.0f} s  {tally.rounds} rounds  {tally.links} links  "
            f"{tally.connections} connections  {tally.frames} frames  "
            f"{tally.frame_bytes / 1e6:.0f} MB  memory {held_mb:.1f} MB{end}"
        )
        sys.stdout.flush()


def soak(carrier: str, seconds: float, seed: int) -> None:
    """Play rounds for so long, and check; raises `SoakFailed`."""
    progress = Progress(carrier, seconds)
    try:
        grown_bytes = asyncio.run(live(carrier, seed, progress.goes_on))
    finally:
        progress.show("\n")
    ends = ", ".join(f"{count} {name}" for name, count in sorted(progress.tally.ends.items()))
    sys.stdout.write(f"        links: {ends}; grown by {grown_bytes / 1024:.1f} KiB\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--carrier", choices=KINDS, help="all, one after the other, without it")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each carrier")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    given = parser.parse_args()
    with suppress(KeyboardInterrupt):
        for carrier in (given.carrier,) if given.carrier else KINDS:
            try:
                soak(carrier, given.seconds, given.seed)
            except SoakFailed as error:
                sys.stdout.write(f"failed: --carrier {carrier} --seed {given.seed}: {error}\n")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
