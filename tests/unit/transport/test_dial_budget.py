"""What may be sent to addresses where no peer has answered yet."""

from __future__ import annotations

import pytest

from mosaik_actors.errors import ConfigError
from mosaik_actors.ids import SecretKey
from mosaik_actors.transport.config import TransportConfig
from mosaik_actors.transport.dial_budget import DialBudget

A, B = (SecretKey.from_seed(name).peer_id for name in "ab")
HERE = ("192.0.2.1", 4433)
CONFIG = TransportConfig(
    stranger_retry_min=15, stranger_retry_max=60, stranger_dials_max=32, stranger_dials_per_s=1
)


def fail(budget: DialBudget, addr: tuple[str, int], now: float) -> int | None:
    datagrams_max = budget.begin(addr, A, now=now)
    budget.end(addr, A, is_peer_found=False, now=now)
    return datagrams_max


def test_many_keys_at_one_address_share_its_wait() -> None:
    budget = DialBudget(CONFIG)
    assert budget.begin(HERE, A, now=0) == 3
    assert budget.is_blocked(HERE, B, now=0)  # one handshake at a time
    budget.end(HERE, A, is_peer_found=False, now=10)
    assert budget.is_blocked(HERE, B, now=24)
    assert not budget.is_blocked(HERE, B, now=25)
    # Each further handshake is one datagram, and the wait doubles up to the longest.
    now, waits = 25.0, []
    for _ in range(4):
        assert fail(budget, HERE, now) == 1
        since = now
        while budget.is_blocked(HERE, B, now=now):
            now += 1
        waits.append(now - since)
    assert waits == [30, 60, 60, 60]


def test_an_attacker_gets_less_sent_than_it_sent() -> None:
    # 64 entries of 100 bytes that name one address; all are dialled as soon as possible.
    budget, sent = DialBudget(TransportConfig()), 0
    for second in range(60):
        for _ in range(64):
            if not budget.is_blocked(HERE, A, now=second) and not budget.wait_s(
                HERE, A, now=second
            ):
                sent += 1200 * (fail(budget, HERE, second) or 0)
    assert sent <= 64 * 100


def test_who_proved_to_be_there_and_whom_the_user_named_is_dialled_without_limits() -> None:
    budget = DialBudget(CONFIG)
    fail(budget, HERE, 0)
    assert budget.is_blocked(HERE, A, now=1)
    budget.receive_proof(HERE, A)
    assert not budget.is_blocked(HERE, A, now=1)
    assert budget.begin(HERE, A, now=1) is None
    # It has not proven that anybody else is there.
    assert budget.is_blocked(HERE, B, now=1)
    budget.vouch([HERE])
    assert budget.begin(HERE, B, now=1) is None


def test_a_host_where_nobody_ever_answered_gets_few_dials_and_one_that_did_any() -> None:
    budget = DialBudget(CONFIG)
    for port in range(1, 5):
        assert budget.wait_s(("192.0.2.1", port), A, now=0) == 0
        fail(budget, ("192.0.2.1", port), 0)
    assert budget.wait_s(("192.0.2.1", 5), A, now=0) == pytest.approx(40)
    assert budget.wait_s(("192.0.2.2", 5), A, now=0) == 0
    budget.receive_proof(("192.0.2.1", 9), B)
    for port in range(5, 25):
        assert budget.wait_s(("192.0.2.1", port), A, now=0) == 0
        budget.begin(("192.0.2.1", port), A, now=0)


def test_silence_uses_up_the_rate_and_answers_do_not() -> None:
    budget = DialBudget(CONFIG)
    for n in range(32):
        fail(budget, (f"192.0.2.{n}", 1), 0)
    assert budget.wait_s(("192.0.2.99", 1), A, now=0) == pytest.approx(1)
    assert budget.wait_s(("192.0.2.99", 1), A, now=1) == 0

    honest = DialBudget(CONFIG)
    for n in range(200):  # each where it says, all behind one address
        addr = ("192.0.2.1", 1 + n)
        assert honest.wait_s(addr, A, now=0) == 0
        assert honest.begin(addr, A, now=0) == 3
        honest.receive_proof(addr, A)
        honest.end(addr, A, is_peer_found=True, now=0)


def test_the_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="stranger_dials_max is 0"):
        TransportConfig(stranger_dials_max=0)
    with pytest.raises(ConfigError, match="stranger_retry_max is 1"):
        TransportConfig(stranger_retry_max=1)


def test_many_ports_of_a_third_party_do_not_make_a_network_flood_it() -> None:
    """64 entries of 100 bytes, each with 8 ports of one host, at a network of 200 nodes.

    What each node sends there in 300 s, by when the entries are gone, is bounded by the host and
    not by how many addresses it is said to have. It was 122 KB for each node, 24 MB in all.
    """
    budget = DialBudget(TransportConfig())
    addrs = [("192.0.2.1", port) for port in range(1, 1 + 64 * 8)]
    sent, dialled_until = 0, dict.fromkeys(addrs, 0.0)
    for second in range(300):
        for addr in addrs:
            if dialled_until[addr] and second >= dialled_until[addr]:
                budget.end(addr, A, is_peer_found=False, now=second)
                dialled_until[addr] = 0.0
            if budget.is_blocked(addr, A, now=second) or budget.wait_s(addr, A, now=second):
                continue
            sent += 1200 * (budget.begin(addr, A, now=second) or 0)
            dialled_until[addr] = second + 10
    assert sent <= 25_000
    assert 200 * sent < 5_000_000


def test_a_host_whose_first_ports_are_dead_is_still_tried_soon() -> None:
    budget = DialBudget(TransportConfig())
    for port in range(1, 5):
        fail(budget, ("192.0.2.1", port), 0)
    assert budget.wait_s(("192.0.2.1", 9), A, now=0) == pytest.approx(10)
