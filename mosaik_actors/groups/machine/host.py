"""The host of a machine: what a member does with the committed log.

It gives the log's commands to the machine, each once (`sessions`), and counts them; it keeps the
group's own decisions (`ledger`); it makes snapshots of all of that, and takes them in.

Invariants:
    * The same entries in the same order give the same state, the same positions and the same bytes
      of a snapshot on every member, however many of them come in one call.
    * After the history is closed no command is applied any more.
    * A command of another history that is replayed counts as one of here, and is applied once.
    * A machine that has failed is given nothing more until it is put back.
    * What a command returned is kept at the end of its entry, so that all members have
      the same results at the same place in the log.

Entries that cannot be read do nothing, alike everywhere: their form is the
library's own. A command that could not be decoded is another matter, for what is
one depends on the user's types: it ends the member, as a machine that raises does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import msgspec

from ...errors import DecodeError, RemoteError, clip
from ...ids import GroupId, NetworkId
from ..wire.commands import CommandBatch, decode_command_batches
from ..wire.records import Entry, EntryKind
from ..wire.system_entries import Replay, SystemEntry, TakeSnapshot, decode_system_entry
from .initial import InitialState
from .ledger import Ledger
from .machine import QueryAnswer, StateMachine
from .runner import MachineFailed, Runner
from .sessions import CommandAnswer, Refusal, SessionLimits, Sessions, refuse
from .snapshot import Header, SnapshotError, checked_parts

SNAPSHOTS_KEPT: Final = 4
"""Snapshots kept of those that one call of `apply` takes: the latest."""


class HostSnapshot(msgspec.Struct, frozen=True):
    """A snapshot that the log asked for, taken at the very entry that did: at `index`.

    The parts are made as they are asked for; there are none when the machine has no snapshots or
    failed to begin one, and `failure` says why.
    """

    index: int
    request_id: bytes
    parts: Iterator[bytes] | None
    failure: str = ""


class Replayed(msgspec.Struct, frozen=True):
    """Commands of another history that were applied here, in order."""

    holder: bytes  # the history with whose end users are notified of them (`Replay.holder`)
    payloads: tuple[bytes, ...]


@dataclass(slots=True)
class Applied:
    """What came of some entries; `Host.apply` says for whom, and whether with snapshots."""

    my_client: bytes
    takes_snapshots: bool
    # What became of the own client's commands, in log order.
    answers: list[CommandAnswer] = field(default_factory=list)
    # The snapshots that were asked for; the latest `SNAPSHOTS_KEPT`.
    snapshots: deque[HostSnapshot] = field(default_factory=lambda: deque(maxlen=SNAPSHOTS_KEPT))
    replayed: list[Replayed] = field(default_factory=list)  # what was applied of other histories
    bad_count: int = 0  # entries that could not be read
    bad_why: str = ""  # why the last of them could not; for the log
    # Why a result did not fit the machine's type; for the log, and empty but for the first one.
    mismatch_why: str = ""


class Host:
    """The host of one member's machine; its history is that of `ledger`, without one none.

    Raises `TypeError`: the machine's `Command` or `Result` is no type that can be sent.
    """

    def __init__(
        self,
        machine: StateMachine,
        *,
        group_id: GroupId,
        network_id: NetworkId,
        limits: SessionLimits | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self._limits = limits or SessionLimits()
        self.machine = machine
        self.ledger = ledger or Ledger()
        self.sessions = Sessions(self._limits)
        self.index = 0  # the last entry that is applied
        self._initial = InitialState(machine)
        self._runner = Runner(machine, group_id, network_id)
        # Of the machine's commands, and of what it returns.
        self.codec, self.results = self._runner.codec, self._runner.results
        self._failure: MachineFailed | None = None
        self._is_fresh = True
        self._is_restoring = False

    @property
    def position(self) -> int:
        """How many commands are applied."""
        return self._runner.position

    # Commands and queries.

    def check_readable(self, payloads: Sequence[bytes]) -> None:
        """Raise `DecodeError` unless all these commands of another member can be decoded here."""
        self.codec.check_counts(payloads)
        commands, error = self.codec.decode(payloads, is_cut_up=False)
        if error is not None:
            raise DecodeError(f"a command could not be decoded: {clip(error)}")
        self.machine.check_readable(commands)

    def query(self, query: Any) -> QueryAnswer:
        """Ask the machine; what it raises is the caller's. `MachineFailed` if it failed before."""
        self._check_usable()
        return QueryAnswer(self.machine.query(query), self.position)

    def apply(
        self,
        entries: Sequence[Entry],
        my_client: bytes,
        committed_index: int,
        *,
        takes_snapshots: bool = True,
    ) -> Applied:
        """Apply the next committed entries; they follow what is applied, without a hole.

        The log is committed up to `committed_index`: these entries are. The answers of `my_client`
        are wanted. The snapshots that the log asks for are not taken by one that catches up, and
        serves nobody (`takes_snapshots`).

        Raises `MachineFailed`: the machine did, now or before, or a command could not be decoded.
        What the others of these entries did is in doubt as well.
        """
        self._check_usable()
        assert not entries or entries[-1].index <= committed_index, (
            f"entry {entries[-1].index} is not committed, {committed_index} is"
        )
        applied = Applied(my_client, takes_snapshots)
        try:
            for entry in entries:
                self._apply_entry(entry, applied)
            self._runner.flush()
        except MachineFailed as failure:
            self._failure = failure
            raise
        applied.mismatch_why = self._runner.take_mismatch()
        return applied

    # The state as a whole.

    def reset(self, ledger: Ledger | None = None) -> None:
        """Go back to the beginning, of another history perhaps (`ledger`); the machine too.

        Raises `ConfigError`: the machine can neither be copied nor reset itself.
        """
        self._bring_back()
        self._take_over(Header(ledger or Ledger(), Sessions(self._limits)))

    def snapshot_parts(self) -> Iterator[bytes]:
        """Return a snapshot as of now, whatever is applied while its parts are made.

        The first part of the machine is made at once: so a machine whose `snapshot` is a generator
        with a single part is right without more ado. Raises `SnapshotError`: the machine has no
        snapshots, though commands were applied, or failed to begin one. Also on the way, when it
        fails then or makes a part that is too large. Raises `MachineFailed`: it failed before.
        """
        self._check_usable()
        has_machine = self.machine.has_snapshot()
        if not has_machine and self.position:
            raise SnapshotError(f"{type(self.machine).__name__} has no snapshot and restore")
        header = Header(self.ledger, self.sessions, self.index, self.position, has_machine)
        head = header.to_parts()
        made = _made(self.machine) if has_machine else iter(())
        checked = checked_parts(made, SnapshotError, from_count=len(head))
        first = next(checked, None)
        return chain(head, () if first is None else (first,), checked)

    def restore(self, parts: Iterable[bytes], index: int | None = None) -> Iterator[None]:
        """Replace everything by what is in a snapshot, piece by piece.

        A generator: carry it on to its end, and ask nothing of the host meanwhile. Each ``yield``
        may give the event loop a turn. When it raises before the first one nothing has changed.
        When it raises later, or is given up, `restore` or `reset` has to come before anything else.
        Raises `DecodeError`: the parts are no snapshot of this machine, or not one of entry
        `index`.
        """
        checked = checked_parts(parts, DecodeError)
        header = Header.read(checked, self._limits)
        if index is not None and header.index != index:
            raise DecodeError(f"a snapshot of entry {header.index}, expected {index}")
        if not header.has_machine and header.position:
            raise DecodeError(f"a snapshot of {header.position} commands, without the machine")
        self._is_restoring = True
        yield
        if header.has_machine:
            yield from self._restore_machine(checked)
        else:
            self._bring_back()
        self._take_over(header)

    # Helpers.

    def _check_usable(self) -> None:
        assert not self._is_restoring, "the snapshot is not taken in whole"
        if self._failure is not None:
            raise self._failure

    def _bring_back(self) -> None:
        # A machine that has seen nothing yet need not be one that can be copied.
        if self.position or not self._is_fresh:
            self._initial.bring_back()
            self._is_fresh = True

    def _take_over(self, header: Header) -> None:
        self.ledger = header.ledger
        self.sessions = header.sessions
        self.index = header.index
        self._runner.forget(header.position)
        self._failure = None
        self._is_restoring = False

    def _restore_machine(self, parts: Iterator[bytes]) -> Iterator[None]:
        if not self.machine.has_snapshot():
            raise DecodeError(f"{type(self.machine).__name__} takes in no snapshot")
        self._is_fresh = False
        try:
            steps = self.machine.restore(parts)
            if steps is not None:
                yield from steps
        except RemoteError:
            raise
        except Exception as exc:  # a machine may trip over bytes that are not its own
            raise DecodeError(f"the machine cannot take in the snapshot: {exc!r}") from exc

    def _apply_entry(self, entry: Entry, applied: Applied) -> None:
        assert entry.index == self.index + 1, f"entry {entry.index} after {self.index}"
        self.index = entry.index
        try:
            content = read_entry(entry)
        except DecodeError as exc:
            applied.bad_count += 1
            applied.bad_why = f"entry {entry.index}: {exc}"
            return
        if content is None:
            return
        self._runner.begin_entry()
        answered_count = len(applied.answers)
        if isinstance(content, tuple):
            self._apply_command_batches(content, applied)
        else:
            self._apply_system_entry(content, applied)
        self._runner.end_entry(entry.index, entry.term)
        if self.results.is_wanted:
            for position, returned in self._runner.take_results():
                self.sessions.results.add(position, returned)
            answers = applied.answers
            answers[answered_count:] = map(self._with_result, answers[answered_count:])

    def _with_result(self, answer: CommandAnswer) -> CommandAnswer:
        """Return an answer with what is kept of the command's result."""
        sequence, position, is_repeated = answer.sequence, answer.position, answer.is_repeated
        kept = self.sessions.results.kept
        if position is None or position not in kept:
            return answer
        return CommandAnswer(sequence, position, Refusal.NONE, is_repeated, kept[position])

    def _apply_command_batches(
        self, command_batches: Sequence[CommandBatch], applied: Applied
    ) -> None:
        runner, sessions, index = self._runner, self.sessions, self.index
        take, is_closed, before = runner.take, bool(self.ledger.closed_into), runner.position
        for command_batch in command_batches:
            if is_closed:
                answers = refuse(command_batch, 0, Refusal.CLOSED)
            else:
                answers = sessions.apply(command_batch, index, take)
            if command_batch.client == applied.my_client:
                applied.answers += answers
        self.ledger.own_count += runner.position - before

    def _apply_system_entry(self, system_entry: SystemEntry, applied: Applied) -> None:
        if isinstance(system_entry, TakeSnapshot) and applied.takes_snapshots:
            self._runner.flush()
            applied.snapshots.append(self._make_snapshot(system_entry.request_id))
        for command_batch in self.ledger.apply(system_entry) or ():
            assert isinstance(system_entry, Replay)
            self._replay(system_entry, command_batch, applied)

    def _replay(self, replay: Replay, command_batch: CommandBatch, applied: Applied) -> None:
        """Apply commands that were applied in another history and are new here."""
        first, payloads = command_batch.first_sequence, command_batch.payloads
        answers = self.sessions.apply(command_batch, self.index, self._runner.take)
        done = [answer for answer in answers if answer.refusal is Refusal.NONE]
        # That they are new here is for the ledger to say, and they were
        # acknowledged once: a session that is full, or was forgotten since its
        # first commands were replayed, must not lose the rest.
        refused = [
            answer.sequence
            for answer in answers
            if answer.refusal is not Refusal.NONE and not answer.is_repeated
        ]
        if refused:
            positions = self._runner.take(payloads[refused[0] - first :])
            done += map(CommandAnswer, refused, positions)
        if command_batch.client == applied.my_client:
            applied.answers += done
        fresh = [answer.sequence for answer in done if not answer.is_repeated]
        if fresh:
            holder = replay.holder or replay.history
            applied.replayed.append(Replayed(holder, payloads[fresh[0] - first :]))

    def _make_snapshot(self, request_id: bytes) -> HostSnapshot:
        try:
            return HostSnapshot(self.index, request_id, self.snapshot_parts())
        except SnapshotError as exc:
            return HostSnapshot(self.index, request_id, None, str(exc))


def read_entry(entry: Entry) -> tuple[CommandBatch, ...] | SystemEntry | None:
    """Return what an entry says, None when it is Raft's own. Raises `DecodeError`."""
    if entry.kind is EntryKind.COMMANDS:
        return decode_command_batches(entry.data)
    if entry.kind is EntryKind.SYSTEM:
        return decode_system_entry(entry.data)
    return None


def _made(machine: StateMachine) -> Iterator[bytes]:
    """Yield the parts that a machine makes; raise `SnapshotError` when it fails."""
    try:
        yield from machine.snapshot()
    except Exception as exc:
        raise SnapshotError(f"{type(machine).__name__}.snapshot failed: {exc!r}") from exc
