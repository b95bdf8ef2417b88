"""How a node learns from a relay where others see it."""

from mosaik_actors.transport.paths.observed import ASK_S, RETRIES_MAX, RETRY_S, Observer, Reflector
from mosaik_actors.transport.paths.probes import PathProbe

RELAY, NODE, EVIL = ("203.0.113.1", 4433), ("198.18.0.1", 20_000), ("198.51.100.1", 1)
SECRET, PEER = bytes(32), b"p" * 32


def test_a_node_hears_where_its_probe_came_from_and_when_that_changes() -> None:
    observer, reflector = Observer(SECRET, [RELAY], now=0.0), Reflector()
    reflector.receive_secret(PEER, SECRET, now=0.0)
    [(probe, remote)] = observer.handle_timer(now=0.0)
    assert remote == RELAY
    answer = reflector.receive_datagram(probe, NODE, now=0.0)
    assert answer is not None
    assert len(answer) <= len(probe)
    assert not observer.receive_datagram(answer, EVIL, now=0.1)
    assert observer.receive_datagram(answer, RELAY, now=0.1)
    assert observer.observed == {RELAY: NODE}
    assert observer.get_timer() == 0.1 + ASK_S
    assert not observer.receive_datagram(answer, RELAY, now=0.2)  # once
    [(probe, _)] = observer.handle_timer(now=20.0)
    moved = reflector.receive_datagram(probe, ("198.18.0.1", 20_001), now=20.0)
    assert moved is not None
    assert observer.receive_datagram(moved, RELAY, now=20.1)
    assert observer.observed == {RELAY: ("198.18.0.1", 20_001)}


def test_a_relay_that_does_not_answer_is_asked_seldom() -> None:
    observer = Observer(SECRET, [RELAY], now=0.0)
    waits = []
    now = 0.0
    for _ in range(RETRIES_MAX + 3):
        observer.handle_timer(now=now)
        waits.append(observer.get_timer() - now)
        now = observer.get_timer()
    assert waits == [RETRY_S] * RETRIES_MAX + [ASK_S] * 3


def test_a_relay_answers_nobody_without_a_link_and_no_flood() -> None:
    reflector = Reflector()
    [(probe, _)] = Observer(SECRET, [RELAY], now=0.0).handle_timer(now=0.0)
    assert reflector.receive_datagram(probe, NODE, now=0.0) is None
    reflector.receive_secret(PEER, SECRET, now=0.0)
    assert reflector.receive_datagram(probe, NODE, now=0.0) is not None
    assert reflector.receive_datagram(probe, EVIL, now=0.0) is None  # it was sent before
    asking = Observer(SECRET, [RELAY] * 1, now=0.0)
    asking.handle_timer(now=0.0)
    answers = 0
    for number in range(100):
        [(probe, _)] = asking.handle_timer(now=1000.0 * (number + 1))
        answers += reflector.receive_datagram(probe, NODE, now=1.0) is not None
    assert answers < 20
    reflector.receive_secret(PEER, bytes([1]) * 32, now=2000.0)
    [(probe, _)] = asking.handle_timer(now=2e6)
    assert reflector.receive_datagram(probe, NODE, now=2e6) is None  # the secret of before
    reflector.leave(PEER)
    reflector.leave(PEER)


def test_what_is_no_address_of_a_node_is_not_believed() -> None:
    for wrong in ("224.0.0.1", "0.0.0.0", "255.255.255.255"):
        observer = Observer(SECRET, [RELAY], now=0.0)
        observer.handle_timer(now=0.0)
        reflector = Reflector()
        reflector.receive_secret(PEER, SECRET, now=0.0)
        [asker] = reflector._keys.values()
        answer = asker._key.answer(PathProbe(1, 64), (wrong, 1))
        assert not observer.receive_datagram(answer, RELAY, now=0.0)
        assert observer.observed == {}
