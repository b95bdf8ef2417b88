"""How fast the cores are, without any network or disk; and a look at the hot path.

CPU time is measured, so that a busy machine does not matter. The bar is far
below what is reached, and far above what links and disks allow later. For a
profile: ``python -m tests.unit.groups.raft.test_raft_throughput``.
"""

from __future__ import annotations

import cProfile
import pstats
from random import Random
from time import process_time

from mosaik_actors.groups.raft.config import RaftConfig
from mosaik_actors.groups.raft.raft import Raft
from mosaik_actors.groups.wire.commands import CommandBatch, encode_command_batches
from mosaik_actors.groups.wire.configuration import make_voters
from mosaik_actors.groups.wire.raft import Message, decode_message, encode_message
from mosaik_actors.groups.wire.records import SnapshotMetadata
from mosaik_actors.ids import PeerId

from ..cores import peer

BATCH = 256
COMMAND = bytes(100)
BAR = 100_000


class Loop:
    """Three cores in one loop; messages are encoded and decoded, nothing is checked."""

    def __init__(self) -> None:
        ids = [peer(number) for number in range(3)]
        metadata = SnapshotMetadata(0, 0, make_voters(ids))
        self.rafts = {
            me: Raft(me, RaftConfig(), Random(1), now=0.0, metadata=metadata) for me in ids
        }
        self.mail: list[tuple[PeerId, PeerId, bytes]] = []
        self.leader = self.rafts[ids[0]]
        self.leader.handle_timer(now=self.leader.get_timer())
        self.run()
        assert self.leader.is_leader

    def run(self) -> None:
        """Do all pending I/O and deliver all mail, until nothing moves."""
        while True:
            for me, raft in self.rafts.items():
                while (ready := raft.next_ready()) is not None:
                    self.post(me, ready.early_messages)
                    raft.persisted(ready)
                    self.post(me, ready.messages)
                    if ready.committed:
                        raft.applied(ready.committed[-1].index)
            if not self.mail:
                return
            mail, self.mail = self.mail, []
            for sender, to, data in mail:
                self.rafts[to].receive_message(sender, decode_message(data), now=2.0)

    def post(self, sender: PeerId, messages: tuple[tuple[PeerId, Message], ...]) -> None:
        for to, message in messages:
            self.mail.append((sender, to, encode_message(message)))

    def compact(self) -> None:
        for raft in self.rafts.values():
            raft.compact(raft.metadata_at(raft.applied_index))
        self.run()


def commands_per_second(batches: int, *, entry_per_command: bool) -> float:
    """Return how many commands are committed per second of CPU time."""
    loop = Loop()
    before = loop.leader.commit_index
    began_s = process_time()
    for number in range(batches):
        if entry_per_command:
            for _ in range(BATCH):
                loop.leader.propose(COMMAND)
        else:
            command_batch = CommandBatch(
                bytes(16), 0, number * BATCH + 1, number * BATCH, (COMMAND,) * BATCH
            )
            loop.leader.propose(encode_command_batches([command_batch]), number)
        loop.run()
        if number % 16 == 15:
            loop.compact()
    passed_s = process_time() - began_s
    entries = loop.leader.commit_index - before
    assert entries == batches * (BATCH if entry_per_command else 1)
    return batches * BATCH / passed_s


def test_batches_of_256_are_far_above_what_links_allow() -> None:
    assert max(commands_per_second(100, entry_per_command=False) for _ in range(3)) > BAR


def test_even_an_entry_for_each_command_is() -> None:
    assert max(commands_per_second(40, entry_per_command=True) for _ in range(5)) > BAR / 2


def main() -> None:
    """Print the rates, and where the time goes."""
    for entry_per_command in (False, True):
        rates = [commands_per_second(200, entry_per_command=entry_per_command) for _ in range(3)]
        print(f"entry per command {entry_per_command}: {max(rates):,.0f} commands/s")  # noqa: T201
    profile = cProfile.Profile()
    profile.runcall(commands_per_second, 200, entry_per_command=True)
    pstats.Stats(profile).sort_stats("tottime").print_stats(14)


if __name__ == "__main__":
    main()
