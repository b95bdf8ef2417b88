"""Commands as bytes, alone and in runs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.codec import EncodeError
from mosaik_actors.errors import DecodeError
from mosaik_actors.groups.machine.payloads import (
    COMMAND_BYTES_MAX,
    PAYLOAD_BYTES,
    PAYLOAD_COMMANDS,
    PEER_COMMANDS_MAX,
    CommandCodec,
    decode_positions,
    encode_position,
)
from mosaik_actors.groups.wire.commands import count_commands, cut_payload


class Add(msgspec.Struct, frozen=True, tag=True):
    amount: int


class Name(msgspec.Struct, frozen=True, tag=True):
    text: str
    extra: Any = None


@dataclass(frozen=True)
class Strict:
    """Raises what it likes for a number it does not like."""

    number: int

    def __post_init__(self) -> None:
        if self.number < 0:
            raise KeyError(self.number)


TYPED = CommandCodec(Add | Name)
UNTYPED = CommandCodec(Any)

COMMANDS = st.one_of(
    st.builds(Add, st.integers(-(2**70), 2**70)),
    st.builds(Name, st.text(max_size=5), st.one_of(st.none(), st.lists(st.integers(0, 9)))),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.integers(-(2**70), 2**70), st.text(max_size=3), st.binary(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.tuples(inner, inner)),
    max_leaves=6,
)


def each(codec: CommandCodec, commands: list[Any]) -> list[bytes]:
    """Return a payload for each command, as of calls with one command."""
    return [payload for command in commands for payload in codec.encode([command])]


@given(st.lists(COMMANDS, max_size=8))
@settings(deadline=None)
def test_typed_commands_survive(commands: list[Any]) -> None:
    for payloads in (TYPED.encode(commands), each(TYPED, commands)):
        assert sum(map(count_commands, payloads)) == len(commands)
        assert TYPED.decode(payloads)[0] == commands


@given(st.lists(VALUES, max_size=8))
@settings(deadline=None)
def test_untyped_commands_survive(values: list[Any]) -> None:
    for payloads in (UNTYPED.encode(values), each(UNTYPED, values)):
        assert sum(map(count_commands, payloads)) == len(values)
        assert UNTYPED.decode(payloads)[0] == values


@pytest.mark.parametrize("count", [1, 2, 15, 16, PAYLOAD_COMMANDS, 2 * PAYLOAD_COMMANDS + 1])
def test_commands_of_one_call_go_into_few_payloads(count: int) -> None:
    commands = [Add(number) for number in range(count)]
    payloads = TYPED.encode(commands)
    assert len(payloads) == -(-count // PAYLOAD_COMMANDS)
    assert sum(map(count_commands, payloads)) == count
    assert TYPED.decode(payloads)[0] == commands


def test_large_commands_go_into_more_payloads_each_of_a_good_size() -> None:
    sizes = [PAYLOAD_BYTES // 3] * 4 + [2 * PAYLOAD_BYTES] + [1] * 20 + [COMMAND_BYTES_MAX - 100]
    commands = [Name("x" * size) for size in sizes]
    payloads = TYPED.encode(commands)
    assert [count_commands(payload) for payload in payloads] == [2, 2, 1, 20, 1]
    assert TYPED.decode(payloads)[0] == commands


@given(st.lists(COMMANDS, min_size=2, max_size=40), st.data())
@settings(deadline=None)
def test_part_of_a_payload_is_some_of_its_commands(
    commands: list[Any], data: st.DataObject
) -> None:
    (payload,) = TYPED.encode(commands)
    start = data.draw(st.integers(0, len(commands) - 1))
    stop = data.draw(st.integers(start + 1, len(commands)))
    assert TYPED.decode([cut_payload(payload, start, stop)])[0] == commands[start:stop]
    assert cut_payload(payload[:-1], start, stop) == payload[:-1]


@given(st.binary(max_size=12))
@settings(deadline=None)
def test_head_says_how_many_commands_there_are_if_they_can_be_decoded(payload: bytes) -> None:
    count, decoded = count_commands(payload), UNTYPED.decode([payload])
    assert 0 < count <= max(1, len(payload))
    assert decoded[1] is not None or len(decoded[0]) == count


def test_payload_of_too_many_commands_is_not_taken_in_from_a_peer() -> None:
    largest = b"\x02\xdd" + PEER_COMMANDS_MAX.to_bytes(4) + bytes(PEER_COMMANDS_MAX)
    TYPED.check_counts([largest])
    larger = b"\x02\xdd" + (PEER_COMMANDS_MAX + 1).to_bytes(4) + bytes(PEER_COMMANDS_MAX + 1)
    with pytest.raises(DecodeError, match="at most"):
        TYPED.check_counts([largest, larger])


def mangled(payload: bytes, data: st.DataObject) -> bytes:
    """Return a payload that is a little, or quite, wrong."""
    how = data.draw(st.sampled_from(["keep", "cut", "grow", "change", "other"]))
    if how == "cut":
        return payload[: data.draw(st.integers(0, len(payload)))]
    if how == "grow":
        return payload + data.draw(st.binary(max_size=3))
    if how == "change" and payload:
        at = data.draw(st.integers(0, len(payload) - 1))
        return payload[:at] + data.draw(st.binary(min_size=1, max_size=1)) + payload[at + 1 :]
    return data.draw(st.binary(max_size=8)) if how == "other" else payload


@pytest.mark.parametrize("codec", [TYPED, UNTYPED])
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_run_is_decoded_as_each_alone(codec: CommandCodec, data: st.DataObject) -> None:
    """Members cut runs where they like, so any difference would part them."""
    commands = data.draw(st.lists(COMMANDS if codec is TYPED else VALUES, min_size=1, max_size=6))
    made = each(codec, commands) + codec.encode(commands)
    payloads = [mangled(payload, data) for payload in made]
    together = codec.decode(payloads)
    alone = [codec.decode([payload]) for payload in payloads]
    count = sum(1 for _ in takewhile(lambda one: one[1] is None, alone))
    upto = alone[: count + 1]  # of a payload with a bad command those before it
    assert repr(together[0]) == repr([command for one in upto for command in one[0]])
    assert (together[1] is None) == (count == len(alone))


def test_shifted_boundaries_are_seen() -> None:
    """Joined, the bodies are two whole items; alone each payload is broken."""
    one, other = each(UNTYPED, [[1, 2], 3])
    shifted = [one[:-1], other[:2] + one[-1:] + other[2:]]
    commands, error = UNTYPED.decode(shifted)
    assert commands == []
    assert error is not None


def test_what_records_raise_themselves_makes_no_command() -> None:
    codec = CommandCodec(Strict)
    good = each(codec, [Strict(1), Strict(2)])
    bad = good[0].replace(b"\x01", b"\xff")
    assert bad != good[0]
    commands, error = codec.decode([good[0], bad, good[1]])
    assert commands == [Strict(1)]
    assert "KeyError" in repr(error) or "-1" in str(error)


def test_commands_before_a_bad_one_in_a_payload_are_decoded() -> None:
    codec = CommandCodec(Strict)
    payload = codec.encode([Strict(1), Strict(2), Strict(3)])[0].replace(b"\x02", b"\xff")
    decoded = codec.decode([payload])
    assert decoded[0] == [Strict(1)]
    assert decoded[1] is not None
    for broken in (payload[:-1], payload + b"\x00"):
        assert codec.decode([broken])[0] == []


@pytest.mark.parametrize("wrong", [None, "text", Add("text"), Name("a", object())])  # type: ignore[arg-type]
def test_wrong_command_is_refused_and_named(wrong: Any) -> None:
    for commands in ([wrong], [Add(1), wrong, Add(2)]):
        with pytest.raises(EncodeError) as caught:
            TYPED.encode(commands)
        assert caught.value.value is wrong or caught.value.value == (wrong,)


def test_command_that_no_entry_could_hold_is_refused() -> None:
    with pytest.raises(EncodeError, match="at most"):
        TYPED.encode([Add(1), Name("x" * COMMAND_BYTES_MAX)])


def test_positions_survive() -> None:
    for position in (1, 255, 1 << 40, (1 << 62) - 1):
        for count in (1, 2, 1 << 30):
            positions = range(position, position + count)
            assert decode_positions(encode_position(position, count)) == positions
    for other in (None, b"", bytes(7), bytes(9), bytes(13)):
        assert decode_positions(other) is None
