"""``mosaik-actors group``: the groups of a network, and control of those of this user's nodes.

``status`` and ``members`` are put together from what members show. ``transfer`` and ``leave`` ask
nodes of this user on this machine, over Unix sockets: no others do it (`actors.group_control`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .. import running
from ..peer_text import json_printable, printable
from . import joining
from .doctor.divided import DividedGroup, find_divided
from .failure import CommandFailed

if TYPE_CHECKING:
    from ..discovery.info import PeerInfo
    from ..groups.wire.control import ControlAnswer, ControlRequest
    from ..ids import GroupId
    from ..metrics.records import NodeStatus
    from ..network import Network
    from . import Subparsers

NAME_CHARACTERS_MAX = 40
CONTROL_S = 60.0

_EPILOG = """\
examples:
  mosaik-actors group status my-app              all groups: leader, voters, position
  mosaik-actors group members my-app counter     the members of one, by name or id
  mosaik-actors group status my-app --json

  mosaik-actors group transfer my-app counter    have another voter lead it
  mosaik-actors group transfer my-app counter --to 3f9a
  mosaik-actors group leave my-app counter 3f9a  have the node 3f9a leave it

A group is named by its name or by the beginning of its id, a collection's group also by the
collection's name; a node by the beginning of its id.
Groups of one name, or collections of one store, that are several, since their nodes differ in a
type, a constraint or a setting, are named below ("same_name" with --json): they never meet.
What is shown is what the members say of themselves; nodes with share_status=False are left out.
transfer and leave are done by nodes of this user on this machine only: the one that leads, the
one that is to leave. The program that runs there finds its member ended after leave.
Exit codes: 0 done, 1 there is no such group, or it was not done.
"""


def add(subparsers: Subparsers) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "group",
        help="show the groups of a network; have another member lead, or one leave",
        description="Show the groups of a network, and control those of this user's nodes.",
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
    transfer = actions.add_parser("transfer", help="have another voter lead a group")
    leave = actions.add_parser("leave", help="have a node leave a group for good")
    for action in (transfer, leave):
        joining.add_options(action)
        action.add_argument("group", help="the group's name, or its id")
    transfer.add_argument("--to", metavar="PEER", help="which one (default: the one most ahead)")
    transfer.set_defaults(run=run_control, control=_transfer)
    leave.add_argument("peer", help="the node's id")
    leave.add_argument(
        "--last", action="store_true", help="even if nobody else keeps the group's state"
    )
    leave.set_defaults(run=run_control, control=_leave)


def run(options: argparse.Namespace) -> int:
    """Show them."""
    return running.run(_run, options)


async def _run(options: argparse.Namespace) -> int:
    from .top import ask_all

    async with joining.joined_and_settled(options) as (net, catalog):
        nodes, _silent = await ask_all(net)
    rows: list[dict[str, Any]] = options.rows(nodes.values(), options.group)
    if not rows:
        raise CommandFailed(f"no node shows a group {options.group!r}".replace(" ''", ""))
    divided = find_divided(catalog.values())
    if options.json:
        rows = [row | {"same_name": find_others(divided, row["id"])} for row in rows]
    for line in render(rows, as_json=options.json):
        print(line)
    ids = {row["id"] for row in rows}
    for one in divided:
        if not options.json and not ids.isdisjoint(map(str, one.groups)):
            print(printable(f"these never meet: {one}"))
    return 0


def find_others(divided: Iterable[DividedGroup], group_id: str) -> list[str]:
    """Return the ids of the other groups of the same name or store."""
    for one in divided:
        ids = [str(known) for known in one.groups]
        if group_id in ids:
            return [known for known in ids if known != group_id]
    return []


def run_control(options: argparse.Namespace) -> int:
    """Have it done."""
    return running.run(_run_control, options)


async def _run_control(options: argparse.Namespace) -> int:
    from ..transport.config import TransportConfig

    # What is not of this user and machine does not do it, so it need not be reached.
    transport = TransportConfig(carriers=("unix",))
    async with joining.joined_and_settled(options, transport=transport) as (net, catalog):
        print(await options.control(net, find_group(catalog.values(), options.group), options))
    return 0


def find_group(peers: Iterable[PeerInfo], wanted: str) -> tuple[GroupId, list[PeerInfo]]:
    """Return the one group that is called so, or whose id begins so, and its members.

    Raises:
        CommandFailed: There is none, or there are several.
    """
    found: dict[GroupId, list[PeerInfo]] = {}
    for peer in peers:
        for group_id, name in peer.groups.items():
            if _is_called(name, str(group_id), wanted):
                found.setdefault(group_id, []).append(peer)
    if len(found) != 1:
        ids = ", ".join(sorted(str(one)[:10] for one in found))
        raise CommandFailed(
            f"several groups are called {wanted!r}, choose by id: {ids}"
            if found
            else f"no node has a group {wanted!r}"
        )
    return next(iter(found.items()))


def _is_called(name: str, group_id: str, wanted: str) -> bool:
    from ..collections.naming import is_of_store

    return name == wanted or group_id.startswith(wanted) or is_of_store(name, wanted)


def find_member(members: Iterable[PeerInfo], wanted: str) -> PeerInfo:
    """Return the one member whose id begins so. Raises `CommandFailed`."""
    found = [peer for peer in members if str(peer.peer_id).startswith(wanted)]
    if not wanted or len(found) != 1:
        raise CommandFailed(
            f"{len(found)} members of the group have an id that begins with {wanted!r}"
        )
    return found[0]


async def _transfer(
    net: Network, group: tuple[GroupId, list[PeerInfo]], options: argparse.Namespace
) -> str:
    from ..groups.wire.control import TransferAsked

    group_id, members = group
    to = None if options.to is None else find_member(members, options.to).peer_id
    refusals = []
    for member in members:  # one after the other: the next leader is among them
        answer = await _ask(net, member, TransferAsked(group_id, to))
        if answer.leader is not None:
            return f"{answer.leader} leads"
        refusals.append(f"{member.peer_id.short}: {answer.error}")
    raise CommandFailed("no member has handed over leadership:\n  " + "\n  ".join(refusals))


async def _leave(
    net: Network, group: tuple[GroupId, list[PeerInfo]], options: argparse.Namespace
) -> str:
    from ..groups.wire.control import LeaveAsked

    group_id, members = group
    member = find_member(members, options.peer)
    answer = await _ask(net, member, LeaveAsked(group_id, options.last))
    if answer.error:
        raise CommandFailed(f"{member.peer_id.short}: {answer.error}")
    return f"{member.peer_id} has left"


async def _ask(net: Network, member: PeerInfo, request: ControlRequest) -> ControlAnswer:
    """Return what a member answers; that it cannot be asked is an answer, too."""
    from ..errors import TransportError
    from ..groups.wire.control import ControlAnswer
    from ..handles.group_control import ask_control

    try:
        answer = await ask_control(net.node, member.addr, request, CONTROL_S)
    except TimeoutError:
        return ControlAnswer(f"no answer within {CONTROL_S:g} s")
    except TransportError as exc:
        return ControlAnswer(f"not asked, as it seems to be none of this user here: {exc}"[:1000])
    return ControlAnswer(printable(answer.error), answer.leader)


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
        if _is_called(group.name, group.group_id, wanted)
    ]
    return sorted(rows, key=lambda row: (row["group"], row["id"], row["peer"]))


def render(rows: list[dict[str, Any]], *, as_json: bool) -> list[str]:
    """Return rows as JSON lines, or as a table with ids cut short."""
    if as_json:
        return [json_printable(json.dumps(row, ensure_ascii=False)) for row in rows]
    from ..collections.naming import without_store

    ids = ("id", "peer", "leader")
    rows = [row | {"group": without_store(row["group"]) or "group"} for row in rows]
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
