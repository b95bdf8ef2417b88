"""The commands of a history that ended, read off its log for another history.

Not every command in a log was applied: a repeated one was not, nor one that came too early. Which
ones were is worked out as every member did it, by running the sessions and the ledger over the log
once more, without the machine. So the whole log is needed, from its first entry on; a history whose
log was compacted cannot be merged into another one.

What comes out is a row of `Replay` system entries, alike whoever reads the log:

    * It holds every command applied up to the `CloseInto` that ended the history, once, in order,
      and nothing that comes after.
    * Commands that the history had itself taken in from others keep their origin and their holder.
      Those of the histories that it continues keep their origin, and it is their holder. A system
      entry is of one origin and one holder.
    * A command's session begins nowhere (`BORN_LATEST`): it was applied, and has not expired.
    * A system entry takes at most `CHUNK_BYTES`, or one payload if that is larger.

A log is read in slices, so that a long one stalls nobody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from ...errors import DecodeError
from ..machine.host import read_entry
from ..machine.ledger import Ledger, skip_commands
from ..machine.sessions import Refusal, SessionLimits, Sessions
from ..machine.sync_roles import LogReader
from ..wire.commands import COMMAND_BATCHES_MAX, CommandBatch, count_commands
from ..wire.status import Ancestor
from ..wire.system_entries import FinishMerge, Replay, SystemEntry
from ..wire.types import INDEX_MAX

CHUNK_BYTES: Final = 256 * 1024
CHUNK_COMMANDS: Final = 4096
SLICE_ENTRIES: Final = 64
SLICE_BYTES: Final = 256 * 1024
BORN_LATEST: Final = INDEX_MAX

_COMMAND_OVERHEAD_BYTES: Final = 5
_COMMAND_BATCH_OVERHEAD_BYTES: Final = 64


def is_whole(log: LogReader) -> bool:
    """Return whether a log still has its first entry."""
    return log.first_index <= 1


def merged_commands(
    history: bytes, log: LogReader, *, ancestors: Sequence[Ancestor] = ()
) -> Iterator[tuple[bytes, ...]]:
    """Yield what was applied in a history, encoded, in order; nothing when its log is compacted.

    After each slice of the log that brings nothing, an empty tuple.
    """
    stream = ReplayStream(history, log, ancestors=ancestors)
    while stream.has_more:
        stream.read()
        yield ()
        while (system_entry := stream.take()) is not None:
            yield from (command_batch.payloads for command_batch in system_entry.command_batches)


class ReplayStream:
    """Reads one log, slice by slice: call `read`, then `take` until it returns None.

    The first `skip_count` commands are not wanted. `ancestors` are the histories that this one
    continues, as its ledger has them.
    """

    def __init__(
        self,
        history: bytes,
        log: LogReader,
        limits: SessionLimits | None = None,
        *,
        skip_count: int = 0,
        ancestors: Sequence[Ancestor] = (),
    ) -> None:
        self.is_at_end = False  # the entry that ended the history is read: `take` has the rest
        self.is_compacted = not is_whole(log)  # what is to be read next is gone: give it up
        self._history = history
        self._log = log
        self._skip_count = skip_count
        self._next_index = 1
        self._ancestors = ancestors
        self._ledger = Ledger(ancestors[0].history if ancestors else history)
        self._sessions = Sessions(limits)
        self._answered: dict[bytes, int] = {}
        self._position = 0
        self._open = _Chunk()
        self._chunks: deque[Replay] = deque()

    @property
    def has_more(self) -> bool:
        """Whether `read` would read anything now."""
        ended = self.is_at_end or self.is_compacted
        return not ended and self._next_index <= self._log.commit_index

    def read(self) -> None:
        """Read the next slice of the log."""
        if not self.has_more:
            return
        entries = self._log.entries(
            self._next_index, count_max=SLICE_ENTRIES, bytes_max=SLICE_BYTES
        )
        self.is_compacted = not entries
        for entry in entries:
            self._next_index = entry.index + 1
            with suppress(DecodeError):  # void on every member
                self._take_in(read_entry(entry), entry.index)
            if self.is_at_end:
                break
        if self.is_at_end or self._next_index > self._log.commit_index:
            self._flush()

    def take(self) -> Replay | None:
        """Return the next system entry to be replayed, None when more must be read first."""
        return self._chunks.popleft() if self._chunks else None

    def finish(self) -> FinishMerge:
        """Return the system entry that says that all of it was replayed. At the end only."""
        assert self.is_at_end, f"finished at {self._next_index}, before the end"
        return FinishMerge(self._history, self._position, self._ledger.merged)

    def _take_in(self, content: tuple[CommandBatch, ...] | SystemEntry | None, index: int) -> None:
        if content is None:
            return
        if isinstance(content, tuple):
            for command_batch in content:
                fresh = self._fresh_of(command_batch, index)
                if fresh is not None:
                    self._add_own(fresh)
            return
        taken = self._ledger.apply(content)
        if isinstance(content, Replay) and taken is not None:
            for command_batch in taken:
                self._fresh_of(command_batch, index)
            count = sum(command_batch.command_count for command_batch in taken)
            origin_after = content.origin_after + content.command_count - count
            history = content.history
            self._add(taken, content.origin or history, origin_after, content.holder or history)
        self.is_at_end = bool(self._ledger.closed_into)

    def _fresh_of(self, command_batch: CommandBatch, index: int) -> CommandBatch | None:
        """Return what of a command batch was applied, None for nothing."""
        answers = self._sessions.apply(command_batch, index, lambda given: [None] * len(given))
        answered = max(command_batch.answered, self._answered.get(command_batch.client, 0))
        self._answered[command_batch.client] = answered
        fresh = [a for a in answers if a.refusal is Refusal.NONE and not a.is_repeated]
        if not fresh:
            return None
        first = fresh[0].sequence
        start = first - command_batch.first_sequence
        # What the client had claimed to know by then frees the same room for
        # results as it did here, though the command batch that said so is left out.
        return CommandBatch(
            command_batch.client,
            BORN_LATEST,
            first,
            min(answered, first - 1),
            command_batch.payloads[start : start + len(fresh)],
        )

    def _add_own(self, command_batch: CommandBatch) -> None:
        """Add commands that were first applied in this log, by whichever history it then was."""
        start, count, ledger = 0, command_batch.command_count, self._ledger
        for origin, end in [*((a.history, a.own_count) for a in self._ancestors), (b"", INDEX_MAX)]:
            stop = min(count, start + end - ledger.own_count)
            if stop > start:
                self._add([command_batch.part(start, stop)], origin, ledger.own_count)
                ledger.own_count += stop - start
                start = stop

    def _add(
        self,
        command_batches: Sequence[CommandBatch],
        origin: bytes,
        origin_after: int,
        holder: bytes = b"",
    ) -> None:
        """Add commands of one origin and one holder, in a row, to the chunks."""
        for piece in (piece for batch in command_batches for piece in _split(batch)):
            count = piece.command_count
            skipped = min(count, max(0, self._skip_count - self._position))
            for command_batch in skip_commands((piece,), skipped):
                is_alike = (self._open.origin, self._open.holder) == (origin, holder)
                if not is_alike or not self._open.has_room_for(command_batch):
                    self._flush()
                if not self._open.command_batches:
                    after = self._position + skipped
                    self._open = _Chunk(origin, holder, after, origin_after + skipped)
                self._open.add(command_batch)
            self._position += count
            origin_after += count

    def _flush(self) -> None:
        chunk = self._open
        if chunk.command_batches:
            place = (chunk.after, chunk.origin, chunk.origin_after, chunk.holder)
            self._chunks.append(Replay(self._history, tuple(chunk.command_batches), *place))
            self._open = _Chunk()


@dataclass(slots=True)
class _Chunk:
    """A system entry in the making."""

    origin: bytes = b""
    holder: bytes = b""
    after: int = 0
    origin_after: int = 0
    command_batches: list[CommandBatch] = field(default_factory=list)
    size_bytes: int = 0
    command_count: int = 0

    def has_room_for(self, command_batch: CommandBatch) -> bool:
        return not self.command_batches or (
            self.size_bytes + _size(command_batch) <= CHUNK_BYTES
            and self.command_count + command_batch.command_count <= CHUNK_COMMANDS
            and len(self.command_batches) < COMMAND_BATCHES_MAX
        )

    def add(self, command_batch: CommandBatch) -> None:
        self.command_batches.append(command_batch)
        self.size_bytes += _size(command_batch)
        self.command_count += command_batch.command_count


def _size(command_batch: CommandBatch) -> int:
    payloads = command_batch.payloads
    overhead = _COMMAND_BATCH_OVERHEAD_BYTES + _COMMAND_OVERHEAD_BYTES * len(payloads)
    return overhead + sum(map(len, payloads))


def _split(command_batch: CommandBatch) -> list[CommandBatch]:
    """Return a command batch in pieces that fit a chunk, or have one payload."""
    half, count = len(command_batch.payloads) // 2, command_batch.command_count
    if not half or (count <= CHUNK_COMMANDS and _size(command_batch) <= CHUNK_BYTES):
        return [command_batch]
    middle = sum(map(count_commands, command_batch.payloads[:half]))
    return [*_split(command_batch.part(0, middle)), *_split(command_batch.part(middle, count))]
