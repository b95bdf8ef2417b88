"""The snapshot on its way to a peer."""

import msgspec
import pytest

from mosaik_actors.errors import DecodeError
from mosaik_actors.metrics.records import LISTED_MAX, clip_text
from mosaik_actors.metrics.wire import (
    ASKERS_MAX,
    FRESH_S,
    PAUSE_S,
    STATUS_BYTES_MAX,
    Answers,
    decode_status,
)

from .helpers import status, stream


def test_a_snapshot_arrives_as_it_was() -> None:
    answers = Answers()
    answers.receive_status(status(), now=0.0)
    assert decode_status(answers.frame) == status()


def test_the_largest_snapshot_fits() -> None:
    answers = Answers()
    streams = (stream("x" * 200, role="y" * 200, stream_id="z" * 200),) * LISTED_MAX
    answers.receive_status(status(streams=streams), now=0.0)
    assert len(answers.frame) < STATUS_BYTES_MAX / 4  # of four lists
    decode_status(answers.frame)


def test_what_is_too_long_is_refused() -> None:
    answers = Answers()
    answers.receive_status(status(streams=(stream(),) * (LISTED_MAX + 1)), now=0.0)
    with pytest.raises(DecodeError):
        decode_status(answers.frame)


def test_it_is_taken_anew_only_when_stale() -> None:
    answers = Answers()
    assert answers.is_stale(now=0.0)
    answers.receive_status(status(), now=0.0)
    assert not answers.is_stale(now=FRESH_S / 2)
    assert answers.is_stale(now=FRESH_S)


def test_a_peer_that_asks_too_often_is_refused() -> None:
    answers = Answers()
    assert answers.may_ask("a", now=0.0)
    assert not answers.may_ask("a", now=PAUSE_S / 2)
    assert answers.may_ask("b", now=PAUSE_S / 2)
    assert answers.may_ask("a", now=PAUSE_S)


def test_who_asked_is_remembered_within_a_limit() -> None:
    answers = Answers()
    for number in range(ASKERS_MAX + 10):
        answers.may_ask(number, now=0.0)
    assert len(answers._answered_at) == ASKERS_MAX
    assert answers.may_ask(0, now=0.0)  # forgotten


def test_a_status_is_json_and_frozen() -> None:
    made = status()
    assert msgspec.json.decode(msgspec.json.encode(made))["streams"][0]["items"] == 10
    with pytest.raises(AttributeError):
        made.at = 1.0  # type: ignore[misc]


def test_long_texts_are_clipped() -> None:
    assert clip_text("x" * 300) == "x" * 199 + "…"
