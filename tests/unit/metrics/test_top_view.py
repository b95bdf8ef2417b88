"""What `mosaik-actors top` shows, without a terminal."""

import msgspec
import pytest

from mosaik_actors.metrics.records import NodeStatus
from mosaik_actors.metrics.top_view import (
    COLUMNS,
    Silent,
    Top,
    detail_sections,
    duration,
    overview_rows,
    silent_lines,
)
from tests.unit.metrics.helpers import status, stream


def top_of(*nodes: NodeStatus, **settings: str) -> Top:
    top = Top(**settings)  # type: ignore[arg-type]
    top.receive({node.peer_id: node for node in nodes}, [])
    return top


def test_a_row_for_each_node() -> None:
    [row] = overview_rows(top_of(status()))
    assert row == ("a" * 10, "1m00s", "3 (1 away)", "11", "13", "-", "1", "1", "300 ms")
    assert len(row) == len(COLUMNS)


def test_nodes_are_sorted_by_the_chosen_column() -> None:
    many = msgspec.structs.replace(status("b").discovery, peers=9)
    top = top_of(status("a"), status("b", discovery=many), sort="peers")
    assert [node.peer_id[0] for node in top.ordered()] == ["b", "a"]
    top.press("r")
    assert [node.peer_id[0] for node in top.ordered()] == ["a", "b"]


def test_the_rate_is_that_since_the_last_look() -> None:
    top = top_of(status("a"), status("b"))
    assert [row[5] for row in overview_rows(top)] == ["-", "-"]
    busy = status("b", uptime_s=62.0, streams=(stream(items=210),))
    top.receive({"b" * 64: busy, "a" * 64: status("a", uptime_s=62.0)}, [])
    assert top.rate("b" * 64) == 100
    assert {row[0][0]: row[5] for row in overview_rows(top)} == {"a": "0", "b": "100"}
    top.sort = "items/s"
    assert top.ordered()[0] is busy


def test_keys_select_and_open_a_node() -> None:
    top = top_of(status("a"), status("b"))
    for key in ("down", "down", "\r"):
        assert top.press(key)
    shown = top.shown()
    assert shown is not None
    assert (shown.peer_id[0], top.is_detailed) == ("b", True)
    assert top.press("esc")
    assert not top.is_detailed
    assert not top.press("q")


def test_sorting_goes_through_all_columns() -> None:
    top = top_of(status())
    seen = []
    for _ in COLUMNS:
        seen.append(top.sort)
        top.press("s")
        top.ordered()
    assert (seen, top.sort) == (list(COLUMNS), "node")


def test_a_node_in_full() -> None:
    sections = {title: rows for title, _, rows in detail_sections(status())}
    assert sections["streams"] == [("prices", "producer", "2", "10", "100", "4")]
    assert sections["groups"][0][:3] == ("g#cccccccccc", "leader", "a" * 10)
    assert sections["peers"] == [("b" * 10, "2.00 ms", "connected")]
    assert sections["actors"] == [("Matcher", "2", "13", "90", "0")]


def test_what_a_node_says_does_not_steer_the_terminal() -> None:
    [(_, _, [row]), *_] = detail_sections(status(streams=(stream("a\x1b[2Jb"),)))
    assert row[0] == r"a\x1b[2Jb"
    top = Top()
    top.receive({}, [Silent("c" * 64, "no\x1b way")])
    assert silent_lines(top) == [r"cccccccccc  no\x1b way"]


def test_without_nodes_there_is_nothing_to_open() -> None:
    top = Top()
    assert top.press("\r")
    assert (top.is_detailed, top.shown()) == (False, None)


@pytest.mark.parametrize(
    ("seconds", "text"), [(9.9, "9s"), (190, "3m10s"), (18120, "5h02m"), (273600, "3d04h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
