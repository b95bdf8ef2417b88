"""``mosaik-actors group``: the groups of a network, put together from what members show."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .. import running
from ..peer_text import json_printable, printable
from . import joining
from .failure import CommandFailed

if TYPE_CHECKING:
    from ..metrics.records import NodeStatus
    from . import Subparsers

NAME_CHARACTERS_MAX = 40

_EPILOG = """\
examples:
  mosaik-actors group status my-app              all groups: leader, voters, position
  mosaik-actors group members my-app counter     the members of one, by name or id
  mosaik-actors group status my-app --json

A group is named by its name or by the beginning of its id. What is shown is what the members
say of themselves; nodes with share_status=False are left out.
The exit code is 1 if there is no such group.
"""


def add(subparsers: Subparsers) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "group",
        help="show the groups of a network: leaders, members, positions",
        description="Show the groups of a network.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    status = actions.add_parser("status", help="one line for each group")
    members = actions.add_parser("members", help="one line for each member")
    for action, rows in ((status, group_rows), (members, member_rows)):
        joining.add_options(action)
        action.add_argument("group", nargs="?", default="", help="a group's name, or its id")
        action.add_argument("--json", action="store_true", help="JSON lines")
        action.set_defaults(run=run, rows=rows)


def run(options: argparse.Namespace) -> int:
    """Show them."""
    return running.run(_run, options)


async def _run(options: argparse.Namespace) -> int:
    from .top import ask_all

    async with joining.joined(options) as net:
        if not await joining.settled(net, joining.WAIT_S):
            raise CommandFailed(joining.nobody(options.network, joining.WAIT_S))
        nodes, _ = await ask_all(net)
    rows: list[dict[str, Any]] = options.rows(nodes.values(), options.group)
    if not rows:
        raise CommandFailed(f"no node shows a group {options.group!r}".replace(" ''", ""))
    for line in render(rows, as_json=options.json):
        print(line)
    return 0


def group_rows(nodes: Iterable[NodeStatus], wanted: str) -> list[dict[str, Any]]:
    """Return one row for each group; where members differ, what most advanced ones say."""
    rows: dict[str, dict[str, Any]] = {}
    for row in member_rows(nodes, wanted):
        found = rows.get(row["id"])
        if found is None or row["position"] >= found["position"]:
            leader = row["leader"] or (found or row)["leader"]
            shown = ("group", "id", "voters", "members", "term", "position")
            rows[row["id"]] = {name: row[name] for name in shown} | {"leader": leader}
    return list(rows.values())


def member_rows(nodes: Iterable[NodeStatus], wanted: str) -> list[dict[str, Any]]:
    """Return one row for each member that shows itself, by group and then by peer."""
    rows = [
        {
            "group": group.name,
            "id": group.group_id,
            "peer": node.peer_id,
            "role": group.role,
            "leader": group.leader,
            "voters": group.voters,
            "members": group.members,
            "term": group.term,
            "position": group.position,
            "state": group.why_offline or "online",
        }
        for node in nodes
        for group in node.groups
        if not wanted or group.name == wanted or group.group_id.startswith(wanted)
    ]
    return sorted(rows, key=lambda row: (row["group"], row["id"], row["peer"]))


def render(rows: list[dict[str, Any]], *, as_json: bool) -> list[str]:
    """Return rows as JSON lines, or as a table with ids cut short."""
    if as_json:
        return [json_printable(json.dumps(row, ensure_ascii=False)) for row in rows]
    ids = ("id", "peer", "leader")
    cells = [list(rows[0])] + [
        [
            printable(str(value))[:10]
            if name in ids
            else printable(str(value))[:NAME_CHARACTERS_MAX]
            for name, value in row.items()
        ]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
