"""Commands on their way to the leader, and into the log where the leader is.

Whatever piled up since the last turn leaves together: at the leader as entries of a good size,
elsewhere as frames to the leader. What came of them is learnt by applying the log (`history`); here
only those that certainly did not get into it are notified at once, so that they come again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ...errors import DecodeError
from ...ids import PeerId
from ..raft.raft import Raft
from ..wire.commands import COMMAND_BATCHES_MAX, CommandBatch, encode_command_batches
from ..wire.frames import ForwardRefused, encode_control, encode_forward
from .context import Context

ENTRY_BYTES: Final = 256 * 1024  # proposals are joined up to this size: applied in milliseconds

Origin = tuple[PeerId | None, CommandBatch]
"""A command batch, and the peer that forwarded it; None for one's own."""


@dataclass(slots=True)
class CommandProposal:
    """The token of a proposal: the command batches in one entry."""

    command_batches: Sequence[Origin]


class Commands:
    """The commands of one member on their way."""

    def __init__(self, context: Context, raft: Raft, history: bytes) -> None:
        self._context = context
        self._raft = raft
        self._history = history
        self._waiting: list[Origin] = []
        self._route: object = None
        self.unreadable_count = 0  # commands of others that could not be decoded

    def has_more(self, *, now: float) -> bool:
        """Return whether another `send` would find commands: answers have made room."""
        return self._raft.leader is not None and self._context.client.may_take(now)

    def receive_forward(self, peer: PeerId, command_batch: CommandBatch) -> None:
        """Take in commands of another member, which takes this one for the leader.

        Those that are not readable are dropped, and repeated by whoever means them, until
        that gives up: what is refused comes again at once.
        """
        if self.is_readable(peer, command_batch.payloads):
            self._waiting.append((peer, command_batch))

    def is_readable(self, peer: PeerId, payloads: Sequence[bytes]) -> bool:
        """Return whether commands of another member may get into the log: all, or none of them.

        Committed, one that could not be decoded would end every member.
        """
        try:
            self._context.host.check_readable(payloads)
        except DecodeError as exc:
            self.unreadable_count += 1
            if self.unreadable_count == 1:
                self._context.warn(f"commands of peer {peer.short} are not taken in: {exc}")
            return False
        return True

    def route(self, *, now: float) -> None:
        """Notify those who ask the leader when there is another one, or it is out of reach."""
        raft, context = self._raft, self._context
        leader = raft.leader
        is_near = leader == context.me or leader in context.statuses
        route = (leader, raft.term, is_near)
        if route != self._route:
            self._route, epoch = route, (self._history, leader, raft.term)
            context.client.set_leader(leader is not None and is_near, epoch, now)
            context.reads.retry_now(now=now)

    def send(self, *, now: float) -> None:
        """Put what has piled up on its way."""
        raft, context = self._raft, self._context
        leader = raft.leader
        if leader is not None:
            command_batches = context.client.take_command_batches(now, raft.commit_index)
            if leader == context.me:
                self._waiting += [(None, command_batch) for command_batch in command_batches]
            else:
                for command_batch in command_batches:
                    context.send(leader, encode_forward(self._history, command_batch))
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            if raft.is_leader and not context.host.ledger.closed_into:
                self._propose(waiting)
            else:
                self.refuse(waiting, now=now)

    def refuse(self, command_batches: Sequence[Origin], *, now: float) -> None:
        """Notify whose they are that these command batches are not in the log."""
        for peer, batch in command_batches:
            if peer is None:
                self._context.client.receive_refused(batch.first_sequence, now)
            else:
                refusal = ForwardRefused(self._history, batch.client, batch.first_sequence)
                self._context.send(peer, encode_control(refusal))

    def _propose(self, waiting: list[Origin]) -> None:
        """Propose them in entries of a good size."""
        start, size_bytes = 0, 0
        for number, (_, batch) in enumerate(waiting):
            batch_bytes = sum(map(len, batch.payloads))
            is_large = size_bytes + batch_bytes > ENTRY_BYTES
            if number > start and (is_large or number - start == COMMAND_BATCHES_MAX):
                self._propose_entry(waiting[start:number])
                start, size_bytes = number, 0
            size_bytes += batch_bytes
        self._propose_entry(waiting[start:])

    def _propose_entry(self, command_batches: list[Origin]) -> None:
        is_awaited = any(peer is not None for peer, _ in command_batches)
        data = encode_command_batches([command_batch for _, command_batch in command_batches])
        self._raft.propose(data, CommandProposal(command_batches), is_awaited=is_awaited)
