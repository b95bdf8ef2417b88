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
from mosaik_actors.groups.machine.payloads import (
    COMMAND_BYTES_MAX,
    CommandCodec,
    decode_position,
    encode_position,
)


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


@given(st.lists(COMMANDS, max_size=8))
@settings(deadline=None)
def test_typed_commands_survive(commands: list[Any]) -> None:
    payloads = TYPED.encode(commands)
    assert len(payloads) == len(commands)
    assert TYPED.decode(payloads) == (commands, None)
    assert [TYPED.decode([payload])[0][0] for payload in payloads] == commands


@given(st.lists(VALUES, max_size=8))
@settings(deadline=None)
def test_untyped_commands_survive(values: list[Any]) -> None:
    payloads = UNTYPED.encode(values)
    assert UNTYPED.decode(payloads) == (values, None)
    assert [UNTYPED.decode([payload])[0][0] for payload in payloads] == values


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
    payloads = [mangled(payload, data) for payload in codec.encode(commands)]
    together = codec.decode(payloads)
    alone = [codec.decode([payload]) for payload in payloads]
    good = list(takewhile(lambda one: one[1] is None, alone))
    assert repr(together[0]) == repr([one[0][0] for one in good])
    assert (together[1] is None) == (len(good) == len(alone))


def test_shifted_boundaries_are_seen() -> None:
    """Joined, the bodies are two whole items; alone each payload is broken."""
    one, other = UNTYPED.encode([[1, 2], 3])
    shifted = [one[:-1], other[:2] + one[-1:] + other[2:]]
    commands, error = UNTYPED.decode(shifted)
    assert commands == []
    assert error is not None


def test_what_records_raise_themselves_makes_no_command() -> None:
    codec = CommandCodec(Strict)
    good = codec.encode([Strict(1), Strict(2)])
    bad = good[0].replace(b"\x01", b"\xff")
    assert bad != good[0]
    commands, error = codec.decode([good[0], bad, good[1]])
    assert commands == [Strict(1)]
    assert "KeyError" in repr(error) or "-1" in str(error)


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
        assert decode_position(encode_position(position)) == position
    for other in (None, b"", bytes(7), bytes(9)):
        assert decode_position(other) is None
