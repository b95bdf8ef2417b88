"""Figures as short texts, and how far a run has come."""

import pytest

from mosaik_actors.cli.demo.facts import Facts
from mosaik_actors.cli.demo.records import Cpu, Disk, Memory, NetIo
from mosaik_actors.cli.demo.wording import (
    Progress,
    curve,
    describe,
    milliseconds,
    moment,
    size,
    state_of,
    steps,
)

from .recorded import KINDS, NEW_PID, VICTIM_PID, good_run


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_449, "99.4 kB"),
        (123_456, "123 kB"),
        (999_600, "1.0 MB"),
        (25_300_000_000, "25.3 GB"),
        (2e12, "2.0 TB"),
    ],
)
def test_a_size_has_a_unit_and_about_three_digits(count: float, text: str) -> None:
    assert size(count) == text


def test_durations() -> None:
    assert [milliseconds(value) for value in (None, 0.00123, 0.0999, 1.2)] == [
        "-", "1.2", "99.9", "1200",
    ]  # fmt: skip
    assert [moment(value) for value in (None, 0.256)] == ["-", "0.26"]


def test_measurements_in_words() -> None:
    assert describe(Cpu(12.4, 0.5, 2)) == "12 % busy, load 0.50"
    assert describe(Memory(703e6, 25.3e9)) == "703 MB of 25.3 GB used"  # type: ignore[arg-type]
    assert describe(Disk(0, 78_700, 12)) == "r 0 B/s  w 78.7 kB/s"
    assert describe(NetIo(80_500, 1, 716.6)) == "717 packets/s, 80.5 kB/s"


def test_a_curve_goes_from_the_lowest_to_the_highest() -> None:
    assert curve([]) == ""
    assert curve([3, 3]) == "▁▁"
    assert curve([0, 7, 3.5, 1]) == "▁█▅▂"


def test_the_state_of_each_sensor() -> None:
    facts = good_run(is_ended=False)
    assert state_of(facts.sensors[100]) == ("● live", "good")
    assert state_of(facts.sensors[VICTIM_PID]) == ("✘ lost", "bad")
    facts.sensors[VICTIM_PID].stream_lost_at = None
    assert state_of(facts.sensors[VICTIM_PID]) == ("✘ killed", "bad")
    facts.receive_exit(NEW_PID, 3, now=19.0)
    assert state_of(facts.sensors[NEW_PID]) == ("✘ exit 3", "bad")


def test_the_steps_follow_the_facts() -> None:
    def progress(facts: Facts) -> list[Progress]:
        return [step.progress for step in steps(facts, sensor_count=len(KINDS))]

    begun = progress(Facts("demo-test", now=0.0))
    assert begun == [Progress.NOW] + [Progress.AHEAD] * 6
    assert progress(good_run()) == [Progress.DONE] * 7
    healed = good_run(is_ended=False)
    assert progress(healed) == [Progress.DONE] * 6 + [Progress.NOW]
    del healed.sensors[NEW_PID]
    assert progress(healed) == [Progress.DONE] * 4 + [Progress.NOW] + [Progress.AHEAD] * 2
