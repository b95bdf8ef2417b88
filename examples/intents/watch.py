"""The auction's table, live in a terminal; or, with --svg, a picture of it.

It takes part as anybody may: it reads the round and the settlements, and has no say. The picture
is of the whole demo on virtual time, so it is the same each time and takes no processes.
Both need the extra `demo`.
"""

import argparse
import asyncio
import re
import sys
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from intents.auctioneer import Auctioneer
from intents.messages import RoundView, Settlement
from intents.service import (
    STNEAR,
    USDC,
    WETH,
    WRAP,
    IntentAuction,
    demo,
    demo_from_environment,
    intent_count,
)
from intents.table import COLUMNS, rows_of
from intents.traders import Solver, Users
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mosaik_actors import Network, run
from mosaik_actors.testing import Cluster, simulate

ROWS = 24
TITLE = "mosaik-actors run examples/intents/launch.toml"
STYLES = {"north": "cyan", "south": "magenta", "expired": "dim"}


def draw(settlements: Sequence[Settlement], view: RoundView | None, now_ms: float) -> Group:
    """Return the table of the latest settled intents, and below it how the round stands."""
    table = Table(title="intents, settled", title_style="bold", header_style="bold")
    for name in COLUMNS:
        table.add_column(
            name, justify="right" if name in ("gives", "gets", "over asked") else "left"
        )
    rows = [row for settlement in settlements for row in rows_of(settlement)]
    for row in rows[-ROWS:]:
        table.add_row(*row, style=STYLES.get(row[6] or row[2]))
    if view is None:
        return Group(table, Text("waiting for the auctioneers"))
    left_s = max(0.0, view.window_end_ms - now_ms) / 1000
    window = f"window ends in {left_s:.1f} s" if view.window_end_ms else "idle"
    counts = f"{view.pending} intents wait, with {view.quotes} quotes"
    return Group(table, Text(f"round {view.round}: {window}; {counts}"))


async def watch(network: str) -> None:
    """Draw until the program is stopped."""
    async with Network(network) as net:
        auction = IntentAuction.bind(net, demo_from_environment())
        settlements, round_ = auction.settlements.reader(), auction.round.reader()
        wall = net.node.clock.wall
        with Live(draw([], None, 0), refresh_per_second=5) as live:
            while True:  # the seconds that are left move by themselves
                live.update(draw(settlements, round_.read(), wall() * 1000))
                await asyncio.sleep(0.2)


async def play() -> tuple[list[Settlement], RoundView | None, float]:
    """Play the demo on virtual time, until its last intent waits for the next round."""
    config, count = demo(), intent_count()
    async with Cluster(7, seed=1) as cluster:
        for index in range(3):
            await cluster.net(index).actors.spawn(Auctioneer, args=(config,))
        for index, (name, third) in enumerate((("north", STNEAR), ("south", WETH)), start=3):
            arguments = (name, [USDC, WRAP, third], 5, config)
            await cluster.net(index).actors.spawn(Solver, args=arguments)
        await cluster.net(5).actors.spawn(Users, args=(config, count))
        auction = IntentAuction.bind(cluster.net(6), config)
        settlements = await auction.settlements.online_reader()
        round_ = await auction.round.online_reader()
        await cluster.until(lambda: sum(len(rows_of(one)) for one in settlements) > count // 2)
        await cluster.sleep(1)
        return list(settlements), round_.read(), cluster.net(6).node.clock.wall() * 1000


def paint(file: Path) -> None:
    """Write the picture."""
    console = Console(record=True, width=104, file=StringIO())
    console.print(draw(*simulate(play())))
    svg = console.export_svg(title=TITLE, unique_id="intents")
    # Without fonts from the net: a picture in a repository fetches nothing.
    file.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL))
    print(f"{file} is written")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", default="intents-example")
    parser.add_argument("--svg", type=Path, help="write a picture of the demo, and end")
    options = parser.parse_args()
    if options.svg:
        paint(options.svg)
    else:
        sys.exit(run(watch, options.network))
