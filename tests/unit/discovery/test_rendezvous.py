"""The form of a notice, and when to look for notices."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.discovery.rendezvous import (
    NOTICE_BYTES_MAX,
    POLL_MAX_S,
    PollSchedule,
    RendezvousNotice,
    format_notice,
    make_name,
    parse_name,
    parse_notice,
)
from mosaik_actors.errors import DecodeError

from .helpers import addr, peer

RNG = Random(1)
NAME = make_name(peer("a"), RNG)


def test_a_notice_survives_its_file() -> None:
    notice = RendezvousNotice(addr("a"), 4711, 1700000000.25)
    assert parse_notice(NAME, format_notice(notice)) == notice


def test_lines_of_a_newer_version_are_skipped() -> None:
    notice = RendezvousNotice(addr("a"), 1, 2.0)
    assert parse_notice(NAME, format_notice(notice) + b"colour blue\n") == notice


def test_a_notice_says_what_its_node_listens_with() -> None:
    listens = replace(addr("a"), carriers=("unix", "tcp"))
    notice = RendezvousNotice(listens, 1, 2.0)
    assert parse_notice(NAME, format_notice(notice)).addr.carriers == ("unix", "tcp")
    # An older node does not say.
    older = format_notice(notice).replace(b"listens unix tcp\n", b"")
    assert parse_notice(NAME, older).addr.carriers == ()


def test_names_carry_the_peer_and_are_never_used_twice() -> None:
    assert parse_name(NAME) == peer("a")
    assert make_name(peer("a"), RNG) != NAME


@pytest.mark.parametrize("name", ["", "x.peer", NAME + "~", "../" + NAME, NAME.upper(), NAME[1:]])
def test_other_files_are_no_notices(name: str) -> None:
    assert parse_name(name) is None
    with pytest.raises(DecodeError):
        parse_notice(name, format_notice(RendezvousNotice(addr("a"), 1, 2.0)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"mosaik rendezvous 2\n",
        b"mosaik rendezvous 1\npid 1\nstart 1\n",
        b"mosaik rendezvous 1\naddr nonsense\npid 1\nstart 1\n",
        b"mosaik rendezvous 1\npid " + b"9" * 5000,
        format_notice(RendezvousNotice(addr("b"), 1, 2.0)),
        format_notice(RendezvousNotice(replace(addr("a"), carriers=("x",) * 9), 1, 2.0)),
        format_notice(RendezvousNotice(replace(addr("a"), carriers=("x" * 17,)), 1, 2.0)),
        bytes(NOTICE_BYTES_MAX + 1),
    ],
)
def test_a_bad_notice_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        parse_notice(NAME, data)


@given(st.binary(max_size=300))
def test_garbage_is_refused_as_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        parse_notice(NAME, b"mosaik rendezvous 1\n" + data)


def test_the_first_look_is_at_once_and_later_ones_grow_rare() -> None:
    schedule = PollSchedule(Random(1), now=5.0)
    assert schedule.get_timer() == 5.0
    now, waits = 5.0, []
    for _ in range(12):
        schedule.receive_look(has_news=False, now=now)
        waits.append(schedule.get_timer() - now)
        now = schedule.get_timer()
    assert waits[0] < 0.3
    assert max(waits) <= POLL_MAX_S * 1.25
    schedule.receive_look(has_news=True, now=now)
    assert schedule.get_timer() - now < 0.2
