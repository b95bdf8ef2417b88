"""Who does not answer is marked unreachable everywhere, soon; nobody who lives stays marked."""

from __future__ import annotations

from collections.abc import Iterable

from mosaik_actors.discovery.view import PeerUpdated
from mosaik_actors.testing.cluster import Cluster
from mosaik_actors.testing.conditions import NetworkConditions
from mosaik_actors.testing.scenario import scenario

PATHS = NetworkConditions(latency=0.02, jitter=0.01)
LOSSY = NetworkConditions(latency=0.02, jitter=0.01, loss=0.05)


def unreachable(cluster: Cluster, index: int) -> set[int]:
    """Return which nodes a node shows as unreachable."""
    catalog = cluster.net(index).discovery.catalog()
    return {
        node.index
        for node in cluster.nodes
        if node.peer_id in catalog and not catalog[node.peer_id].is_reachable
    }


def all_show(cluster: Cluster, expected: Iterable[int], at: Iterable[int] | None = None) -> bool:
    """Whether these nodes, or all that run, show exactly the expected ones as unreachable."""
    chosen = cluster.running if at is None else at
    return all(unreachable(cluster, index) == set(expected) - {index} for index in chosen)


def knows_all(cluster: Cluster) -> bool:
    count = len(cluster.nodes) - 1
    return all(len(cluster.net(index).discovery.catalog()) == count for index in cluster.running)


@scenario(nodes=3, seeds=range(3), network=PATHS)
async def test_a_crashed_peer_is_unreachable_soon(cluster: Cluster) -> None:
    await cluster.until(lambda: knows_all(cluster), timeout=10)
    events = cluster.net(0).discovery.events()
    await cluster.sleep(20)
    await cluster.crash(2)
    crashed_at = cluster.now
    await cluster.until(lambda: all_show(cluster, [2]), timeout=11)
    async for event in events:
        if isinstance(event, PeerUpdated) and not event.peer.is_reachable:
            break
    info = cluster.net(0).discovery.catalog()[cluster.nodes[2].peer_id]
    assert "unreachable" in repr(info)
    assert cluster.now - crashed_at <= info.last_heard_s + 0.1 <= cluster.now - crashed_at + 25
    # Back with the same key it is reachable at once; nobody was forgotten meanwhile.
    await cluster.start(2)
    await cluster.until(lambda: all_show(cluster, []) and knows_all(cluster), timeout=5)


@scenario(nodes=2, seeds=range(2), network=PATHS)
async def test_of_two_the_one_that_is_left_notices(cluster: Cluster) -> None:
    await cluster.until(lambda: knows_all(cluster), timeout=10)
    await cluster.crash(1)
    await cluster.until(lambda: all_show(cluster, [1]), timeout=10)


@scenario(nodes=12, seeds=range(3), network=PATHS)
async def test_whoever_comes_later_learns_who_does_not_answer(cluster: Cluster) -> None:
    await cluster.stop(11)
    await cluster.until(
        lambda: all(len(cluster.net(i).discovery.catalog()) == 10 for i in range(11)), timeout=20
    )
    await cluster.crash(4, 7)
    await cluster.until(lambda: all_show(cluster, [4, 7]), timeout=12)
    await cluster.start(11)
    await cluster.until(lambda: all_show(cluster, [4, 7]) and knows_all(cluster), timeout=10)


@scenario(nodes=30, seeds=range(1), network=PATHS, traces_messages=False, bootstrap="first")
async def test_many_agree_on_who_crashed(cluster: Cluster) -> None:
    await cluster.until(lambda: knows_all(cluster), timeout=30)
    victims = cluster.randomness.branch("victims").sample(range(1, 30), 5)
    await cluster.crash(*victims)
    await cluster.until(lambda: all_show(cluster, victims), timeout=12)


@scenario(nodes=12, seeds=range(3), network=LOSSY)
async def test_loss_makes_nobody_unreachable(cluster: Cluster) -> None:
    await cluster.until(lambda: knows_all(cluster), timeout=20)
    for _ in range(60):
        await cluster.sleep(1)
        assert all_show(cluster, [])


@scenario(nodes=8, seeds=range(3), network=PATHS)
async def test_who_was_paused_refutes_as_soon_as_it_is_back(cluster: Cluster) -> None:
    await cluster.until(lambda: knows_all(cluster), timeout=10)
    await cluster.sleep(10)
    cluster.pause(3)
    rest = [index for index in range(8) if index != 3]
    await cluster.until(lambda: all_show(cluster, [3], at=rest), timeout=9.9)
    cluster.resume(3)
    await cluster.until(lambda: all_show(cluster, []), timeout=1)
    for _ in range(20):
        await cluster.sleep(1)
        assert all_show(cluster, [])


@scenario(nodes=8, seeds=range(3), network=PATHS)
async def test_a_pause_that_outlives_connections_is_forgiven_soon(cluster: Cluster) -> None:
    await cluster.until(lambda: knows_all(cluster), timeout=10)
    await cluster.sleep(10)
    cluster.pause(3)
    await cluster.sleep(10)
    cluster.resume(3)
    await cluster.until(lambda: all_show(cluster, []), timeout=6)
    for _ in range(20):
        await cluster.sleep(1)
        assert all_show(cluster, [])


@scenario(nodes=8, seeds=range(3), network=PATHS)
async def test_who_is_cut_off_and_those_who_cut_it_off(cluster: Cluster) -> None:
    await cluster.until(lambda: knows_all(cluster), timeout=10)
    cluster.partition(5)
    rest = [index for index in range(8) if index != 5]
    await cluster.until(lambda: all_show(cluster, [5], at=rest), timeout=15)
    await cluster.until(lambda: all_show(cluster, rest, at=[5]), timeout=15)
    cluster.heal()
    await cluster.until(lambda: all_show(cluster, []), timeout=30)


@scenario(nodes=8, seeds=range(3), network=PATHS)
async def test_one_broken_path_makes_nobody_unreachable(cluster: Cluster) -> None:
    """Two nodes that cannot hear each other are seen by all others."""
    await cluster.until(lambda: knows_all(cluster), timeout=10)
    cluster.cut(2, 6)
    for _ in range(60):
        await cluster.sleep(1)
        assert all_show(cluster, [], at=[0, 1, 3, 4, 5, 7])
    await cluster.until(lambda: all_show(cluster, []), timeout=10)
