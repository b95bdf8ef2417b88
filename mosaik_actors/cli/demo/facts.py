"""What was observed during a run of the demo, and nothing that was merely planned.

`Facts` is a pure record: whoever watches the run records what happened in it, with
the moment; the display and the checks read it. All moments are `time.monotonic`
in seconds, which the machine's processes share.

A process is known by its pid, a node by its peer id. The two meet when the
process first says on the network who it is. Other nodes may visit the network
during the run (somebody lists its peers); they appear in the catalog but belong
to no process of the run and decide nothing.

Bounded: latencies and arrivals are kept for the last few thousand readings, and
the events for the last few hundred.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from .records import Cpu, Disk, Measure, Memory, NodeStats, Reading

LATENCIES_MAX: Final = 20_000
ARRIVALS_MAX: Final = 512
EVENTS_MAX: Final = 500
TREND_MAX: Final = 16
REMARK_CHARACTERS_MAX: Final = 200
RATE_WINDOW_S: Final = 2.0
PEER_DIGITS: Final = 4


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth showing. `tone` is "good", "bad" or "plain"."""

    at: float
    text: str
    tone: str = "plain"


@dataclass(slots=True)
class NodeFacts:
    """What one node of the run knows of the others.

    Attributes:
        peer: Its peer id, None until it said so.
        started_at: When its process was started.
        known_at: When each peer first appeared in its catalog.
        forgot_at: When each peer was last found to be gone from it.
        rtt_s: The round-trip times to the peers it measured.
        latest: The number of each sensor's reading in its replica of the shared map.
    """

    started_at: float
    peer: str | None = None
    known_at: dict[str, float] = field(default_factory=dict)
    forgot_at: dict[str, float] = field(default_factory=dict)
    rtt_s: dict[str, float] = field(default_factory=dict)
    latest: dict[str, int] = field(default_factory=dict)

    @property
    def knows(self) -> set[str]:
        """The peers in its catalog."""
        return {peer for peer in self.known_at if peer not in self.forgot_at}

    def receive_peers(self, since: Mapping[str, float], *, at: float) -> None:
        """Take in its catalog as it is at the moment `at`: since when each peer is in it."""
        for peer, seen_at in since.items():
            self.known_at.setdefault(peer, seen_at)
            self.forgot_at.pop(peer, None)
        for peer in self.known_at:
            if peer not in since:
                self.forgot_at.setdefault(peer, at)

    def knew_all_at(self, peers: Iterable[str]) -> float | None:
        """Return when the last of `peers` appeared; None when one has not."""
        moments = [self.known_at.get(peer) for peer in peers]
        found = [moment for moment in moments if moment is not None]
        return max(found, default=self.started_at) if len(found) == len(moments) else None


@dataclass(slots=True)
class SensorFacts:
    """What was observed of one sensor process.

    Attributes:
        name: What it is called; its replacement has another name.
        pid: Its process.
        node: What it knows.
        replaces: The name of the process it was started for, or None.
        first_number: The number of the first reading that arrived.
        last_number: The highest number that arrived.
        item_count: Readings that arrived.
        out_of_order_count: Readings that arrived after a later one, or twice.
        first_item_at: When the first reading arrived.
        last_item_at: When the last one did.
        latencies_s: From send to receipt, the newest last.
        measure: The newest measurement.
        trend: One figure of the newest measurements, for a small curve.
        messages_per_s: Actor messages it handles, by its own count.
        written: The number of its newest reading that it knew to be in the shared map.
        killed_at: When it was killed.
        stream_lost_at: When the collector noticed that its stream had ended.
        exit_code: How the process ended; None while it runs.
    """

    name: str
    pid: int
    node: NodeFacts
    replaces: str | None = None
    first_number: int | None = None
    last_number: int = -1
    item_count: int = 0
    out_of_order_count: int = 0
    first_item_at: float | None = None
    last_item_at: float | None = None
    latencies_s: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES_MAX))
    arrivals: deque[float] = field(default_factory=lambda: deque(maxlen=ARRIVALS_MAX))
    measure: Measure | None = None
    trend: deque[float] = field(default_factory=lambda: deque(maxlen=TREND_MAX))
    messages_per_s: float = 0.0
    written: int | None = None
    killed_at: float | None = None
    stream_lost_at: float | None = None
    exit_code: int | None = None

    @property
    def lost_count(self) -> int:
        """Readings missing between the first and the last that arrived."""
        if self.first_number is None:
            return 0
        return self.last_number - self.first_number + 1 - self.item_count

    def rate(self, *, now: float) -> float:
        """Return the readings per second that arrived lately."""
        since = max(now - RATE_WINDOW_S, self.first_item_at or now)
        count = sum(at > since for at in self.arrivals)
        return count / (now - since) if now > since else 0.0

    def latency_s(self, quantile: float) -> float | None:
        """Return the latency that this share of the readings stayed below."""
        ordered = sorted(self.latencies_s)
        if not ordered:
            return None
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]


class Facts:
    """The record of one run.

    Attributes:
        network: The network's name.
        started_at: When the run began.
        collector: What the collector's own node knows.
        sensors: The sensor processes by pid, in the order they were started.
        events: What happened, in order.
        ended_at: When the observation stopped; processes are ended after that.
    """

    def __init__(self, network: str, *, now: float) -> None:
        self.network = network
        self.started_at = now
        self.collector = NodeFacts(started_at=now)
        self.sensors: dict[int, SensorFacts] = {}
        self.events: deque[Event] = deque(maxlen=EVENTS_MAX)
        self.event_count = 0
        self.ended_at: float | None = None

    # --- reading ---

    @property
    def initial(self) -> list[SensorFacts]:
        """The sensors the run began with."""
        return [sensor for sensor in self.sensors.values() if sensor.replaces is None]

    @property
    def victim(self) -> SensorFacts | None:
        """The sensor that was killed."""
        return next((one for one in self.sensors.values() if one.killed_at is not None), None)

    @property
    def replacement(self) -> SensorFacts | None:
        """The sensor that was started for the killed one."""
        return next((one for one in self.sensors.values() if one.replaces is not None), None)

    @property
    def survivors(self) -> list[SensorFacts]:
        """The sensors of the beginning that were not killed."""
        return [sensor for sensor in self.initial if sensor.killed_at is None]

    @property
    def crashed(self) -> list[SensorFacts]:
        """The sensors that ended without having been killed by the demo."""
        return [
            sensor
            for sensor in self.sensors.values()
            if sensor.exit_code is not None and sensor.killed_at is None
        ]

    def nodes(self, sensors: Iterable[SensorFacts]) -> Iterator[tuple[str, NodeFacts]]:
        """Yield the collector's node and those of `sensors`, with their names."""
        yield "collector", self.collector
        for sensor in sensors:
            yield sensor.name, sensor.node

    def all_found_s(self, sensors: Iterable[SensorFacts]) -> dict[str, float | None]:
        """Return how long each of these nodes, and the collector, took to find all the others.

        Seconds from the start of its own process; None for one that has not
        found them all.
        """
        nodes = dict(self.nodes(list(sensors)))
        return {
            name: self._found_s(node, [other for other in nodes.values() if other is not node])
            for name, node in nodes.items()
        }

    @staticmethod
    def _found_s(node: NodeFacts, others: Iterable[NodeFacts]) -> float | None:
        peers = [other.peer for other in others]
        knew_at = node.knew_all_at([peer for peer in peers if peer is not None])
        if not peers or None in peers or knew_at is None:
            return None
        return knew_at - node.started_at

    def sensor_of(self, peer: str) -> SensorFacts | None:
        """Return the sensor process that is this peer."""
        return next((one for one in self.sensors.values() if one.node.peer == peer), None)

    # --- what happened ---

    def receive_collector(self, peer: str) -> None:
        """Note the collector's own peer id."""
        self.collector.peer = peer

    def receive_start(
        self, name: str, pid: int, *, replaces: str | None = None, now: float
    ) -> None:
        """Note that a sensor process was started; `now` is before it was."""
        self.sensors[pid] = SensorFacts(
            name=name, pid=pid, node=NodeFacts(started_at=now), replaces=replaces
        )
        for_whom = f", in place of {replaces}" if replaces else ""
        self._tell(now, f"started {name} (process {pid}){for_whom}")

    def receive_catalog(self, peers: Mapping[str, float | None], *, now: float) -> None:
        """Take in the collector's catalog: the round-trip time to each other peer."""
        if self.ended_at is not None:
            return
        node = self.collector
        before = node.knows
        node.receive_peers(dict.fromkeys(peers, now), at=now)
        node.rtt_s = {peer: rtt_s for peer, rtt_s in peers.items() if rtt_s is not None}
        for peer in peers:
            if peer not in before:
                self._tell(now, f"{self._called(peer)} joined", "good")
        for peer in sorted(before - set(peers)):
            self._tell(now, f"{self._called(peer)} does not answer any more", "bad")

    def receive_stats(self, stats: NodeStats, *, now: float) -> None:
        """Take in what a sensor says about itself. A process of another run is ignored."""
        sensor = self.sensors.get(stats.pid)
        if sensor is None or self.ended_at is not None:
            return
        node = sensor.node
        node.peer = stats.peer
        sensor.messages_per_s = stats.messages_per_s
        sensor.written = stats.written
        node.latest = stats.latest
        since = {peer: view.since for peer, view in stats.peers.items()}
        node.receive_peers(since, at=stats.sent_at)
        node.rtt_s = {
            peer: view.rtt_s for peer, view in stats.peers.items() if view.rtt_s is not None
        }

    def receive_latest(self, numbers: Mapping[str, int], *, now: float) -> None:
        """Take in the collector's replica of the shared map: the number of each reading."""
        if self.ended_at is not None:
            return
        for name in numbers:
            if name not in self.collector.latest:
                self._tell(now, f"{name} is in the shared map", "good")
        self.collector.latest = dict(numbers)

    def receive_reading(self, reading: Reading, *, now: float) -> None:
        """Take in a reading that arrived. One of another run is ignored."""
        sensor = self.sensors.get(reading.pid)
        if sensor is None or self.ended_at is not None:
            return
        if sensor.first_item_at is None:
            sensor.first_item_at = now
            sensor.first_number = reading.number
            who = f", peer {sensor.node.peer[:PEER_DIGITS]}," if sensor.node.peer else ""
            self._tell(now, f"{sensor.name}{who} streams", "good")
        if reading.number > sensor.last_number:
            sensor.last_number = reading.number
        else:
            sensor.out_of_order_count += 1
            self._tell(now, f"{sensor.name}: reading {reading.number} out of order", "bad")
        sensor.item_count += 1
        sensor.last_item_at = now
        sensor.latencies_s.append(now - reading.sent_at)
        sensor.arrivals.append(now)
        sensor.measure = reading.measure

    def receive_kill(self, pid: int, *, now: float) -> None:
        """Note that a sensor was killed; `now` is before it was."""
        sensor = self.sensors[pid]
        sensor.killed_at = now
        self._tell(now, f"killed {sensor.name} (process {pid}) without warning", "bad")

    def receive_stream_end(self, peer: str, *, now: float) -> None:
        """Note that the collector noticed the end of a peer's stream."""
        sensor = self.sensor_of(peer)
        if sensor is None or self.ended_at is not None:
            return
        if sensor.stream_lost_at is None:
            sensor.stream_lost_at = now
            self._tell(now, f"the stream of {sensor.name} ended", "bad")

    def receive_exit(self, pid: int, code: int, *, now: float) -> None:
        """Note that a sensor process ended."""
        sensor = self.sensors[pid]
        sensor.exit_code = code
        if code and sensor.killed_at is None:
            self._tell(now, f"{sensor.name} ended by itself with code {code}", "bad")

    def receive_remark(self, text: str, *, now: float) -> None:
        """Note something that a process logged; its first line, clipped."""
        line = text.partition("\n")[0]
        self._tell(now, line[:REMARK_CHARACTERS_MAX], "bad")

    def receive_end(self, *, now: float) -> None:
        """Note that the observation stops here: what comes later is an effect of ending the run.

        Only exits are noted from now on.
        """
        self.ended_at = now

    def sample_trends(self) -> None:
        """Remember one figure of each sensor's newest measurement."""
        for sensor in self.sensors.values():
            if sensor.measure is not None and sensor.exit_code is None:
                sensor.trend.append(figure_of(sensor.measure))

    def _tell(self, at: float, text: str, tone: str = "plain") -> None:
        self.events.append(Event(at, text, tone))
        self.event_count += 1

    def _called(self, peer: str) -> str:
        sensor = self.sensor_of(peer)
        return f"peer {peer[:PEER_DIGITS]}" + (f" ({sensor.name})" if sensor else "")


def figure_of(measure: Measure) -> float:
    """Return the one figure of a measurement that a curve shows."""
    if isinstance(measure, Cpu):
        return measure.percent
    if isinstance(measure, Memory):
        return measure.used_bytes
    if isinstance(measure, Disk):
        return measure.read_bytes_per_s + measure.written_bytes_per_s
    return measure.received_bytes_per_s
