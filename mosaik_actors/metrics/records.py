"""The snapshot of a node: what `Network.status` returns, metrics are made of, and peers send.

Frozen records of numbers and short texts, so that ``msgspec.json.encode(status)`` is
all it takes to write one down. They are made when somebody looks, from counters that the
parts of a node keep anyway.

Invariants:
    * Every text and every list has a limit, here and in what a peer sends.
    * Counts are since the start of the node and never go down, also when what was
      counted is gone: the items of a consumer that was closed stay in its stream's count.
    * A name that opens something is not in here: a collection is called what its
      group is advertised as.

A list that reached `LISTED_MAX` leaves out the rest; the sums beside it do not.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

LISTED_MAX: Final = 256
TEXT_CHARACTERS_MAX: Final = 200
EXPIRING_S: Final = 60.0
DELAY_BOUNDS_S: Final = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0)

Text = Annotated[str, msgspec.Meta(max_length=TEXT_CHARACTERS_MAX)]
Count = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
Counts = Annotated[dict[Text, Count], msgspec.Meta(max_length=LISTED_MAX)]
_Listed = msgspec.Meta(max_length=LISTED_MAX)


class LoopStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How late the event loop is: callbacks that were due at a moment ran that much later.

    Attributes:
        samples: How often it was measured.
        delay_sum_s: All delays together.
        delay_last_s: The last one.
        delay_max_s: The longest one.
        delays: How many were at most each of `DELAY_BOUNDS_S`.
    """

    samples: Count = 0
    delay_sum_s: float = 0.0
    delay_last_s: float = 0.0
    delay_max_s: float = 0.0
    delays: Annotated[tuple[Count, ...], msgspec.Meta(max_length=16)] = ()


class PeerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Another node, as this one knows it.

    Attributes:
        peer_id: Who it is, in 64 digits.
        addr: Where it is.
        rtt_s: The round-trip time to it; None while unmeasured.
        is_reachable: Whether it answers, as far as anybody can tell.
        is_connected: Whether there is a connection with it.
        is_neighbour: Whether there is a discovery link with it.
        last_heard_s: Since when nothing was heard of it, in seconds.
    """

    peer_id: Text
    addr: Text
    rtt_s: float | None
    is_reachable: bool
    is_connected: bool
    is_neighbour: bool
    last_heard_s: float


class DiscoveryStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Who is there.

    Attributes:
        peers: Peers that are known.
        unreachable: Those of them that do not answer.
        neighbours: Peers with a discovery link.
        refused: Entries that were refused, by reason.
    """

    peers: Count
    unreachable: Count
    neighbours: Count
    refused: Counts


class StreamStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One stream, from one side: all producers, or all consumers, that this node has of it.

    Attributes:
        name: The stream's name.
        stream_id: Its id.
        role: ``producer`` or ``consumer``.
        handles: How many of them are open.
        is_online: Whether one of them is online.
        subscriptions: Subscriptions that stand.
        subscriptions_opened: Subscriptions since the start.
        items: Items sent or received, for each subscription.
        bytes: Their bytes.
        rejected: Items received that were not of the stream's type.
        buffered: Items that wait: to be sent, or to be taken by the application.
    """

    name: Text
    stream_id: Text
    role: Text
    handles: Count
    is_online: bool
    subscriptions: Count
    subscriptions_opened: Count
    items: Count
    bytes: Count
    rejected: Count
    buffered: Count


class GroupStatus(msgspec.Struct, frozen=True, kw_only=True):
    """This node's member of a group; see `GroupMetrics` for the numbers of its log.

    Attributes:
        name: What the group is advertised as.
        group_id: Its id.
        role: What this member is in it; empty while it has no history.
        leader: Who leads, in 64 digits; empty when nobody is known to.
        why_offline: Why commands are not taken; empty when they are.
        members: Members that are known.
        voters: Those of them that vote.
        bonded: Members with a bond, this one included.
        term: The Raft term.
        commit_index: The log is committed up to here.
        applied_index: And applied up to here.
        last_index: Where it ends.
        log_bytes: What it takes in memory.
        position: Commands applied.
        pending_commands: Commands of this node that are not answered.
        elections: Leaders seen to take over.
        served_bytes: What this member has handed to those who catch up.
        sync_mismatches: How often a state that it fetched did not fit together.
    """

    name: Text
    group_id: Text
    role: Text
    leader: Text
    why_offline: Text
    members: Count
    voters: Count
    bonded: Count
    term: Count = 0
    commit_index: Count = 0
    applied_index: Count = 0
    last_index: Count = 0
    log_bytes: Count = 0
    position: Count = 0
    pending_commands: Count = 0
    elections: Count = 0
    served_bytes: Count = 0
    sync_mismatches: Count = 0


class CollectionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """This node's replica of a collection.

    Attributes:
        name: What its group is advertised as.
        group_id: The id of its group, which is among the groups, too.
        kind: What it is, such as ``Map``.
        elements: How many elements it has.
        version: How many commands this replica has seen.
        is_online: Whether writes are taken.
    """

    name: Text
    group_id: Text
    kind: Text
    elements: Count
    version: Count
    is_online: bool


class TicketsStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What this node shows of tickets, and makes of those of its peers.

    Attributes:
        shown: Tickets that the node shows itself.
        valid: Peers whose ticket is valid, counted for each validator.
        expiring: Those of them whose ticket ends within `EXPIRING_S`.
        awaited: Tickets that are to be validated.
        accepted: How often a ticket was validated and accepted.
        refused: How often one was not, by reason.
        validation_s: How long validators took for all of that.
    """

    shown: Count = 0
    valid: Count = 0
    expiring: Count = 0
    awaited: Count = 0
    accepted: Count = 0
    refused: Counts = {}
    validation_s: float = 0.0


class TransportStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The node's presence on the network.

    Attributes:
        connections: Peers with a usable connection.
        counters: What `TransportCounters` has counted, by name.
    """

    connections: Count
    counters: Counts


class ActorClassStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The living actors of one class.

    Attributes:
        actor_class: The class.
        count: How many there are.
        queued: Messages that wait for them.
        depth_max: The most that waited for one of them.
        handled: Messages that those living have handled.
        slow: Calls of handlers that held the loop for long.
        busy: How many are in the midst of a handler that waits.
        age_max_s: For how long the oldest message that waits has waited.
    """

    actor_class: Text
    count: Count
    queued: Count
    depth_max: Count
    handled: Count
    slow: Count
    busy: Count
    age_max_s: float = 0.0


class ActorsStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The actor system.

    Attributes:
        living: Living actors.
        created: Actors made since the start.
        exited: Actors that ended.
        handled: Messages handed to actors.
        queued: Messages in mailboxes.
        failures: Exceptions out of handlers, first attempts included.
        poisoned: Messages given up after the second failure.
        dead_letters: Messages to actors that had ended.
        slow: Calls of handlers that held the loop for long.
        classes: The living actors by class.
    """

    living: Count
    created: Count
    exited: Count
    handled: Count
    queued: Count
    failures: Count
    poisoned: Count
    dead_letters: Count
    slow: Count
    classes: Annotated[tuple[ActorClassStatus, ...], _Listed] = ()


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """All that a node shows of itself at one moment.

    Attributes:
        version: The version of mosaik-actors that it runs.
        network_id: The network, in 64 digits.
        peer_id: The node, in 64 digits.
        addr: Where others can reach it.
        tags: Its tags, in 64 digits each.
        at: When this was taken, in seconds since the Unix epoch.
        uptime_s: How long it runs.
        discovery: Who is there.
        peers: The peers, one by one.
        streams: The streams that it produces or consumes.
        groups: The groups that it is a member of, those of collections included.
        collections: The collections that it has open.
        transport: Its presence on the network.
        actors: Its actor system.
        loop: How late its event loop is; None in a simulation.
        tickets: What it makes of tickets.
    """

    version: Text
    network_id: Text
    peer_id: Text
    addr: Annotated[str, msgspec.Meta(max_length=4096)]
    tags: Annotated[tuple[Text, ...], _Listed]
    at: float
    uptime_s: float
    discovery: DiscoveryStatus
    peers: Annotated[tuple[PeerStatus, ...], _Listed]
    streams: Annotated[tuple[StreamStatus, ...], _Listed]
    groups: Annotated[tuple[GroupStatus, ...], _Listed]
    collections: Annotated[tuple[CollectionStatus, ...], _Listed]
    transport: TransportStatus
    actors: ActorsStatus
    loop: LoopStatus | None = None
    tickets: TicketsStatus = TicketsStatus()


def clip_text(text: str) -> str:
    """Return a text that fits into a record."""
    if len(text) <= TEXT_CHARACTERS_MAX:
        return text
    return text[: TEXT_CHARACTERS_MAX - 1] + "…"
