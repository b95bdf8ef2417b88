"""The pages about groups show the limits and events of the code."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from mosaik_actors.groups.machine.payloads import COMMAND_BYTES_MAX
from mosaik_actors.groups.machine.sessions import SessionLimits
from mosaik_actors.groups.member.events import GroupEvent
from mosaik_actors.groups.wire.records import (
    LEARNER_COUNT_MAX,
    PART_BYTES_MAX,
    PARTS_COUNT_MAX,
    VOTER_COUNT_MAX,
)
from mosaik_actors.groups.wire.sync import SNAPSHOT_BYTES_MAX

DOCS = Path(__file__).parents[3] / "docs"
PAGE = "".join((DOCS / name).read_text() for name in ("groups.md", "groups_reference.md"))
MIB = 1024 * 1024


def test_the_page_shows_the_limits_of_the_code() -> None:
    limits = SessionLimits()
    assert f"| a command | {COMMAND_BYTES_MAX // MIB} MiB encoded |" in PAGE
    assert f"| voters, learners | {VOTER_COUNT_MAX - 1}, {LEARNER_COUNT_MAX} |" in PAGE
    assert f"a snapshot 1 GiB and {PARTS_COUNT_MAX:,} parts" in PAGE.replace("\n", " ")
    assert f"| a snapshot | {SNAPSHOT_BYTES_MAX // MIB // 1024} GiB, in parts of at most" in PAGE
    assert f"A part has at most {PART_BYTES_MAX // MIB} MiB" in PAGE
    assert f"{limits.client_count:,}, each for {limits.idle_index_count:,} entries" in PAGE


def test_the_page_names_every_event() -> None:
    for event in GroupEvent.__args__:
        names = [field.name for field in fields(event)]
        assert f"| `{event.__name__}({', '.join(names)})` |" in PAGE
