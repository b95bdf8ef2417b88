"""``mosaik-actors doctor``: what is wrong with this machine, and with a network seen from it."""

from __future__ import annotations

import argparse
import asyncio
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .. import running
from . import joining

if TYPE_CHECKING:
    from ..dht.config import DhtConfig
    from ..transport.config import TransportConfig
    from . import Subparsers
    from .doctor.finding import Finding

MAPPING_S = 25.0  # until a gateway that is silent was asked in all protocols

_EPILOG = """\
examples:
  mosaik-actors doctor                               this machine alone
  mosaik-actors doctor --data /var/lib/my-app        with the folder of the groups' logs
  mosaik-actors doctor my-app --secret-file net.secret --bootstrap "$(cat addr)"
  mosaik-actors doctor my-app --relay "$(cat relay)" --dht
  mosaik-actors doctor --json | jq '.checks[] | select(.verdict == "fail")'

Each check is ok, warn, fail, or skip when there was nothing to measure, and says what
to do. Of this machine: Python and packages, UDP to its own addresses, the largest packets,
socket buffers, open files, the folder of the rendezvous, the folder of logs (--data).
Of what is named: the resolver, relays, the DHT, the gateway (--port-mapping). Of a
network: who is there and over what, clocks, whether UDP reaches each peer and with what
sizes, NAT. Nothing is sent to anybody else.
The exit code is 1 when a check fails.
"""


def add(subparsers: Subparsers) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "doctor",
        help="check this machine and a network, and say what to do",
        description="Check this machine, and a network as it is seen from here.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    joining.add_options(parser, None, is_optional=True)
    parser.add_argument(
        "--data",
        metavar="FOLDER",
        type=Path,
        default=Path(),
        help="where groups keep their logs (default: the current folder)",
    )
    parser.add_argument("--dht", action="store_true", help="ask the public Mainline DHT, too")
    parser.add_argument(
        "--dht-bootstrap",
        metavar="HOST:PORT",
        action="append",
        default=[],
        help="a node of a DHT to ask; may be repeated",
    )
    parser.add_argument(
        "--port-mapping",
        metavar="GATEWAY",
        nargs="?",
        const="",
        help="have the gateway (that of the default route, or this one) map a port for a moment",
    )
    parser.add_argument(
        "--resolve",
        metavar="HOST",
        action="append",
        default=[],
        help="a host name that must resolve; may be repeated",
    )
    parser.add_argument(
        "--wait",
        metavar="SECONDS",
        type=joining.positive(float),
        default=joining.WAIT_S,
        help="how long to wait for peers, relays, names and the DHT each (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check, and print what was found."""
    return running.run(_run, options)


async def _run(options: argparse.Namespace) -> int:
    from .doctor.finding import as_json, as_table, has_failed

    findings = await _check(options)
    print(as_json(findings) if options.json else as_table(findings))
    return 1 if has_failed(findings) else 0


async def _check(options: argparse.Namespace) -> list[Finding]:
    from ..network_secret import load_secrets
    from .doctor.machine_probes import check_machine
    from .doctor.network import judge_mapping
    from .doctor.network_probes import ask_gateway, check_network, check_reach

    relays, dht = joining.relays(options), _dht(options)
    extras = [] if dht is None else ["dht"]
    findings = await asyncio.to_thread(check_machine, options.data.resolve(), extras)
    findings += await check_reach(relays, dht, options.resolve, options.wait)
    mapping = _mapping(options)
    asked = None if mapping is None else await ask_gateway(mapping, MAPPING_S)
    findings.append(judge_mapping(asked))
    if options.network is not None:
        net = joining.joined(options)
        settled = partial(joining.settled, wait_s=options.wait)
        secrets = load_secrets(options.secret_file, os.environ)
        findings += await check_network(net, len(options.bootstrap), settled, secrets)
    return findings


def _mapping(options: argparse.Namespace) -> TransportConfig | None:
    from ..transport.config import TransportConfig

    if options.port_mapping is None:
        return None
    return TransportConfig(port_mapping=True, port_gateway=options.port_mapping)


def _dht(options: argparse.Namespace) -> DhtConfig | None:
    from ..dht.config import DhtConfig

    if options.dht_bootstrap:
        return DhtConfig(bootstrap=tuple(options.dht_bootstrap))
    return DhtConfig() if options.dht else None
