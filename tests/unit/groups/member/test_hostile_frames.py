"""A member with the key that says anything at all, well formed: nobody falls over it.

What it says may do harm to what the group decides; members are honest. But no
member may end, hang or grow without bound because of it.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from mosaik_actors.groups.config import ConsensusConfig, GroupsConfig
from mosaik_actors.groups.machine.machine import ApplyContext
from mosaik_actors.groups.member.history import FollowedHistory
from mosaik_actors.groups.mesh.wire import Beat, encode_frame
from mosaik_actors.groups.wire import bootstrap as bootstrap
from mosaik_actors.groups.wire import frames, system_entries
from mosaik_actors.groups.wire import merge as merge
from mosaik_actors.groups.wire import raft as wire
from mosaik_actors.groups.wire import sync as sync
from mosaik_actors.groups.wire.commands import CommandBatch
from mosaik_actors.groups.wire.configuration import encode_voters, make_voters
from mosaik_actors.groups.wire.records import Entry, EntryKind, SnapshotMetadata, Voters
from mosaik_actors.groups.wire.status import MemberStanding, Status
from mosaik_actors.ids import PeerId
from mosaik_actors.wire_encoding import encode
from tests.scenario.groups_machines import Journal, Put, SavedJournal

from ..member_world import Node, World

HUGE = (1 << 62) - 1
STRANGER = PeerId(bytes([200]) * 32)
STRANGE = bytes([7]) * 16


class Tolerant(SavedJournal):
    """A journal that bears positions that were made up by a peer."""

    def apply(self, command: Put, ctx: ApplyContext) -> bytes:
        self.note(command.client, command.number)
        return self.digests[-1]


class TolerantLog(Journal):
    """The same without snapshots."""

    def apply(self, command: Put, ctx: ApplyContext) -> bytes:
        self.note(command.client, command.number)
        return self.digests[-1]


class Hostile:
    """Makes frames for a victim that look as if they meant something."""

    def __init__(self, rng: Random, victim: Node, source: PeerId) -> None:
        self.rng = rng
        self.victim = victim
        self.source = source

    @property
    def history(self) -> FollowedHistory | None:
        return self.victim.member.history

    def frame(self) -> bytes:
        makers: list[Callable[[], bytes]] = [
            *[self.raft] * 6,
            *[self.sync_ask, self.sync_answer, self.merge_frame, self.bootstrap_frame] * 2,
            self.control,
            self.forward,
            self.beat,
        ]
        return self.rng.choice(makers)()

    # Values that are right, nearly right, or far from it.

    def pick(self, *values: Any) -> Any:
        return self.rng.choice(values)

    def index(self) -> int:
        base = 0 if self.history is None else self.history.raft.commit_index
        last = 0 if self.history is None else self.history.raft.last_index
        known = (base, base + 1, max(0, base - 1), last, last + 1, last + 5)
        return int(self.pick(0, 1, 2, HUGE, 1 << 40, *known, *known))

    def term(self) -> int:
        term = 0 if self.history is None else self.history.raft.term
        return int(self.pick(term, term, term, term, term + 1, max(0, term - 1)))

    def history_id(self) -> bytes:
        own = STRANGE if self.history is None else self.history.id
        return bytes(self.pick(own, own, own, STRANGE, self.rng.randbytes(16)))

    def peers(self) -> list[PeerId]:
        return [*(node.peer for node in self.victim.world.nodes), STRANGER]

    def voters(self) -> Voters:
        chosen = self.rng.sample(self.peers(), self.rng.randint(1, 4))
        left = [peer for peer in self.peers() if peer not in chosen]
        return make_voters(chosen, left[: self.rng.randint(0, 2)])

    def command_batch(self, *, is_readable: bool = False) -> CommandBatch:
        """Return commands; what a leader commits is readable, or it would end the victim."""
        (command,) = self.victim.member.host.codec.encode([Put("hostile", 1)])
        junk = () if is_readable else (b"", b"x", b"\x91\x01")
        payloads = [self.pick(*junk, command) for _ in range(3)]
        client = self.pick(self.victim.client.client_id, bytes(16), self.rng.randbytes(16))
        first, answered = self.pick(1, 2, 5, HUGE - 3, HUGE), self.pick(0, 1, 6, HUGE)
        return CommandBatch(client, self.pick(0, 1, HUGE), first, answered, tuple(payloads))

    def system_entry(self) -> system_entries.SystemEntry:
        count = self.pick(0, 1, 3, HUGE)
        system_entry: system_entries.SystemEntry = self.pick(
            system_entries.TakeSnapshot(self.rng.randbytes(16)),
            system_entries.AcceptMerge(self.history_id(), self.rng.randbytes(16)),
            system_entries.CloseInto(self.history_id(), self.pick(0, 0, 1)),
            self.replay(),
            system_entries.FinishMerge(self.history_id(), count, (self.history_id(),) * 2),
        )
        return system_entry

    def replay(self) -> system_entries.Replay:
        after, origin_after = self.pick(0, 1, 3, HUGE), self.pick(0, 1, HUGE)
        origin = self.pick(b"", b"abc", self.history_id())
        return system_entries.Replay(
            self.history_id(), (self.command_batch(is_readable=True),), after, origin, origin_after
        )

    def entries(self, after: int, term: int) -> tuple[Entry, ...]:
        made = []
        for index in range(after + 1, after + 1 + self.rng.randint(0, 3)):
            kind = self.pick(*EntryKind)
            data = {
                EntryKind.NOOP: b"",
                EntryKind.COMMANDS: self.pick(
                    b"junk", encode((self.command_batch(is_readable=True),))
                ),
                EntryKind.CONFIGURATION: encode_voters(self.voters()),
                EntryKind.SYSTEM: self.pick(
                    b"junk", system_entries.encode_system_entry(self.system_entry())
                ),
            }[kind]
            made.append(Entry(index, term, kind, data))
        return tuple(made)

    def metadata(self) -> SnapshotMetadata:
        return SnapshotMetadata(self.index() or 1, self.term() or 1, self.voters())

    # Frames.

    def raft(self) -> bytes:
        term, index, yes = self.term(), self.index(), self.pick(True, False)
        known = None if self.history is None else self.history.raft.term_at(index)
        prev_term = known or self.pick(0, 1, term)
        entries = self.entries(index, self.pick(term, max(prev_term, 1)))
        append = wire.Append(term, index, prev_term, self.index(), entries)
        number = self.pick(0, 1, 2, 9, HUGE)
        message = self.pick(
            append,
            append,
            append,
            wire.Appended(term, index),
            wire.AppendRejected(term, index, self.index(), self.term()),
            wire.Heartbeat(term, index, number),
            wire.HeartbeatReply(term, number, index),
            wire.VoteRequest(term + self.pick(0, 1), index, self.term(), yes, not yes),
            wire.VoteReply(term + self.pick(0, 1), yes, not yes, index, self.term()),
            wire.SnapshotOffer(term, self.metadata()),
            wire.TimeoutNow(term),
            wire.ReadRequest(term, number),
            wire.ReadReply(term, number, self.pick(None, index)),
        )
        return frames.with_history(frames.RAFT, self.history_id(), encode(message))

    def sync_ask(self) -> bytes:
        request = self.pick(
            sync.FetchEntries(1, self.index() or 1, self.pick(1, 32_768)),
            sync.WantSnapshot(1, self.index() or 1),
            sync.FetchParts(1, self.rng.randbytes(16), self.pick(0, 1 << 20), 4096),
        )
        return frames.with_history(frames.SYNC_ASK, self.history_id(), sync.encode_message(request))

    def sync_answer(self) -> bytes:
        task: Any = None if self.history is None else self.history.sync._task
        numbers = [3]
        for part in (task, getattr(task, "_replay", None), getattr(task, "_fetch", None)):
            plan = getattr(part, "_plan", None)
            numbers += [ask.number for ask in plan.in_flight] if plan is not None else []
            numbers.append(getattr(part, "_number", 3))
        number = self.rng.choice(numbers)
        index = self.pick(self.index(), getattr(task, "_next", 1) - 1)
        entries = self.entries(index, self.term() or 1)
        whole = self.pick(None, sync.SnapshotSummary(self.pick(0, 1, 1 << 20), bytes(32)))
        answer = self.pick(
            sync.EntryRange(number, 1, self.index(), self.pick(0, 1, self.term()), entries),
            sync.SnapshotNamed(number, self.rng.randbytes(16), self.metadata()),
            sync.PartRange(number, (b"", encode([1, 2]))[: self.rng.randint(0, 2)], whole),
            sync.NotHere(number, self.pick(True, False)),
        )
        return frames.with_history(
            frames.SYNC_ANSWER, self.history_id(), sync.encode_message(answer)
        )

    def merge_frame(self) -> bytes:
        own = self.victim.member._following.merge
        asked = getattr(own._asking, "_request", None)
        request_id = self.pick(bytes(16), self.rng.randbytes(16), *filter(None, [asked]))
        request_id = getattr(request_id, "request_id", request_id)
        run, count = self.pick(0, own._sending._run), self.pick(0, 1, 5, HUGE)
        finish = system_entries.FinishMerge(
            self.history_id(), self.pick(0, 1, 3), (self.history_id(),)
        )
        message = self.pick(
            merge.MergeRequest(self.history_id(), request_id, self.index()),
            merge.MergeAccepted(self.history_id(), request_id),
            merge.MergeRefused(request_id, self.pick(*merge.MergeRefusal)),
            merge.ReplayQuery(self.history_id()),
            merge.ReplayState(self.history_id(), self.history_id(), count, False),
            merge.ReplayCommands(run, self.replay()),
            merge.ReplayDone(run, count),
            merge.ReplayRefused(run, self.pick(*merge.MergeRefusal)),
            merge.ReplayEnd(run, finish),
        )
        return frames.plain(frames.MERGE, merge.encode_merge(message))

    def bootstrap_frame(self) -> bytes:
        own = self.victim.member._following.bootstrap
        proposal = self.proposal()
        if own._promises.prepare_vote is not None and self.pick(True, False):
            proposal = own._promises.prepare_vote.proposal
        elif own._proposal is not None and self.pick(True, False):
            proposal = own._proposal
        history = proposal.history
        message = self.pick(
            bootstrap.Seek(self.rng.randbytes(bootstrap.INCARNATION_BYTES), self.pick(True, False)),
            bootstrap.Propose(proposal),
            bootstrap.Prepared(proposal),
            bootstrap.Complete(proposal),
            bootstrap.AskOutcome(proposal),
            bootstrap.Declined(history, self.pick(*bootstrap.DeclineReason)),
            bootstrap.Promised(history),
            bootstrap.Dead(history),
        )
        return frames.plain(frames.BOOTSTRAP, bootstrap.encode_message(message))

    def proposal(self) -> bootstrap.Proposal:
        """Return a proposal that names both ends, and somebody else or nobody."""
        me, own = self.victim.peer, self.victim.member._following.bootstrap._promises.incarnation
        others = [peer for peer in self.peers() if peer not in (me, self.source)]
        voters = sorted([me, self.source, self.rng.choice(others)])
        drawn = self.rng.randbytes(bootstrap.INCARNATION_BYTES)
        incarnations = [own if peer == me else drawn for peer in voters]
        proposer = self.pick(self.source, self.source, me)
        return bootstrap.Proposal(self.history_id(), proposer, tuple(voters), tuple(incarnations))

    def control(self) -> bytes:
        refused = frames.ForwardRefused(
            self.history_id(), self.victim.client.client_id, self.index()
        )
        return frames.encode_control(
            self.pick(frames.JoinAccepted(self.history_id(), self.index()), refused)
        )

    def forward(self) -> bytes:
        return frames.encode_forward(self.history_id(), self.command_batch())

    def beat(self) -> bytes:
        status = Status(
            standing=self.pick(*MemberStanding),
            history=self.pick(b"", b"odd", self.history_id()),
            term=self.term(),
            leader=self.pick(None, *self.peers()),
            commit_index=self.index(),
            first_index=self.index(),
            is_observer=self.pick(False, False, True),
            leadership_factor=self.pick(1.0, 1000.0),
            is_leaving=self.pick(False, False, True),
            is_catching_up=self.pick(False, False, True),
            closed_into=self.pick(b"", b"", self.history_id()),
        )
        return encode_frame(Beat(status))


@pytest.mark.parametrize("seed", range(16))
def test_member_bears_whatever_a_bonded_peer_says(seed: int) -> None:
    rng = Random(seed)
    world = World(
        3,
        rng.choice([Tolerant, TolerantLog]),
        is_durable=seed % 2 == 0,
        consensus=ConsensusConfig(initial_voters=rng.choice([1, 1, 3])),
        settings=rng.choice([GroupsConfig(), GroupsConfig(compact_entries=20, keep_entries=5)]),
        seed=seed,
    )
    world.start(0, 1, 2)
    world.run(rng.random() * 3)
    victim = world.nodes[rng.randrange(3)]
    said = 0
    for number in range(120):
        if not victim.member.statuses:
            world.run(1)  # the last one was too much, and it takes a while to bond anew
            continue
        source = rng.choice(list(victim.member.statuses))
        link_id = victim.member.mesh.link_of(source)
        assert link_id is not None
        hostile = Hostile(rng, victim, source)
        command_batch = [hostile.frame() for _ in range(rng.choice([1, 1, 1, 3]))]
        said += len(command_batch)
        victim.pump(victim.member.receive_frames, link_id, command_batch)
        world.run(rng.choice([0, 0, 0.001, 0.01, 0.1, 0.5]))
        if number % 10 == 0:
            world.submit(victim.number, Put("own", number))
    assert said > 50
    # It is there still, and its log has grown by no more than what was said.
    world.run(1)
    for node in world.nodes:
        if node.member.history is not None:
            assert node.member.history.raft.last_index < 2000
            assert node.member.history.raft.log.size_bytes < 1 << 20
