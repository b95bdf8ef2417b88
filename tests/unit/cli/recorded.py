"""A recorded run of the demo in which everything went well, to be spoiled by tests."""

from mosaik_actors.cli.demo.facts import Facts
from mosaik_actors.cli.demo.records import Memory, NodeStats, PeerView, Reading

COLLECTOR = "c0" * 32
KINDS = ("cpu", "memory", "disk", "net-io")
NEW_PID = 200
WRITTEN = 7  # the number of the reading that each has certainly written into the map
VICTIM_PID = 102

ITEM_S = 0.05
LATENCY_S = 0.001
KILLED_AT = 10.0
NEW_AT = 12.0
END_AT = 20.0


def peer_of(pid: int) -> str:
    return f"{pid:064x}"


def reading(pid: int, number: int, *, sent_at: float = 0.0) -> Reading:
    measure = Memory(used_bytes=number, total_bytes=1000)
    return Reading(sensor=str(pid), pid=pid, number=number, sent_at=sent_at, measure=measure)


def stats(pid: int, peers: dict[str, float], *, at: float) -> NodeStats:
    views = {peer: PeerView(since, 0.002) for peer, since in peers.items()}
    return NodeStats(
        sensor=str(pid),
        pid=pid,
        peer=peer_of(pid),
        sent_at=at,
        messages_per_s=50.0,
        peers=views,
        written=WRITTEN,
        latest=dict.fromkeys(KINDS, WRITTEN + 1),
    )


def stream(facts: Facts, pid: int, *, first_at: float, last_at: float) -> None:
    count = round((last_at - first_at) / ITEM_S) + 1
    for number in range(count):
        sent_at = first_at + number * ITEM_S
        facts.receive_reading(reading(pid, number, sent_at=sent_at), now=sent_at + LATENCY_S)


def good_run(*, is_ended: bool = True) -> Facts:
    """Four sensors and a collector; 102 is killed at 10 s, 200 replaces it at 12 s."""
    facts = Facts("demo-test", now=0.0)
    facts.receive_collector(COLLECTOR)
    pids = [100 + index for index in range(len(KINDS))]
    for pid, kind in zip(pids, KINDS, strict=True):
        facts.receive_start(kind, pid, now=0.1)

    # Everybody is known to everybody after one second.
    nodes = [*map(peer_of, pids), COLLECTOR]
    facts.receive_catalog(dict.fromkeys(map(peer_of, pids), 0.003), now=1.0)
    for pid in pids:
        others = {peer: 1.0 for peer in nodes if peer != peer_of(pid)}
        facts.receive_stats(stats(pid, others, at=1.1), now=1.1)
    for pid in pids:
        stream(facts, pid, first_at=1.2, last_at=9.9 if pid == VICTIM_PID else 19.9)

    facts.receive_latest(dict.fromkeys(KINDS, WRITTEN + 1), now=9.9)

    # One is killed; its stream is missed after 1.5 s and its entry after 2 s.
    facts.receive_kill(VICTIM_PID, now=KILLED_AT)
    facts.receive_exit(VICTIM_PID, -9, now=KILLED_AT + 0.01)
    facts.receive_stream_end(peer_of(VICTIM_PID), now=KILLED_AT + 1.5)
    left = [pid for pid in pids if pid != VICTIM_PID]
    facts.receive_catalog(dict.fromkeys(map(peer_of, left), 0.003), now=KILLED_AT + 2.0)
    for pid in left:
        others = {peer_of(one): 1.0 for one in left if one != pid} | {COLLECTOR: 1.0}
        facts.receive_stats(stats(pid, others, at=KILLED_AT + 1.9), now=KILLED_AT + 1.9)

    # Its replacement is known to everybody half a second after its start.
    facts.receive_start("disk-2", NEW_PID, replaces="disk", now=NEW_AT)
    living = [*left, NEW_PID]
    facts.receive_catalog(dict.fromkeys(map(peer_of, living), 0.003), now=NEW_AT + 0.4)
    for pid in living:
        since = {peer_of(one): NEW_AT + 0.5 for one in living if one != pid}
        since[COLLECTOR] = NEW_AT + 0.3
        facts.receive_stats(stats(pid, since, at=NEW_AT + 0.5), now=NEW_AT + 0.5)
    stream(facts, NEW_PID, first_at=NEW_AT + 0.6, last_at=19.9)

    if is_ended:
        facts.receive_end(now=END_AT)
        for pid in living:
            facts.receive_exit(pid, 0, now=END_AT + 0.5)
    return facts
