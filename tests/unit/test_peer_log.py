"""Lines that peers cause are bounded per peer and kind, and no kind is silent for good."""

import logging

import pytest

from mosaik_actors.ids import PeerId, SecretKey
from mosaik_actors.peer_log import (
    BURST_LINES_MAX,
    INFO_LINES_MAX,
    LINES_MAX,
    PEER_LINES_MAX,
    QUIET_S,
    PeerLog,
)

logger = logging.getLogger("tests.peer_log")
ONE, OTHER = (SecretKey.from_seed(seed).peer_id for seed in ("one", "other"))
BROKEN = "%s: peer %s: %s"


def fake_peer(number: int) -> PeerId:
    return PeerId(number.to_bytes(32))


def test_a_peer_has_one_line_of_a_kind_and_the_rest_is_summed_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = PeerLog()
    for number in range(1000):
        log.warning(
            logger, ONE, BROKEN, "prices", ONE.short, f"wrong {number}", now=1.0, about="prices"
        )
    log.warning(logger, ONE, BROKEN, "orders", ONE.short, "wrong", now=1.0, about="orders")
    log.warning(logger, OTHER, BROKEN, "prices", OTHER.short, "wrong", now=2.0)
    log.error(logger, ONE, "another kind of %s", ONE.short, now=2.0)
    assert len(caplog.messages) == 4
    assert caplog.messages[0] == f"prices: peer {ONE.short}: wrong 0"

    # The summary comes by itself, and the kind starts anew.
    log.flush(now=QUIET_S)
    assert len(caplog.messages) == 4
    log.flush(now=1.0 + QUIET_S)
    assert caplog.messages[4].startswith("999 more like this were held back in the last 600 s")
    log.warning(logger, ONE, BROKEN, "prices", ONE.short, "again", now=2.0 + QUIET_S)
    assert caplog.messages[5].endswith("again")


def test_a_million_keys_cost_a_hundred_lines_and_leave_other_kinds_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The attacker spends 20,000 keys; the node logs a hundred lines and a summary."""
    log = PeerLog()
    for number in range(20_000):
        log.warning(logger, fake_peer(number), BROKEN, "prices", number, "wrong", now=1.0)
    assert len(caplog.messages) == BURST_LINES_MAX
    assert len(log._kinds[logger.name, BROKEN].by_peer) == BURST_LINES_MAX
    log.warning(logger, ONE, "peer %s does not read", ONE.short, now=2.0)
    assert caplog.messages[-1] == f"peer {ONE.short} does not read"
    for second in range(3, 3 * int(QUIET_S), 30):
        log.warning(logger, ONE, "peer %s does not read", ONE.short, now=float(second))
    assert f"{20_000 - BURST_LINES_MAX} more like this" in caplog.text
    assert sum("does not read" in line for line in caplog.messages) <= 6


def test_a_hundred_keys_do_not_silence_other_peers(caplog: pytest.LogCaptureFixture) -> None:
    """All do the same all the time; the honest peer's line comes within ten seconds."""
    log = PeerLog()
    for second in range(10):
        for number in range(100):
            log.warning(logger, fake_peer(number), BROKEN, "x", number, "wrong", now=second)
        log.warning(logger, ONE, BROKEN, "prices", ONE.short, "wrong", now=second)
    assert f"prices: peer {ONE.short}: wrong" in caplog.messages
    assert len(caplog.messages) == BURST_LINES_MAX + 1


def test_new_keys_all_the_time_stay_within_the_limit(caplog: pytest.LogCaptureFixture) -> None:
    log = PeerLog()
    for number in range(5_000):
        log.warning(
            logger, fake_peer(number), BROKEN, "x", number, "wrong", now=number * QUIET_S / 5_001
        )
    assert LINES_MAX - 1 <= len(caplog.messages) <= LINES_MAX
    assert len(log._kinds[logger.name, BROKEN].by_peer) <= LINES_MAX
    log.flush(now=QUIET_S)
    assert "more like this were held back" in caplog.messages[-1]


def test_a_peer_that_names_many_things_has_its_share(caplog: pytest.LogCaptureFixture) -> None:
    log = PeerLog()
    for number in range(10_000):
        log.warning(logger, ONE, BROKEN, "x", ONE.short, "wrong", now=1.0, about=number)
    assert len(caplog.messages) == PEER_LINES_MAX
    log.warning(logger, OTHER, BROKEN, "prices", OTHER.short, "wrong", now=1.0)
    assert caplog.messages[-1] == f"prices: peer {OTHER.short}: wrong"
    kind = log._kinds[logger.name, BROKEN]
    assert sum(map(len, kind.by_peer.values())) == PEER_LINES_MAX + 1


def test_what_is_only_informed_of_has_a_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tests.peer_log")
    log = PeerLog()
    for _ in range(20):
        log.info(logger, ONE, "peer %s subscribed", ONE.short, now=1.0)
    assert len(caplog.messages) == INFO_LINES_MAX
    caplog.set_level(logging.WARNING, "tests.peer_log")
    log.info(logger, OTHER, "peer %s subscribed", OTHER.short, now=1.0)
    assert len(caplog.messages) == INFO_LINES_MAX


def test_values_are_escaped_and_cut(caplog: pytest.LogCaptureFixture) -> None:
    log = PeerLog()
    log.warning(logger, ONE, "%s: %s, %d times", "a\nb\x1b[2J", "x" * 9999, 7, now=0.0)
    assert caplog.messages[0].startswith(r"a\x0ab\x1b[2J: xxx")
    assert caplog.messages[0].endswith("..., 7 times")
    assert len(caplog.messages[0]) < 500
