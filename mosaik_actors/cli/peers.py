"""``mosaik-actors peers``: who is on a network.

Joins like any node, so what it shows is what any node would see.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from .. import running
from ..peer_text import json_printable, printable
from ..transport.address import format_socket_addr
from . import joining
from .doctor.divided import list_apart

if TYPE_CHECKING:
    from ..discovery.info import PeerInfo
    from ..discovery.view import CatalogSnapshot
    from ..network import Network
    from ..transport.address import PeerAddr
    from ..transport.gate import Standing
    from . import Subparsers

CARRIER_LOOK_S: Final = 1.0

_EPILOG = """\
examples:
  mosaik-actors peers my-app                 who is there
  mosaik-actors peers my-app --watch         who comes and goes, until Ctrl-C
  mosaik-actors peers my-app --bootstrap "$(cat addr)"    begin with a known peer

Each line: the peer's id, its first address ("relay only" where it tells none but its
relay), its round-trip time, what carries this command's connection to it now (unix, tcp,
quic or relay), its streams, and its groups with their ids, a * behind those that it
leads: members whose ids differ never meet. --long shows ids, addresses and names uncut,
and the ids of its tags. A peer that does not answer is marked unreachable, with the time
since it was heard of last, and what it offered counts as away. What it did to this
command's own node stands in brackets: rules that it broke, and whether and why it is
refused for that.
Below stand those that cannot be connected for want of a carrier in common, with what each
listens on.
The exit code is 1 if nobody is there.
"""


def add(subparsers: Subparsers) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "peers",
        help="list who is on a network, once or as they come and go",
        description="Join a network by its name and list who is there.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    joining.add_options(parser)
    parser.add_argument(
        "--watch",
        action="store_true",
        help="go on until Ctrl-C: + is new, - gone, ! does not answer, "
        "~ answers again, or is reached another way",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object for each peer")
    parser.add_argument("--long", action="store_true", help="whole ids, and all addresses")
    parser.add_argument(
        "--wait",
        metavar="SECONDS",
        type=joining.positive(float),
        default=joining.WAIT_S,
        help="how long to look for somebody (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """List the peers."""
    return running.run(_watch if options.watch else _list, options)


async def _list(options: argparse.Namespace) -> int:
    async with joining.joined_and_settled(options, options.wait) as (net, catalog):
        leaders = await _find_leaders(net)
        endpoint = net.node.endpoint
        for peer in _in_order(catalog):
            standing = net.standings().get(peer.peer_id)
            if options.json:
                carrier, apart = endpoint.carrier(peer.peer_id), endpoint.apart.why_not(peer.addr)
                record = as_record(peer, leaders, carrier, apart)
                print(json_printable(json.dumps(record, ensure_ascii=False)))
            else:
                print(
                    describe(
                        peer,
                        standing,
                        is_long=options.long,
                        leaders=leaders,
                        carrier=endpoint.carrier(peer.peer_id),
                    )
                )
        if not options.json:
            for text in list_apart(endpoint, _in_order(catalog)):
                print(text)
    return 0


async def _watch(options: argparse.Namespace) -> int:
    shown: dict[object, str] = {}
    known: dict[object, tuple[bool, str | None]] = {}
    async with joining.joined(options) as net:
        async for catalog in _catalogs(net):
            for gone in [peer for peer in shown if peer not in catalog]:
                print(f"- {shown.pop(gone)}", flush=True)
            for peer in _in_order(catalog):
                standing = net.standings().get(peer.peer_id)
                carrier = net.node.endpoint.carrier(peer.peer_id)
                line = describe(peer, standing, is_long=options.long, carrier=carrier)
                now = peer.is_reachable, carrier
                if peer.peer_id not in shown:
                    print(f"+ {line}", flush=True)
                elif now != known[peer.peer_id]:
                    print(f"{'~' if peer.is_reachable else '!'} {line}", flush=True)
                shown[peer.peer_id], known[peer.peer_id] = line, now
    return 0


async def _catalogs(net: Network) -> AsyncIterator[CatalogSnapshot]:
    """Give the catalog when it changes, and at times: what carries connections changes silently."""
    changes = aiter(net.discovery.watch())
    change = asyncio.ensure_future(anext(changes))
    try:
        while True:
            await asyncio.wait([change], timeout=CARRIER_LOOK_S)
            if change.done():
                try:
                    change.result()
                except StopAsyncIteration:
                    return
                change = asyncio.ensure_future(anext(changes))
            yield net.discovery.catalog()
    finally:
        change.cancel()
        await asyncio.wait([change])


def _in_order(catalog: CatalogSnapshot) -> list[PeerInfo]:
    return sorted(catalog.values(), key=lambda peer: peer.peer_id)


async def _find_leaders(net: Network) -> dict[str, str]:
    """Return who leads each group, by its id, as far as members show it."""
    if not any(peer.groups for peer in net.discovery.catalog().values()):
        return {}
    from .top import ask_all

    nodes, _ = await ask_all(net)
    ordered = sorted(
        (group for node in nodes.values() for group in node.groups), key=lambda g: g.term
    )
    return {group.group_id: group.leader for group in ordered if group.leader}


def as_record(
    peer: PeerInfo,
    leaders: Mapping[str, str],
    carrier: str | None = None,
    apart: str | None = None,
) -> dict[str, Any]:
    """Return what is known of a peer, for JSON: what carries this node's connection, or cannot."""
    return {
        "peer": str(peer.peer_id),
        "addr": str(peer.addr),
        "carrier": carrier,
        "listens": list(peer.addr.carriers),
        "apart": apart,
        "rtt_ms": None if peer.rtt is None else peer.rtt * 1000,
        "is_reachable": peer.is_reachable,
        "last_heard_s": peer.last_heard_s,
        "tags": sorted(map(str, peer.tags)),
        "streams": {str(stream): name for stream, name in peer.streams.items()},
        "groups": {
            str(group): {"name": name, "leader": leaders.get(str(group))}
            for group, name in peer.groups.items()
        },
        "actors": {str(actor): name for actor, name in peer.actors.items()},
    }


def describe(
    peer: PeerInfo,
    standing: Standing | None = None,
    *,
    is_long: bool = False,
    leaders: Mapping[str, str] = MappingProxyType({}),
    carrier: str | None = None,
) -> str:
    """Return one line about a peer: what carries this node's connection, what is against it."""
    rtt = "        -" if peer.rtt is None else f"{peer.rtt * 1000:6.2f} ms"
    if not peer.is_reachable:
        rtt = f"unreachable, last heard of {peer.last_heard_s:.0f} s ago"
    elif carrier is not None:
        rtt += f"  {carrier:5}"
    where = str(peer.addr) if is_long else f"{peer.peer_id.short}  {_first_address(peer.addr)}"
    streams = sorted(name or stream.short for stream, name in peer.streams.items())
    groups = sorted(
        f"{_group_name(name, is_long=is_long)}#{group.short}"
        + ("*" if leaders.get(str(group)) == str(peer.peer_id) else "")
        for group, name in peer.groups.items()
    )
    tags = [f"[{tag[:10]}]" for tag in sorted(map(str, peer.tags))] if is_long else []
    # A name comes from the peer: nothing in it may steer the terminal.
    names = " ".join(map(printable, (*streams, *groups, *tags)))
    if names and not peer.is_reachable:
        names = f"(away: {names})"
    return f"{where}  {rtt}  {names}".rstrip() + _describe_standing(standing)


def _group_name(name: str, *, is_long: bool) -> str:
    if is_long:
        return name or "group"
    from ..collections.naming import without_store

    return without_store(name) or "group"


def _first_address(addr: PeerAddr) -> str:
    if addr.direct:
        return format_socket_addr(addr.direct[0])
    return "relay only" if addr.relay else "no address"


def _describe_standing(standing: Standing | None) -> str:
    if standing is None:
        return ""
    said = [f"broke {standing.fault_count} rules"] if standing.fault_count else []
    if standing.gate:
        until = "" if standing.for_s is None else f" for {standing.for_s:.0f} s"
        said.append(f"refused{until} ({standing.gate})")
    return f"  [{', '.join(said)}]" if said else ""
