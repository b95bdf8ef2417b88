"""The metrics in Prometheus's text format, by ``prometheus-client``.

Each node has a registry of its own, so that several nodes of one process do not mix.
What is in it reads one snapshot for each scrape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from .families import COUNTER, FAMILIES, GAUGE, Family
from .records import NodeStatus

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class NodeCollector:
    """Collects a node's metrics when they are asked for."""

    def __init__(self, read: Callable[[], NodeStatus]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Give all metrics of this moment."""
        status = self._read()
        return (_as_metric(family, status) for family in FAMILIES)

    def describe(self) -> list[Metric]:
        """Name nothing beforehand: that would take a snapshot before the node runs."""
        return []


def make_registry(read: Callable[[], NodeStatus]) -> CollectorRegistry:
    """Return a new registry with the metrics of one node; your own may go into it, too."""
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry(auto_describe=False)
    registry.register(NodeCollector(read))
    return registry


def render(registry: CollectorRegistry) -> bytes:
    """Return what a scrape gets."""
    from prometheus_client import generate_latest

    return generate_latest(registry)


def _as_metric(family: Family, status: NodeStatus) -> Metric:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    samples = list(family.read(status))
    if family.kind == COUNTER:
        counter = CounterMetricFamily(family.name, family.help, labels=family.labels)
        for labels, value in samples:
            counter.add_metric(labels, value)
        return counter
    if family.kind == GAUGE:
        gauge = GaugeMetricFamily(family.name, family.help, labels=family.labels)
        for labels, value in samples:
            gauge.add_metric(labels, value)
        return gauge
    histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    if samples:
        *buckets, (_, total) = samples
        histogram.add_metric((), [(bound[-1], count) for bound, count in buckets], total)
    return histogram
