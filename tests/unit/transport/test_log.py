"""What peers can make an endpoint say."""

from __future__ import annotations

import logging

import pytest

from mosaik_actors.transport.endpoint import log as log_module
from mosaik_actors.transport.endpoint.log import QUIET_S, BoundedLog


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> BoundedLog:
    monkeypatch.setattr(log_module, "KINDS_MAX", 3)
    caplog.set_level(logging.WARNING)
    return BoundedLog(logging.getLogger("log of a test"))


def test_a_kind_is_said_once_and_later_with_how_often(
    log: BoundedLog, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(100):
        log.warn("a", "peer %s did it", "p1", now=number)
    log.warn("a", "peer %s did it", "p1", now=QUIET_S)
    log.warn("a", "peer %s did it", "p1", now=2 * QUIET_S)
    assert caplog.messages == [
        "peer p1 did it",
        "peer p1 did it (and 99 times more before)",
        "peer p1 did it",
    ]


def test_new_kinds_are_bounded_summed_up_and_never_silent_for_good(
    log: BoundedLog, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(100):
        log.warn(f"peer {number}", "peer %d", number, now=0)
    summary = "too many kinds of trouble to name each: %d more warnings were held back"
    assert caplog.messages == ["peer 0", "peer 1", "peer 2", summary % 1]
    assert log.kinds == ["peer 0", "peer 1", "peer 2"]
    caplog.clear()
    for number in range(100, 200):
        log.warn(f"peer {number}", "peer %d", number, now=QUIET_S)
    assert caplog.messages == ["peer 100", "peer 101", "peer 102", summary % 97]


def test_what_has_to_be_mended_is_an_error(
    log: BoundedLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.error("key", "two nodes have one key", now=0)
    assert caplog.records[0].levelno == logging.ERROR
