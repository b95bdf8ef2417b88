"""How a write-ahead log is judged, on logs made here after the file format's description."""

import struct
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.groups.storage.sqlite_wal import WalVerdict, judge_wal

PAGE_BYTES = 512
FRAME_BYTES = PAGE_BYTES + 24
SALTS = (77, 0xDEADBEEF)


def checksum(data: bytes, first: int, second: int, order: str) -> tuple[int, int]:
    """Return the checksum as section 4.2 of the format puts it, one word at a time."""
    for at in range(0, len(data), 8):
        even, odd = struct.unpack(f"{order}II", data[at : at + 8])
        first = (first + even + second) % 2**32
        second = (second + odd + first) % 2**32
    return first, second


def make_wal(
    *transactions: int,
    order: str = "<",
    salts: tuple[int, int] = SALTS,
    page_bytes: int = PAGE_BYTES,
) -> bytes:
    """Return a log of transactions of so many frames each."""
    rng, magic = Random(1), 0x377F0683 if order == ">" else 0x377F0682
    header = struct.pack(">6I", magic, 3007000, page_bytes, 1, *salts)
    sums = checksum(header, 0, 0, order)
    data = header + struct.pack(">II", *sums)
    for frame_count in transactions:
        for frame in range(frame_count):
            page, is_last = rng.randbytes(page_bytes), frame == frame_count - 1
            start = struct.pack(">II", frame + 1, 9 if is_last else 0)
            sums = checksum(start + page, *sums, order)
            data += start + struct.pack(">IIII", *salts, *sums) + page
    return data


def frame_at(number: int) -> int:
    return 32 + number * FRAME_BYTES


def changed(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_whole_log_is_whole(order: str) -> None:
    data = make_wal(1, 3, 2, order=order)
    assert judge_wal(data) == WalVerdict(len(data), 3)


@pytest.mark.parametrize("size", [0, 1, 31, 32])
def test_a_log_without_frames_is_empty(size: int) -> None:
    assert judge_wal(make_wal(1)[:size]) == WalVerdict(0, 0)


def test_a_torn_tail_is_cut_at_the_last_transaction() -> None:
    data = make_wal(1, 3)
    for size in range(frame_at(1), len(data)):
        assert judge_wal(data[:size]) == WalVerdict(frame_at(1), 1)


@given(
    # A changed byte that makes it two transactions is none that a crash leaves.
    st.integers(frame_at(3), frame_at(3) + 3) | st.integers(frame_at(3) + 8, frame_at(5) - 1)
)
def test_damage_in_the_last_transaction_may_be_a_crash(at: int) -> None:
    """Its sectors reach the disk in any order, so its commit frame may be there already."""
    assert judge_wal(changed(make_wal(1, 2, 2), at)) == WalVerdict(frame_at(3), 2)


@given(
    # But for the header that ends the one before it: see the end of the module's docstring.
    st.integers(0, frame_at(2) - 1) | st.integers(frame_at(2) + 16, frame_at(3) - 1)
)
def test_damage_before_the_last_transaction_is_decay(at: int) -> None:
    """The last one was begun after the sync of those before it."""
    verdict = judge_wal(changed(make_wal(1, 2, 2), at))
    assert verdict.damage
    assert verdict.valid_bytes <= frame_at(3)


def test_frames_of_an_earlier_generation_are_no_evidence() -> None:
    """The file is used again from its beginning after a checkpoint, with new salts."""
    old, new = make_wal(1, 1, 1, 1, 1), make_wal(1, 1, salts=(78, 5))
    data = new + old[len(new) :]
    assert judge_wal(data) == WalVerdict(len(new), 2)
    torn = changed(data, frame_at(1) + 100)
    assert judge_wal(torn) == WalVerdict(frame_at(1), 1)


def test_frames_that_were_rolled_back_are_no_evidence() -> None:
    """They were spilled before their commit, and then written over from the front."""
    spilled = make_wal(1, 9)[: frame_at(8)]
    data = make_wal(1, 2)
    assert judge_wal(data + spilled[len(data) :]) == WalVerdict(len(data), 2)


@given(st.binary(max_size=2000))
def test_any_bytes_get_a_verdict(data: bytes) -> None:
    verdict = judge_wal(data)
    assert verdict.transaction_count == 0
    assert bool(verdict.damage) == (len(data) > 32)


def test_pages_of_any_size_are_read() -> None:
    data = make_wal(1, 2, page_bytes=65536)
    assert judge_wal(data) == WalVerdict(len(data), 2)
