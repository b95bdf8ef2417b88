"""Policies, bounded mailboxes and dead letters: the pure cores."""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from typing import Any

import pytest
from thespian.actors import ActorAddress, ActorExitRequest

from mosaik_actors import ConfigError, Escalate, Mailbox, Restart, Resume, Stop
from mosaik_actors.runtime.messaging.letters import LetterLog
from mosaik_actors.runtime.messaging.mailbox import is_counted, take_oldest
from mosaik_actors.runtime.messaging.supervision import Supervisor

HERE = ActorAddress("here")


def decide(policy: Any, *times: float, can_resume: bool = True) -> list[tuple[str, float]]:
    supervisor = Supervisor(policy)
    made = [supervisor.decide(now=now, can_resume=can_resume) for now in times]
    return [(decision.name, decision.delay_s) for decision in made]


def test_resume_goes_on_and_stops_what_never_started() -> None:
    assert decide(Resume(), 0, 1) == [("resumed", 0), ("resumed", 0)]
    assert decide(Resume(), 0, can_resume=False) == [("stopped", 0)]


def test_stop_and_escalate_end_the_actor() -> None:
    assert decide(Stop(), 0) == [("stopped", 0)]
    assert decide(Escalate(), 0) == [("escalated", 0)]


def test_restart_backs_off_twice_as_long_each_time_up_to_the_most() -> None:
    policy = Restart(backoff=(0.1, 1.0), max_restarts=None)
    delays = [delay for _, delay in decide(policy, 0, 1, 2, 3, 4, 5)]
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert decide(policy, *range(2000))[-1] == ("restarted", 1.0)


def test_restarts_count_for_a_while_only() -> None:
    policy = Restart(backoff=(1, 1), max_restarts=2, within=timedelta(seconds=10))
    names = [name for name, _ in decide(policy, 0, 1, 2)]
    assert names == ["restarted", "restarted", "stopped"]
    assert [name for name, _ in decide(policy, 0, 1, 10.0, 11.5)] == ["restarted"] * 4


def test_what_follows_too_many_restarts_is_chosen() -> None:
    assert decide(Restart(max_restarts=0), 0) == [("stopped", 0)]
    assert decide(Restart(max_restarts=0, exhausted=Escalate()), 0) == [("escalated", 0)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Restart(backoff=(2, 1)),
        lambda: Restart(backoff=3),  # type: ignore[arg-type]
        lambda: Restart(max_restarts=-1),
        lambda: Restart(within=0),
        lambda: Mailbox(limit=0),
        lambda: Mailbox(overflow="reject"),  # type: ignore[arg-type]
    ],
)
def test_settings_out_of_range_are_refused(make: Any) -> None:
    with pytest.raises(ConfigError, match="expected"):
        make()


def test_the_oldest_message_that_counts_is_dropped() -> None:
    exit_request = ActorExitRequest()
    waiting: deque[Any] = deque([(exit_request, HERE), ("a", HERE), ("b", HERE)])
    assert take_oldest(waiting) == ("a", HERE)
    assert list(waiting) == [(exit_request, HERE), ("b", HERE)]
    assert not is_counted(exit_request)
    assert take_oldest(deque([(exit_request, HERE)])) is None


def test_dead_letters_of_a_kind_are_logged_once_a_minute_with_their_number() -> None:
    log = LetterLog()
    assert [log.note("A", now) for now in (0, 1, 59, 60, 61, 200)] == [1, None, None, 3, None, 2]
    assert log.note("B", 1) == 1
    for number in range(200):
        log.note(f"kind {number}", 1)
    assert log.note("one more", 1) is None
