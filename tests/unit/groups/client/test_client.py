"""The commands of one member: numbers, command batches, answers, failures."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import Any

import msgspec
import pytest

from mosaik_actors.codec import EncodeError
from mosaik_actors.errors import Full
from mosaik_actors.groups.client.calls import Submission
from mosaik_actors.groups.client.client import (
    ClientEvent,
    ClientRenewed,
    CommandClient,
    SubmissionFailed,
)
from mosaik_actors.groups.client.window import (
    COMMAND_BATCH_BYTES,
    SENT_BYTES_MAX,
    SENT_PAYLOADS_MAX,
)
from mosaik_actors.groups.machine.payloads import (
    COMMAND_BYTES_MAX,
    PAYLOAD_BYTES,
    PAYLOAD_COMMANDS,
    encode_position,
)
from mosaik_actors.groups.machine.sessions import CommandAnswer, Refusal
from mosaik_actors.groups.wire.commands import (
    CommandBatch,
    count_commands,
    encode_command_batches,
    join_commands,
)
from mosaik_actors.groups.wire.raft import ENTRY_BYTES_MAX
from mosaik_actors.wire_encoding import encode

ID = b"i" * 16
RESEND_S = 1.0


@dataclass
class Done:
    """A submission is done, for comparisons."""

    token: Any
    positions: list[int]
    results: dict[int, bytes | None] = field(default_factory=dict)


def client(
    *, pending_commands: int = 1000, pending_bytes: int = 1 << 20, has_leader: bool = True
) -> CommandClient:
    made = CommandClient(
        ID,
        pending_commands=pending_commands,
        pending_bytes=pending_bytes,
        resend_s=RESEND_S,
        rng=Random(1),
    )
    made.set_leader(has_leader, 1, 0.0)
    return made


def submit(
    to: CommandClient,
    *payloads: bytes,
    token: object = "t",
    now: float = 0.0,
    timeout_s: float = inf,
    waits: bool = True,
) -> None:
    count, size_bytes = sum(map(count_commands, payloads)), sum(map(len, payloads))
    to.submit(Submission(payloads, count, size_bytes, token, timeout_s, waits), now=now)


def events(of: CommandClient) -> list[Done | ClientEvent]:
    """Return what has happened."""
    return [
        Done(event.token, list(event.positions), event.results)
        if isinstance(event, Submission)
        else event
        for event in of.take_events()
    ]


def sent(command_batches: list[CommandBatch]) -> list[tuple[int, tuple[bytes, ...]]]:
    return [
        (command_batch.first_sequence, command_batch.payloads) for command_batch in command_batches
    ]


def applied(first: int, *positions: int) -> list[CommandAnswer]:
    return [CommandAnswer(first + n, encode_position(at)) for n, at in enumerate(positions)]


def refused(refusal: Refusal, *sequences: int) -> list[CommandAnswer]:
    return [CommandAnswer(sequence, None, refusal) for sequence in sequences]


# The way there and back.


def test_commands_of_one_turn_travel_in_one_command_batch_and_are_resolved_when_applied() -> None:
    c = client()
    submit(c, b"a", token=1)
    submit(c, b"b", b"c", token=2)
    [command_batch] = c.take_command_batches(0.0, born_index=7)
    assert command_batch == CommandBatch(ID, 7, 1, 0, (b"a", b"b", b"c"))
    assert c.take_command_batches(0.0, born_index=7) == []
    c.receive_answers(applied(1, 11, 12), 0.1)
    assert events(c) == [Done(1, [11])]
    c.receive_answers(applied(3, 15), 0.1)
    assert events(c) == [Done(2, [12, 15])]
    assert c.is_idle
    assert c.pending_bytes == 0


def single(number: int, form: bytes = b"\x00") -> bytes:
    """Return the payload of one command, as the codec makes it."""
    return join_commands(form, [bytes([number])])


def test_calls_of_one_command_share_a_payload_and_each_has_its_own_answer() -> None:
    c = client()
    for token in range(4):
        submit(c, single(token), token=token, waits=token != 1)
    c.cancel(2)
    submit(c, single(4), token=4)
    [command_batch] = c.take_command_batches(0.0, born_index=0)
    assert command_batch.payloads == (join_commands(b"\x00", [b"\0", b"\1"]), *shared(3, 4))
    c.cancel(4)
    both = encode([b"r0", None]), encode([b"r3", b"r4"])
    positions = encode_position(11, 2), encode_position(17, 2)
    answers = [CommandAnswer(n + 1, positions[n], result=both[n]) for n in range(2)]
    c.receive_answers(answers, 0.0)
    assert events(c) == [
        Done(1, []),
        Done(0, [11], {11: b"r0"}),
        Done(3, [17], {17: b"r3"}),
    ]
    assert c.is_idle
    assert c.pending_bytes == 0


def shared(*numbers: int) -> list[bytes]:
    return [join_commands(b"\x00", [bytes([number]) for number in numbers])]


def test_only_what_is_encoded_alike_shares_a_payload() -> None:
    c = client(pending_commands=2000, pending_bytes=1 << 30)
    large = join_commands(b"\x00", [b"\xc6" + PAYLOAD_BYTES.to_bytes(4) + bytes(PAYLOAD_BYTES)])
    given = [single(1), single(2), single(3, b"\x02"), *shared(4, 5), single(6), large, single(7)]
    for token, payload in enumerate(given):
        submit(c, payload, token=token)
    [command_batch] = c.take_command_batches(0.0, born_index=0)
    assert command_batch.payloads == (*shared(1, 2), *given[2:])
    for number in range(PAYLOAD_COMMANDS + 1):
        submit(c, single(8), token=f"more {number}")
    [command_batch] = c.take_command_batches(0.0, born_index=0)
    assert [count_commands(one) for one in command_batch.payloads] == [PAYLOAD_COMMANDS, 1]


@pytest.mark.parametrize("count", [1, 3])
def test_answer_that_is_for_more_or_fewer_commands_resolves_nobody_with_it(count: int) -> None:
    """A leader that lies may have put something else there under our number."""
    c = client()
    for token in range(2):
        submit(c, single(token), token=token)
    c.take_command_batches(0.0, born_index=0)
    c.receive_answers([CommandAnswer(1, encode_position(5, count))], 0.0)
    found = events(c)
    assert isinstance(found[-1], ClientRenewed)
    assert all(len(one.positions) == 1 for one in found if isinstance(one, Done))
    assert c.is_idle


def test_answer_that_is_for_billions_of_commands_is_not_listed() -> None:
    """It may be of a peer's snapshot: lists as long as it says would take all memory."""
    c = client()
    submit(c, b"a", b"b", b"c")
    c.take_command_batches(0.0, born_index=0)
    huge = encode_position(9, 2**32 - 1)
    c.receive_answers([*applied(1, 5), CommandAnswer(2, huge, result=b"\x90")], 0.0)
    assert [type(one) for one in c.take_events()] == [SubmissionFailed, ClientRenewed]
    assert c.is_idle


def test_nothing_is_numbered_before_there_is_a_leader() -> None:
    c = client(has_leader=False)
    submit(c, b"a")
    assert c.take_command_batches(0.0, born_index=0) == []
    assert c.cancel("t")
    c.set_leader(True, 1, 0.0)
    assert c.take_command_batches(0.0, born_index=0) == []
    assert c.is_idle


def test_command_batch_says_what_was_answered() -> None:
    c = client()
    submit(c, b"a", b"b", token=1)
    c.take_command_batches(0.0, born_index=0)
    c.receive_answers(applied(1, 1), 0.0)
    submit(c, b"c", token=2)
    assert [
        command_batch.answered for command_batch in c.take_command_batches(0.0, born_index=0)
    ] == [1]


def test_born_index_stays_that_of_the_first_command_batch() -> None:
    """A client that was forgotten must not look like a new one."""
    c = client()
    for born_index in (3, 9):
        submit(c, b"a", token=born_index)
        assert [b.born_index for b in c.take_command_batches(0.0, born_index=born_index)] == [3]


def test_feeding_is_done_when_a_leader_is_handed_it() -> None:
    c = client()
    submit(c, b"a", waits=False)
    assert events(c) == []
    c.take_command_batches(0.0, born_index=0)
    assert events(c) == [Done("t", [])]
    assert c.pending_count == 1
    c.set_leader(True, 2, 0.1)
    assert sent(c.take_command_batches(0.1, born_index=0)) == [(1, (b"a",))]
    c.receive_answers(applied(1, 1), 0.2)
    assert events(c) == []
    assert c.is_idle


# Limits.


def test_beyond_the_limits_nothing_is_accepted() -> None:
    c = client(pending_commands=2, pending_bytes=10)
    submit(c, b"a", token=1)
    assert c.has_room(1, 9)
    assert not c.has_room(2, 2)
    assert not c.has_room(1, 10)
    with pytest.raises(Full) as caught:
        submit(c, b"b", b"c", token=2)
    assert caught.value.value == (b"b", b"c")
    assert c.pending_count == 1
    c.take_command_batches(0.0, born_index=0)
    assert not c.has_room(2, 2)
    c.receive_answers(applied(1, 1), 0.0)
    assert c.has_room(2, 2)


def test_one_submission_of_any_size_fits_into_an_empty_client() -> None:
    c = client(pending_commands=2)
    submit(c, *[b"x"] * 5)
    assert sent(c.take_command_batches(0.0, born_index=0)) == [(1, (b"x",) * 5)]


def test_command_larger_than_an_entry_may_be_is_not_accepted() -> None:
    c = client()
    with pytest.raises(EncodeError, match="at most"):
        submit(c, b"a", bytes(COMMAND_BYTES_MAX + 1))
    assert c.is_idle


def test_command_batches_are_bounded_in_bytes_but_one_command_always_fits() -> None:
    c = client(pending_bytes=1 << 30)
    sizes = (COMMAND_BATCH_BYTES // 2, COMMAND_BATCH_BYTES // 2, 1, COMMAND_BYTES_MAX, 5, 6)
    for token, size in enumerate(sizes):
        submit(c, bytes(size), token=token)
    command_batches = c.take_command_batches(0.0, born_index=0)
    assert [list(map(len, command_batch.payloads)) for command_batch in command_batches] == [
        [COMMAND_BATCH_BYTES // 2] * 2,
        [1],
        [COMMAND_BYTES_MAX],
        [5, 6],
    ]
    assert [command_batch.first_sequence for command_batch in command_batches] == [1, 3, 4, 5]
    assert all(
        len(encode_command_batches([command_batch])) < ENTRY_BYTES_MAX
        for command_batch in command_batches
    )


def test_what_is_on_its_way_is_bounded_and_the_rest_has_no_number() -> None:
    c = client(pending_bytes=1 << 30)
    count = SENT_BYTES_MAX // COMMAND_BATCH_BYTES
    for token in range(count + 4):
        submit(c, bytes(COMMAND_BATCH_BYTES), token=token)
    assert len(c.take_command_batches(0.0, born_index=0)) == count
    assert c.take_command_batches(0.0, born_index=0) == []
    assert c.cancel(count + 3)
    assert not c.cancel(0)
    c.receive_answers(applied(1, 1, 2), 0.0)
    assert [
        command_batch.first_sequence for command_batch in c.take_command_batches(0.0, born_index=0)
    ] == [count + 1, count + 2]


def test_commands_on_their_way_are_bounded_in_number_too() -> None:
    c = client(pending_commands=1_000_000)
    submit(c, *[b"x"] * (SENT_PAYLOADS_MAX + 10), token=1)
    submit(c, b"y", token=2)
    [command_batch] = c.take_command_batches(0.0, born_index=0)
    assert len(command_batch.payloads) == SENT_PAYLOADS_MAX
    c.receive_answers(applied(1, *range(1, 6)), 0.0)
    [command_batch] = c.take_command_batches(0.0, born_index=0)
    assert (command_batch.first_sequence, command_batch.payloads) == (
        SENT_PAYLOADS_MAX + 1,
        (b"x",) * 5,
    )
    assert c.cancel(2), "it is not on its way, so it has no number"


# Losses.


def test_another_leader_is_sent_everything_again_in_order() -> None:
    c = client()
    submit(c, b"a", b"b", token=1)
    c.take_command_batches(0.0, born_index=0)
    c.receive_answers(applied(1, 1), 0.0)
    submit(c, b"c", token=2)
    c.take_command_batches(0.0, born_index=0)
    c.set_leader(True, 1, 0.1)
    assert c.take_command_batches(0.1, born_index=0) == []
    c.set_leader(True, 2, 0.1)
    assert sent(c.take_command_batches(0.1, born_index=0)) == [(2, (b"b", b"c"))]


def test_leader_that_was_out_of_reach_is_sent_everything_again() -> None:
    c = client()
    submit(c, b"a")
    c.take_command_batches(0.0, born_index=0)
    c.set_leader(False, 1, 0.1)
    assert c.take_command_batches(0.1, born_index=0) == []
    c.set_leader(True, 1, 0.2)
    assert sent(c.take_command_batches(0.2, born_index=0)) == [(1, (b"a",))]


def test_silence_makes_it_send_again_less_and_less_often() -> None:
    c = client()
    submit(c, b"a")
    c.take_command_batches(0.0, born_index=0)
    gaps, now = [], 0.0
    for _ in range(6):
        due_at = c.get_timer()
        assert due_at is not None
        c.handle_timer(now=due_at - 0.001)
        assert c.take_command_batches(due_at - 0.001, born_index=0) == []
        c.handle_timer(now=due_at)
        assert sent(c.take_command_batches(due_at, born_index=0)) == [(1, (b"a",))]
        gaps.append(due_at - now)
        now = due_at
    assert gaps == [1, 2, 4, 8, 16, 16]


def test_answers_restart_the_time_for_the_rest() -> None:
    c = client()
    submit(c, b"a", b"b")
    c.take_command_batches(0.0, born_index=0)
    c.receive_answers(applied(1, 1), 0.9)
    assert c.get_timer() == 1.9
    c.receive_answers(applied(2, 2), 1.0)
    assert c.get_timer() is None


def test_refused_command_batch_is_sent_again_after_a_pause_with_what_follows() -> None:
    c = client()
    submit(c, b"a", token=1)
    c.take_command_batches(0.0, born_index=0)
    submit(c, b"b", token=2)
    c.take_command_batches(0.0, born_index=0)
    c.receive_refused(2, 0.0)
    submit(c, b"c", token=3)
    assert c.take_command_batches(0.0, born_index=0) == []
    due_at = c.get_timer()
    assert due_at is not None
    assert 0 < due_at < RESEND_S / 8
    c.handle_timer(now=due_at)
    assert sent(c.take_command_batches(due_at, born_index=0)) == [(2, (b"b", b"c"))]


def test_refusal_of_what_is_answered_or_was_not_sent_changes_nothing() -> None:
    c = client()
    submit(c, b"a", b"b")
    c.take_command_batches(0.0, born_index=0)
    c.receive_answers(applied(1, 1), 0.0)
    timer = c.get_timer()
    for sequence in (0, 1, 3, 99):
        c.receive_refused(sequence, 0.0)
    assert c.take_command_batches(0.0, born_index=0) == []
    assert c.get_timer() == timer


def test_new_commands_wait_out_the_pause_when_everything_before_was_answered() -> None:
    c = client()
    submit(c, b"a", token=1)
    c.take_command_batches(0.0, born_index=0)
    c.receive_refused(1, 0.0)
    c.receive_answers(applied(1, 1), 0.0)
    submit(c, b"b", token=2)
    due_at = c.get_timer()
    assert due_at is not None
    c.handle_timer(now=due_at)
    assert sent(c.take_command_batches(due_at, born_index=0)) == [(2, (b"b",))]


def test_gap_is_filled_at_once_and_its_echoes_do_not_send_more() -> None:
    c = client()
    for token in (1, 2, 3):
        submit(c, b"%d" % token, token=token)
        c.take_command_batches(0.0, born_index=0)
    # The first command batch was lost; the second and the third are refused.
    c.receive_answers(refused(Refusal.GAP, 2), 0.1)
    assert sent(c.take_command_batches(0.1, born_index=0)) == [(1, (b"1", b"2", b"3"))]
    c.receive_answers(refused(Refusal.GAP, 3), 0.1)
    assert c.take_command_batches(0.1, born_index=0) == []
    c.receive_answers(applied(1, 1, 2, 3), 0.2)
    assert [type(event) for event in events(c)] == [Done] * 3
    assert c.get_timer() is None


def test_gap_that_stays_is_filled_again_after_a_while() -> None:
    c = client()
    submit(c, b"a", token=1)
    c.take_command_batches(0.0, born_index=0)
    submit(c, b"b", token=2)
    c.take_command_batches(0.0, born_index=0)
    for _ in range(2):
        c.receive_answers(refused(Refusal.GAP, 2), 0.0)
        c.take_command_batches(0.0, born_index=0)
    due_at = c.get_timer()
    assert due_at is not None
    assert 0 < due_at < RESEND_S / 4
    c.handle_timer(now=due_at)
    assert sent(c.take_command_batches(due_at, born_index=0)) == [(1, (b"a", b"b"))]


def test_answers_that_were_missed_are_asked_for_again() -> None:
    """A snapshot took the place of the entries that answered the first command."""
    c = client()
    submit(c, b"a", token=1)
    submit(c, b"b", token=2)
    c.take_command_batches(0.0, born_index=0)
    c.receive_answers(applied(2, 2), 0.1)
    assert events(c) == []
    assert sent(c.take_command_batches(0.1, born_index=0)) == [(1, (b"a", b"b"))]
    repeated = [
        CommandAnswer(1, encode_position(1), is_repeated=True),
        CommandAnswer(2, encode_position(2), is_repeated=True),
    ]
    c.receive_answers(repeated, 0.2)
    assert events(c) == [Done(1, [1]), Done(2, [2])]


def test_results_come_with_the_positions_as_far_as_they_are_known() -> None:
    c = client()
    submit(c, b"a", b"b", b"c")
    submit(c, b"d", token=2, waits=False)
    c.take_command_batches(0.0, born_index=0)
    one, two, three, four = applied(1, 4, 5, 7, 8)
    answers = [
        msgspec.structs.replace(one, result=b"1", is_repeated=True),
        two,
        msgspec.structs.replace(three, result=b"3"),
        msgspec.structs.replace(four, result=b"4"),
    ]
    c.receive_answers(answers, 0.2)
    assert events(c) == [Done(2, []), Done("t", [4, 5, 7], {4: b"1", 7: b"3"})]


def test_answer_may_come_to_what_was_not_sent_again_yet() -> None:
    c = client()
    submit(c, b"a", b"bb", token=1)
    c.take_command_batches(0.0, born_index=0)
    c.set_leader(False, 1, 0.0)
    c.set_leader(True, 2, 0.0)
    c.receive_answers(applied(1, 1), 0.0)
    assert c.pending_bytes == 3  # those of a call, until it is answered whole
    assert sent(c.take_command_batches(0.0, born_index=0)) == [(2, (b"bb",))]


def test_overflow_is_sent_again_later() -> None:
    c = client()
    submit(c, b"a", b"b")
    c.take_command_batches(0.0, born_index=0)
    c.receive_answers([*applied(1, 1), *refused(Refusal.OVERFLOW, 2)], 0.0)
    assert c.take_command_batches(0.0, born_index=0) == []
    due_at = c.get_timer()
    assert due_at is not None
    assert due_at < RESEND_S / 8
    c.handle_timer(now=due_at)
    [command_batch] = c.take_command_batches(due_at, born_index=0)
    assert (command_batch.first_sequence, command_batch.answered) == (2, 1)


def test_closed_history_is_asked_again_later() -> None:
    c = client()
    submit(c, b"a")
    c.take_command_batches(0.0, born_index=0)
    c.receive_answers(refused(Refusal.CLOSED, 1), 0.0)
    assert events(c) == []
    due_at = c.get_timer()
    assert due_at is not None
    c.handle_timer(now=due_at)
    assert sent(c.take_command_batches(due_at, born_index=0)) == [(1, (b"a",))]


# Failures.


def test_caller_of_a_command_without_a_number_is_told_that_it_never_takes_effect() -> None:
    c = client(has_leader=False)
    submit(c, b"a", timeout_s=2.0)
    assert c.get_timer() == 2.0
    c.handle_timer(now=1.9)
    assert events(c) == []
    c.handle_timer(now=2.0)
    [failed] = events(c)
    assert isinstance(failed, SubmissionFailed)
    assert (failed.token, failed.may_take_effect) == ("t", False)
    c.set_leader(True, 1, 2.0)
    assert c.take_command_batches(2.0, born_index=0) == []
    assert c.get_timer() is None


def test_numbered_command_is_offered_though_its_caller_was_told_that_it_failed() -> None:
    """Later commands stand on it."""
    c = client()
    submit(c, b"a", timeout_s=0.5)
    c.take_command_batches(0.0, born_index=0)
    c.handle_timer(now=0.5)
    [failed] = events(c)
    assert isinstance(failed, SubmissionFailed)
    assert failed.may_take_effect
    c.set_leader(True, 2, 0.6)
    submit(c, b"b", token=2)
    assert sent(c.take_command_batches(0.6, born_index=0)) == [(1, (b"a", b"b"))]
    c.receive_answers(applied(1, 1, 2), 0.7)
    assert events(c) == [Done(2, [2])]


def test_cancelled_command_with_a_number_goes_on_and_nobody_is_told() -> None:
    c = client()
    submit(c, b"a", timeout_s=0.5)
    c.take_command_batches(0.0, born_index=0)
    assert not c.cancel("t")
    c.handle_timer(now=0.6)
    assert c.pending_count == 1
    c.receive_answers(applied(1, 1), 0.7)
    assert events(c) == []
    assert c.is_idle


def test_cancelling_what_is_not_pending_is_ignored() -> None:
    c = client()
    assert not c.cancel("t")
    submit(c, b"a", waits=False)
    c.take_command_batches(0.0, born_index=0)
    assert not c.cancel("t")
    assert c.pending_count == 1


def test_token_may_be_used_again_when_it_is_done() -> None:
    c = client()
    for number in (1, 2):
        submit(c, b"a")
        c.take_command_batches(0.0, born_index=0)
        c.receive_answers(applied(number, number), 0.0)
    assert events(c) == [Done("t", [1]), Done("t", [2])]


@pytest.mark.parametrize("refusal", [Refusal.EXPIRED, Refusal.ANSWERED, Refusal.GAP])
def test_forgotten_client_fails_what_is_numbered_and_begins_anew(refusal: Refusal) -> None:
    """A gap at the first command not answered means that the answered ones are forgotten."""
    c = client()
    submit(c, b"a", token="awaited")
    submit(c, b"b", b"c", token="fed", waits=False)
    submit(c, b"d", token="late", timeout_s=0.1)
    c.take_command_batches(0.0, born_index=3)
    c.handle_timer(now=0.1)
    events(c)
    submit(c, b"e", token="waiting")
    c.receive_answers(refused(refusal, 1, 2, 3, 4), 0.2)
    failed, renewed = events(c)
    assert isinstance(failed, SubmissionFailed)
    assert (failed.token, failed.may_take_effect) == ("awaited", True)
    assert isinstance(renewed, ClientRenewed)
    assert renewed.client_id == c.client_id != ID
    assert renewed.unknown_count == 3
    [command_batch] = c.take_command_batches(0.2, born_index=9)
    assert command_batch == CommandBatch(c.client_id, 9, 1, 0, (b"e",))


def test_answer_without_a_position_is_not_taken_for_one() -> None:
    """Where a restored table of sessions says so: nobody else knows either."""
    for result in (None, b"", b"123"):
        c = client()
        submit(c, b"a")
        c.take_command_batches(0.0, born_index=0)
        c.receive_answers([CommandAnswer(1, result, is_repeated=True)], 0.0)
        failed, renewed = events(c)
        assert isinstance(failed, SubmissionFailed)
        assert failed.may_take_effect
        assert isinstance(renewed, ClientRenewed)


def test_leaving_fails_everything_and_says_what_may_take_effect() -> None:
    c = client()
    submit(c, b"a", token=1, timeout_s=1.0)
    c.take_command_batches(0.0, born_index=0)
    submit(c, b"b", token=2, timeout_s=1.0)
    c.fail_all("left")
    first, renewed, second = events(c)
    assert first == SubmissionFailed(1, may_take_effect=True, reason="left")
    assert isinstance(renewed, ClientRenewed)
    assert second == SubmissionFailed(2, may_take_effect=False, reason="left")
    assert c.is_idle
    assert c.get_timer() is None
    c.handle_timer(now=2.0)
    assert events(c) == []


# Histories.


def test_other_history_is_offered_what_is_not_answered_under_the_same_numbers() -> None:
    c = client()
    submit(c, b"a", token=1)
    submit(c, b"b", token=2)
    c.take_command_batches(0.0, born_index=50)
    c.receive_answers(applied(1, 1), 0.0)
    c.change_history()
    assert c.take_command_batches(0.1, born_index=9) == [CommandBatch(ID, 0, 2, 1, (b"b",))]


def test_client_without_commands_begins_anew_in_another_history() -> None:
    c = client()
    c.change_history()
    assert c.client_id == ID
    submit(c, b"a", token=1)
    c.take_command_batches(0.0, born_index=50)
    c.receive_answers(applied(1, 1), 0.0)
    c.change_history()
    assert c.client_id != ID
    submit(c, b"b", token=2)
    assert c.take_command_batches(0.1, born_index=9) == [
        CommandBatch(c.client_id, 9, 1, 0, (b"b",))
    ]


# Memory.


def test_deadlines_of_what_is_done_do_not_pile_up() -> None:
    c = client()
    submit(c, b"x", token="long", timeout_s=5000.0)
    c.take_command_batches(0.0, born_index=0)
    c.receive_answers(applied(1, 1), 0.0)
    for number in range(2, 20_000):
        submit(c, b"x", token=number, timeout_s=1000.0)
        c.take_command_batches(0.0, born_index=0)
        c.receive_answers(applied(number, number), 0.0)
    assert len(c._deadlines) < 5000
    assert c.get_timer() is None
