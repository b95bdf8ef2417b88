"""Exactly once, with bounded memory (thesis 6.3)."""

from collections.abc import Sequence
from random import Random

import pytest

from mosaik_actors.errors import DecodeError
from mosaik_actors.groups.machine.sessions import CommandAnswer, Refusal, SessionLimits, Sessions
from mosaik_actors.groups.wire.commands import (
    CommandBatch,
    decode_command_batches,
    encode_command_batches,
)

ALICE = b"a" * 16
BOB = b"b" * 16


class Adder:
    """A machine that remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[bytes] = []

    def __call__(self, payloads: Sequence[bytes]) -> list[bytes | None]:
        self.given += payloads
        return [b"r" + payload for payload in payloads]


def command_batch(
    first: int, *payloads: bytes, client: bytes = ALICE, answered: int = 0, born: int = 0
) -> CommandBatch:
    return CommandBatch(client, born, first, answered, payloads)


def test_command_is_applied_once_and_answered_twice() -> None:
    sessions, machine = Sessions(), Adder()
    assert sessions.apply(command_batch(1, b"x"), 1, machine) == [CommandAnswer(1, b"rx")]
    assert sessions.apply(command_batch(1, b"x"), 2, machine) == [
        CommandAnswer(1, b"rx", is_repeated=True)
    ]
    assert machine.given == [b"x"]


def test_part_of_a_command_batch_may_be_a_repetition() -> None:
    sessions, machine = Sessions(), Adder()
    sessions.apply(command_batch(1, b"1", b"2"), 1, machine)
    answers = sessions.apply(command_batch(2, b"2", b"3", b"4"), 2, machine)
    assert [(a.sequence, a.position, a.is_repeated) for a in answers] == [
        (2, b"r2", True),
        (3, b"r3", False),
        (4, b"r4", False),
    ]
    assert machine.given == [b"1", b"2", b"3", b"4"]


def test_command_that_comes_too_early_is_refused_and_may_come_again() -> None:
    """So consecutive calls take effect in order."""
    sessions, machine = Sessions(), Adder()
    assert sessions.apply(command_batch(2, b"2"), 1, machine) == [
        CommandAnswer(2, None, Refusal.GAP)
    ]
    sessions.apply(command_batch(1, b"1"), 2, machine)
    assert sessions.apply(command_batch(2, b"2"), 3, machine) == [CommandAnswer(2, b"r2")]
    assert machine.given == [b"1", b"2"]


def test_clients_do_not_disturb_each_other() -> None:
    sessions, machine = Sessions(), Adder()
    sessions.apply(command_batch(1, b"1"), 1, machine)
    assert sessions.apply(command_batch(1, b"1", client=BOB), 2, machine) == [
        CommandAnswer(1, b"r1")
    ]
    assert len(sessions) == 2


def test_answered_results_are_dropped() -> None:
    sessions, machine = Sessions(), Adder()
    sessions.apply(command_batch(1, b"1", b"2", b"3"), 1, machine)
    sessions.apply(command_batch(4, b"4", answered=2), 2, machine)
    answers = sessions.apply(command_batch(2, b"2", b"3"), 3, machine)
    assert [answer.refusal for answer in answers] == [Refusal.ANSWERED, Refusal.NONE]
    assert all(answer.is_repeated for answer in answers)
    assert machine.given == [b"1", b"2", b"3", b"4"]


def test_claim_to_have_answers_from_the_future_is_harmless() -> None:
    sessions, machine = Sessions(), Adder()
    assert sessions.apply(command_batch(1, b"1", answered=99), 1, machine) == [
        CommandAnswer(1, b"r1")
    ]
    assert sessions.apply(command_batch(2, b"2", answered=99), 2, machine) == [
        CommandAnswer(2, b"r2")
    ]


def test_unanswered_results_are_bounded() -> None:
    sessions, machine = Sessions(SessionLimits(result_count=2)), Adder()
    answers = sessions.apply(command_batch(1, b"1", b"2", b"3"), 1, machine)
    assert [answer.refusal for answer in answers] == [
        Refusal.NONE,
        Refusal.NONE,
        Refusal.OVERFLOW,
    ]
    assert sessions.apply(command_batch(3, b"3", answered=1), 2, machine) == [
        CommandAnswer(3, b"r3")
    ]
    assert machine.given == [b"1", b"2", b"3"]


def test_large_results_are_not_kept() -> None:
    results = Sessions(SessionLimits(result_bytes=3)).results
    results.add(b"1", [b"abc"])
    results.add(b"2", [b"abcd"])
    assert results.kept == {b"1": b"abc"}


def test_oldest_results_make_room_for_new_ones() -> None:
    results = Sessions(SessionLimits(results_bytes=100)).results
    for number in range(5):
        results.add(b"%d" % number, [b"abc"])  # each counts for 35 bytes
    assert list(results.kept) == [b"3", b"4"]
    results.forget([b"3", None, b"0"])
    results.add(b"5", [b"abc"])
    assert list(results.kept) == [b"4", b"5"]


def test_results_are_kept_until_they_are_answered_or_the_client_is_forgotten() -> None:
    sessions, machine = Sessions(SessionLimits(idle_index_count=10)), Adder()
    sessions.apply(command_batch(1, b"1", b"2", b"3"), 1, machine)
    for number in (1, 2, 3):
        sessions.results.add(b"r%d" % number, [b"%d" % number])
    sessions.apply(command_batch(4, b"4", answered=2), 2, machine)
    assert sessions.results.kept == {b"r3": b"3"}
    sessions.apply(command_batch(1, b"x", client=BOB, born=20), 20, machine)
    assert len(sessions) == 1
    assert sessions.results.kept == {}


def test_results_are_part_of_the_table() -> None:
    sessions, machine = Sessions(), Adder()
    sessions.apply(command_batch(1, b"1", b"2"), 1, machine)
    bare = sessions.to_bytes()
    sessions.results.add(b"r2", [b"two"])
    table = sessions.to_bytes()
    assert len(bare) < len(table)
    restored = Sessions.from_bytes(table)
    assert restored.results.kept == {b"r2": b"two"}
    assert restored.to_bytes() == table
    for answered in (0, 2):
        restored.apply(command_batch(3, b"3", answered=answered), 2, machine)
    assert restored.results.kept == {}


def test_silent_client_is_forgotten_by_log_position() -> None:
    sessions, machine = Sessions(SessionLimits(idle_index_count=10)), Adder()
    sessions.apply(command_batch(1, b"1"), 5, machine)
    sessions.apply(command_batch(1, b"1", client=BOB, born=4), 15, machine)
    assert len(sessions) == 2
    sessions.apply(command_batch(2, b"2", client=BOB, born=4), 16, machine)
    assert len(sessions) == 1


def test_forgotten_client_is_not_taken_for_a_new_one() -> None:
    """Its repeated first command may have been applied."""
    sessions, machine = Sessions(SessionLimits(idle_index_count=10)), Adder()
    sessions.apply(command_batch(1, b"1", born=3), 5, machine)
    assert sessions.apply(command_batch(1, b"1", born=3), 50, machine) == [
        CommandAnswer(1, None, Refusal.EXPIRED)
    ]
    assert sessions.apply(command_batch(1, b"1", client=BOB, born=49), 51, machine) == [
        CommandAnswer(1, b"r1")
    ]
    assert machine.given == [b"1", b"1"]


def test_clients_are_bounded_and_the_longest_silent_goes() -> None:
    sessions, machine = Sessions(SessionLimits(client_count=2)), Adder()
    for index, client in enumerate((ALICE, BOB, ALICE), 1):
        sessions.apply(command_batch(1 + (index == 3), b"x", client=client), index, machine)
    sessions.apply(command_batch(1, b"x", client=b"c" * 16, born=3), 4, machine)
    assert len(sessions) == 2
    assert sessions.apply(command_batch(3, b"x"), 5, machine)[0].refusal is Refusal.NONE
    assert (
        sessions.apply(command_batch(2, b"x", client=BOB), 6, machine)[0].refusal is Refusal.EXPIRED
    )


def test_snapshot_restores_everything() -> None:
    """Two tables given the same log stay the same, whether or not one was restored."""
    rng = Random(3)
    limits = SessionLimits(client_count=3, result_count=4, idle_index_count=20)
    one, other = Sessions(limits), Sessions(limits)
    machines = Adder(), Adder()
    for index in range(1, 400):
        client = bytes([rng.randrange(5)]) * 16
        sent = command_batch(
            rng.randrange(1, 12),
            *[b"%d" % n for n in range(rng.randrange(1, 4))],
            client=client,
            answered=rng.randrange(8),
            born=max(0, index - rng.randrange(30)),
        )
        assert one.apply(sent, index, machines[0]) == other.apply(sent, index, machines[1])
        if rng.random() < 0.3:
            assert one.to_bytes() == other.to_bytes()
            other = Sessions.from_bytes(other.to_bytes(), limits)
    assert machines[0].given == machines[1].given
    assert machines[0].given


def test_table_of_other_bytes_is_refused() -> None:
    for data in (b"", b"\xc0", b"\x92\x00", b"\x92\x00\x91\x94\xc4\x01a\x00\x00\x90"):
        with pytest.raises(DecodeError):
            Sessions.from_bytes(data)


def test_command_batches_survive_the_wire() -> None:
    command_batches = (
        command_batch(1, b"x", b"y"),
        command_batch(7, b"z", client=BOB, answered=6, born=3),
    )
    assert decode_command_batches(encode_command_batches(command_batches)) == command_batches


@pytest.mark.parametrize(
    "bad",
    [
        (),
        (command_batch(0, b"x"),),
        (command_batch(1),),
        (command_batch(1, b"x", client=b"short"),),
        (command_batch(1, b"x", answered=-1),),
        (command_batch(1, b"x", born=1 << 62),),
    ],
)
def test_command_batches_that_break_a_limit_are_refused(bad: tuple[CommandBatch, ...]) -> None:
    with pytest.raises(DecodeError):
        decode_command_batches(encode_command_batches(bad))
