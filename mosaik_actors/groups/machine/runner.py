"""Giving committed commands to the machine, many at a time.

`Sessions` decides which commands of an entry are applied, and wants to know at
once where. A command's position is known before the machine has seen it. So commands
are collected first, and the machine gets a whole run of them in one call of
`apply_batch`. What they return is known when the run is through: `take_results`.

Where a batch ends differs from member to member, for it depends on how many
entries were committed at once. So nothing may depend on it:

    * A machine with an `apply_batch` of its own gets commands of several
      entries in one call, with the context of the first of them. From there on
      it may count positions, for a batch has no hole.
    * A machine with only `apply` gets the context of each command's own entry:
      its runs end with each entry. So do those of a machine with results, for the next
      entry may have answers that a repetition gives, or drop them.

A payload that could not be decoded ends the member (`MachineFailed`), after what comes before it is
applied. Members whose types differ (in their own checks, say: all that a type declares is part of
the group's id) would otherwise go on with different states, and nobody would know.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from ...errors import MosaikError, clip
from ...ids import GroupId, NetworkId
from ..wire.commands import ONE_COMMAND, count_commands
from .machine import ApplyContext, StateMachine
from .payloads import CommandCodec, ResultCodec, encode_position

RUN_COMMANDS_MAX: Final = 8192


class MachineFailed(MosaikError):
    """The machine raised, or was to be given what could not be decoded: its state is in doubt."""

    def __init__(self, index: int, cause: Exception, what: str = "the machine failed") -> None:
        super().__init__(index, what)
        # The entry with the first command of the batch that failed; of a snapshot its last.
        self.index = index
        self.cause = cause  # what was raised
        self.what = what  # what failed, if it was not the machine while it applied a command

    def __str__(self) -> str:
        return f"{self.what} at entry {self.index}: {type(self.cause).__name__}: {clip(self.cause)}"


class _Place(msgspec.Struct, frozen=True):
    """Where in a run an entry's first command is, and what their context says of the entry."""

    offset: int
    index: int
    term: int
    committed: int


class Runner:
    """Collects commands and applies them in runs.

    Of each entry: `begin_entry`, `take` as often as needed, `end_entry`; then
    `flush` before anybody looks at the machine.
    """

    def __init__(self, machine: StateMachine, group_id: GroupId, network_id: NetworkId) -> None:
        self.codec = CommandCodec(machine.Command)  # of the machine's commands
        self.results = ResultCodec(machine.Result)  # of what it returns
        # How many commands were taken; after a failure, how many are applied for certain.
        self.position = 0
        self._machine = machine
        self._group_id = group_id
        self._network_id = network_id
        has_own_batch = type(machine).apply_batch is not StateMachine.apply_batch
        self._joins_entries = has_own_batch and not self.results.is_wanted
        self._returned: list[bytes] = []
        self._mismatch_why = ""
        self._has_mismatched = False
        self._payloads: list[bytes] = []
        self._run_position = 0  # before the first command of the run
        self._places: list[_Place] = []
        self._entry_position = 0
        self._entry_positions: list[tuple[bytes, int]] = []  # of each payload, with its count

    def begin_entry(self) -> None:
        """Note that what is taken from now on belongs to another entry."""
        self._entry_position, self._entry_positions = self.position, []

    def take(self, payloads: Sequence[bytes]) -> list[bytes]:
        """Take in commands to apply; return where each payload's are, as `Sessions` keeps it."""
        if not self._payloads:
            self._run_position = self.position
        self._payloads += payloads
        first = self.position + 1
        counts = [
            1 if payload[1:2] == ONE_COMMAND else count_commands(payload) for payload in payloads
        ]
        self.position += sum(counts)
        if self.position - first + 1 == len(counts):
            positions = list(map(encode_position, range(first, self.position + 1)))
        else:
            positions = []
            for count in counts:
                positions.append(encode_position(first, count))
                first += count
        if self.results.is_wanted:
            self._entry_positions += zip(positions, counts, strict=True)
        return positions

    def end_entry(self, index: int, term: int) -> None:
        """Note that the entry is through. Raises `MachineFailed`."""
        if self.position == self._entry_position:
            return
        offset = self._entry_position - self._run_position
        self._places.append(_Place(offset, index, term, self.position))
        if not self._joins_entries or self.position - self._run_position >= RUN_COMMANDS_MAX:
            self.flush()

    def flush(self) -> None:
        """Apply everything that was taken. Raises `MachineFailed`."""
        if not self._payloads:
            return
        payloads, places = self._payloads, self._places
        self._payloads, self._places = [], []
        commands, error = self.codec.decode(payloads)
        first_position = self._run_position + 1
        if commands:
            self._apply(commands, first_position, _place_of(places, 0))
        if error is not None:
            offset = len(commands)
            self.position = first_position + offset - 1
            what = f"the committed command {first_position + offset} could not be decoded"
            raise MachineFailed(_place_of(places, offset).index, error, what) from error

    def take_results(self) -> Iterator[tuple[bytes, list[bytes]]]:
        """Return what the commands of this entry have returned: of each payload, and where."""
        returned, self._returned = self._returned, []
        offset = 0
        for position, count in self._entry_positions:
            yield position, returned[offset : offset + count]
            offset += count

    def take_mismatch(self) -> str:
        """Return why the first result that did not fit its type did not, once; empty for none."""
        why, self._mismatch_why = self._mismatch_why, ""
        return why

    def forget(self, position: int) -> None:
        """Drop what was taken and go on counting from a position."""
        self._payloads, self._places, self._returned = [], [], []
        self._entry_positions = []
        self.position = position

    def _apply(self, commands: list[Any], position: int, place: _Place) -> None:
        context = ApplyContext(
            position, place.index, place.term, place.committed, self._group_id, self._network_id
        )
        try:
            values = self._machine.apply_batch(commands, context)
            if self.results.is_wanted:
                self._note_results(len(commands), values)
        except Exception as exc:
            self.position = position - 1  # what was reached for certain
            raise MachineFailed(place.index, exc) from exc

    def _note_results(self, count: int, values: Sequence[Any] | None) -> None:
        if values is None:
            values = [None] * count
        if len(values) != count:
            raise ValueError(f"apply_batch returned {len(values)} results of {count} commands")
        results, why = self.results.encode(values)
        self._returned += results
        if why and not self._has_mismatched:
            self._has_mismatched, self._mismatch_why = True, why


def _place_of(places: Sequence[_Place], offset: int) -> _Place:
    if len(places) == 1:
        return places[0]
    return places[bisect_right(places, offset, key=lambda place: place.offset) - 1]
