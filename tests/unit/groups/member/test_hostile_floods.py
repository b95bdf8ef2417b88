"""Members and strangers that send too much, too early, or in odd portions."""

from random import Random

import pytest

from mosaik_actors.groups.client.calls import Submission
from mosaik_actors.groups.machine.sync_roles import SyncContext, SyncProvider
from mosaik_actors.groups.mesh.handshake import NONCE_BYTES, VERSION, OpenerHello
from mosaik_actors.groups.sync.provider import ANSWERS_MAX, LogProvider, SnapshotProvider
from mosaik_actors.groups.sync.settings import LogReplaySync, SnapshotSync
from mosaik_actors.groups.wire import frames
from mosaik_actors.groups.wire.commands import COMMAND_BATCHES_MAX, CommandBatch
from mosaik_actors.groups.wire.records import Entry, EntryKind
from mosaik_actors.groups.wire.sync import FetchEntries, encode_message
from mosaik_actors.transport.close import CloseCode
from mosaik_actors.wire_encoding import encode
from tests.scenario.groups_machines import Journal, Put

from ..cores import peer as replica
from ..member_world import GROUP, World, peer
from ..sync_world import make_raft

LARGE = [Entry(index, 1, EntryKind.COMMANDS, bytes(100_000)) for index in range(1, 11)]


def context() -> SyncContext:
    return SyncContext(
        me=replica(0),
        log=make_raft(0, LARGE),
        rng=Random(0),
        now=0.0,
        is_leader=lambda: True,
        next_index=1,
    )


@pytest.mark.parametrize("sync", [LogReplaySync(), SnapshotSync()])
def test_provider_answers_few_of_many_requests_at_once(sync: LogReplaySync | SnapshotSync) -> None:
    """Each answer is thousands of times as large as its request."""
    provider: SyncProvider = sync.provider(context())
    assert isinstance(provider, LogProvider | SnapshotProvider)
    for number in range(1000):
        request = encode_message(FetchEntries(number, 1, 10))
        provider.receive_message(replica(1), request, now=0.0)
    provider.receive_message(replica(2), encode_message(FetchEntries(1, 1, 10)), now=0.0)
    asked = []
    while (event := provider.next_event()) is not None:
        asked.append(getattr(event, "peer", None))
    # The other one is served all the same, and the first one may ask again.
    assert asked == [*[replica(1)] * ANSWERS_MAX, replica(2)]
    provider.receive_message(replica(1), encode_message(FetchEntries(7, 1, 10)), now=0.0)
    assert provider.next_event() is not None


def test_frame_before_the_proof_ends_the_link() -> None:
    """A stranger has a second or two for its proof, and says nothing else meanwhile."""
    world = World(2, Journal)
    world.start(0)
    member, stranger = world.nodes
    link_id = member.new_link(1, 1)
    # The id of the group is no secret.
    header = encode(OpenerHello(VERSION, GROUP, bytes(NONCE_BYTES)))
    member.pump(member.member.mesh.receive_offer, link_id, stranger.peer, header)
    before = member.bytes_out
    flood = [frames.plain(kind, bytes(1 << 20)) for kind in range(1, 8)]
    member.pump(member.member.receive_frames, link_id, flood)
    assert [reason.code for _, reason in member.closed] == [CloseCode.GROUP_INVALID_HANDSHAKE]
    assert member.bytes_out == before
    assert not member.member.statuses


def test_many_small_command_batches_at_once_are_all_applied() -> None:
    """An entry holds so many command batches and no more: what is joined must be read again."""
    world = World(3, Journal)
    leader = world.form(0, 1, 2)
    history = leader.member.history
    assert history is not None
    link_id = leader.member.mesh.link_of(peer((leader.number + 1) % 3))
    assert link_id is not None
    (payload,) = leader.member.host.codec.encode([Put("many", 0)])
    count = COMMAND_BATCHES_MAX + 10
    forwarded = [
        frames.encode_forward(
            history.id, CommandBatch(b"one of many bran", 0, number + 1, 0, (payload,))
        )
        for number in range(count)
    ]
    token = world.submit(leader.number, Put("own", 0))
    leader.pump(leader.member.receive_frames, link_id, forwarded)
    world.until(lambda: token in leader.outcomes)
    world.run(1)
    assert isinstance(leader.outcomes[token], Submission)
    assert isinstance(leader.machine, Journal)
    assert len(leader.machine.numbers_of("many")) == count
