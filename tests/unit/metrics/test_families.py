"""The metrics that follow from a snapshot."""

from dataclasses import fields

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mosaik_actors.metrics.exposition import make_registry, render
from mosaik_actors.metrics.families import COUNTER, FAMILIES, NAMES_MAX, OTHERS, Sample
from mosaik_actors.transport.counters import TransportCounters

from .helpers import status, stream


def samples(name: str, **changes: object) -> list[Sample]:
    [family] = [family for family in FAMILIES if family.name == name]
    return list(family.read(status(**changes)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mosaik_discovery_peers", [((), 3)]),
        ("mosaik_discovery_entries_refused_total", [(("full",), 5)]),
        ("mosaik_stream_items_total", [(("prices", "producer"), 10)]),
        ("mosaik_group_leading", [(("g", "c" * 10), 1)]),
        ("mosaik_collection_elements", [(("m", "Map"), 9)]),
        ("mosaik_transport_bytes_sent_total", [((), 77)]),
        ("mosaik_admission_violations_total", [((), 6)]),
        ("mosaik_actors_queued_messages", [((), 13)]),
        ("mosaik_group_sync_mismatches_total", [(("g", "c" * 10), 2)]),
        ("mosaik_tickets_expiring", [((), 2)]),
        ("mosaik_tickets_refused_total", [(("expired",), 8)]),
        ("mosaik_tickets_validation_seconds_total", [((), 0.25)]),
        ("mosaik_actor_class_depth_max", [(("Matcher",), 5)]),
    ],
)
def test_each_area_has_its_numbers(name: str, expected: list[Sample]) -> None:
    assert samples(name) == expected


def test_names_beyond_the_limit_are_joined() -> None:
    streams = tuple(stream(f"s{number}", items=1) for number in range(NAMES_MAX + 5))
    found = dict(samples("mosaik_stream_items_total", streams=streams))
    assert len(found) == NAMES_MAX + 1
    assert found[(OTHERS, "producer")] == 5


def test_streams_of_one_name_are_one_sample() -> None:
    streams = (stream("s", items=1), stream("s", items=2, stream_id="1" * 64))
    assert samples("mosaik_stream_items_total", streams=streams) == [(("s", "producer"), 3)]


def test_every_counter_of_the_transport_is_a_metric() -> None:
    names = {family.name for family in FAMILIES}
    for counter in fields(TransportCounters):
        ways = {f"mosaik_{area}_{counter.name}_total" for area in ("transport", "admission")}
        assert ways & names, f"{counter.name} is in neither table of `metrics.families`"


def test_names_follow_the_rules_of_prometheus() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert (family.kind == COUNTER) == family.name.endswith("_total"), family.name


def test_the_page_is_what_prometheus_reads() -> None:
    page = render(make_registry(status)).decode()
    read = {family.name: family for family in text_string_to_metric_families(page)}
    assert len(read) == len(FAMILIES)
    delays = {
        sample.labels.get("le", sample.name): sample.value
        for sample in read["mosaik_loop_delay_seconds"].samples
    }
    assert delays["0.1"] == 4
    assert delays["+Inf"] == 4
    assert delays["mosaik_loop_delay_seconds_sum"] == 0.5


def test_a_simulated_node_has_no_delay_of_its_loop() -> None:
    assert samples("mosaik_loop_delay_seconds", loop=None) == []
    render(make_registry(lambda: status(loop=None)))
