"""Discovery of whole nodes on virtual time: meeting, spreading, and healing.

What must hold: whoever lives is known to everybody who can hear of it, nobody
who lives is ever given up, and the links of the overlay join all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from mosaik_actors.discovery.config import DiscoveryConfig
from mosaik_actors.discovery.entry import EntryVersion, PeerEntry, SignedPeerEntry
from mosaik_actors.discovery.view import DepartureReason, PeerDeparted, PeerDiscovered, PeerUpdated
from mosaik_actors.handles.discovery import Discovery
from mosaik_actors.ids import PeerId, SecretKey, UniqueId
from mosaik_actors.testing.cluster import Cluster
from mosaik_actors.testing.conditions import NetworkConditions
from mosaik_actors.testing.scenario import scenario

PATHS = NetworkConditions(latency=0.02, jitter=0.01)
LOSSY = NetworkConditions(latency=0.02, jitter=0.01, loss=0.2)
BRIEF = DiscoveryConfig(announce_interval=4, purge_after=40)


def discovery(cluster: Cluster, index: int) -> Discovery:
    return cluster.net(index).discovery


def knows_all(cluster: Cluster, indexes: Iterable[int] | None = None) -> bool:
    """Whether the nodes with these indexes know each other and nobody else."""
    chosen = cluster.running if indexes is None else list(indexes)
    peers = {cluster.nodes[index].peer_id for index in chosen}
    return all(
        discovery(cluster, index).catalog().keys() | {cluster.nodes[index].peer_id} == peers
        for index in chosen
    )


def is_joined(cluster: Cluster) -> bool:
    """Whether the links that both ends know of join all running nodes."""
    links = {
        cluster.nodes[index].peer_id: set(discovery(cluster, index).neighbours)
        for index in cluster.running
    }
    reached = {next(iter(links))}
    frontier = list(reached)
    while frontier:
        here = frontier.pop()
        new = {peer for peer in links[here] & links.keys() if here in links[peer]} - reached
        reached |= new
        frontier.extend(new)
    return len(reached) == len(links)


def shows(cluster: Cluster, tag: str, owner: int) -> bool:
    """Whether everybody else sees the tag of a node."""
    peer_id = cluster.nodes[owner].peer_id
    return all(
        peer_id in discovery(cluster, index).catalog()
        and tag in discovery(cluster, index).catalog()[peer_id].tags
        for index in cluster.running
        if index != owner
    )


@scenario(nodes=12, seeds=range(3), network=LOSSY, bootstrap="first", discovery=BRIEF)
async def test_all_know_all_in_spite_of_loss_and_churn(cluster: Cluster) -> None:
    rng = cluster.randomness.branch("churn")
    await cluster.until(lambda: knows_all(cluster), timeout=20)
    # For a minute somebody crashes, leaves or comes back every few seconds.
    while cluster.now < 60:
        index = rng.randrange(1, len(cluster.nodes))
        if index not in cluster.running:
            await cluster.start(index)
        elif rng.random() < 0.5:
            await cluster.crash(index)
        else:
            await cluster.stop(index)
        await cluster.sleep(rng.uniform(1, 6))
    # Then all come back, and within a purge everybody knows exactly who is there.
    await cluster.start(*range(len(cluster.nodes)))
    await cluster.until(lambda: knows_all(cluster) and is_joined(cluster), timeout=50)


@scenario(nodes=12, seeds=range(3), network=PATHS, discovery=BRIEF)
async def test_two_halves_find_together_before_they_forget_each_other(cluster: Cluster) -> None:
    await cluster.until(lambda: knows_all(cluster), timeout=20)
    left, right = range(6), range(6, 12)
    cluster.partition(left, right)
    await cluster.sleep(30)
    # A change on either side cannot get across, and does when the way is free.
    discovery(cluster, 2).add_tags("left")
    discovery(cluster, 8).add_tags("right")
    await cluster.sleep(3)
    assert not shows(cluster, "left", 2)
    assert not shows(cluster, "right", 8)
    cluster.heal()
    await cluster.until(
        lambda: shows(cluster, "left", 2) and shows(cluster, "right", 8), timeout=90
    )
    await cluster.until(lambda: knows_all(cluster) and is_joined(cluster), timeout=30)


@scenario(nodes=12, seeds=range(3), network=PATHS, discovery=BRIEF)
async def test_two_halves_find_together_after_they_have_forgotten_each_other(
    cluster: Cluster,
) -> None:
    await cluster.until(lambda: knows_all(cluster), timeout=20)
    left, right = range(6), range(6, 12)
    cluster.partition(left, right)
    await cluster.until(lambda: knows_all(cluster, left) and knows_all(cluster, right), timeout=60)
    cluster.heal()
    await cluster.until(lambda: knows_all(cluster) and is_joined(cluster), timeout=90)


@scenario(nodes=50, seeds=range(2), network=PATHS, bootstrap="first", traces_messages=False)
async def test_the_overlay_heals_when_a_third_crashes_and_the_dead_are_purged(
    cluster: Cluster,
) -> None:
    await cluster.until(lambda: knows_all(cluster), timeout=15)
    await cluster.sleep(30)
    rng = cluster.randomness.branch("victims")
    victims = rng.sample(range(1, 50), 15)
    await cluster.crash(*victims)
    crashed_at = cluster.now
    await cluster.until(lambda: is_joined(cluster), timeout=10)
    # A change reaches the rest although links to the dead look alive for a while.
    owner = cluster.running[7]
    discovery(cluster, owner).add_tags("after")
    await cluster.until(lambda: shows(cluster, "after", owner), timeout=10)
    # The dead are given up when they have been silent for purge_after, and nobody else is.
    watched = discovery(cluster, 0).events()
    await cluster.until(lambda: knows_all(cluster), timeout=330)
    assert 300 - 25 < cluster.now - crashed_at < 300 + 5
    departed: set[PeerId] = set()
    while len(departed) < len(victims):
        event = await anext(watched)
        if isinstance(event, PeerDeparted):
            assert event.reason is DepartureReason.SILENT
            departed.add(event.peer_id)
    assert departed == {cluster.nodes[index].peer_id for index in victims}
    assert is_joined(cluster)


@scenario(nodes=30, seeds=range(3), network=PATHS, bootstrap="first")
async def test_a_tag_reaches_everyone_and_a_departure_too(cluster: Cluster) -> None:
    await cluster.until(lambda: knows_all(cluster), timeout=15)
    await cluster.sleep(5)
    began = cluster.now
    discovery(cluster, 11).add_tags("fast")
    await cluster.until(lambda: shows(cluster, "fast", 11), timeout=2)
    discovery(cluster, 11).remove_tags("fast")
    gone = cluster.nodes[11].peer_id
    await cluster.until(lambda: cluster.now > began + 3, timeout=5)
    assert not any(
        "fast" in discovery(cluster, index).catalog()[gone].tags
        for index in cluster.running
        if index != 11
    )
    await cluster.stop(11)
    await cluster.until(lambda: knows_all(cluster), timeout=2)


@scenario(nodes=20, seeds=range(2), network=PATHS, bootstrap="first", starts=False)
async def test_a_late_joiner_learns_of_all_and_all_of_it(cluster: Cluster) -> None:
    await cluster.start(*range(19))
    await cluster.until(lambda: knows_all(cluster), timeout=15)
    await cluster.sleep(120)
    events = discovery(cluster, 5).events()
    await cluster.start(19)
    await cluster.until(lambda: knows_all(cluster), timeout=3)
    event = await anext(events)
    assert isinstance(event, PeerDiscovered)
    assert event.peer_id == cluster.nodes[19].peer_id
    # It gets neighbours of its own, not only its contact.
    await cluster.until(lambda: len(discovery(cluster, 19).neighbours) >= 4, timeout=10)
    assert is_joined(cluster)


@scenario(nodes=8, seeds=range(2), network=PATHS, discovery=BRIEF, starts=False)
async def test_clocks_that_are_off_within_the_drift_disturb_nobody(cluster: Cluster) -> None:
    # No two of them are more than max_time_drift apart.
    for index, offset in enumerate((0, 4.9, -4.9, 3, -3, 0, 4.9, -4.9)):
        cluster.skew(index, offset)
    await cluster.start(*range(8))
    await cluster.until(lambda: knows_all(cluster), timeout=15)
    events = discovery(cluster, 0).events()
    await cluster.sleep(200)
    assert knows_all(cluster)
    discovery(cluster, 3).add_tags("marker")
    async for event in events:
        # Nobody was given up in all that time.
        assert isinstance(event, PeerUpdated)
        if "marker" in event.peer.tags:
            break


@scenario(nodes=6, seeds=range(2), network=PATHS, discovery=BRIEF)
async def test_a_clock_that_is_too_far_ahead_is_not_believed_until_it_is_right(
    cluster: Cluster,
) -> None:
    await cluster.until(lambda: knows_all(cluster), timeout=15)
    cluster.skew(3, 60)
    await cluster.until(lambda: knows_all(cluster, [0, 1, 2, 4, 5]), timeout=60)
    cluster.skew(3, 0)
    await cluster.restart(3)
    await cluster.until(lambda: knows_all(cluster), timeout=60)


@scenario(nodes=10, seeds=range(3), network=PATHS, discovery=BRIEF)
async def test_an_isolated_node_comes_back_without_being_told(cluster: Cluster) -> None:
    await cluster.until(lambda: knows_all(cluster), timeout=15)
    cluster.partition(4)
    # It forgets everybody, and everybody forgets it.
    others = [index for index in range(10) if index != 4]
    await cluster.until(
        lambda: knows_all(cluster, others) and not discovery(cluster, 4).catalog(), timeout=60
    )
    assert discovery(cluster, 4).neighbours == ()
    cluster.heal()
    await cluster.until(lambda: knows_all(cluster) and is_joined(cluster), timeout=40)


@scenario(nodes=8, seeds=range(3), network=PATHS, discovery=BRIEF)
async def test_a_restarted_node_supersedes_its_old_self(cluster: Cluster) -> None:
    await cluster.until(lambda: knows_all(cluster), timeout=15)
    discovery(cluster, 2).add_tags("old")
    await cluster.until(lambda: shows(cluster, "old", 2), timeout=5)
    # Its clock was ahead, and is right again when it comes back.
    cluster.skew(2, 8)
    discovery(cluster, 2).add_tags("older")
    await cluster.until(lambda: shows(cluster, "older", 2), timeout=5)
    cluster.skew(2, 0)
    await cluster.restart(2)
    discovery(cluster, 2).add_tags("new")
    await cluster.until(lambda: shows(cluster, "new", 2), timeout=10)
    assert not shows(cluster, "old", 2)


@scenario(nodes=60, seeds=range(1), network=PATHS, bootstrap="first", traces_messages=False)
async def test_an_idle_network_keeps_to_a_tree(cluster: Cluster) -> None:
    """Everybody's sign of life reaches everybody once, in few frames."""
    await cluster.until(lambda: knows_all(cluster), timeout=15)
    await cluster.sleep(45)
    before = sum(one.messages_sent for one in cluster.network.traffic.values())
    await cluster.sleep(60)
    sent = sum(one.messages_sent for one in cluster.network.traffic.values()) - before
    # A flood over some 180 links would be 50 messages a second and node.
    assert sent / 60 / 60 < 2
    assert knows_all(cluster)


NEAR, FAR = NetworkConditions(latency=0.02), NetworkConditions(latency=0.3)
MEASURING = DiscoveryConfig(
    announce_interval=4, purge_after=40, rtt_probe_interval=5, max_rtt=0.2,
    neighbours_min=1, neighbours_max=2,
)  # fmt: skip


@scenario(nodes=10, seeds=range(3), network=NEAR, bootstrap="first", discovery=MEASURING)
async def test_peers_without_a_connection_are_measured_and_the_far_ones_not_shown(
    cluster: Cluster,
) -> None:
    def shown(index: int) -> set[PeerId]:
        return set(discovery(cluster, index).catalog())

    def set_path_of_last(way: NetworkConditions) -> None:
        cluster.network.set_conditions(way, sender=last)
        cluster.network.set_conditions(way, receiver=last)

    near = range(9)
    last = cluster.nodes[9].peer_id
    others = {cluster.nodes[index].peer_id for index in near}
    await cluster.until(lambda: knows_all(cluster), timeout=20)
    # Few have a link to each other, and all get to know how far all are.
    await cluster.until(
        lambda: all(
            peer.rtt is not None
            for index in near
            for peer in discovery(cluster, index).catalog().values()
        ),
        timeout=30,
        what="figures of all",
    )
    assert max(len(discovery(cluster, index).neighbours) for index in near) <= 6
    # The way to one gets long: those that measure it do not show it any more.
    set_path_of_last(FAR)
    await cluster.until(
        lambda: all(last not in shown(index) for index in near), timeout=120, what="too far"
    )
    assert all(shown(index) == others - {cluster.nodes[index].peer_id} for index in near)
    # It is measured on, and comes back when the way is short again.
    set_path_of_last(NEAR)
    await cluster.until(
        lambda: all(last in shown(index) for index in near), timeout=240, what="near again"
    )


CROWDED = DiscoveryConfig(announce_interval=4, purge_after=40, peers_max=60)


@scenario(
    nodes=6, seeds=range(2), network=PATHS, discovery=CROWDED, bootstrap="first", starts=False
)
async def test_a_flood_of_self_signed_entries_keeps_no_newcomer_out(cluster: Cluster) -> None:
    await cluster.start(0, 1, 2, 3, 4)
    await cluster.until(lambda: knows_all(cluster), timeout=20)
    # The last node signs entries with fresh keys, and has its neighbours tell of them.
    evil, now_ms = discovery(cluster, 4), discovery(cluster, 4).me.version.update
    for number in range(400):
        key = SecretKey.from_seed(f"{cluster.seed} {number}")
        version = EntryVersion(now_ms, now_ms + 1)
        entry = PeerEntry(network=evil.me.network_id, peer=key.peer_id, version=version)
        evil.feed(SignedPeerEntry.sign(entry, key))
    await cluster.until(
        lambda: all(len(discovery(cluster, index).catalog()) == 60 for index in range(4)),
        timeout=20,
    )
    # A newcomer comes to be known everywhere, and stays so; nobody has lost an old friend.
    await cluster.start(5)
    honest = {cluster.nodes[index].peer_id for index in (0, 1, 2, 3, 5)}

    def knows_the_honest() -> bool:
        return all(
            honest <= discovery(cluster, index).catalog().keys() | {cluster.nodes[index].peer_id}
            for index in (0, 1, 2, 3, 5)
        )

    await cluster.until(knows_the_honest, timeout=30)
    await cluster.sleep(10)
    assert knows_the_honest()

    # What had to go does not go round and round: once all is known, nobody comes or goes.
    before = [discovery(cluster, index).catalog().keys() for index in range(4)]
    await cluster.sleep(10)
    assert [discovery(cluster, index).catalog().keys() for index in range(4)] == before


BYTES_MAX = 128 * 1024
FLOODED = DiscoveryConfig(
    announce_interval=4, purge_after=40, peers_max=100, catalog_bytes_max=BYTES_MAX
)


@scenario(
    nodes=60,
    seeds=range(1),
    network=PATHS,
    discovery=FLOODED,
    bootstrap="first",
    starts=False,
    traces_messages=False,
)
async def test_a_flood_among_many_nodes_is_bounded_everywhere_and_keeps_nobody_out(
    cluster: Cluster,
) -> None:
    """The attacker spends 300 signatures and 750 KB; each node keeps 100 entries in 128 KiB."""
    last = len(cluster.nodes) - 1
    newcomers = range(last - 5, last + 1)
    residents = range(last - 5)
    await cluster.start(*residents)
    await cluster.until(lambda: knows_all(cluster), timeout=30)

    # One node has hundreds of keys, and its neighbours pass on what it signed with them.
    evil = discovery(cluster, residents[-1])
    now_ms, spent = evil.me.version.update, 0
    tags = tuple(sorted(UniqueId(number.to_bytes(32)) for number in range(150)))
    for number in range(300):
        key = SecretKey.from_seed(f"flood {number}")
        version = EntryVersion(now_ms, now_ms + 1)
        few = tags if number % 2 else ()
        entry = PeerEntry(network=evil.me.network_id, peer=key.peer_id, version=version, tags=few)
        signed = SignedPeerEntry.sign(entry, key)
        spent += len(signed.encode())
        evil.feed(signed)
    assert spent > 5 * BYTES_MAX

    # In the midst of it newcomers begin. Within ten seconds nine in ten nodes or more know each
    # of them. A node far from the one that floods cannot tell whose entries its neighbours
    # pass on: it may drop honest ones, few, until their next sign of life.
    await cluster.start(*newcomers)
    honest = {cluster.nodes[i].peer_id for i in (*residents[:-1], *newcomers)}

    everybody = (*residents[:-1], *newcomers)

    def missing(wanted: set[PeerId]) -> list[set[PeerId]]:
        """Return whom of these each node does not show, and hold the bounds of all."""
        cores = [discovery(cluster, index)._catalog for index in everybody]
        for core in cores:
            assert len(core.store) <= FLOODED.peers_max
            assert core.store.byte_count <= BYTES_MAX
        return [wanted - core.snapshot().keys() - {core.peer_id} for core in cores]

    def newcomers_are_in() -> bool:
        new = {cluster.nodes[index].peer_id for index in newcomers}
        lost = Counter(peer_id for peers in missing(new) for peer_id in peers)
        return all(10 * count <= len(everybody) for count in lost.values())

    await cluster.until(newcomers_are_in, timeout=10, what="newcomers are in")
    # For a moment a node may miss some: who has to go is drawn by lot among those whom one
    # neighbour brought, honest ones too. On average one at most, and nowhere one in eight.
    lost = [len(peers) for peers in missing(honest)]
    assert sum(lost) <= len(everybody)
    assert max(lost) <= len(honest) // 8
    await cluster.until(lambda: not any(missing(honest)), timeout=20, what="all know all")
    for index in everybody:
        core = discovery(cluster, index)._catalog
        assert core.store.byte_count == sum(
            len(one.encode()) for peer_id in core.store if (one := core.store.find(peer_id))
        )


@scenario(
    nodes=2,
    seeds=range(1),
    network=NetworkConditions(latency=0.45),
    bootstrap="first",
    discovery=DiscoveryConfig(sync_timeout=1.0),
)
async def test_a_sync_that_is_slow_and_goes_on_is_not_cut_off(cluster: Cluster) -> None:
    # Three round trips of 0.9 s, each of which is in time.
    began = cluster.now
    done = await discovery(cluster, 0).sync_with(cluster.nodes[1].addr)
    assert done.peer_id == cluster.nodes[1].peer_id
    assert cluster.now - began > 1.0
