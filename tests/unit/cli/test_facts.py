"""The record of a run: what it keeps, and what it ignores."""

from mosaik_actors.cli.demo import facts as module
from mosaik_actors.cli.demo.facts import Facts

from .recorded import COLLECTOR, NEW_PID, VICTIM_PID, good_run, peer_of, reading, stats


def one_sensor() -> Facts:
    facts = Facts("demo-test", now=0.0)
    facts.receive_start("cpu", 100, now=0.5)
    return facts


def test_readings_are_counted_from_the_first_that_arrives() -> None:
    facts = one_sensor()
    for number in (5, 6, 7):
        facts.receive_reading(reading(100, number, sent_at=1.0), now=1.25)
    sensor = facts.sensors[100]
    assert (sensor.item_count, sensor.first_number, sensor.last_number) == (3, 5, 7)
    assert sensor.lost_count == 0
    assert sensor.latency_s(0.5) == 0.25


def test_a_gap_counts_as_lost_and_an_old_number_as_out_of_order() -> None:
    facts = one_sensor()
    for number in (0, 1, 4, 3, 3):
        facts.receive_reading(reading(100, number), now=1.0)
    sensor = facts.sensors[100]
    assert sensor.out_of_order_count == 2
    facts = one_sensor()
    for number in (0, 1, 4):
        facts.receive_reading(reading(100, number), now=1.0)
    assert facts.sensors[100].lost_count == 2


def test_processes_of_another_run_are_ignored() -> None:
    facts = one_sensor()
    facts.receive_reading(reading(999, 0), now=1.0)
    facts.receive_stats(stats(999, {}, at=1.0), now=1.0)
    facts.receive_stream_end(peer_of(999), now=1.0)
    assert list(facts.sensors) == [100]
    assert facts.sensors[100].item_count == 0


def test_nothing_but_exits_is_noted_after_the_end() -> None:
    facts = good_run(is_ended=False)
    facts.receive_end(now=20.0)
    count = facts.sensors[100].item_count
    knew = facts.collector.knows
    facts.receive_reading(reading(100, 5), now=20.1)
    facts.receive_catalog({}, now=20.1)
    facts.receive_stats(stats(100, {}, at=20.1), now=20.1)
    facts.receive_stream_end(peer_of(100), now=20.1)
    facts.receive_exit(100, 0, now=20.2)
    sensor = facts.sensors[100]
    assert (sensor.item_count, sensor.out_of_order_count) == (count, 0)
    assert facts.collector.knows == knew
    assert sensor.node.knows
    assert sensor.stream_lost_at is None
    assert sensor.exit_code == 0


def test_the_shared_map_is_followed_until_the_end() -> None:
    facts = one_sensor()
    facts.receive_latest({"cpu": 1}, now=1.0)
    facts.receive_latest({"cpu": 2, "disk": 1}, now=2.0)
    facts.receive_end(now=3.0)
    facts.receive_latest({}, now=4.0)
    assert facts.collector.latest == {"cpu": 2, "disk": 1}
    told = [event.text for event in facts.events if "shared map" in event.text]
    assert told == ["cpu is in the shared map", "disk is in the shared map"]


def test_a_peer_that_comes_back_is_not_forgotten() -> None:
    facts = one_sensor()
    for at, peers in ((1.0, ["a"]), (2.0, []), (3.0, ["a", "b"])):
        facts.receive_catalog(dict.fromkeys(peers), now=at)
    node = facts.collector
    assert node.knows == {"a", "b"}
    assert node.known_at == {"a": 1.0, "b": 3.0}
    assert node.forgot_at == {}


def test_who_is_who_in_a_good_run() -> None:
    facts = good_run()
    assert [one.pid for one in facts.initial] == [100, 101, 102, 103]
    assert [one.pid for one in facts.survivors] == [100, 101, 103]
    assert facts.victim is facts.sensors[VICTIM_PID]
    assert facts.replacement is facts.sensors[NEW_PID]
    assert [name for name, _ in facts.nodes(facts.survivors)] == [
        "collector",
        "cpu",
        "memory",
        "net-io",
    ]
    assert COLLECTOR in facts.sensors[NEW_PID].node.knows


def test_the_rate_is_that_of_the_last_seconds() -> None:
    facts = one_sensor()
    for number in range(100):
        facts.receive_reading(reading(100, number), now=1.0 + number * 0.1)
    sensor = facts.sensors[100]
    assert sensor.rate(now=10.9) == 10.0
    assert sensor.rate(now=20.0) == 0.0


def test_a_long_run_keeps_only_the_newest() -> None:
    facts = one_sensor()
    for number in range(module.LATENCIES_MAX + 10):
        facts.receive_reading(reading(100, number), now=float(number))
    sensor = facts.sensors[100]
    assert len(sensor.latencies_s) == module.LATENCIES_MAX
    assert len(sensor.arrivals) == module.ARRIVALS_MAX
    for number in range(module.EVENTS_MAX + 10):
        facts.receive_remark(f"remark {number}", now=1.0)
    assert len(facts.events) == module.EVENTS_MAX
    assert facts.event_count > module.EVENTS_MAX


def test_a_process_that_dies_by_itself_is_told_about() -> None:
    facts = one_sensor()
    facts.receive_exit(100, 1, now=2.0)
    assert facts.events[-1].text == "cpu ended by itself with code 1"
    assert facts.events[-1].tone == "bad"
