"""What `apply` returns: kept with the position, alike on every member, exactly once."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from random import Random
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.errors import ResultError
from mosaik_actors.groups.machine.host import Applied, Host
from mosaik_actors.groups.machine.machine import (
    ApplyContext,
    StateMachine,
    check_machine,
    signature_of,
)
from mosaik_actors.groups.machine.payloads import ResultCodec, encode_position
from mosaik_actors.groups.machine.sessions import SessionLimits, read_results
from mosaik_actors.groups.position import Position, Positions
from mosaik_actors.groups.wire.commands import CommandBatch, encode_command_batches
from mosaik_actors.groups.wire.records import Entry, EntryKind
from mosaik_actors.groups.wire.system_entries import Replay, TakeSnapshot, encode_system_entry

from ..host_machines import MERGING_HISTORY, host_of

ME, OTHER = b"m" * 16, b"o" * 16


class Add(msgspec.Struct, frozen=True):
    amount: Any


class Total(StateMachine):
    """Returns what the total was before, and is; or the amount itself if it is no number."""

    Command = Add
    Result: ClassVar[Any] = tuple[int, int]

    def __init__(self) -> None:
        self.total = 0
        self.batches: list[int] = []

    def apply(self, command: Add, ctx: ApplyContext) -> Any:
        if not isinstance(command.amount, int):
            return command.amount
        self.total += command.amount
        return self.total - command.amount, self.total

    def query(self, query: None) -> int:
        return self.total

    def snapshot(self) -> Iterable[bytes]:
        return [msgspec.msgpack.encode(self.total)]

    def restore(self, parts: Iterable[bytes]) -> None:
        self.total = msgspec.msgpack.decode(b"".join(parts))


class BatchTotal(Total):
    def apply_batch(self, commands: Sequence[Add], ctx: ApplyContext) -> list[Any]:
        self.batches.append(len(commands))
        return [self.apply(command, ctx) for command in commands]


def entry(index: int, *command_batches: CommandBatch) -> Entry:
    return Entry(index, 1, EntryKind.COMMANDS, encode_command_batches(command_batches))


def command_batch(
    host: Host, first: int, *amounts: Any, client: bytes = ME, answered: int = 0
) -> CommandBatch:
    payloads = [payload for one in amounts for payload in host.codec.encode([Add(one)])]
    return CommandBatch(client, 0, first, answered, tuple(payloads))


def outcomes(host: Host, *entries: Entry) -> list[tuple[int, Any, bool]]:
    """Apply entries; return the position, the result and whether it is known, of my answers."""
    applied = host.apply(entries, ME, entries[-1].index)
    found = []
    for answer in applied.answers:
        assert answer.position is not None
        known = None if answer.result is None else host.results.decode(answer.result)
        position: Position[Any] = Position(int.from_bytes(answer.position), known)
        found.append((int(position), position.result, position.has_result))
    return found


@pytest.mark.parametrize("kind", [Total, BatchTotal])
def test_answers_have_what_apply_returned(kind: type[Total]) -> None:
    host = host_of(kind())
    found = outcomes(
        host,
        entry(1, command_batch(host, 1, 5, 7), command_batch(host, 1, 100, client=OTHER)),
        entry(2, command_batch(host, 3, 1, None)),
    )
    assert found == [
        (1, (0, 5), True),
        (2, (5, 12), True),
        (4, (112, 113), True),
        (5, None, True),
    ]


@pytest.mark.parametrize("kind", [Total, BatchTotal])
def test_repeated_command_has_the_result_of_its_one_run(kind: type[Total]) -> None:
    """In the same entry, in a later one, and after a snapshot took the place of the log."""
    host = host_of(kind())
    mine = command_batch(host, 1, 5)
    found = outcomes(
        host, entry(1, mine, mine), entry(2, command_batch(host, 1, 9, client=OTHER), mine)
    )
    assert found == [(1, (0, 5), True)] * 3
    other = host_of(kind())
    for _ in other.restore(list(host.snapshot_parts())):
        pass
    assert outcomes(other, entry(3, mine)) == [(1, (0, 5), True)]
    assert other.query(None).result == 14


def test_commands_of_one_payload_have_a_result_each() -> None:
    """Kept and dropped together, but for one that is too large; also when asked again."""

    class Echo(Total):
        Result = str

    def known(host: Host, applied: Applied) -> list[bytes | None]:
        (answer,) = applied.answers
        assert answer.position == encode_position(1, 3)
        assert answer.result is not None
        return list(read_results(answer.result, 3))

    host, other = (host_of(Echo(), limits=SessionLimits(result_bytes=10)) for _ in range(2))
    payloads = tuple(host.codec.encode([Add("a"), Add("much too long for that"), Add("c")]))
    assert len(payloads) == 1
    first = host.apply([entry(1, CommandBatch(ME, 0, 1, 0, payloads))], ME, 1)
    results = known(host, first)
    assert [one and host.results.decode(one).value for one in results] == ["a", None, "c"]
    for _ in other.restore(list(host.snapshot_parts())):
        pass
    again = entry(2, CommandBatch(ME, 0, 1, 0, payloads))
    assert known(host, host.apply([again], ME, 2)) == known(other, other.apply([again], ME, 2))
    assert host.position == other.position == 3
    host.apply([entry(3, CommandBatch(ME, 0, 2, 1, payloads))], ME, 3)
    assert list(host.sessions.results.kept) == [encode_position(4, 3)]
    for result, count in ((b"", 2), (b"\x91\xc0", 2), (b"\x90", 2**32 - 1)):  # of a peer's snapshot
        assert read_results(result, count) == ()


def test_answered_results_are_dropped() -> None:
    host = host_of(Total())
    host.apply(
        [entry(1, command_batch(host, 1, 5, 6)), entry(2, command_batch(host, 3, 7, answered=2))],
        ME,
        2,
    )
    assert list(host.sessions.results.kept) == [encode_position(3)]


def test_results_do_not_depend_on_how_many_entries_come_in_one_call() -> None:
    """Bounded as they are: results that are too many are dropped at the same places."""
    rng = Random(1)
    limits = SessionLimits(results_bytes=400, client_count=3)
    source = host_of(BatchTotal())
    entries = [
        entry(index, *(
            command_batch(source, 1 + index // 4, rng.randrange(9), rng.randrange(9), client=client)
            for client in rng.sample([ME, OTHER, b"x" * 16, b"y" * 16], 2)
        ))
        for index in range(1, 80)
    ]  # fmt: skip
    hosts = [host_of(kind(), limits=limits) for kind in (Total, BatchTotal, BatchTotal)]
    for host, slices in zip(hosts, (1, 7, 79), strict=True):
        for start in range(0, len(entries), slices):
            host.apply(entries[start : start + slices], ME, len(entries))
    tables = {host.sessions.to_bytes() for host in hosts}
    assert len(tables) == 1
    assert 0 < len(hosts[0].sessions.results.kept) < hosts[0].position


def test_result_that_is_too_large_is_not_known() -> None:
    class Echo(Total):
        Result = str

    host = host_of(Echo(), limits=SessionLimits(result_bytes=10))
    found = outcomes(host, entry(1, command_batch(host, 1, "short", "much too long for that")))
    assert found == [(1, "short", True), (2, None, False)]


def test_command_whose_result_does_not_fit_is_applied_and_its_caller_is_told() -> None:
    host = host_of(Total())
    applied = host.apply([entry(1, command_batch(host, 1, 5, "five", 6))], ME, 1)
    assert "Expected `array`" in applied.mismatch_why
    assert host.query(None).result == 11
    results = {
        int.from_bytes(answer.position or b""): answer.result or b"" for answer in applied.answers
    }
    positions: Positions[Any] = Positions([1, 2, 3], results, host.results.decode)
    assert [position.has_result for position in positions] == [True, False, True]
    assert positions[2].result == (5, 11)
    with pytest.raises(ResultError, match="apply returned a str for the command at position 2"):
        _ = positions[1].result
    # Said once.
    assert not host.apply([entry(2, command_batch(host, 4, "six"))], ME, 2).mismatch_why


def test_batch_with_too_few_results_ends_the_member() -> None:
    class Short(BatchTotal):
        def apply_batch(self, commands: Sequence[Add], ctx: ApplyContext) -> list[Any]:
            return super().apply_batch(commands, ctx)[1:]

    host = host_of(Short())
    with pytest.raises(Exception, match="apply_batch returned 1 results of 2 commands"):
        host.apply([entry(1, command_batch(host, 1, 5, 6))], ME, 1)


def test_without_a_result_type_nothing_is_kept_and_snapshots_are_as_before() -> None:
    class Silent(Total):
        Result = None

    host, plain = host_of(Silent()), host_of(Silent())
    assert outcomes(host, entry(1, command_batch(host, 1, 5, "x"))) == [
        (1, None, False),
        (2, None, False),
    ]
    assert not host.sessions.results.kept
    plain.apply([entry(1, command_batch(host, 1, 5, "x"))], OTHER, 1)
    assert list(plain.snapshot_parts()) == list(host.snapshot_parts())


def test_result_of_a_snapshot_is_cut_with_its_entry() -> None:
    host = host_of(BatchTotal())
    cut = Entry(2, 1, EntryKind.SYSTEM, encode_system_entry(TakeSnapshot(b"r" * 16)))
    applied = host.apply(
        [entry(1, command_batch(host, 1, 5)), cut, entry(3, command_batch(host, 2, 6, answered=1))],
        ME,
        3,
    )
    [made] = applied.snapshots
    assert made.parts is not None
    other = host_of(BatchTotal())
    for _ in other.restore(list(made.parts)):
        pass
    assert list(other.sessions.results.kept) == [encode_position(1)]


def test_replayed_command_has_the_result_that_it_has_here() -> None:
    """A history that ended may have answered otherwise; who has no answer yet gets this one."""
    host = host_of(Total(), limits=SessionLimits(result_count=1))
    host.apply([entry(1, command_batch(host, 1, 100, client=OTHER))], ME, 1)
    replay = Entry(
        2,
        1,
        EntryKind.SYSTEM,
        encode_system_entry(Replay(MERGING_HISTORY, (command_batch(host, 1, 5, 6),), 0)),
    )
    assert outcomes(host, replay) == [(2, (100, 105), True), (3, (105, 111), True)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=3), st.floats(), st.binary())))
def test_results_are_the_same_alone_and_together(values: list[Any]) -> None:
    codec = ResultCodec(int | str)
    together, _ = codec.encode(values)
    assert together == [codec.encode([value])[0][0] for value in values]
    for value, result in zip(values, together, strict=True):
        known = codec.decode(result)
        if value is None or type(value) in (int, str):
            assert (known.value, known.mismatch) == (value, "")
        else:
            assert known.mismatch == type(value).__name__


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_some_result(data: bytes) -> None:
    ResultCodec(dict[str, int]).decode(data)


@pytest.mark.parametrize("kind", [frozenset[str], object, dict[str, Any]])
def test_sets_are_the_same_bytes_in_whatever_order_they_were_made(kind: Any) -> None:
    names = [f"name {number}" for number in range(40)]
    codec = ResultCodec(kind)
    made = [frozenset(names), frozenset(reversed(names))]
    wrapped = [{"a": one} for one in made] if kind == dict[str, Any] else made
    assert len({codec.encode([one])[0][0] for one in wrapped}) == 1
    [result], why = codec.encode(wrapped[:1])
    assert not why
    assert result.index(b"name 10") < result.index(b"name 11") < result.index(b"name 12")


def test_result_type_is_part_of_what_names_a_machine() -> None:
    class Other(Total):
        signature = "same"
        Result = int

    class Same(Total):
        signature = "same"

    class Silent(Total):
        signature = "same"
        Result = None

    assert len({signature_of(kind()) for kind in (Other, Same, Silent)}) == 3


def test_types_in_the_head_of_a_class_are_the_machines() -> None:
    class Typed(StateMachine[Add, None, int, str]):
        def apply(self, command: Add, ctx: ApplyContext) -> str:
            return "x"

    class Short(StateMachine[Add]):
        def apply(self, command: Add, ctx: ApplyContext) -> None: ...

    check_machine(Typed())
    check_machine(Short())
    assert (Typed.Command, Typed.Query, Typed.Answer, Typed.Result) == (Add, None, int, str)
    assert (Short.Command, Short.Result) == (Add, None)
    with pytest.raises(TypeError, match=r"Twice\.Result is another type than in the class's head"):

        class Twice(StateMachine[Add, None, int, str]):
            Result = int


def test_position_is_an_integer_that_can_be_sent() -> None:
    host = host_of(Total())
    [result], _ = ResultCodec(Total.Result).encode([(1, 2)])
    position: Position[Any] = Position(7, host.results.decode(result))
    again = pickle.loads(pickle.dumps(position))  # noqa: S301  # made here
    assert (again, again.result, again.has_result) == (7, (1, 2), True)
    assert (position + 1, str(position), repr(position)) == (8, "7", "Position(7)")
    positions: Positions[Any] = Positions([4, 5, 7], {}, host.results.decode)
    assert positions == [4, 5, 7]
    assert positions[1:] == (5, 7)
    assert Positions([4, 5], {}, host.results.decode) == range(4, 6)
    assert positions != range(4, 7)
    assert repr(positions) == "Positions([4, 5, 7])"
    assert positions != "457"


def test_result_type_that_cannot_be_sent_is_refused() -> None:
    class Other(msgspec.Struct):
        amount: int

    class Odd(Total):
        Result = Add | Other

    with pytest.raises(TypeError, match=r"Odd\.Result"):
        signature_of(Odd())

    class Stranger(Total):
        Command = complex  # type: ignore[assignment]

    with pytest.raises(TypeError, match=r"Stranger\.Command: complex is not a type that can be"):
        signature_of(Stranger())
