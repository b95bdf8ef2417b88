"""The metrics of a node: their names, what they mean, and how they follow from its snapshot.

One table. The HTTP endpoint, the page ``docs/metrics.md`` and the tests read it. All values come
from a `NodeStatus`, so a metric costs nothing until somebody asks for it.

Labels are bounded: names of streams, groups, collections and classes of actors get at
most `NAMES_MAX` values of each metric, the first ones in the snapshot. Those beyond are
one more, ``(others)``, which has their sum. There is no label with a peer's id: who comes
and goes would leave a time series behind.

Names follow Prometheus: base units, and ``_total`` for what only grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .records import DELAY_BOUNDS_S, EXPIRING_S, NodeStatus, TicketsStatus

NAMES_MAX: Final = 64
OTHERS: Final = "(others)"

Labels = tuple[str, ...]
Sample = tuple[Labels, float]

COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric.

    Attributes:
        name: Its whole name.
        kind: ``counter``, ``gauge`` or ``histogram``.
        help: What it means.
        labels: The names of its labels.
        read: Gives the samples, at most one for each combination of labels. A histogram's
            have its bounds as further label; the sum has the label ``sum``.
    """

    name: str
    kind: str
    help: str
    labels: Labels
    read: Callable[[NodeStatus], Iterable[Sample]]


def _one(read: Callable[[NodeStatus], float]) -> Callable[[NodeStatus], Iterable[Sample]]:
    return lambda status: [((), read(status))]


def _summed(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Join samples with equal labels, and those beyond the first `NAMES_MAX` names."""
    sums: dict[Labels, float] = {}
    names: dict[str, None] = {}
    for (name, *rest), value in samples:
        if name not in names and len(names) >= NAMES_MAX:
            name = OTHERS
        else:
            names[name] = None
        labels = (name, *rest)
        sums[labels] = sums.get(labels, 0) + value
    yield from sums.items()


def _each(
    part: Callable[[NodeStatus], Iterable[Any]],
    labels_of: Callable[[Any], Labels],
    read: Callable[[Any], float],
) -> Callable[[NodeStatus], Iterable[Sample]]:
    return lambda status: _summed((labels_of(one), read(one)) for one in part(status))


def _counts(read: Callable[[NodeStatus], Mapping[str, int]]) -> Callable[..., Iterable[Sample]]:
    return lambda status: _summed(((name,), count) for name, count in read(status).items())


def _delays(status: NodeStatus) -> Iterable[Sample]:
    loop = status.loop
    if loop is None:
        return []
    bounds = [f"{bound:g}" for bound in DELAY_BOUNDS_S]
    samples: list[Sample] = [((b,), n) for b, n in zip(bounds, loop.delays, strict=True)]
    return [*samples, (("+Inf",), loop.samples), (("sum",), loop.delay_sum_s)]


def _tables() -> Iterator[Family]:
    yield from _node()
    yield from _discovery()
    yield from _streams()
    yield from _groups()
    yield from _collections()
    yield from _transport()
    yield from _actors()
    yield from _tickets()


def _node() -> Iterator[Family]:
    def info(status: NodeStatus) -> Iterable[Sample]:
        return [((status.version, status.peer_id, status.network_id), 1)]

    yield Family(
        "mosaik_node_info",
        GAUGE,
        "1, with what the node is as labels",
        ("version", "peer_id", "network_id"),
        info,
    )
    yield Family(
        "mosaik_node_uptime_seconds",
        GAUGE,
        "How long the node runs",
        (),
        _one(lambda s: s.uptime_s),
    )
    yield Family(
        "mosaik_loop_delay_seconds",
        HISTOGRAM,
        "How late the event loop ran what was due, measured twice a second",
        (),
        _delays,
    )


def _discovery() -> Iterator[Family]:
    for name, help_, read in (
        ("peers", "Peers that are known", lambda s: s.discovery.peers),
        ("unreachable_peers", "Those that do not answer", lambda s: s.discovery.unreachable),
        ("neighbours", "Peers with a discovery link", lambda s: s.discovery.neighbours),
    ):
        yield Family(f"mosaik_discovery_{name}", GAUGE, help_, (), _one(read))
    yield Family(
        "mosaik_discovery_entries_refused_total",
        COUNTER,
        "Entries that were refused, by reason",
        ("reason",),
        _counts(lambda s: s.discovery.refused),
    )


def _streams() -> Iterator[Family]:
    rows: tuple[tuple[str, str, str, Callable[[Any], float]], ...] = (
        ("online", GAUGE, "1 while a handle is online", lambda s: s.is_online),
        ("subscriptions", GAUGE, "Subscriptions that stand", lambda s: s.subscriptions),
        (
            "subscriptions_opened_total",
            COUNTER,
            "Subscriptions that were made",
            lambda s: s.subscriptions_opened,
        ),
        ("items_total", COUNTER, "Items sent or received, per subscription", lambda s: s.items),
        ("bytes_total", COUNTER, "The bytes of their frames", lambda s: s.bytes),
        (
            "rejected_items_total",
            COUNTER,
            "Items received that were not of the stream's type",
            lambda s: s.rejected,
        ),
        (
            "buffered_items",
            GAUGE,
            "Items that wait to be sent, or to be taken by the application",
            lambda s: s.buffered,
        ),
    )
    for name, kind, help_, read in rows:
        read_all = _each(lambda s: s.streams, lambda one: (one.name, one.role), read)
        yield Family(f"mosaik_stream_{name}", kind, help_, ("stream", "role"), read_all)


def _groups() -> Iterator[Family]:
    rows: tuple[tuple[str, str, str, Callable[[Any], float]], ...] = (
        ("online", GAUGE, "1 while commands are taken", lambda g: not g.why_offline),
        ("leading", GAUGE, "1 while this node leads", lambda g: g.role == "leader"),
        ("members", GAUGE, "Members that are known", lambda g: g.members),
        ("voters", GAUGE, "Members that vote", lambda g: g.voters),
        ("bonded", GAUGE, "Members with a bond, this one included", lambda g: g.bonded),
        ("term", GAUGE, "The Raft term", lambda g: g.term),
        ("commit_index", GAUGE, "The log is committed up to here", lambda g: g.commit_index),
        ("applied_index", GAUGE, "The log is applied up to here", lambda g: g.applied_index),
        ("last_index", GAUGE, "Where the log ends", lambda g: g.last_index),
        ("log_bytes", GAUGE, "What the log takes in memory", lambda g: g.log_bytes),
        ("position", GAUGE, "Commands applied", lambda g: g.position),
        (
            "pending_commands",
            GAUGE,
            "Commands of this node without an answer",
            lambda g: g.pending_commands,
        ),
        ("elections_total", COUNTER, "Leaders seen to take over", lambda g: g.elections),
        (
            "served_bytes_total",
            COUNTER,
            "Handed to members that catch up",
            lambda g: g.served_bytes,
        ),
        (
            "sync_mismatches_total",
            COUNTER,
            "Times that a state fetched from others did not fit together and was fetched anew",
            lambda g: g.sync_mismatches,
        ),
    )
    for name, kind, help_, read in rows:
        read_all = _each(lambda s: s.groups, lambda one: (one.name, one.group_id[:10]), read)
        yield Family(f"mosaik_group_{name}", kind, help_, ("group", "id"), read_all)


def _collections() -> Iterator[Family]:
    rows: tuple[tuple[str, str, Callable[[Any], float]], ...] = (
        ("online", "1 while writes are taken", lambda c: c.is_online),
        ("elements", "Elements in the collection", lambda c: c.elements),
        ("version", "Commands that this replica has seen", lambda c: c.version),
    )
    for name, help_, read in rows:
        read_all = _each(lambda s: s.collections, lambda one: (one.name, one.kind), read)
        labels = ("collection", "kind")
        yield Family(f"mosaik_collection_{name}", GAUGE, help_, labels, read_all)


_ADMISSION: Final = {
    "connections_refused": "Connections that were refused before anything was read",
    "connections_evicted": "Connections without a link that made room for a newcomer",
    "handshakes_evicted": "Unfinished handshakes that made room for a newcomer",
    "handshakes_deferred": "Handshakes of newcomers that had to try again later",
    "peers_refused": "Peers of the network that may not be connected all the same",
    "handshakes_failed": "Handshakes that failed, also for want of the network's secret",
    "violations": "Rules that peers broke",
}
_TRANSPORT: Final = {
    "datagrams_received": "Datagrams that came",
    "datagrams_sent": "Datagrams that went",
    "bytes_received": "Their bytes",
    "bytes_sent": "Their bytes",
    "datagrams_refused": "Datagrams that belong to no connection",
    "datagrams_unsent": "Datagrams that the system did not take",
    "connections_opened": "Connections that were made",
    "links_opened": "Links that were opened here",
    "links_accepted": "Links that peers opened",
    "links_refused": "Links that were refused, here or by the peer",
    "paths_taken": "Times that a connection through a relay went over to a direct path",
    "paths_lost": "Times that it went back to the relay",
}
"""Each counter of `TransportCounters` is in one of the two; a test holds that."""


def _transport() -> Iterator[Family]:
    def counted(counter: str) -> Callable[[NodeStatus], Iterable[Sample]]:
        return _one(lambda status: status.transport.counters.get(counter, 0))

    yield Family(
        "mosaik_transport_connections",
        GAUGE,
        "Peers with a usable connection",
        (),
        _one(lambda s: s.transport.connections),
    )
    for area, counters in (("transport", _TRANSPORT), ("admission", _ADMISSION)):
        for counter, help_ in counters.items():
            name = f"mosaik_{area}_{counter}_total"
            yield Family(name, COUNTER, help_, (), counted(counter))


def _actors() -> Iterator[Family]:
    rows: tuple[tuple[str, str, str, Callable[[NodeStatus], float]], ...] = (
        ("living", GAUGE, "Living actors", lambda s: s.actors.living),
        ("queued_messages", GAUGE, "Messages in mailboxes", lambda s: s.actors.queued),
        ("created_total", COUNTER, "Actors that were made", lambda s: s.actors.created),
        ("exited_total", COUNTER, "Actors that ended", lambda s: s.actors.exited),
        ("messages_total", COUNTER, "Messages handed to actors", lambda s: s.actors.handled),
        ("failures_total", COUNTER, "Exceptions out of handlers", lambda s: s.actors.failures),
        (
            "poisoned_total",
            COUNTER,
            "Messages given up after a second failure",
            lambda s: s.actors.poisoned,
        ),
        (
            "dead_letters_total",
            COUNTER,
            "Messages to actors that had ended",
            lambda s: s.actors.dead_letters,
        ),
        (
            "slow_calls_total",
            COUNTER,
            "Calls of handlers that held the loop for long",
            lambda s: s.actors.slow,
        ),
    )
    for name, kind, help_, read in rows:
        yield Family(f"mosaik_actors_{name}", kind, help_, (), _one(read))
    by_class: tuple[tuple[str, str, Callable[[Any], float]], ...] = (
        ("living", "Living actors of a class", lambda c: c.count),
        ("queued_messages", "Messages that wait for them", lambda c: c.queued),
        ("depth_max", "The most that waited for one of them", lambda c: c.depth_max),
        ("oldest_message_seconds", "How long the oldest one has waited", lambda c: c.age_max_s),
        ("busy", "Actors in the midst of a handler that waits", lambda c: c.busy),
    )
    for name, help_, read_class in by_class:
        read_all = _each(lambda s: s.actors.classes, lambda one: (one.actor_class,), read_class)
        yield Family(f"mosaik_actor_class_{name}", GAUGE, help_, ("actor_class",), read_all)


def _tickets() -> Iterator[Family]:
    rows: tuple[tuple[str, str, str, Callable[[TicketsStatus], float]], ...] = (
        ("shown", GAUGE, "Tickets that this node shows", lambda t: t.shown),
        (
            "valid",
            GAUGE,
            "Peers whose ticket is valid, counted for each validator",
            lambda t: t.valid,
        ),
        (
            "expiring",
            GAUGE,
            f"Those of them whose ticket ends within {EXPIRING_S:g} s",
            lambda t: t.expiring,
        ),
        ("awaited", GAUGE, "Tickets that are to be validated", lambda t: t.awaited),
        ("accepted_total", COUNTER, "Tickets that validators accepted", lambda t: t.accepted),
        (
            "validation_seconds_total",
            COUNTER,
            "How long validators took, for those refused, too",
            lambda t: t.validation_s,
        ),
    )
    for name, kind, help_, read in rows:
        yield Family(f"mosaik_tickets_{name}", kind, help_, (), _one(_of_tickets(read)))
    yield Family(
        "mosaik_tickets_refused_total",
        COUNTER,
        "Tickets that validators refused, by reason",
        ("reason",),
        _counts(lambda s: s.tickets.refused),
    )


def _of_tickets(read: Callable[[TicketsStatus], float]) -> Callable[[NodeStatus], float]:
    return lambda status: read(status.tickets)


FAMILIES: Final = tuple(_tables())
