"""When a group's member must not go on alone: one script for each."""

from contextlib import suppress

import msgspec
import pytest

from mosaik_actors.discovery.entry import EntryTooLarge, GroupInfo
from mosaik_actors.errors import GroupOffline, GroupTerminated
from mosaik_actors.groups.wire.frames import PROTOCOL
from mosaik_actors.ids import UniqueId
from mosaik_actors.testing.cluster import Cluster, SimNode
from mosaik_actors.testing.scenario import scenario
from mosaik_actors.transport.close import CloseCode, CloseReason
from mosaik_actors.transport.config import TransportConfig
from mosaik_actors.transport.interface import Endpoint
from mosaik_actors.transport.memory import MemoryEndpoint

from .groups_machines import Put
from .groups_workload import SETTINGS, all_equal, all_online, join, write

FULL = CloseReason(CloseCode.TOO_MANY_LINKS, "4096 links are open, at most 4096")


def endpoint_of(node: SimNode) -> Endpoint:
    return node.net.node.endpoint


async def serving(cluster: Cluster, node: SimNode) -> MemoryEndpoint:
    """Return the endpoint of a node that serves groups: from their first use on."""
    assert not list(node.net.groups)
    endpoint = endpoint_of(node)
    assert isinstance(endpoint, MemoryEndpoint)
    await cluster.until(lambda: PROTOCOL in endpoint._acceptors)
    return endpoint


@scenario(nodes=2, seeds=range(3), **SETTINGS)
async def test_member_in_reach_that_takes_no_link_is_waited_for(cluster: Cluster) -> None:
    """Two that see each other and cannot bond would each begin a history, and acknowledge."""
    served = []
    for node in cluster.nodes:
        endpoint = await serving(cluster, node)
        served.append(endpoint._acceptors[PROTOCOL])
        endpoint.serve(PROTOCOL, lambda link: link.close(FULL))
    groups = [join(node) for node in cluster.nodes]
    await cluster.sleep(20)
    # Neither goes on alone. Both say why, in `why_offline` and in the error.
    for group, other in zip(groups, reversed(cluster.nodes), strict=True):
        assert group.history == b""
        assert f"no bond with {other.net.peer_id.short}, which is in reach" in str(
            group.why_offline
        )
        assert "4096 links are open" in str(group.why_offline)
        with pytest.raises(GroupOffline, match="which is in reach"):
            await group.execute(Put("a", 1), timeout=1)
    # As soon as links are taken again there is one history.
    for node, acceptor in zip(cluster.nodes, served, strict=True):
        endpoint_of(node).serve(PROTOCOL, acceptor, is_essential=True)
    await all_online(groups)
    assert len({group.history for group in groups}) == 1
    await write(groups[0], "a", range(3))
    await all_equal(cluster, groups)


@scenario(nodes=2, seeds=range(1), **SETTINGS)
async def test_member_that_is_gone_is_not_waited_for(cluster: Cluster) -> None:
    for node in cluster.nodes:
        endpoint = await serving(cluster, node)
        endpoint.serve(PROTOCOL, lambda link: link.close(FULL))
    groups = [join(node) for node in cluster.nodes]
    await cluster.sleep(5)
    assert not groups[0].is_online
    # The other one dies. It stays in the catalog, but does not answer any more.
    await cluster.crash(1)
    await groups[0].when().online()


FEW_LINKS = {
    **SETTINGS,
    "transport": TransportConfig(idle_timeout=3.0, keep_alive_interval=0.8, links_max=256),
}


class Tick(msgspec.Struct):
    n: int


@scenario(nodes=2, seeds=range(1), **FEW_LINKS)
async def test_group_survives_a_reconnection_in_which_streams_come_first(cluster: Cluster) -> None:
    """More streams than there are links, each way: the last links are the group's."""
    a, b = cluster.nodes
    names = [f"s{number}" for number in range(140)]
    for node in cluster.nodes:
        for name in names:
            node.net.streams.produce(Tick, stream_id=f"{name} of {node.index}")
    consumers = [
        here.net.streams.consume(Tick, stream_id=f"{name} of {there.index}")
        for here, there in ((a, b), (b, a))
        for name in names
    ]

    def subscribed() -> int:
        return sum(consumer.is_online for consumer in consumers)

    await cluster.until(lambda: subscribed() >= 250)
    # Those that found no room say so, with the limit.
    refused = next(consumer for consumer in consumers if not consumer.is_online)
    await cluster.until(lambda: bool(refused.refusals()))
    [why] = refused.refusals().values()
    assert "128 links are open, at most 256 (links_max)" in str(why)
    # A group finds room all the same, and has one history.
    groups = [join(node) for node in cluster.nodes]
    await all_online(groups)
    assert len({group.history for group in groups}) == 1
    # The connection is lost, and all dial anew at the same moment.
    endpoint_of(a).disconnect(b.net.peer_id, CloseReason(CloseCode.UNEXPECTED_CLOSE, "lost"))
    await cluster.until(lambda: subscribed() >= 250)
    await all_online(groups)
    await write(groups[1], "a", range(3))
    await all_equal(cluster, groups)
    assert len({group.history for group in groups}) == 1


@scenario(nodes=1, seeds=range(1), **SETTINGS)
async def test_group_that_cannot_be_advertised_does_not_begin(cluster: Cluster) -> None:
    """Nobody could see it: another member would begin a second history."""
    net = cluster.nodes[0].net
    local = net.discovery._catalog.local
    number = 0
    for size in (200, 1):
        with suppress(EntryTooLarge):
            while local.put_group(GroupInfo(UniqueId(f"g{number}"), "x" * size), now=0.0):
                number += 1
    group = join(cluster.nodes[0])
    with pytest.raises(GroupTerminated, match="cannot be advertised"):
        await group.when().online()
    assert "cannot be advertised: the entry has" in str(group.why_offline)
    with pytest.raises(GroupTerminated, match="cannot be advertised") as raised:
        await group.execute(Put("a", 1))
    assert isinstance(raised.value.__cause__, EntryTooLarge)
