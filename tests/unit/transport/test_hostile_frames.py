"""What a peer may send on its streams, over each carrier: it costs the peer, and nobody else."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from mosaik_actors.transport.close import CloseCode, CloseReason
from mosaik_actors.transport.config import TransportConfig
from mosaik_actors.transport.endpoint.peers import CONNECTIONS_PER_PEER_MAX
from mosaik_actors.transport.frames import AcceptFrame, CloseFrame, encode_control, encode_word
from mosaik_actors.transport.interface import FRAME_BYTES_MAX
from tests.waiting import until

from .hostile_scene import CARRIED, Raw, Scene, check_unnoticed, scene, stranger
from .raw import open_bytes

on_each_carrier = pytest.mark.parametrize("kind", CARRIED)


@pytest.fixture(params=CARRIED)
async def attacked(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    async with scene(kind=request.param) as it:
        yield it


@pytest.fixture
async def mallory(attacked: Scene) -> AsyncIterator[Raw]:
    async with attacked.intruder() as client:
        await client.wait_connected()
        yield client


@pytest.mark.parametrize(
    ("data", "is_end", "text"),
    [
        pytest.param(encode_word(4) + b"data", False, "does not open|at most 0", id="data first"),
        pytest.param(encode_control(AcceptFrame(b"")), False, "does not open", id="accept first"),
        pytest.param(
            encode_control(CloseFrame(CloseReason(200))), False, "does not open", id="close"
        ),
        pytest.param(b"\x80\0\0\x01\xc1", False, "not a control frame", id="not msgpack"),
        pytest.param(b"\xff\xff\xff\xff", False, "at most", id="oversized control frame"),
        pytest.param(b"\x7f\xff\xff\xff", False, "at most", id="oversized data frame"),
        pytest.param(b"", True, "does not open", id="empty stream"),
        pytest.param(b"\x80\0", True, "does not open", id="ends inside the first word"),
        pytest.param(open_bytes() + open_bytes(), False, "second open", id="opens twice"),
        pytest.param(open_bytes() + b"\x80\0\0", True, "inside a frame", id="truncated"),
    ],
)
async def test_broken_frames_close_the_link_as_a_violation(
    attacked: Scene, mallory: Raw, data: bytes, is_end: bool, text: str
) -> None:
    stream_id = mallory.send(data, is_end=is_end)
    reason = await mallory.close_reason(stream_id)
    assert reason.code == CloseCode.PROTOCOL_VIOLATION
    assert pytest.RaisesExc(Exception, match=text).matches(Exception(reason.text)), reason.text
    assert attacked.victim.counters.violations == 1
    # The connection itself goes on: the next link of the same peer is served.
    good = mallory.send(open_bytes())
    await until(lambda: mallory.frames.get(good) == [AcceptFrame(b"")])


async def test_oversized_frame_on_an_open_link_closes_it(attacked: Scene, mallory: Raw) -> None:
    stream_id = mallory.send(open_bytes())
    inbox = await attacked.server.inbox(1)
    mallory.send(encode_word(2) + b"ok" + encode_word(FRAME_BYTES_MAX + 1), stream_id=stream_id)
    reason = await mallory.close_reason(stream_id)
    assert reason.code == CloseCode.PROTOCOL_VIOLATION
    assert f"at most {FRAME_BYTES_MAX}" in reason.text
    assert (await inbox.until_closed()).reason.code == CloseCode.PROTOCOL_VIOLATION


async def test_truncated_frame_on_an_open_link_closes_it(attacked: Scene, mallory: Raw) -> None:
    stream_id = mallory.send(open_bytes())
    inbox = await attacked.server.inbox(1)
    mallory.send(encode_word(100) + b"only this", stream_id=stream_id, is_end=True)
    assert (await mallory.close_reason(stream_id)).code == CloseCode.PROTOCOL_VIOLATION
    assert "inside a frame" in (await inbox.until_closed()).reason.text
    assert inbox.frames == []


async def test_stream_that_just_ends_is_an_unexpected_close(attacked: Scene, mallory: Raw) -> None:
    stream_id = mallory.send(open_bytes())
    inbox = await attacked.server.inbox(1)
    mallory.send(encode_word(3) + b"bye", stream_id=stream_id, is_end=True)
    closed = await inbox.until_closed()
    assert inbox.frames == [b"bye"]
    assert closed.reason.code == CloseCode.UNEXPECTED_CLOSE


async def test_reset_stream_closes_its_link_with_the_code(attacked: Scene, mallory: Raw) -> None:
    stream_id = mallory.send(open_bytes())
    inbox = await attacked.server.inbox(1)
    mallory.reset(stream_id, 4242)
    assert (await inbox.until_closed()).reason == CloseReason(4242, "reset", remote=True)


async def test_unknown_protocol_is_told_so(attacked: Scene, mallory: Raw) -> None:
    stream_id = mallory.send(open_bytes(protocol="telnet"))
    assert (await mallory.close_reason(stream_id)).code == CloseCode.INVALID_PROTOCOL
    assert attacked.victim.counters.links_refused == 1


async def test_one_peer_holds_no_more_than_a_few_connections(attacked: Scene) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(8):
            client = await stack.enter_async_context(attacked.intruder())
            await client.wait_connected()
        await until(lambda: attacked.victim.connection_count <= 1 + CONNECTIONS_PER_PEER_MAX)


async def test_close_text_from_a_peer_is_fit_for_a_log(attacked: Scene, mallory: Raw) -> None:
    stream_id = mallory.send(open_bytes())
    inbox = await attacked.server.inbox(1)
    mallory.send(
        encode_control(CloseFrame(CloseReason(200, "placeholder"))).replace(
            b"placeholder", b"a\x1b[31m\nb\r\0xx"
        ),
        stream_id=stream_id,
    )
    assert (await inbox.until_closed()).reason.text.isprintable()


# Who is not of the network.


@pytest.mark.parametrize("data", [open_bytes(), bytes(12_000), b""])
async def test_links_before_the_proof_end_the_connection(attacked: Scene, data: bytes) -> None:
    async with stranger(attacked) as client:
        client.send(data, stream_id=4, is_end=not data)
        ended = await client.end()
    assert ended.error_code == CloseCode.PROTOCOL_VIOLATION
    assert client.proof == b""
    assert attacked.victim.counters.violations == 1
    await check_unnoticed(attacked)


@pytest.mark.parametrize("network", ["another", "net"])
async def test_wrong_proof_is_answered_with_no_proof(attacked: Scene, network: str) -> None:
    """Nothing that comes back depends on the network's name, so there is nothing to try out."""
    async with stranger(attacked) as client:
        wrong = client.admission(network, b"made up, sixteen").begin()
        client.send(wrong, is_end=True)
        ended = await client.end()
    assert (ended.error_code, ended.reason_phrase) == (101, "different network")
    assert client.proof == b""
    await check_unnoticed(attacked)


async def test_who_gives_up_its_proof_is_not_waited_for(attacked: Scene) -> None:
    async with stranger(attacked) as client:
        client.send(b"\x01")
        client.reset(0, 7)
        assert (await client.end()).error_code == CloseCode.PROTOCOL_VIOLATION
    await check_unnoticed(attacked)


@on_each_carrier
async def test_proof_has_to_come_within_the_time_of_a_dial(kind: str) -> None:
    config = TransportConfig(dial_timeout=0.3, keep_alive_interval=0.1)
    async with scene(config, kind) as attacked, stranger(attacked) as client:
        client.send(b"\x01")

        def pinged_until_ended() -> bool:
            client.make_answer()
            return client.ended is not None

        await until(pinged_until_ended, timeout=10)
        assert client.ended is not None
        assert client.ended.error_code == CloseCode.DIFFERENT_NETWORK
        await check_unnoticed(attacked)


async def test_right_proof_is_answered_with_one(attacked: Scene, mallory: Raw) -> None:
    await until(lambda: mallory.proof)
    assert mallory.admission().receive_data(mallory.proof, is_end=True) == b""


@on_each_carrier
async def test_peer_that_only_pings_does_not_stay(kind: str) -> None:
    config = TransportConfig(idle_timeout=0.5, keep_alive_interval=0.1)
    async with scene(config, kind) as attacked, attacked.intruder() as client:
        await client.wait_connected()
        await until(lambda: attacked.victim.connection_count == 2)

        def pinged_until_ended() -> bool:
            client.make_answer()
            return client.ended is not None

        await until(pinged_until_ended, timeout=10)
        assert attacked.victim.connection_count == 1
