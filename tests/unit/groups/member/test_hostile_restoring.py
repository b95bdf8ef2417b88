"""A member whose machine is half restored: nothing may reach that machine."""

from collections.abc import Iterable

from mosaik_actors.groups.config import GroupsConfig
from mosaik_actors.groups.wire import frames
from mosaik_actors.groups.wire.raft import Message, VoteReply, encode_message
from tests.scenario.groups_machines import Put, SavedJournal

from ..member_world import Node, World

SETTINGS = GroupsConfig(compact_entries=50, keep_entries=5, replace_after=1000.0)


class Slow(SavedJournal):
    """A journal that takes many turns to restore."""

    def restore(self, parts: Iterable[bytes]) -> Iterable[None]:  # type: ignore[override]
        for _ in range(2000):
            yield
        yield from super().restore(parts)


def receive(node: Node, message: Message) -> None:
    """Have a bonded peer say something to a member."""
    history, said_by = node.member.history, next(iter(node.member.statuses))
    link_id = node.member.mesh.link_of(said_by)
    assert history is not None
    assert link_id is not None
    frame = frames.with_history(frames.RAFT, history.id, encode_message(message))
    node.pump(node.member.receive_frames, link_id, [frame])


def test_vote_that_tells_of_a_commit_waits_until_the_machine_is_restored() -> None:
    """It was restarted, so it has more than it knows to be committed; then it needs a snapshot."""
    world = World(3, Slow, is_durable=True, settings=SETTINGS)
    leader = world.form(0, 1, 2)
    for number in range(10):
        world.execute(leader.number, Put("a", number))
    lagging = world.nodes[(leader.number + 1) % 3]
    world.crash(lagging.number)
    for number in range(90):
        world.execute(leader.number, Put("b", number))
    world.start(lagging.number)
    history = lagging.member.history
    assert history is not None
    world.until(lambda: history.sync.is_restoring)
    known, last = history.raft.commit_index, history.raft.log.last_index
    assert known < last
    # It stood for election meanwhile, and a voter that is behind as well answers.
    term = history.raft.term_at(last)
    assert term is not None
    receive(lagging, VoteReply(history.raft.term, False, True, last, term))
    assert history.raft.commit_index == known
    world.until(lambda: not history.sync.is_restoring)
    world.run(1)
    assert isinstance(lagging.machine, Slow)
    assert len(lagging.machine.journal) == 100
