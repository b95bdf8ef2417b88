"""What the demo's processes send each other: the types of its two streams and of its map.

The field `measure` is a tagged union: each sensor sends its own kind of
measurement on one and the same stream, and the collector gets it back as the
class it was.

Moments are `time.monotonic` in seconds. All processes of a machine share that
clock, so the difference of two moments taken by two processes is a latency.
"""

from __future__ import annotations

import msgspec

READINGS = "demo.readings"
NODE_STATS = "demo.node-stats"


class Cpu(msgspec.Struct, frozen=True, tag="cpu"):
    """How busy the processors are: the share of the last second, and the load average."""

    percent: float
    load_1min: float
    processor_count: int


class Memory(msgspec.Struct, frozen=True, tag="memory"):
    """How much memory is taken."""

    used_bytes: int
    total_bytes: int


class Disk(msgspec.Struct, frozen=True, tag="disk"):
    """What moved from and to the disks in the last second, and how full the root is."""

    read_bytes_per_s: float
    written_bytes_per_s: float
    used_percent: float


class NetIo(msgspec.Struct, frozen=True, tag="net-io"):
    """What went through the network interfaces in the last second, loopback included."""

    received_bytes_per_s: float
    sent_bytes_per_s: float
    packets_per_s: float


Measure = Cpu | Memory | Disk | NetIo


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement.

    Attributes:
        sensor: The name of the sensor process.
        pid: Its process id.
        number: Counts this process's readings from 0, without a gap.
        sent_at: When it was handed to the stream.
        measure: What was measured.
    """

    sensor: str
    pid: int
    number: int
    sent_at: float
    measure: Measure


class PeerView(msgspec.Struct, frozen=True):
    """How a node sees another one.

    Attributes:
        since: When it appeared in the catalog.
        rtt_s: The round-trip time to it, None while unmeasured.
    """

    since: float
    rtt_s: float | None = None


class NodeStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a sensor process says about itself as a node.

    Attributes:
        sensor: The name of the sensor process.
        pid: Its process id.
        peer: Its peer id, all digits.
        sent_at: When this was measured.
        messages_per_s: Actor messages it handled per second, lately.
        peers: The other nodes in its catalog, by peer id.
        written: The number of its newest reading that is certainly in the shared
            map; None before the first.
        latest: The number of each sensor's reading in its replica of that map.
    """

    sensor: str
    pid: int
    peer: str
    sent_at: float
    messages_per_s: float
    peers: dict[str, PeerView]
    written: int | None = None
    latest: dict[str, int] = {}
