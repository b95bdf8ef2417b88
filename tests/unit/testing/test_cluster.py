"""Clusters: whole nodes on virtual time, and what may happen to them."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from mosaik_actors import DiscoveryConfig, TransportConfig
from mosaik_actors.errors import ConfigError
from mosaik_actors.testing.cluster import EPOCH_S, Cluster, NodeDown, SimNode
from mosaik_actors.testing.conditions import NetworkConditions
from mosaik_actors.testing.faults import Fault, FaultSchedule
from mosaik_actors.testing.network import INBOX_BYTES_MAX, Fidelity
from mosaik_actors.testing.scenario import simulate

LIMIT_S = 1000.0
IDLE_S = 3.0
QUICK = TransportConfig(idle_timeout=IDLE_S, keep_alive_interval=0.8)
DISCOVERY = DiscoveryConfig(purge_after=60, announce_interval=4)

both = pytest.mark.parametrize("fidelity", ["link", "quic"])


class Tick(msgspec.Struct, frozen=True):
    number: int


def on_cluster(
    test: Callable[[Cluster], Coroutine[Any, Any, None]], nodes: int = 2, **settings: Any
) -> Cluster:
    """Run a test with a cluster, on virtual time, and return the cluster for its trace."""

    async def main() -> Cluster:
        made = Cluster(nodes, transport=QUICK, discovery=DISCOVERY, **settings)
        async with made as cluster, asyncio.timeout(LIMIT_S):
            await test(cluster)
        return made

    return simulate(main())


def known(cluster: Cluster, index: int) -> set[int]:
    """Return which others a node is connected to."""
    peers = cluster.net(index).node.endpoint.connected_peers()
    return {node.index for node in cluster.nodes if node.peer_id in peers}


async def until_mesh(cluster: Cluster) -> None:
    await cluster.until(
        lambda: all(len(known(cluster, n)) == len(cluster.nodes) - 1 for n in cluster.running)
    )


def texts(cluster: Cluster, *kinds: str) -> list[str]:
    return [line.text for line in cluster.trace.lines(*kinds)]


async def stream(cluster: Cluster) -> tuple[Any, Any]:
    """Return a producer on node 0 and a consumer on node 1 that have met."""
    producer = cluster.net(0).streams.producer(Tick, stream_id="ticks")
    consumer = cluster.net(1).streams.consumer(Tick, stream_id="ticks")
    await producer.when().online()
    return producer, consumer


@both
def test_nodes_meet_and_their_connections_are_traced(fidelity: Fidelity) -> None:
    async def test(cluster: Cluster) -> None:
        assert cluster.running == [0, 1, 2]
        await until_mesh(cluster)
        await cluster.sleep(1)  # connecting takes no time in "link", but messages do
        assert {cluster.net(n).peer_id for n in range(3)} == {n.peer_id for n in cluster.nodes}

    cluster = on_cluster(test, 3, fidelity=fidelity)
    peers = texts(cluster, "peer")
    for one in range(3):
        for other in {0, 1, 2} - {one}:
            assert f"n{one} is connected to n{other}" in peers
            assert any(text.startswith(f"n{one} lost n{other}: ") for text in peers)
    assert [text for text in texts(cluster, "node") if text.startswith("n0 ")] == [
        f"n0 started, run 1, peer {cluster.nodes[0].peer_id.short}",
        "n0 stops",
        "n0 stopped",
    ]
    assert any(" > " in text for text in texts(cluster, "message"))


@both
def test_partition_cuts_groups_off_and_heal_lets_them_meet_again(fidelity: Fidelity) -> None:
    async def test(cluster: Cluster) -> None:
        await until_mesh(cluster)
        cluster.partition([0, 1])
        sides = [{1}, {0}, {3}, {2}]
        await cluster.until(lambda: [known(cluster, n) for n in range(4)] == sides)
        cluster.heal()
        assert not cluster.cuts
        await cluster.until(lambda: known(cluster, 0) >= {2} or known(cluster, 0) >= {3})

    cluster = on_cluster(test, 4, fidelity=fidelity)
    assert texts(cluster, "fault") == ["partition n0 n1 | n2 n3", "healed"]


@both
def test_one_way_cut_lets_the_other_way_pass(fidelity: Fidelity) -> None:
    async def test(cluster: Cluster) -> None:
        await until_mesh(cluster)
        network, (zero, one) = cluster.network, (node.peer_id for node in cluster.nodes)
        cluster.cut(0, 1)
        await cluster.sleep(0.01)
        before = network.traffic[zero].messages_received, network.traffic[one].messages_received
        await cluster.sleep(IDLE_S * 0.8)
        after = network.traffic[zero].messages_received, network.traffic[one].messages_received
        assert after[1] == before[1]
        if fidelity == "quic":
            assert after[0] > before[0]  # node 1 goes on sending
        # The deaf side gives up, and so does in the end the other.
        await cluster.until(lambda: not known(cluster, 1), timeout=IDLE_S * 2)
        await cluster.until(lambda: not known(cluster, 0), timeout=IDLE_S * 2)

    assert texts(on_cluster(test, fidelity=fidelity), "fault")[0] == "cut n0 > n1"


def test_cut_in_both_directions_and_overlapping_cuts_add_up() -> None:
    async def test(cluster: Cluster) -> None:
        reaches = cluster.network.reaches
        zero, one, two = (node.peer_id for node in cluster.nodes)
        cluster.cut(0, 1, one_way=False)
        cluster.cuts["another"] = {(0, 1): None, (2, 0): None}
        cluster.apply_cuts()
        assert not reaches(zero, one)
        assert not reaches(one, zero)
        assert not reaches(two, zero)
        assert reaches(zero, two)
        del cluster.cuts["another"]
        cluster.apply_cuts()
        assert not reaches(zero, one)
        assert reaches(two, zero)
        cluster.heal()
        assert reaches(zero, one)
        assert reaches(one, zero)

    on_cluster(test, 3)


@both
def test_crashed_node_says_nothing_and_comes_back_with_its_disk(fidelity: Fidelity) -> None:
    async def test(cluster: Cluster) -> None:
        await until_mesh(cluster)
        node = cluster.nodes[1]
        peer_id, file = node.peer_id, node.disk.open("log")
        file.append(b"synced")
        file.sync()
        node.disk.tears = False
        file.append(b"lost")
        await cluster.crash(1)
        await cluster.crash(1)
        assert cluster.running == [0]
        crashed_at = cluster.now
        assert known(cluster, 0) == {1}  # it was not told
        await cluster.until(lambda: not known(cluster, 0))
        # Its silence is noticed after the idle timeout, counted from its last word.
        assert IDLE_S - 1.0 < cluster.now - crashed_at <= IDLE_S * 1.5
        await cluster.restart(1)
        assert node.disk.open("log").read() == b"synced"
        assert cluster.net(1).peer_id == peer_id
        assert node.run_count == 2
        await until_mesh(cluster)

    assert "n1 crashes" in texts(on_cluster(test, fidelity=fidelity), "fault")


@both
def test_stopped_node_says_goodbye(fidelity: Fidelity) -> None:
    async def test(cluster: Cluster) -> None:
        await until_mesh(cluster)
        await cluster.stop(1)
        await cluster.sleep(0.1)
        assert known(cluster, 0) == set()
        assert cluster.nodes[1].peer_id not in cluster.net(0).discovery.catalog()
        await cluster.start(1)
        await until_mesh(cluster)

    on_cluster(test, fidelity=fidelity)


@both
def test_restart_ends_a_node_that_runs(fidelity: Fidelity) -> None:
    async def test(cluster: Cluster) -> None:
        await until_mesh(cluster)
        former = cluster.net(0)
        await cluster.restart(0)
        assert cluster.net(0) is not former
        await cluster.until(lambda: known(cluster, 0) == {1}, timeout=2)

    on_cluster(test, fidelity=fidelity)


def test_node_that_is_down_raises_and_names_itself() -> None:
    async def nothing() -> None: ...

    async def test(cluster: Cluster) -> None:
        await cluster.crash(1)
        with pytest.raises(NodeDown, match="node 1 does not run: start or restart it") as caught:
            cluster.net(1)
        assert caught.value.index == 1
        with pytest.raises(NodeDown):
            cluster.nodes[1].spawn(nothing())
        cluster.pause(1)
        assert not cluster.nodes[1].is_paused
        assert "down" in repr(cluster.nodes[1])

    on_cluster(test)


def test_starting_a_node_while_it_stops_waits_for_its_end() -> None:
    async def test(cluster: Cluster) -> None:
        await until_mesh(cluster)
        stopping = asyncio.create_task(cluster.stop(1))
        await asyncio.sleep(0)
        assert not stopping.done()
        await cluster.start(1)
        assert stopping.done()
        assert cluster.running == [0, 1]

    cluster = on_cluster(test)
    node = [text for text in texts(cluster, "node") if text.startswith("n1")]
    assert [text.split(",")[0] for text in node[:4]] == [
        "n1 started",
        "n1 stops",
        "n1 stopped",
        "n1 started",
    ]


# Pausing.


@both
def test_short_pause_delays_what_comes_and_what_goes_and_loses_nothing(
    fidelity: Fidelity,
) -> None:
    async def test(cluster: Cluster) -> None:
        producer, consumer = await stream(cluster)
        got: list[tuple[int, float]] = []

        async def take() -> None:
            while True:
                got.append(((await consumer.recv()).number, cluster.now))

        cluster.nodes[1].spawn(take())
        await producer.send(Tick(0))
        await cluster.until(lambda: got)
        cluster.pause(1)
        paused_at = cluster.now
        for number in range(1, 11):
            await producer.send(Tick(number))
        await cluster.sleep(IDLE_S / 2)
        assert len(got) == 1
        assert cluster.nodes[1].is_paused
        cluster.resume(1)
        await cluster.until(lambda: len(got) == 11, timeout=1)
        assert [number for number, _ in got] == list(range(11))
        assert all(at >= paused_at + IDLE_S / 2 for _, at in got[1:])
        assert known(cluster, 0) == {1}

    cluster = on_cluster(test, fidelity=fidelity)
    assert texts(cluster, "fault") == ["n1 is paused", "n1 goes on"]


@both
def test_paused_node_sends_nothing_but_what_it_sent_before_arrives(fidelity: Fidelity) -> None:
    async def test(cluster: Cluster) -> None:
        producer, consumer = await stream(cluster)
        await cluster.sleep(1)
        await producer.send(Tick(1))
        await cluster.sleep(0.05)  # on its way, for 0.2 s
        cluster.pause(0)
        assert (await consumer.recv()).number == 1
        await cluster.sleep(0.5)
        sent = cluster.network.traffic[cluster.nodes[0].peer_id].messages_sent
        await cluster.sleep(1.0)
        assert cluster.network.traffic[cluster.nodes[0].peer_id].messages_sent == sent

    on_cluster(test, fidelity=fidelity, network=NetworkConditions(latency=0.2))


@both
def test_node_that_stands_still_for_long_is_given_up_and_met_again(fidelity: Fidelity) -> None:
    async def test(cluster: Cluster) -> None:
        await until_mesh(cluster)
        cluster.pause(1)
        paused_at = cluster.now
        await cluster.until(lambda: not known(cluster, 0))
        assert IDLE_S - 1.0 < cluster.now - paused_at <= IDLE_S * 1.5
        # Whoever stands still has noticed nothing.
        assert known(cluster, 1) == {0}
        await cluster.sleep(10)
        assert known(cluster, 1) == {0}
        cluster.resume(1)
        await cluster.until(lambda: known(cluster, 0) == {1} and known(cluster, 1) == {0})
        assert cluster.nodes[0].run_count == 1

    on_cluster(test, fidelity=fidelity)


@both
def test_program_of_a_paused_node_stands_still(fidelity: Fidelity) -> None:
    ticks: list[float] = []

    async def program(node: SimNode) -> None:
        while True:
            await asyncio.sleep(1)
            ticks.append(node.cluster.now)

    async def test(cluster: Cluster) -> None:
        await cluster.sleep(2.5)
        cluster.pause(0)
        before = list(ticks)
        await cluster.sleep(1.25)
        assert ticks == before
        cluster.resume(0)
        await cluster.sleep(0.1)
        assert len(ticks) == len(before) + 1  # late, once

    on_cluster(test, 1, fidelity=fidelity, program=program)


def test_inbox_of_a_paused_node_is_bounded() -> None:
    async def test(cluster: Cluster) -> None:
        await until_mesh(cluster)
        cluster.pause(1)
        port = cluster.network._ports[cluster.nodes[1].address, 4433]
        source = ("10.9.9.9", 1)
        taken = sum(port.take(bytes(1400), source) for _ in range(5000))
        assert taken == INBOX_BYTES_MAX // 1400
        cluster.resume(1)
        await cluster.sleep(0.1)
        assert port.take(bytes(1400), source)
        await cluster.sleep(0.1)

    on_cluster(test, fidelity="quic")


@both
def test_crash_and_stop_of_a_paused_node(fidelity: Fidelity) -> None:
    async def test(cluster: Cluster) -> None:
        await until_mesh(cluster)
        cluster.pause(0, 1)
        assert "paused" in repr(cluster.nodes[1])
        await cluster.crash(1)
        assert not cluster.nodes[1].is_paused
        await cluster.stop(0)
        assert not cluster.nodes[0].is_paused
        await cluster.start(0, 1)
        await until_mesh(cluster)

    on_cluster(test, fidelity=fidelity)


# Clocks.


def test_skew_sets_the_wall_clock_off_and_leaves_timers_alone() -> None:
    async def test(cluster: Cluster) -> None:
        clock, other = cluster.nodes[0].clock, cluster.nodes[1].clock
        cluster.skew(0, offset=-60.0, drift=0.5)
        await cluster.sleep(10)
        assert clock.monotonic() == other.monotonic() == cluster.now
        assert other.wall() == pytest.approx(EPOCH_S + cluster.now)
        assert clock.wall() == pytest.approx(EPOCH_S + cluster.now * 1.5 - 60.0)
        cluster.skew(0)
        assert clock.wall() == other.wall()

    assert texts(on_cluster(test), "fault")[0] == "n0's clock is off by -60 s, drifts by 0.5"


# Programs.


def test_program_is_cancelled_by_a_crash_and_started_again_with_the_node() -> None:
    lives: list[str] = []

    async def program(node: SimNode) -> None:
        run = node.run_count
        lives.append(f"n{node.index} run {run} began")
        try:
            await asyncio.sleep(1e6)
        finally:
            lives.append(f"n{node.index} run {run} ended")

    async def test(cluster: Cluster) -> None:
        await cluster.sleep(1)
        await cluster.crash(0)
        assert lives[-1] == "n0 run 1 ended"
        await cluster.sleep(1)
        await cluster.restart(0)
        await cluster.sleep(1)
        assert lives[-1] == "n0 run 2 began"
        await cluster.stop(1)
        assert lives[-1] == "n1 run 1 ended"

    on_cluster(test, program=program)
    assert lives[-1] == "n0 run 2 ended"
    assert len(lives) == 6


def test_program_may_meet_the_librarys_errors_when_its_node_ends() -> None:
    async def program(node: SimNode) -> None:
        try:
            await asyncio.sleep(1e6)
        finally:
            node.net  # noqa: B018  # raises NodeDown: the node is no more

    async def test(cluster: Cluster) -> None:
        await cluster.sleep(1)
        await cluster.crash(0)

    on_cluster(test, program=program)


def test_program_that_will_not_end_fails_the_scenario() -> None:
    async def program(node: SimNode) -> None:
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            await asyncio.sleep(1e6)

    async def test(cluster: Cluster) -> None:
        await cluster.sleep(1)
        await cluster.crash(0)

    with pytest.raises(
        TimeoutError, match=r"a task of node n[01] 1 was cancelled and does not end"
    ):
        on_cluster(test, program=program)


@pytest.mark.parametrize("way", ["sleep", "until", "end", "crash"])
def test_failing_program_fails_the_scenario(way: str) -> None:
    async def program(node: SimNode) -> None:
        await asyncio.sleep(0.5)
        assert node.index != 1, "node 1 is unhappy"

    async def test(cluster: Cluster) -> None:
        match way:
            case "sleep":
                await cluster.sleep(1)
            case "until":
                await cluster.until(lambda: cluster.now > 1)
            case _:
                await asyncio.sleep(1)
        if way == "crash":
            await cluster.crash(1)
        assert way == "end", "too late"

    with pytest.raises(AssertionError, match="node 1 is unhappy"):
        on_cluster(test, program=program)


# Schedules.


def test_faults_begin_and_end_at_their_times_and_calm_undoes_the_rest() -> None:
    faults = FaultSchedule(
        (
            Fault(0, 1.0, 2.0, "crash", (0,)),
            Fault(1, 2.0, 2.0, "pause", (1,)),
            Fault(2, 5.0, 1.0, "partition", (2,)),
            Fault(3, 5.5, 100.0, "one_way", (0, 1)),
            Fault(4, 6.0, 100.0, "skew", (1,), {"offset": 9.0, "drift": 0.0}),
            Fault(5, 7.0, 100.0, "weather", (), {"loss": 0.5}),
            Fault(6, 8.0, 100.0, "stop", (2,)),
            Fault(7, 50.0, 1.0, "crash", (0,)),
        )
    )

    async def test(cluster: Cluster) -> None:
        started, reaches = cluster.now, cluster.network.reaches
        zero, one, two = (node.peer_id for node in cluster.nodes)
        cluster.play(faults)

        async def at(seconds: float) -> None:
            await cluster.sleep(started + seconds - cluster.now)

        await at(1.5)
        assert cluster.running == [1, 2]
        await at(3.5)
        assert cluster.running == [0, 1, 2]
        assert "paused" in repr(cluster.nodes[1])
        await at(5.25)
        assert "running" in repr(cluster.nodes[1])
        assert not reaches(two, zero)
        assert not reaches(one, two)
        await at(6.5)
        assert reaches(two, zero)
        assert (reaches(zero, one), reaches(one, zero)) == (False, True)
        assert cluster.nodes[1].clock.offset_s == 9.0
        await at(7.5)
        assert cluster.conditions.loss == 0.5
        await at(12)
        assert cluster.running == [0, 1]
        await cluster.calm()
        assert cluster.running == [0, 1, 2]
        assert reaches(zero, one)
        assert cluster.nodes[1].clock.offset_s == 0.0
        assert cluster.conditions == NetworkConditions()
        await at(60)  # nothing more happens
        assert cluster.running == [0, 1, 2]

    cluster = on_cluster(test, 3)
    assert texts(cluster, "note") == ["calm"]


def test_calm_in_the_middle_of_a_stop_brings_the_node_back() -> None:
    async def test(cluster: Cluster) -> None:
        await until_mesh(cluster)
        cluster.play(FaultSchedule((Fault(0, 1.0, 5.0, "stop", (1,)),)))
        await cluster.until(lambda: not cluster.nodes[1].is_running)
        await cluster.calm()
        assert cluster.running == [0, 1]
        await until_mesh(cluster)

    on_cluster(test)


def test_overlapping_weather_and_clocks_are_as_the_latest_fault_has_them() -> None:
    faults = FaultSchedule(
        (
            Fault(0, 1.0, 10.0, "weather", (), {"loss": 0.1}),
            Fault(1, 2.0, 3.0, "weather", (), {"loss": 0.2}),
            Fault(2, 1.0, 10.0, "skew", (0,), {"offset": 1.0, "drift": 0.0}),
            Fault(3, 2.0, 3.0, "skew", (0,), {"offset": 2.0, "drift": 0.0}),
        )
    )

    async def test(cluster: Cluster) -> None:
        started = cluster.now
        cluster.play(faults)
        for at, expected in ((1.5, 1), (3, 2), (7, 1), (12, 0)):
            await cluster.sleep(started + at - cluster.now)
            assert cluster.nodes[0].clock.offset_s == expected
            assert cluster.network.conditions.loss == pytest.approx(expected / 10)

    on_cluster(test)


def test_fault_that_cannot_be_played_fails_the_scenario() -> None:
    async def test(cluster: Cluster) -> None:
        cluster.play(FaultSchedule((Fault(0, 1.0, 1.0, "crash", (7,)),)))
        await cluster.sleep(5)
        await cluster.calm()

    with pytest.raises(IndexError):
        on_cluster(test)


# Settings.


def test_cluster_wants_a_simulated_loop() -> None:
    async def main() -> None:
        Cluster(1)

    with pytest.raises(ConfigError, match="a Cluster runs on a SimLoop"):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"nodes": 0}, "nodes is 0"),
        ({"bootstrap": "some"}, "bootstrap is 'some'"),
        ({"fidelity": "paper"}, "fidelity is 'paper', expected 'link' or 'quic'"),
    ],
)
def test_cluster_that_cannot_be_is_refused(settings: dict[str, Any], text: str) -> None:
    async def main() -> None:
        Cluster(**settings)

    with pytest.raises(ConfigError, match=text):
        simulate(main())


def test_until_says_what_did_not_come_true() -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.until(lambda: False, timeout=5, what="the moon")

    with pytest.raises(TimeoutError, match="the moon did not come true in 5 s"):
        on_cluster(test, 1)


def test_tags_bootstrap_and_starts_are_as_asked() -> None:
    async def test(cluster: Cluster) -> None:
        assert not any(node.is_running for node in cluster.nodes)
        assert cluster.bootstrap_for(0) == []
        assert cluster.bootstrap_for(2) == [cluster.nodes[0].addr]
        await cluster.start(0, 1, 2)
        await until_mesh(cluster)
        entry = cluster.net(0).discovery.catalog()[cluster.nodes[2].peer_id]
        assert len(entry.tags) == 1

    on_cluster(test, 3, starts=False, bootstrap="first", tags=lambda index: [f"tag {index}"])


def test_nodes_behind_symmetric_nats_are_reached_by_none_and_reach_others() -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.until(lambda: known(cluster, 0) == {1, 2})
        await cluster.sleep(10)
        assert known(cluster, 1) == {0}
        assert known(cluster, 2) == {0}

    on_cluster(test, 3, fidelity="quic", nat=lambda index: "symmetric" if index else None)


@both
def test_conditions_can_be_set_for_one_direction(fidelity: Fidelity) -> None:
    async def test(cluster: Cluster) -> None:
        zero, one = (node.peer_id for node in cluster.nodes)
        slow = NetworkConditions(latency=0.5)
        cluster.network.set_conditions(slow, zero, one)
        assert cluster.network.rtt(zero, one) == pytest.approx(0.501)
        cluster.set_conditions(NetworkConditions(latency=0.1))
        assert cluster.network.rtt(zero, one) == pytest.approx(0.2)
        cluster.network.set_conditions(slow, None, one)
        assert cluster.network.rtt(zero, one) == pytest.approx(0.6)

    assert "conditions: latency=0.1" in texts(on_cluster(test, fidelity=fidelity), "fault")


def test_bursts_at_constant_latency_keep_their_order() -> None:
    async def test(cluster: Cluster) -> None:
        producer, consumer = await stream(cluster)
        await producer.send_many([Tick(number) for number in range(1000)])
        assert [(await consumer.recv()).number for _ in range(1000)] == list(range(1000))

    on_cluster(test, fidelity="quic")
