"""The HTTP endpoint: what it answers, and what it lets a client do."""

import asyncio

import pytest

from mosaik_actors.errors import TransportError
from mosaik_actors.metrics import server
from mosaik_actors.metrics.server import TEXT, Answer, HttpServer, readiness_page
from tests.waiting import until


def broken() -> Answer:
    raise RuntimeError("no page")


async def read_to_the_end(reader: asyncio.StreamReader) -> bytes:
    """Return what comes; a reset is an end, too, where something sent was not read."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


PAGES = {"/metrics": lambda: (200, TEXT, b"x 1\n"), "/broken": broken}


@pytest.mark.parametrize(
    ("line", "code", "body"),
    [
        (b"GET /metrics HTTP/1.1", 200, b"x 1\n"),
        (b"GET /metrics?name=x HTTP/1.1", 200, b"x 1\n"),
        (b"HEAD /metrics HTTP/1.0", 200, b""),
        (b"GET /other HTTP/1.1", 404, b"there are /metrics /broken\n"),
        (b"POST /metrics HTTP/1.1", 405, b"GET and HEAD only\n"),
        (b"\x16\x03\x01", 400, b"this is an HTTP/1.1 endpoint\n"),
        (b"GET /broken HTTP/1.1", 500, b"it failed; the log says why\n"),
    ],
)
def test_responses(line: bytes, code: int, body: bytes) -> None:
    head, _, found = HttpServer(PAGES).respond(line + b"\r\n\r\n").partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {code} ".encode())
    assert found == body


def test_readiness() -> None:
    assert readiness_page({})[0] == 200
    code, _, body = readiness_page({"actors": "2 of 3 started"})
    assert (code, body) == (503, b'{"not_ready": {"actors": "2 of 3 started"}}\n')


async def test_a_client_that_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_S_MAX", 0.01)
    http = await HttpServer.start("127.0.0.1", 0, PAGES)
    reader, writer = await asyncio.open_connection(*http.addr)
    assert await reader.read() == b""
    writer.close()
    await http.close()


async def test_a_head_without_an_end_is_refused() -> None:
    http = await HttpServer.start("127.0.0.1", 0, PAGES)
    reader, writer = await asyncio.open_connection(*http.addr)
    writer.write(b"GET /metrics HTTP/1.1\r\n" + b"x" * server.REQUEST_BYTES_MAX)
    assert await read_to_the_end(reader) == b""
    writer.close()
    await http.close()


async def test_closing_ends_clients_that_are_there() -> None:
    http = await HttpServer.start("127.0.0.1", 0, PAGES)
    reader, writer = await asyncio.open_connection(*http.addr)
    writer.write(b"GET")
    await until(lambda: http._clients)
    await http.close()
    assert await read_to_the_end(reader) == b""
    writer.close()


async def test_a_taken_port_is_said() -> None:
    http = await HttpServer.start("127.0.0.1", 0, PAGES)
    host, port = http.addr
    with pytest.raises(TransportError, match=f"metrics_addr {host}:{port} cannot be bound"):
        await HttpServer.start(host, port, PAGES)
    await http.close()
