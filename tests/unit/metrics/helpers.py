"""Snapshots for tests."""

from typing import Any

from mosaik_actors.metrics.records import (
    ActorClassStatus,
    ActorsStatus,
    CollectionStatus,
    DiscoveryStatus,
    GroupStatus,
    LoopStatus,
    NodeStatus,
    PeerStatus,
    StreamStatus,
    TicketsStatus,
    TransportStatus,
)


def stream(name: str = "prices", **changes: Any) -> StreamStatus:
    fields: dict[str, Any] = {
        "name": name, "stream_id": "0" * 64, "role": "producer", "handles": 1, "is_online": True,
        "subscriptions": 2, "subscriptions_opened": 3, "items": 10, "bytes": 100, "rejected": 1,
        "buffered": 4,
    }  # fmt: skip
    return StreamStatus(**{**fields, **changes})


def status(peer: str = "a", **changes: Any) -> NodeStatus:
    fields: dict[str, Any] = {
        "version": "1", "network_id": "f" * 64, "peer_id": peer * 64, "addr": f"{peer}@h:1",
        "tags": (), "at": 0.0, "uptime_s": 60.0,
        "discovery": DiscoveryStatus(peers=3, unreachable=1, neighbours=2, refused={"full": 5}),
        "peers": (
            PeerStatus(
                peer_id="b" * 64, addr="b@h:2", rtt_s=0.002, is_reachable=True, is_connected=True,
                is_neighbour=False, last_heard_s=1.0,
            ),
        ),
        "streams": (stream(),),
        "groups": (
            GroupStatus(
                name="g", group_id="c" * 64, role="leader", leader=peer * 64, why_offline="",
                members=3, voters=3, bonded=2, term=4, position=7,
                sync_mismatches=2,
            ),
        ),
        "collections": (
            CollectionStatus(
                name="m", group_id="d" * 64, kind="Map", elements=9, version=8, is_online=True
            ),
        ),
        "transport": TransportStatus(connections=2, counters={"bytes_sent": 77, "violations": 6}),
        "actors": ActorsStatus(
            living=11, created=12, exited=1, handled=100, queued=13, failures=2, poisoned=1,
            dead_letters=3, slow=0,
            classes=(
                ActorClassStatus(
                    actor_class="Matcher", count=2, queued=13, depth_max=5, handled=90, slow=0,
                    busy=1,
                ),
            ),
        ),
        "loop": LoopStatus(
            samples=4, delay_sum_s=0.5, delay_last_s=0.1, delay_max_s=0.3,
            delays=(1, 2, 3, 4, 4, 4),
        ),
        "tickets": TicketsStatus(
            shown=1, valid=21, expiring=2, awaited=3, accepted=30, refused={"expired": 8},
            validation_s=0.25,
        ),
    }  # fmt: skip
    return NodeStatus(**{**fields, **changes})
