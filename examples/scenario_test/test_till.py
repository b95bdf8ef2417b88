"""The till sells each ticket once, whatever happens to it and to its buyers."""

from typing import Any

import msgspec
from till import Buyer, Receipt, Till, run_till

from mosaik_actors import TransportConfig
from mosaik_actors.testing import (
    Cluster,
    Counter,
    FaultPlan,
    NetworkConditions,
    SimNode,
    check_linearizable,
    lognormal,
    scenario,
)

SETTINGS: dict[str, Any] = {
    "nodes": 3,
    "seeds": range(5),
    "faults": FaultPlan(duration=40, interval=2.0, length=3.0),
    "network": NetworkConditions(latency=lognormal(0.02), loss=0.02),
    "transport": TransportConfig(idle_timeout=3.0, keep_alive_interval=0.8),
}


class ForgetfulTill(Till):
    """A till with a bug: it does not wait until the disk has the sale."""

    def _save(self, receipt: Receipt) -> None:
        assert self._file is not None
        self._file.append(msgspec.json.encode(receipt) + b"\n")


async def buy(node: SimNode) -> None:
    """Buy tickets for as long as the node lives, and record each purchase."""
    name = f"n{node.index} run {node.run_count}"
    buyer = Buyer(node.net, name)
    client = node.cluster.history.client(name, node.cluster.loop.time)
    while True:
        await client.call(Counter.increment_and_get(), buyer.buy())


async def shop(node: SimNode, till: type[Till] = Till) -> None:
    """Run the till on the first node, a buyer on each of the others."""
    if node.index == 0:
        await run_till(node.net, node.disk.open("sales"), till)
    else:
        await buy(node)


async def careless_shop(node: SimNode) -> None:
    await shop(node, ForgetfulTill)


async def check_sales(cluster: Cluster) -> None:
    # Nodes crash, stop and stand still, the network splits, clocks are wrong.
    await cluster.sleep(40)
    # When all that is over, there is business again ...
    await cluster.calm()
    before = len(cluster.history)
    await cluster.until(lambda: len(cluster.history) > before + 10)
    # ... and what the buyers saw is what one till with one counter would have told them.
    verdict = check_linearizable(cluster.history, Counter())
    assert verdict.ok, verdict.reason


@scenario(program=shop, **SETTINGS)
async def test_each_ticket_is_sold_once(cluster: Cluster) -> None:
    await check_sales(cluster)


@scenario(program=careless_shop, **SETTINGS)
async def forgets_sales(cluster: Cluster) -> None:
    """Not a test by its name: see below, and `mosaik-actors chaos test_till.py::forgets_sales`."""
    await check_sales(cluster)


def test_forgetful_till_is_caught() -> None:
    made = forgets_sales.scenario  # type: ignore[attr-defined]
    reports = [made.run(seed) for seed in made.seeds]
    caught = [report for report in reports if isinstance(report.error, AssertionError)]
    assert caught, "no seed showed the bug"
    assert "crashes" in caught[0].timeline
