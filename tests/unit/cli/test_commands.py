"""The pure parts of commands: conditions, tables, elements as JSON."""

import io
import json
from typing import Any

import msgspec
import pytest
from rich.console import Console

from mosaik_actors import Cell, Map, PriorityQueue
from mosaik_actors.cli import bench
from mosaik_actors.cli.collections import batches, line_type, parse_type, read_json
from mosaik_actors.cli.failure import CommandFailed
from mosaik_actors.cli.groups import group_rows, member_rows, render
from mosaik_actors.cli.main import main
from mosaik_actors.cli.peers import as_record, describe
from mosaik_actors.cli.tap import parse_condition, pick
from mosaik_actors.cli.top import picture
from mosaik_actors.discovery.entry import GroupInfo
from mosaik_actors.discovery.info import PeerInfo
from mosaik_actors.errors import ConfigError
from mosaik_actors.ids import GroupId
from mosaik_actors.metrics.top_view import Top
from tests.unit.discovery.helpers import entry, peer
from tests.unit.metrics.helpers import status

QUOTE = {"symbol": "ETH", "bid": 10.5, "venue": {"name": "x"}}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("symbol=ETH", True),
        ('symbol = "ETH"', True),
        ("symbol!=ETH", False),
        ("bid>=10.5", True),
        ("bid<10.5", False),
        ("bid > 3", True),
        ("bid<=x", False),
        ("venue.name=x", True),
        ("venue.town=x", False),
        ("ask=1", False),
    ],
)
def test_items_are_chosen_by_their_fields(condition: str, expected: bool) -> None:
    assert parse_condition(condition)(QUOTE) is expected
    assert not parse_condition(condition)("no record")


def test_fields_are_picked() -> None:
    assert list(pick([QUOTE], "bid,venue.name,gone")) == [{"bid": 10.5, "venue.name": "x"}]
    assert list(pick([QUOTE], None)) == [QUOTE]


def follower() -> Any:
    [group] = status().groups
    replace = msgspec.structs.replace
    other = replace(group, role="follower", leader="", position=9, why_offline="no leader\x1b")
    return status("b", groups=(other,))


def test_a_group_is_put_together_from_its_members() -> None:
    [row] = group_rows([status(), follower()], "")
    assert (row["position"], row["leader"][:1], row["term"]) == (9, "a", 4)
    assert [row["role"] for row in member_rows([follower(), status()], "g")] == [
        "leader", "follower",
    ]  # fmt: skip
    assert member_rows([status()], "c" * 5)
    assert not member_rows([status()], "other")


def test_rows_as_a_table_and_as_json() -> None:
    rows = member_rows([follower()], "")
    head, line = render(rows, as_json=False)
    assert head.split()[:3] == ["group", "id", "peer"]
    assert line.split() == [
        "g",
        "c" * 10,
        "b" * 10,
        "follower",
        "3",
        "3",
        "4",
        "9",
        "no",
        r"leader\x1b",
    ]
    assert json.loads(render(rows, as_json=True)[0]) == rows[0]
    unnamed = [row | {"group": ""} for row in rows]
    assert render(unnamed, as_json=False)[1].split()[0] == "group"  # as `peers` has it


def test_types_are_named_as_in_programs() -> None:
    assert parse_type("Map[str, int]") == (Map, (str, int))
    assert parse_type("Cell[mosaik_actors.metrics.records:NodeStatus]")[0] is Cell
    assert (
        line_type(*("PriorityQueue", parse_type("PriorityQueue[int,str,float]")[1]))
        == (tuple[int, str, float])
    )
    assert parse_type("PriorityQueue[int,str,float]")[0] is PriorityQueue


@pytest.mark.parametrize("text", ["Map", "Map[str", "List[int]", "Map[str]", "Map[str,no_such:A]"])
def test_wrong_types_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_type(text)


def test_lines_are_read_as_their_type() -> None:
    lines = ['["a", 1]\n', "\n", '["b", 2]\n']
    assert list(batches(lines, tuple[str, int])) == [[("a", 1), ("b", 2)]]
    with pytest.raises(CommandFailed, match=r"line 2: .*Expected `int`"):
        list(batches(["[1]", '["x"]'], list[int]))
    with pytest.raises(CommandFailed):
        read_json("{", int)
    with pytest.raises(CommandFailed, match=r"ETH: .*; a text has its quotes: '\"ETH\"'"):
        read_json("ETH", str)
    with pytest.raises(CommandFailed, match=r"got `int`$"):
        read_json("1", str)


def test_large_imports_come_in_batches() -> None:
    sizes = [len(batch) for batch in batches(["1"] * 2500, int)]
    assert sizes == [1000, 1000, 500]


def test_a_leader_is_marked() -> None:
    group = GroupId("g")
    info = PeerInfo(entry("a", groups=(GroupInfo(group, "counter"),)))
    leaders = {str(group): str(peer("a"))}
    assert describe(info, leaders=leaders).endswith(f" counter#{group.short}*")
    assert not describe(info).endswith("*")
    shown = as_record(info, leaders)
    assert shown["groups"] == {str(group): {"name": "counter", "leader": str(peer("a"))}}
    json.dumps(shown)


def test_what_was_measured() -> None:
    result = {
        "item_bytes": 64, "round_trips": 10, "rtt_median_ms": 0.5, "rtt_p99_ms": 1.0,
        "items_per_s": 123456.0, "megabytes_per_s": 7.9,
    }  # fmt: skip
    assert "123,456 items/s" in bench.render(result, as_json=False)[2]
    assert json.loads(bench.render(result, as_json=True)[0]) == result


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_the_commands(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "collection" in capsys.readouterr().out


def test_the_table_of_nodes_has_room_in_80_columns() -> None:
    shown = Top()
    shown.receive({"a" * 64: status("a")}, [])
    for has_keys in (True, False):
        console = Console(file=io.StringIO(), width=80, color_system=None)
        console.print(picture(shown, has_keys=has_keys))
        assert isinstance(console.file, io.StringIO)
        text = console.file.getvalue()
        assert "…" not in text
        assert "3 (1 away)" in text
        assert "300 ms" in text
        assert ("enter details" in text) == has_keys
