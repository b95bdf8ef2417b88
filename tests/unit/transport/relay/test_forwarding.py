"""What a relay forwards, to whom, and how much of it."""

from random import Random

import pytest

from mosaik_actors.errors import ConfigError, DecodeError
from mosaik_actors.transport.close import CloseCode
from mosaik_actors.transport.relay.config import RelayLimits
from mosaik_actors.transport.relay.forwarding import TICKETS_BURST, Forwarding
from mosaik_actors.transport.relay.frames import (
    DATAGRAM_BYTES_MAX,
    DATAGRAMS_MAX,
    FRAME_BYTES_MAX,
    HEAD_BYTES,
    RELAY_ITSELF,
    RELAY_TICKETS,
    encode_frames,
    read_sizes,
    split_datagrams,
)

A, B, C = (bytes([number]) * 32 for number in (1, 2, 3))


def frame(peer: bytes, *datagrams: bytes) -> bytes:
    [made] = encode_frames(peer, list(datagrams))
    return made


def forwarding(*peers: bytes, **limits: int) -> Forwarding:
    made = Forwarding(RelayLimits(**limits))
    for peer in peers:
        assert made.join(peer, now=0.0) is None
    return made


def test_frames_reach_whom_they_name_with_who_sent_them() -> None:
    relay = forwarding(A, B, C)
    sent = [frame(B, b"one", b"1"), frame(C, b"two"), frame(B, b"three")]
    assert relay.receive_frames(A, sent, now=0.0) == {
        B: [frame(A, b"one", b"1"), frame(A, b"three")],
        C: [frame(A, b"two")],
    }


def test_nothing_reaches_who_is_not_here_nor_the_sender_itself() -> None:
    relay = forwarding(A)
    assert relay.receive_frames(A, [frame(B, b"x", b"y"), frame(A, b"x")], now=0.0) == {}
    assert relay.counters.dropped_absent == 3
    relay.leave(A)
    relay.leave(A)
    assert relay.receive_frames(A, [frame(B, b"x")], now=0.0) == {}
    assert relay.peer_count == 0


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        B,
        B[:31],
        B + b"\0",
        B + b"\0\1",  # no datagram
        B + b"\0\0" + b"x",  # of no length
        B + b"\0\2" + b"x",  # not even one of that length
        B + b"\0\1" + bytes(DATAGRAMS_MAX + 1),
        B + (DATAGRAM_BYTES_MAX + 1).to_bytes(2) + bytes(DATAGRAM_BYTES_MAX + 1),
        B + b"\xff\xff" + bytes(0xFFFF),
    ],
)
def test_what_is_no_datagram_breaks_a_rule_and_nothing_of_it_is_sent_on(bad: bytes) -> None:
    relay = forwarding(A, B)
    with pytest.raises(DecodeError, match="a relay frame of"):
        relay.receive_frames(A, [frame(B, b"good"), bad], now=0.0)
    assert relay.counters.violations == 1
    assert relay.counters.datagrams_forwarded == 0


def test_a_peer_sends_no_more_bytes_than_it_may() -> None:
    relay = forwarding(A, B, bytes_per_s=100_000, datagrams_per_s=1_000_000)
    frames = [frame(B, bytes(1000))] * 150
    assert len(relay.receive_frames(A, frames, now=0.0)[B]) == 100
    assert relay.counters.dropped_rate == 50
    # Half a second frees half of it; others have their own.
    assert len(relay.receive_frames(A, frames, now=0.5)[B]) == 50
    assert len(relay.receive_frames(B, [frame(A, bytes(1000))] * 10, now=0.5)[A]) == 10


def test_a_peer_sends_no_more_datagrams_than_it_may_and_those_for_nobody_count() -> None:
    relay = forwarding(A, B, datagrams_per_s=10)
    assert relay.receive_frames(A, [frame(C, b"x")] * 10, now=0.0) == {}
    assert relay.receive_frames(A, [frame(B, b"x")] * 10, now=0.0) == {}
    assert relay.counters.dropped_rate == 10
    assert len(relay.receive_frames(A, [frame(B, b"x")] * 10, now=0.3)[B]) == 3


def test_a_full_relay_refuses_newcomers_only() -> None:
    relay = forwarding(A, B, peers_max=2)
    refused = relay.join(C, now=0.0)
    assert refused is not None
    assert refused.code == CloseCode.TOO_MANY_LINKS
    assert relay.join(A, now=0.0) is None
    assert relay.peer_count == 2
    assert (relay.counters.peers_accepted, relay.counters.peers_refused) == (2, 1)
    relay.leave(B)
    assert relay.join(C, now=0.0) is None


def test_who_connects_again_keeps_what_it_has_used() -> None:
    relay = forwarding(A, B, datagrams_per_s=10)
    relay.receive_frames(A, [frame(B, b"x")] * 10, now=0.0)
    relay.join(A, now=0.0)
    assert relay.receive_frames(A, [frame(B, b"x")], now=0.0) == {}


def test_a_slow_peer_gets_no_more() -> None:
    relay = forwarding(A, B, queue_bytes_max=100_000)
    assert relay.note_sent([frame(A, b"123", b"45")], 100_000)
    assert not relay.note_sent([frame(A, b"12345")], 100_001)
    counters = relay.counters
    assert (counters.datagrams_forwarded, counters.bytes_forwarded, counters.dropped_full) == (
        2,
        5,
        1,
    )


def test_the_datagrams_that_a_peer_may_send_follow_from_the_bytes() -> None:
    assert RelayLimits().datagram_rate == 8192
    assert RelayLimits(bytes_per_s=100_000).datagram_rate == 98
    assert RelayLimits(bytes_per_s=100_000, datagrams_per_s=7).datagram_rate == 7
    relay = forwarding(A, B, bytes_per_s=100_000)
    assert len(relay.receive_frames(A, [frame(B, b"x")] * 200, now=0.0)[B]) == 98


def test_tickets_are_shown_whatever_else_was_sent_but_not_without_end() -> None:
    relay = forwarding(A, B, datagrams_per_s=10)
    relay.receive_frames(A, [frame(B, b"x")] * 10, now=0.0)
    large = RELAY_TICKETS + bytes(60_000)
    assert relay.receive_frames(A, [RELAY_TICKETS + b"1", large], now=0.0) == {
        RELAY_TICKETS: [bytes(60_000)]  # the last ones count
    }
    assert relay.receive_frames(A, [large] * 100, now=0.0) == {RELAY_TICKETS: [bytes(60_000)]}
    assert relay.counters.dropped_rate == 100 - (TICKETS_BURST - 2)
    assert relay.receive_frames(A, [large], now=0.0) == {}
    assert relay.receive_frames(A, [large], now=1.0) == {RELAY_TICKETS: [bytes(60_000)]}


def test_what_is_for_the_relay_itself_gives_no_bytes_back() -> None:
    relay = forwarding(A, B, bytes_per_s=100_000, datagrams_per_s=1000)
    full = [frame(B, bytes(10_000))] * 10
    sent = [RELAY_ITSELF] * 900 + full + [frame(B, bytes(1000))]
    assert relay.receive_frames(A, sent, now=0.0)[B] == [frame(A, bytes(10_000))] * 10


def test_of_datagrams_that_come_together_as_many_are_sent_on_as_there_is_room_for() -> None:
    relay = forwarding(A, B, datagrams_per_s=10, bytes_per_s=100_000)
    several = [bytes([number]) * 1000 for number in range(8)]
    assert relay.receive_frames(A, [frame(B, *several)] * 2, now=0.0) == {
        B: [frame(A, *several), frame(A, *several[:2])]
    }
    assert relay.counters.dropped_rate == 6
    relay = forwarding(A, B, datagrams_per_s=1000, bytes_per_s=65_536)
    large = [bytes([number]) * 4000 for number in range(4)]
    found = relay.receive_frames(A, [frame(B, *large)] * 5, now=0.0)[B]
    assert found == [frame(A, *large)] * 4
    assert relay.counters.dropped_rate == 4
    found = relay.receive_frames(A, [frame(B, *large)], now=8000 / 65_536)[B]
    assert found == [frame(A, *large[:2])]


def why_bad(one: bytes) -> str:
    try:
        read_sizes(one)
    except DecodeError as exc:
        return str(exc)
    return ""


@pytest.mark.parametrize("seed", range(3))
def test_datagrams_share_frames_and_come_out_as_they_went_in(seed: int) -> None:
    rng = Random(seed)
    for _ in range(200):
        sizes = rng.choices(
            [1, 30, 1200, 1200, 1200, 5000, DATAGRAM_BYTES_MAX], k=rng.randrange(80)
        )
        sent = [rng.randbytes(size) for size in sizes]
        frames = encode_frames(A, sent)
        got = [one for each in frames for one in split_datagrams(each, read_sizes(each)[0])]
        assert got == sent
        assert all(each[:32] == A for each in frames)
        assert sum(read_sizes(each)[1] for each in frames) == len(sent)
        assert max(map(len, frames), default=0) <= FRAME_BYTES_MAX
    # As many as fit, and the shorter last one with them.
    assert [read_sizes(one) for one in encode_frames(A, [bytes(1200)] * 55 + [b"x"])] == [
        (1200, 54),
        (1200, 2),
    ]


@pytest.mark.parametrize("seed", range(3))
def test_any_frames_are_forwarded_or_refused(seed: int) -> None:
    rng = Random(seed)
    relay = forwarding(A, B, bytes_per_s=100_000, datagrams_per_s=500)
    now = 0.0
    sent_bytes = 0
    for _ in range(500):
        now += rng.random() / 50
        frames = [
            rng.choice([A, B, C, rng.randbytes(32)])
            + rng.choice([b"\0\1", b"\0\x32", b"\1\0"])
            + rng.randbytes(rng.choice([0, 1, 50, 2000]))
            for _ in range(rng.randrange(5))
        ]
        try:
            found = relay.receive_frames(A, frames, now=now)
        except DecodeError:
            assert any(why_bad(one) for one in frames)
            continue
        assert set(found) <= {B}
        sent_bytes += sum(len(one) - HEAD_BYTES for ones in found.values() for one in ones)
        assert sent_bytes <= 100_000 * (now + 1)
        assert relay.peer_count == 2


@pytest.mark.parametrize(
    ("name", "value"), [("peers_max", 0), ("bytes_per_s", 1), ("datagrams_per_s", 0)]
)
def test_limits_out_of_range_are_refused(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=name):
        RelayLimits(**{name: value})
