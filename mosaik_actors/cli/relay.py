"""``mosaik-actors relay``: a relay for nodes that cannot reach each other directly."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from .. import running
from . import joining, tickets

if TYPE_CHECKING:
    from prometheus_client import Metric

    from ..tickets.jwt import Jwt
    from ..transport.relay.server import RelayServer
    from . import Subparsers

_EPILOG = """\
examples:
  mosaik-actors relay                                   for everybody, on port 4434, UDP and TCP
  mosaik-actors relay --secret-file relay.secret        for those who know the secret
  mosaik-actors relay --ticket-key issuer.pub --ticket-alg ES256 --ticket-issuer acme
                                                        for those with a ticket of acme's
  mosaik-actors relay --bind 127.0.0.1:0 --metrics-addr 127.0.0.1:9101

Prints its address, for Network(relay=...), and stays. It forwards what is sealed between
two peers and can read none of it; it sees who talks to whom, and how much. It is of no
network: one relay serves the nodes of many. Its address holds its id, which is that of the
key file: keep that, and the address is the same after a restart.
"""


def add(subparsers: Subparsers) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "relay",
        help="run a relay, for nodes that cannot reach each other directly",
        description="Run a relay, and print its address.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--bind",
        metavar="HOST:PORT",
        default="0.0.0.0:4434",
        help="where to listen; port 0 takes any free one (default: %(default)s)",
    )
    parser.add_argument(
        "--key-file",
        type=Path,
        default=Path("relay.key"),
        help="its identity, made where there is none (default: %(default)s)",
    )
    parser.add_argument(
        "--secret-file",
        metavar="FILE",
        type=Path,
        help="serve only peers that know this secret (default: everybody)",
    )
    add_ticket_options(parser)
    parser.add_argument(
        "--peers-max",
        metavar="N",
        type=joining.positive(int),
        help="how many peers to serve at a time (default: 1024)",
    )
    parser.add_argument(
        "--bytes-per-second",
        metavar="N",
        type=joining.positive(int),
        help="what each peer may send; a datagram for each 1024 (default: 8388608)",
    )
    parser.add_argument("--metrics-addr", metavar="HOST:PORT", help="where to serve metrics")
    parser.set_defaults(run=run)


def add_ticket_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which tickets are required."""
    parser.add_argument(
        "--ticket-key",
        metavar="FILE",
        help="serve only peers with a token that this key verifies: a file, PEM or "
        "hexadecimal, or env:NAME; node side: RelayConfig(tickets=(Jwt.class_id,))",
    )
    parser.add_argument(
        "--ticket-alg", choices=tickets.ALGORITHMS, help="the algorithm of --ticket-key"
    )
    parser.add_argument("--ticket-issuer", metavar="NAME", help="who has to issue the tokens")
    parser.add_argument(
        "--ticket-audience",
        metavar="NAME",
        action="append",
        help="for whom they have to be; may be repeated, one is enough",
    )
    parser.add_argument(
        "--ticket-claim",
        metavar="NAME=JSON",
        action="append",
        default=[],
        help="what else they have to say; may be repeated",
    )


def required_ticket(options: argparse.Namespace) -> tuple[Jwt, ...]:
    """Return the validator that the options ask for, if any. Raises `ConfigError`."""
    from ..errors import ConfigError

    if options.ticket_key is None:
        others = (options.ticket_alg, options.ticket_issuer, options.ticket_audience)
        if any((*others, options.ticket_claim)):
            raise ConfigError("--ticket-key is missing: the key that verifies the tokens")
        return ()
    if options.ticket_alg is None:
        raise ConfigError("--ticket-alg is missing: the algorithm of --ticket-key")
    return (
        tickets.make_validator(
            options.ticket_key,
            options.ticket_alg,
            issuer=options.ticket_issuer,
            audiences=options.ticket_audience,
            claims=options.ticket_claim,
        ),
    )


def run(options: argparse.Namespace) -> int:
    """Run it."""
    return running.run(_run, options)


async def _run(options: argparse.Namespace) -> int:
    from ..environment import Machine
    from ..handles.arguments import as_metrics_addr, as_socket_addrs
    from ..handles.relaying import start_relay
    from ..ids import SecretKey
    from ..launch.notify import READY, STOPPING, notify
    from ..metrics.server import HttpServer
    from ..network_secret import load_secrets
    from ..transport.relay.config import RelayLimits

    limits = {"peers_max": options.peers_max, "bytes_per_s": options.bytes_per_second}
    metrics = None if options.metrics_addr is None else as_metrics_addr(options.metrics_addr)
    server = await start_relay(
        Machine(),
        SecretKey.load_or_create(options.key_file),
        as_socket_addrs(options.bind),
        limits=RelayLimits(**{name: one for name, one in limits.items() if one is not None}),
        secrets=load_secrets(options.secret_file, {}) if options.secret_file else (),
        require_ticket=required_ticket(options),
    )
    http: HttpServer | None = None
    try:
        if metrics is not None:
            from ..metrics.exposition import CONTENT_TYPE

            pages = {"/metrics": lambda: (200, CONTENT_TYPE, render(server))}
            http = await HttpServer.start(*metrics, pages)
        print(server.addr, flush=True)
        notify(READY)
        await asyncio.get_running_loop().create_future()
    finally:
        notify(STOPPING)
        if http is not None:
            await http.close()
        await server.close()
    return 0


def render(server: RelayServer) -> bytes:
    """Return the metrics of a relay in Prometheus's text format."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(server))
    return generate_latest(registry)


class _Collector:
    def __init__(self, server: RelayServer) -> None:
        self._server = server

    def collect(self) -> Iterator[Metric]:
        """Give all metrics of this moment."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        server = self._server
        text = "Peers that are served now."
        yield GaugeMetricFamily("mosaik_relay_peers", text, value=server.peer_count)
        for field in fields(server.counters):
            value = getattr(server.counters, field.name)
            yield CounterMetricFamily(f"mosaik_relay_{field.name}", _HELP[field.name], value=value)


_HELP = {
    "datagrams_forwarded": "Datagrams that were given on.",
    "bytes_forwarded": "Bytes of datagrams that were given on.",
    "dropped_rate": "Datagrams beyond what their sender may send.",
    "dropped_absent": "Datagrams for peers that are not here.",
    "dropped_full": "Datagrams for peers that take them too slowly.",
    "peers_accepted": "Peers that got a place.",
    "peers_refused": "Peers for which there was no place.",
    "tickets_refused": "Peers that had no valid ticket when they came.",
    "tickets_expired": "Peers that lost their place when their tickets held no more.",
    "violations": "Frames that were no datagrams for anybody.",
}
