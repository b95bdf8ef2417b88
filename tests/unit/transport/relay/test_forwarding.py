"""What a relay forwards, to whom, and how much of it."""

from random import Random

import pytest

from mosaik_actors.errors import ConfigError, DecodeError
from mosaik_actors.transport.close import CloseCode
from mosaik_actors.transport.relay.config import RelayLimits
from mosaik_actors.transport.relay.forwarding import TICKETS_BURST, Forwarding
from mosaik_actors.transport.relay.frames import DATAGRAM_BYTES_MAX, RELAY_TICKETS

A, B, C = (bytes([number]) * 32 for number in (1, 2, 3))


def forwarding(*peers: bytes, **limits: int) -> Forwarding:
    made = Forwarding(RelayLimits(**limits))
    for peer in peers:
        assert made.join(peer, now=0.0) is None
    return made


def test_frames_reach_whom_they_name_with_who_sent_them() -> None:
    relay = forwarding(A, B, C)
    sent = [B + b"one", C + b"two", B + b"three"]
    assert relay.receive_frames(A, sent, now=0.0) == {
        B: [A + b"one", A + b"three"],
        C: [A + b"two"],
    }


def test_nothing_reaches_who_is_not_here_nor_the_sender_itself() -> None:
    relay = forwarding(A)
    assert relay.receive_frames(A, [B + b"x", A + b"x"], now=0.0) == {}
    assert relay.counters.dropped_absent == 2
    relay.leave(A)
    relay.leave(A)
    assert relay.receive_frames(A, [B + b"x"], now=0.0) == {}
    assert relay.peer_count == 0


@pytest.mark.parametrize("frame", [b"", B, B[:31] + b"", B + bytes(DATAGRAM_BYTES_MAX + 1)])
def test_what_is_no_datagram_breaks_a_rule_and_nothing_of_it_is_sent_on(frame: bytes) -> None:
    relay = forwarding(A, B)
    with pytest.raises(DecodeError, match="a relay frame of"):
        relay.receive_frames(A, [B + b"good", frame], now=0.0)
    assert relay.counters.violations == 1
    assert relay.counters.datagrams_forwarded == 0


def test_a_peer_sends_no_more_bytes_than_it_may() -> None:
    relay = forwarding(A, B, bytes_per_s=100_000, datagrams_per_s=1_000_000)
    frames = [B + bytes(1000)] * 150
    assert len(relay.receive_frames(A, frames, now=0.0)[B]) == 100
    assert relay.counters.dropped_rate == 50
    # Half a second frees half of it; others have their own.
    assert len(relay.receive_frames(A, frames, now=0.5)[B]) == 50
    assert len(relay.receive_frames(B, [A + bytes(1000)] * 10, now=0.5)[A]) == 10


def test_a_peer_sends_no_more_datagrams_than_it_may_and_those_for_nobody_count() -> None:
    relay = forwarding(A, B, datagrams_per_s=10)
    assert relay.receive_frames(A, [C + b"x"] * 10, now=0.0) == {}
    assert relay.receive_frames(A, [B + b"x"] * 10, now=0.0) == {}
    assert relay.counters.dropped_rate == 10
    assert len(relay.receive_frames(A, [B + b"x"] * 10, now=0.3)[B]) == 3


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
    relay.receive_frames(A, [B + b"x"] * 10, now=0.0)
    relay.join(A, now=0.0)
    assert relay.receive_frames(A, [B + b"x"], now=0.0) == {}


def test_a_slow_peer_gets_no_more() -> None:
    relay = forwarding(A, B, queue_bytes_max=100_000)
    assert relay.note_sent([A + b"12345"], 100_000)
    assert not relay.note_sent([A + b"12345"], 100_001)
    counters = relay.counters
    assert (counters.datagrams_forwarded, counters.bytes_forwarded, counters.dropped_full) == (
        1,
        5,
        1,
    )


def test_the_datagrams_that_a_peer_may_send_follow_from_the_bytes() -> None:
    assert RelayLimits().datagram_rate == 8192
    assert RelayLimits(bytes_per_s=100_000).datagram_rate == 98
    assert RelayLimits(bytes_per_s=100_000, datagrams_per_s=7).datagram_rate == 7
    relay = forwarding(A, B, bytes_per_s=100_000)
    assert len(relay.receive_frames(A, [B + b"x"] * 200, now=0.0)[B]) == 98


def test_tickets_are_shown_whatever_else_was_sent_but_not_without_end() -> None:
    relay = forwarding(A, B, datagrams_per_s=10)
    relay.receive_frames(A, [B + b"x"] * 10, now=0.0)
    large = RELAY_TICKETS + bytes(60_000)
    assert relay.receive_frames(A, [RELAY_TICKETS + b"1", large], now=0.0) == {
        RELAY_TICKETS: [bytes(60_000)]  # the last ones count
    }
    assert relay.receive_frames(A, [large] * 100, now=0.0) == {RELAY_TICKETS: [bytes(60_000)]}
    assert relay.counters.dropped_rate == 100 - (TICKETS_BURST - 2)
    assert relay.receive_frames(A, [large], now=0.0) == {}
    assert relay.receive_frames(A, [large], now=1.0) == {RELAY_TICKETS: [bytes(60_000)]}


@pytest.mark.parametrize("seed", range(3))
def test_any_frames_are_forwarded_or_refused(seed: int) -> None:
    rng = Random(seed)
    relay = forwarding(A, B, bytes_per_s=100_000, datagrams_per_s=500)
    now = 0.0
    sent_bytes = 0
    for _ in range(500):
        now += rng.random() / 50
        frames = [
            rng.choice([A, B, C, rng.randbytes(32)]) + rng.randbytes(rng.choice([0, 1, 50, 2000]))
            for _ in range(rng.randrange(5))
        ]
        try:
            found = relay.receive_frames(A, frames, now=now)
        except DecodeError:
            assert any(len(frame) == 32 for frame in frames)
            continue
        assert set(found) <= {B}
        sent_bytes += sum(len(one) - 32 for ones in found.values() for one in ones)
        assert sent_bytes <= 100_000 * (now + 1)
        assert relay.peer_count == 2


@pytest.mark.parametrize(
    ("name", "value"), [("peers_max", 0), ("bytes_per_s", 1), ("datagrams_per_s", 0)]
)
def test_limits_out_of_range_are_refused(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=name):
        RelayLimits(**{name: value})
