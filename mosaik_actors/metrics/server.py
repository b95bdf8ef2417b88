"""The node's HTTP endpoint: metrics, and whether it lives and is ready.

    GET /metrics    the metrics in Prometheus's text format
    GET /status     the node's snapshot as JSON
    GET /healthz    200: the event loop answers
    GET /readyz     200 when the node takes part and all checks hold, else 503 with the reasons

It runs on the node's loop, which is the point of ``/healthz``, and speaks as much HTTP as
that takes: one request for each connection, nothing but GET and HEAD, no body. What a
client may send, how long it may take and how many there may be is limited. There is no
encryption and no password: it belongs on the loopback interface, or behind something.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from ..errors import TransportError

logger = logging.getLogger(__name__)

REQUEST_BYTES_MAX: Final = 16 * 1024
REQUEST_S_MAX: Final = 5.0
CLIENTS_MAX: Final = 32

TEXT: Final = "text/plain; charset=utf-8"
JSON: Final = "application/json"

Answer = tuple[int, str, bytes]
Page = Callable[[], Answer]

_PHRASES: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class HttpServer:
    """Serves pages on one address. Made by `start`; `close` it in the end."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self._pages = pages
        self._clients: dict[asyncio.Task[None], None] = {}
        self._server: asyncio.Server

    @classmethod
    async def start(cls, host: str, port: int, pages: Mapping[str, Page]) -> HttpServer:
        """Return a running server. Raises `TransportError` when the address cannot be bound."""
        self = cls(pages)
        try:
            self._server = await asyncio.start_server(
                self._serve, host, port, limit=REQUEST_BYTES_MAX
            )
        except OSError as exc:
            raise TransportError(f"metrics_addr {host}:{port} cannot be bound: {exc}") from exc
        return self

    @property
    def addr(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    async def close(self) -> None:
        """Listen no longer, and end what is under way."""
        self._server.close()
        clients = list(self._clients)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._clients) >= CLIENTS_MAX:
            writer.close()
            return
        self._clients[task] = None
        try:
            # The limit of the reader holds for the whole head of a request.
            async with asyncio.timeout(REQUEST_S_MAX):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self.respond(head))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a client that does not ask, or does not listen
        except asyncio.CancelledError:
            pass  # the end; asyncio's own callback would log it
        finally:
            del self._clients[task]
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    def respond(self, head: bytes) -> bytes:
        """Return the whole response to the head of a request."""
        parts = head.partition(b"\r\n")[0].split(b" ")
        if len(parts) != 3 or not parts[2].startswith(b"HTTP/1."):
            return _response(400, TEXT, b"this is an HTTP/1.1 endpoint\n")
        method, target, _ = parts
        if method not in (b"GET", b"HEAD"):
            return _response(405, TEXT, b"GET and HEAD only\n", more="Allow: GET, HEAD\r\n")
        page = self._pages.get(target.partition(b"?")[0].decode("latin-1"))
        if page is None:
            listed = " ".join(self._pages)
            return _response(404, TEXT, f"there are {listed}\n".encode())
        try:
            code, kind, body = page()
        except Exception:
            logger.exception("a page of the metrics endpoint failed")
            code, kind, body = 500, TEXT, b"it failed; the log says why\n"
        return _response(code, kind, body, has_body=method == b"GET")


def readiness_page(why_not: Mapping[str, str]) -> Answer:
    """Return the page that says whether the node is ready, and what it waits for."""
    if not why_not:
        return 200, TEXT, b"ready\n"
    return 503, JSON, json.dumps({"not_ready": dict(why_not)}).encode() + b"\n"


def _response(code: int, kind: str, body: bytes, *, more: str = "", has_body: bool = True) -> bytes:
    head = (
        f"HTTP/1.1 {code} {_PHRASES[code]}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\nCache-Control: no-store\r\n{more}\r\n"
    )
    return head.encode() + (body if has_body else b"")
