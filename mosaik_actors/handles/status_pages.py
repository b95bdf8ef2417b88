"""The pages that a node serves over HTTP: metrics, status, health and readiness."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ..metrics.exposition import CONTENT_TYPE, make_registry, render
from ..metrics.records import NodeStatus
from ..metrics.server import JSON, TEXT, HttpServer, Page, readiness_page
from ..transport.address import SocketAddr


async def serve_pages(
    bind: SocketAddr,
    read: Callable[[], NodeStatus],
    why_not_ready: Callable[[], dict[str, str]],
) -> HttpServer:
    """Serve the pages of a node; close the server in the end.

    Args:
        bind: Where.
        read: Takes a snapshot of the node.
        why_not_ready: What ``/readyz`` answers with.

    Raises:
        TransportError: The address cannot be bound.
    """
    registry = make_registry(read)
    pages: dict[str, Page] = {
        "/metrics": lambda: (200, CONTENT_TYPE, render(registry)),
        "/status": lambda: (200, JSON, msgspec.json.encode(read())),
        "/healthz": lambda: (200, TEXT, b"ok\n"),
        "/readyz": lambda: readiness_page(why_not_ready()),
    }
    return await HttpServer.start(*bind, pages)
