"""Probes of paths: who can make them, and that each counts once."""

from random import Random

import pytest

from mosaik_actors.transport.paths.probes import (
    ANSWER_BYTES,
    PROBE_BYTES_MIN,
    WINDOW,
    PathKey,
    PathProbe,
    ProbeAnswer,
    ReplayWindow,
    path_id,
)

SECRET = bytes(range(32))
A, B = PathKey(SECRET, b"a", b"b"), PathKey(SECRET, b"b", b"a")
SOURCES = [("192.0.2.7", 4433), ("2001:db8::7", 1)]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("size", [PROBE_BYTES_MIN, 1200, 16_384])
def test_an_answer_says_what_came_and_from_where(source: tuple[str, int], size: int) -> None:
    probe = A.probe(7, size)
    assert len(probe) == size
    assert B.read(probe) == PathProbe(7, size)
    answer = B.answer(PathProbe(7, size), source)
    assert A.read(answer) == ProbeAnswer(7, size, source)
    assert len(answer) == ANSWER_BYTES <= len(probe)
    assert path_id(probe) == path_id(answer) == A.id == B.id
    assert not probe[0] & 0x40  # no QUIC (RFC 9000 section 17)
    assert not answer[0] & 0x40


def test_whatever_is_changed_counts_for_nothing() -> None:
    for whole, reader in ((A.probe(1), B), (B.answer(PathProbe(1, 64), SOURCES[0]), A)):
        for at in range(len(whole)):
            changed = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
            assert reader.read(changed) is None
        for other in (whole[:-1], whole + b"\0", whole[:20], b"", whole.ljust(1200, b"\0")):
            assert reader.read(other) is None


def test_nobody_else_makes_one_and_none_is_turned_back_to_its_maker() -> None:
    stranger = PathKey(bytes(32), b"a", b"b")
    assert B.read(stranger.probe(1)) is None
    assert A.read(A.probe(1)) is None
    assert B.read(B.answer(PathProbe(1, 64), SOURCES[0])) is None


def test_random_bytes_are_no_probes() -> None:
    rng = Random(1)
    head = A.probe(1)[:20]
    for _ in range(300):
        data = rng.randbytes(rng.randrange(200))
        assert B.read(data) is None
        assert B.read(head + data) is None


def test_a_number_counts_once_whatever_the_order() -> None:
    """Compared with a set that never forgets."""
    rng = Random(2)
    window = ReplayWindow()
    seen: set[int] = set()
    highest = 0
    for _ in range(3000):
        number = max(1, highest + rng.randint(-2 * WINDOW, 40))
        if rng.random() < 0.01:
            number = highest + 3 * WINDOW
        is_new = number not in seen and number > highest - WINDOW
        assert window.take(number) == is_new
        seen.add(number)
        highest = max(highest, number)
