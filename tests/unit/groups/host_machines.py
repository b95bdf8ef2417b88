"""Machines for the tests of their host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from mosaik_actors.errors import DecodeError
from mosaik_actors.groups.machine.host import Host
from mosaik_actors.groups.machine.ledger import Ledger
from mosaik_actors.groups.machine.machine import ApplyContext, StateMachine
from mosaik_actors.groups.machine.sessions import SessionLimits
from mosaik_actors.ids import UniqueId

GROUP, NETWORK = UniqueId("group"), UniqueId("network")
HISTORY, MERGING_HISTORY, WINNER = b"h" * 16, b"g" * 16, b"w" * 16

_json = msgspec.json


class Put(msgspec.Struct, frozen=True, tag=True):
    """Write down a text."""

    text: str


class Fail(msgspec.Struct, frozen=True, tag=True):
    """Raise an exception."""

    why: str


def place_of(ctx: ApplyContext) -> str:
    return f"{ctx.index} {ctx.log_position} {ctx.term} {ctx.committed}"


class Diary(StateMachine):
    """Writes down each command with its whole context, one at a time."""

    Command = Put | Fail
    Query = int
    Answer = str

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.batches: list[int] = []
        self.places: list[str] = []

    def apply(self, command: Put | Fail, ctx: ApplyContext) -> None:
        if isinstance(command, Fail):
            raise RuntimeError(command.why)
        self.lines.append(f"{place_of(ctx)} {command.text}")

    def query(self, query: int) -> str:
        return self.lines[query]

    def snapshot(self) -> Iterable[bytes]:
        """Return one part for each three lines, as of now."""
        lines = list(self.lines)
        return (_json.encode(lines[at : at + 3]) for at in range(0, len(lines), 3))

    def restore(self, parts: Iterable[bytes]) -> Iterator[None]:
        lines: list[str] = []
        for part in parts:
            try:
                lines += _json.decode(part, type=list[str])
            except msgspec.MsgspecError as exc:
                raise DecodeError(f"not lines: {exc}") from exc
            yield
        self.lines = lines


class BatchDiary(Diary):
    """The same in batches: it may only count positions from the first on."""

    def apply_batch(self, commands: Sequence[Any], ctx: ApplyContext) -> None:
        self.batches.append(len(commands))
        self.places.append(f"{place_of(ctx)} {commands[0].text}")
        for index, command in enumerate(commands, ctx.index):
            if isinstance(command, Fail):
                raise RuntimeError(command.why)
            self.lines.append(f"{index} {command.text}")


class Replayer(StateMachine):
    """Has no snapshot."""

    def __init__(self) -> None:
        self.count = 0

    def apply(self, command: Any, ctx: ApplyContext) -> None:
        self.count += 1

    def query(self, query: Any) -> int:
        return self.count


def host_of(machine: StateMachine, *, limits: SessionLimits | None = None) -> Host:
    return Host(machine, group_id=GROUP, network_id=NETWORK, limits=limits, ledger=Ledger(HISTORY))
