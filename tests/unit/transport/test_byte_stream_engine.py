"""Connections over a byte stream: streams in parts, whatever the pieces that arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.ids import SecretKey
from mosaik_actors.transport.byte_streams.engine import (
    ABORT,
    DATA,
    DATA_END,
    HEAD_BYTES,
    HELD_BYTES_MAX,
    HELLO,
    PART_BYTES_MAX,
    PING,
    PONG,
    PONGS_MAX,
    PROOF,
    StreamEngine,
)
from mosaik_actors.transport.close import CloseCode, CloseReason
from mosaik_actors.transport.engine_events import (
    ConnectionEnded,
    EngineEvent,
    HandshakeDone,
    StreamAborted,
    StreamData,
)
from mosaik_actors.transport.engine_face import UNPROVEN_BYTES_MAX
from mosaik_actors.transport.local.identity import NONCE_BYTES, LocalIdentity
from mosaik_actors.transport.proven_peer import ProvenPeer

KEYS = (SecretKey.from_seed("dialler"), SecretKey.from_seed("acceptor"))
BYE = CloseReason(CloseCode.GRACEFUL_SHUTDOWN, "bye")


def engine(*, is_initiator: bool = False, streams_max: int = 8) -> StreamEngine:
    """Return one side of a connection whose ends are known to each other."""
    made = unknown(is_initiator=is_initiator, streams_max=streams_max, handshake_timeout=60)
    made.set_held_bytes(0)
    return made


def unknown(
    *, is_initiator: bool = False, streams_max: int = 8, handshake_timeout: float = 5
) -> StreamEngine:
    """Return one side of a connection that knows nothing of the other yet."""
    return StreamEngine(
        is_initiator=is_initiator,
        idle_timeout=10,
        handshake_timeout=handshake_timeout,
        streams_max=streams_max,
        now=0.0,
    )


def pair(streams_max: int = 8) -> tuple[StreamEngine, StreamEngine]:
    """Return both sides, the dialler first."""
    here, there = (
        engine(is_initiator=is_initiator, streams_max=streams_max) for is_initiator in (True, False)
    )
    return here, there


def taken(one: StreamEngine) -> bytes:
    """Return what an engine has to send now, as a socket that takes all of it."""
    data = b"".join(one.data_to_send())
    one.untaken_bytes -= len(data)
    return data


def carry(source: StreamEngine, target: StreamEngine, now: float = 0.0) -> int:
    """Bring all that one side has to the other; return how many bytes it was."""
    count = 0
    while data := taken(source):
        count += len(data)
        target.receive_data(data, now=now)
    return count


def events(one: StreamEngine) -> list[EngineEvent]:
    """Return what happened."""
    found = list(one.events)
    one.events.clear()
    return found


def text_of(found: list[EngineEvent]) -> dict[int, bytes]:
    """Return the bytes of each stream."""
    texts: dict[int, bytes] = {}
    for event in found:
        assert isinstance(event, StreamData)
        texts[event.stream_id] = texts.get(event.stream_id, b"") + event.data
    return texts


def part(kind: int, stream_id: int, data: bytes) -> bytes:
    """Return a part as it is on the wire."""
    return bytes([kind]) + stream_id.to_bytes(4) + len(data).to_bytes(4) + data


@given(
    writes=st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=40)), max_size=20),
    cuts=st.lists(st.integers(1, 60), min_size=1),
)
def test_every_stream_arrives_whole_however_it_is_cut(
    writes: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    here, there = pair()
    streams = [here.open_stream() for _ in range(4)]
    wanted = dict.fromkeys(streams, b"")
    for number, data in writes:
        here.write(streams[number], data)
        wanted[streams[number]] += data
    for stream in streams:
        here.write(stream, b"", is_end=True)
    data, at, turn = taken(here), 0, 0
    while at < len(data):
        size = cuts[turn % len(cuts)]
        there.receive_data(data[at : at + size], now=0.0)
        at, turn = at + size, turn + 1
    found = events(there)
    assert text_of(found) == wanted
    ends = [one.stream_id for one in found if isinstance(one, StreamData) and one.is_end]
    assert sorted(ends) == streams


@given(st.binary(max_size=200), st.booleans())
def test_random_bytes_end_the_connection_or_wait(data: bytes, is_initiator: bool) -> None:
    one = engine(is_initiator=is_initiator)
    one.receive_data(data, now=0.0)
    found = events(one)
    assert sum(isinstance(event, ConnectionEnded) for event in found) <= 1
    assert isinstance(found[-1], ConnectionEnded) if len(found) > 60 else True
    assert len(taken(one)) <= len(data) + 300


def test_a_stream_with_much_to_send_takes_turns_with_the_others() -> None:
    here, there = pair()
    large, small = here.open_stream(), here.open_stream()
    here.write(large, bytes(PART_BYTES_MAX * 10))
    here.write(small, b"now")
    there.receive_data(taken(here), now=0.0)
    order = [event.stream_id for event in events(there) if isinstance(event, StreamData)]
    assert order[:2] == [large, small]
    assert order.count(large) < 10  # the rest is for the next turn
    carry(here, there)
    assert sum(len(data) for data in text_of(events(there)).values()) > PART_BYTES_MAX


def test_what_the_socket_has_not_taken_is_unacknowledged_and_the_rest_stays_here() -> None:
    here, there = pair()
    stream = here.open_stream()
    here.write(stream, bytes(1_000_000))
    given = b"".join(here.data_to_send())
    assert here.unacked_bytes(stream) >= 1_000_000
    here.is_blocked = True
    here.write(stream, bytes(10))
    assert here.data_to_send() == []
    here.untaken_bytes -= len(given)
    left = 1_000_010 - (len(given) - HEAD_BYTES * -(-len(given) // (PART_BYTES_MAX + HEAD_BYTES)))
    assert here.unacked_bytes(stream) == left
    here.is_blocked = False
    there.receive_data(given, now=0.0)
    carry(here, there)
    assert len(text_of(events(there))[stream]) == 1_000_010
    assert here.unacked_bytes(stream) == 0


def test_what_comes_alone_is_given_out_at_once_and_nothing_is_overtaken() -> None:
    here, there = pair()
    first, other = here.open_stream(), here.open_stream()
    carry(here, there)
    part_of_it = here.send_alone(first, b"alone")
    assert part_of_it == part(DATA, first, b"alone")
    assert here.unacked_bytes(first) == len(part_of_it)
    there.receive_data(part_of_it, now=0.0)
    assert text_of(events(there)) == {first: b"alone"}
    # The socket has not taken it, so what follows waits behind it.
    assert here.send_alone(first, b"second") is None
    here.untaken_bytes -= len(part_of_it)
    assert here.unacked_bytes(first) == 0
    # Nor is anything overtaken that waits here: bytes of any stream, or an answer.
    here.write(other, b"before")
    assert here.send_alone(first, b"second") is None
    carry(here, there)
    there.ping(now=0.0)
    carry(there, here)
    assert here.send_alone(first, b"second") is None
    carry(here, there)
    here.is_blocked = True  # by what TLS has to say of itself
    assert here.send_alone(first, b"second") is None
    here.is_blocked = False
    assert here.send_alone(first, b"second") is not None
    assert here.send_alone(77, b"of no stream") is None


def test_parts_end_where_pieces_do_unless_these_are_large() -> None:
    here, _ = pair()
    stream = here.open_stream()
    sizes = [4, PART_BYTES_MAX // 2, 4, PART_BYTES_MAX // 2, 4, 2 * PART_BYTES_MAX]
    for size in sizes:
        here.write(stream, bytes(size))
    heads = [piece for piece in here.data_to_send() if len(piece) == HEAD_BYTES]
    lengths = [int.from_bytes(head[5:]) for head in heads]
    assert sum(lengths) == sum(sizes)
    assert lengths[:2] == [sum(sizes[:3]), sum(sizes[3:5])]
    assert max(lengths) == PART_BYTES_MAX


def test_both_sides_answer_on_a_stream_and_its_number_is_never_used_again() -> None:
    here, there = pair()
    stream = here.open_stream()
    here.write(stream, b"question", is_end=True)
    carry(here, there)
    assert events(there) == [StreamData(stream, b"question", is_end=True)]
    there.write(stream, b"answer", is_end=True)
    carry(there, here)
    assert events(here) == [StreamData(stream, b"answer", is_end=True)]
    assert not here.may_receive(stream)
    assert here.open_stream() > stream
    there.receive_data(part(DATA, stream, b"late"), now=0.0)
    assert events(there) == []


def test_a_stream_that_is_given_up_ends_at_both_sides() -> None:
    here, there = pair()
    stream = here.open_stream()
    here.write(stream, b"some")
    carry(here, there)
    here.write(stream, bytes(10_000))
    here.abort_stream(stream, 102)
    assert here.unacked_bytes(stream) == 0
    carry(here, there)
    assert events(there) == [
        StreamData(stream, b"some", is_end=False),
        StreamAborted(stream, 102, is_reset=True),
    ]
    assert not there.may_receive(stream)
    there.write(stream, b"nobody hears this")
    assert taken(there) == b""


def test_the_peer_has_no_more_streams_than_it_may() -> None:
    one = engine(streams_max=3)
    for stream in (0, 4, 8):
        one.receive_data(part(DATA, stream, b"x"), now=0.0)
    one.receive_data(part(DATA_END, 4, b"x"), now=0.0)
    one.write(4, b"", is_end=True)
    taken(one)
    one.receive_data(part(DATA, 12, b"x"), now=0.0)  # one ended, so there is room
    assert not any(isinstance(event, ConnectionEnded) for event in events(one))
    one.receive_data(part(DATA, 16, b"x"), now=0.0)
    assert isinstance(events(one)[-1], ConnectionEnded)


@pytest.mark.parametrize(
    "data",
    [
        part(DATA, 1, b"x"),  # one of ours that was never opened
        part(DATA, 2, b"x"),  # one-way, of which there are none
        part(DATA, 0, bytes(PART_BYTES_MAX + 1)),
        part(9, 0, b"x"),
        part(PING, 0, b"x"),
        part(PONG, 0, bytes(1025)),
        part(ABORT, 0, b"\xff" * 8),
        part(HELLO, 0, b"x"),
        part(PROOF, 0, b"x"),
        part(DATA_END, 0, b"x") + part(DATA, 0, b"x"),
    ],
)
def test_a_broken_rule_ends_the_connection_with_a_reason(data: bytes) -> None:
    one = engine()
    one.receive_data(data, now=0.0)
    ended = events(one)[-1]
    assert isinstance(ended, ConnectionEnded)
    assert ended.reason.code == CloseCode.PROTOCOL_VIOLATION
    assert ended.reason.text
    one.receive_data(part(PING, 0, bytes(8)), now=0.0)
    assert events(one) == []


def test_little_comes_in_before_there_is_a_proof() -> None:
    one = unknown(is_initiator=False)
    one.receive_data(part(DATA, 0, bytes(UNPROVEN_BYTES_MAX)), now=0.0)
    assert isinstance(events(one)[-1], ConnectionEnded)


def test_what_opens_no_link_is_not_held_for_ever() -> None:
    one = engine()
    one.set_held_bytes(HELD_BYTES_MAX)
    assert events(one) == []
    one.set_held_bytes(HELD_BYTES_MAX + 1)
    assert isinstance(events(one)[-1], ConnectionEnded)


def test_a_close_is_the_last_thing_that_is_said() -> None:
    here, there = pair()
    stream = here.open_stream()
    here.write(stream, b"before")
    carry(here, there)
    here.close(BYE)
    here.release()
    carry(here, there)
    assert events(there) == [
        StreamData(stream, b"before", is_end=False),
        ConnectionEnded(CloseReason(BYE.code, BYE.text, remote=True)),
    ]


def test_silence_ends_the_connection_and_a_ping_does_not_let_it_come_to_that() -> None:
    here, there = pair()
    here.ping(now=8.0)
    assert here.probe_count == 1
    carry(here, there, now=8.1)
    carry(there, here, now=8.2)
    assert here.probe_count == 0
    assert here.rtt == pytest.approx(0.2)
    for one, heard_at in ((here, 8.2), (there, 8.1)):
        due = one.get_timer()
        assert due == pytest.approx(heard_at + 10)
        one.handle_timer(now=heard_at + 9.9)
        assert events(one) == []
        one.handle_timer(now=heard_at + 10)
        assert isinstance(events(one)[-1], ConnectionEnded)


def test_a_broken_byte_stream_is_an_end() -> None:
    one = engine()
    one.receive_end()
    one.receive_end()
    assert [type(event) for event in events(one)] == [ConnectionEnded]


# Who is there.


def identities(nonces: tuple[bytes, bytes] = (b"1" * 32, b"2" * 32)) -> list[LocalIdentity]:
    """Return both sides' parts."""
    return [
        LocalIdentity(key, 7 + number, nonce, is_initiator=number == 0)
        for number, (key, nonce) in enumerate(zip(KEYS, nonces, strict=True))
    ]


def test_both_sides_know_who_is_there_and_bind_to_the_same() -> None:
    sides = [unknown(is_initiator=number == 0) for number in range(2)]
    for side, identity in zip(sides, identities(), strict=True):
        side.begin(identity.receive, identity.begin())
    here, there = sides
    while carry(here, there) + carry(there, here):
        pass
    (mine,), (theirs,) = events(here), events(there)
    assert isinstance(mine, HandshakeDone)
    assert isinstance(theirs, HandshakeDone)
    assert mine.peer == ProvenPeer(KEYS[1].peer_id, 8)
    assert theirs.peer == ProvenPeer(KEYS[0].peer_id, 7)
    assert mine.binding == theirs.binding
    here.write(here.open_stream(), b"proof of the network")
    carry(here, there)
    assert text_of(events(there)) == {0: b"proof of the network"}


def hello_of(identity: LocalIdentity) -> bytes:
    """Return what a side says first."""
    ((kind, data),) = identity.begin()
    assert kind == HELLO
    return data


def proof_of(answer: object) -> bytes:
    """Return the proof in an answer to a hello."""
    assert isinstance(answer, list)
    ((kind, data),) = answer
    assert kind == PROOF
    assert isinstance(data, bytes)
    return data


def test_a_proof_is_worth_nothing_on_another_connection_or_sent_back() -> None:
    here, there = identities()
    proof = proof_of(there.receive(HELLO, hello_of(here)))
    other, _ = identities((b"3" * 32, b"2" * 32))
    own = proof_of(other.receive(HELLO, hello_of(there)))
    for wrong in (proof, own, bytes(64), b"", proof[:-1]):
        with pytest.raises(Exception, match="wrong proof"):
            other.receive(PROOF, wrong)
    here.receive(HELLO, hello_of(there))
    assert isinstance(here.receive(PROOF, proof), HandshakeDone)


@pytest.mark.parametrize(
    ("kind", "data"),
    [(PROOF, bytes(64)), (HELLO, b""), (HELLO, bytes(100)), (HELLO, b"\x94\x02" + bytes(70))],
)
def test_a_wrong_hello_is_refused(kind: int, data: bytes) -> None:
    here, _ = identities()
    with pytest.raises(Exception, match=r"hello|order"):
        here.receive(kind, data)


def test_nonces_are_as_long_as_they_should_be() -> None:
    with pytest.raises(AssertionError):
        LocalIdentity(KEYS[0], 1, bytes(NONCE_BYTES - 1), is_initiator=True)


def test_nothing_but_who_is_there_may_come_first() -> None:
    here, _ = identities()
    one = unknown(is_initiator=True)
    one.begin(here.receive, here.begin())
    one.receive_data(part(DATA, 1, b"x"), now=0.0)
    assert isinstance(events(one)[-1], ConnectionEnded)


def test_who_is_there_has_to_be_known_in_time_however_slowly_bytes_come() -> None:
    one = unknown()
    for second in range(5):
        assert one.get_timer() == 5.0
        one.receive_data(b"", now=float(second))
        one.handle_timer(now=float(second))
        assert events(one) == []
    one.handle_timer(now=5.0)
    (ended,) = events(one)
    assert isinstance(ended, ConnectionEnded)
    assert ended.reason.text == "no handshake in time"
    assert one.get_timer() is None


def test_time_for_the_handshake_ends_once_the_peer_is_known() -> None:
    one = unknown()
    done = HandshakeDone(ProvenPeer(KEYS[0].peer_id, 1), b"binding")
    one.receive_identity(done)
    assert events(one) == [done]
    one.receive_data(part(HELLO, 0, b""), now=6.0)
    assert isinstance(events(one)[-1], ConnectionEnded)  # who it is was said already


def test_pings_of_a_peer_that_takes_no_answers_are_not_held_for_ever() -> None:
    one = engine()
    for _ in range(3):  # whoever takes them may go on
        for number in range(PONGS_MAX):
            one.receive_data(part(PING, 0, bytes([0] * 7 + [number])), now=0.0)
        assert events(one) == []
        assert len(taken(one)) == PONGS_MAX * (HEAD_BYTES + 8)
    for _ in range(PONGS_MAX + 1):
        one.receive_data(part(PING, 0, bytes(8)), now=0.0)
    assert isinstance(events(one)[-1], ConnectionEnded)


def test_who_comes_late_for_a_late_process_has_more_time() -> None:
    one = unknown()
    one.handle_timer(now=7.0)  # two seconds late: four times as much more, and silence may last
    assert one.get_timer() == 15.0
    one.handle_timer(now=30.0)
    assert one.get_timer() == 40.0  # but no more than eight times in all
    one.handle_timer(now=40.0)
    (ended,) = events(one)
    assert isinstance(ended, ConnectionEnded)
    assert ended.reason.text == "no handshake in time"


def test_silence_counts_less_for_a_late_process() -> None:
    one = engine()
    assert one.get_timer() == 10.0
    one.handle_timer(now=11.0)
    assert one.get_timer() == 15.0
    one.receive_data(b"", now=14.0)
    assert one.get_timer() == 24.0
    one.handle_timer(now=24.0)  # in time: it is over
    assert isinstance(events(one)[-1], ConnectionEnded)
