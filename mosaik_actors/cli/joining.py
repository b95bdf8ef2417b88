"""Options of the sub-commands that join a network, and joining with them."""

from __future__ import annotations

import argparse
import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .doctor.divided import list_apart
from .failure import CommandFailed

if TYPE_CHECKING:
    from ..discovery.view import CatalogSnapshot
    from ..network import Network
    from ..transport.relay.config import RelayConfig

OBSERVER_TAG = "observer"
WAIT_S = 3.0
SETTLED_S = 0.5
_APART_SHOWN_MAX = 4


def add_secret_file(parser: argparse.ArgumentParser) -> None:
    """Add what names the file of the network's secret."""
    parser.add_argument(
        "--secret-file",
        metavar="FILE",
        type=Path,
        help="the file with the network's secret (default: MOSAIK_SECRET in the environment)",
    )


def add_options(
    parser: argparse.ArgumentParser,
    bind: str | None = "127.0.0.1:0",
    *,
    is_optional: bool = False,
) -> None:
    """Add what says which network to join, and how.

    Args:
        parser: Of the sub-command.
        bind: Where to listen when nobody says; None for what `Network` does then.
        is_optional: Whether the network may be left out.
    """
    nargs = "?" if is_optional else None
    parser.add_argument("network", nargs=nargs, help="the network's name, or its id")
    parser.add_argument(
        "--bootstrap",
        metavar="PEER@HOST:PORT",
        action="append",
        default=[],
        help="a peer to begin with; may be repeated. On this machine none is needed",
    )
    add_secret_file(parser)
    parser.add_argument(
        "--relay",
        metavar="PEER@HOST:PORT",
        action="append",
        default=[],
        help="a relay for peers that cannot be reached directly; may be repeated",
    )
    parser.add_argument(
        "--relay-secret-file",
        metavar="FILE",
        type=Path,
        help="the file with the secret that the relays want",
    )
    parser.add_argument(
        "--bind",
        metavar="HOST:PORT",
        default=bind,
        help="where to listen; port 0 takes any free one (default: "
        + ("as far as those named are)" if bind is None else "%(default)s)"),
    )


def joined(options: argparse.Namespace, **settings: Any) -> Network:
    """Return the node that the options ask for, not started yet. Raises `ConfigError`.

    Args:
        options: What `add_options` has added.
        settings: More settings of the node; also others in place of those.
    """
    from ..network import Network

    chosen: dict[str, Any] = {
        "secret": options.secret_file,
        "bootstrap": options.bootstrap,
        "bind": options.bind,
        "relay": relays(options),
        "tags": [OBSERVER_TAG],
    }
    return Network(options.network, **chosen | settings)


def relays(options: argparse.Namespace) -> RelayConfig | None:
    """Return which relays the options name, with their secret. Raises `ConfigError`."""
    from ..transport.relay.config import own_config

    config = own_config(options.relay or None)
    if config is not None and options.relay_secret_file is not None:
        config = replace(config, secret=options.relay_secret_file)
    return config


@asynccontextmanager
async def joined_and_settled(
    options: argparse.Namespace, wait_s: float = WAIT_S, **settings: Any
) -> AsyncIterator[tuple[Network, CatalogSnapshot]]:
    """Run a node while inside; give it, and who is there, which is somebody.

    Raises:
        CommandFailed: Nobody is, after `wait_s`.
    """
    async with joined(options, **settings) as net:
        if not (snapshot := await settled(net, wait_s)):
            found = f"nobody else found on network {options.network!r} within {wait_s:g} s"
            if apart := list_apart(net.node.endpoint, ()):
                raise CommandFailed(f"{found}; " + "; ".join(apart[:_APART_SHOWN_MAX]))
            raise CommandFailed(
                f"{found}; nodes of this user on this machine are found by name and secret, "
                "others need --bootstrap"
            )
        yield net, snapshot


def positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    """Return a parser of numbers above 0, for the options of `argparse`."""

    def parse(text: str) -> float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text}, expected more than 0")
        return value

    parse.__name__ = kind.__name__
    return parse


async def settled(net: Network, wait_s: float) -> CatalogSnapshot:
    """Return the catalog once nobody was added for a moment, or when the time is over."""
    known: set[object] = set()
    snapshot = net.discovery.catalog()
    watch = net.discovery.watch()
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + wait_s
    settled_at = give_up_at
    while True:
        try:
            async with asyncio.timeout_at(min(settled_at, give_up_at)):
                snapshot = await anext(watch)
        except TimeoutError:
            return snapshot
        if snapshot and set(snapshot) != known:
            known = set(snapshot)
            settled_at = loop.time() + SETTLED_S
