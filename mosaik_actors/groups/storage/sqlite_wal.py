"""How much of an SQLite write-ahead log can be trusted, and whether all of it is there.

SQLite reads its write-ahead log up to the first frame whose checksum is wrong and takes the rest
for a transaction that a crash cut off. That is right for a torn tail. It is wrong for a frame that
was synced and has decayed since: all that was committed after it would vanish without a word, and
the first checkpoint would destroy the evidence. So the file is judged here, before SQLite sees it.

What tells the two apart: with ``synchronous=FULL`` a transaction is written only after the sync of
the one before has returned. The last frame of a transaction says so (it is a commit frame) and
carries the salts of the log's current generation. If damage is followed by two or more such frames,
the first of them may belong to the damaged transaction, and the second proves that this transaction
had been synced: what is missing was acknowledged. With one or none, the damaged transaction is the
last one, and a crash explains it.

The end is what the file alone cannot decide: decay of the last transaction, or of the header of the
commit frame just before it, looks like a crash. `SqliteLog` keeps a mark of its own for that.

Source: the SQLite file format, sections 4.1 to 4.4 (sqlite.org/fileformat2.html).
Pure: works on bytes.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

HEADER_BYTES: Final = 32
FRAME_HEADER_BYTES: Final = 24

_MAGIC: Final = 0x377F0682  # the lowest bit says that the checksums are big-endian
_VERSION: Final = 3_007_000
_WORD_MASK: Final = 0xFFFF_FFFF
_PAGE_SIZES: Final = frozenset(2**bits for bits in range(9, 17))

_HEADER: Final = struct.Struct(">8I")
_FRAME: Final = struct.Struct(">II8s4x4x")


class WalVerdict(msgspec.Struct, frozen=True):
    """What was found.

    Attributes:
        valid_bytes: Up to where the file holds complete transactions.
        transaction_count: How many they are.
        damage: What is wrong beyond a torn tail; None if nothing is.
    """

    valid_bytes: int
    transaction_count: int
    damage: str | None = None


def judge_wal(data: bytes) -> WalVerdict:
    """Return how much of a write-ahead log holds, and whether more should.

    Args:
        data: The whole file.
    """
    if len(data) <= HEADER_BYTES:
        # The header is synced before the first frame is written.
        return WalVerdict(0, 0)
    magic, version, page_bytes, _, _, _, *sums = _HEADER.unpack_from(data)
    big_endian = bool(magic & 1)
    checksum = _checksum(data[: HEADER_BYTES - 8], (0, 0), big_endian=big_endian)
    if (
        magic & ~1 != _MAGIC
        or version != _VERSION
        or page_bytes not in _PAGE_SIZES
        or tuple(sums) != checksum
    ):
        return WalVerdict(0, 0, "its header is damaged")
    salts = data[16:24]
    frame_bytes = FRAME_HEADER_BYTES + page_bytes
    valid_bytes, transaction_count, at = HEADER_BYTES, 0, HEADER_BYTES
    while at + frame_bytes <= len(data):
        page, pages_after_commit, frame_salts = _FRAME.unpack_from(data, at)
        if not page or frame_salts != salts:
            break
        checksum = _checksum(data[at : at + 8], checksum, big_endian=big_endian)
        body = data[at + FRAME_HEADER_BYTES : at + frame_bytes]
        checksum = _checksum(body, checksum, big_endian=big_endian)
        if data[at + 16 : at + 24] != struct.pack(">II", *checksum):
            break
        at += frame_bytes
        if pages_after_commit:
            valid_bytes, transaction_count = at, transaction_count + 1
    later = _count_commits(data, at, frame_bytes, salts)
    damage = None
    if later > 1:
        frame = (at - HEADER_BYTES) // frame_bytes + 1
        damage = f"frame {frame} is damaged, and {later} transactions end at or after it"
    return WalVerdict(valid_bytes, transaction_count, damage)


def _count_commits(data: bytes, start: int, frame_bytes: int, salts: bytes) -> int:
    """Return how many commit frames of the current generation begin at or after `start`."""
    count = 0
    for at in range(start, len(data) - FRAME_HEADER_BYTES + 1, frame_bytes):
        page, pages_after_commit, frame_salts = _FRAME.unpack_from(data, at)
        count += bool(page and pages_after_commit and frame_salts == salts)
    return count


def _checksum(data: bytes, seed: tuple[int, int], *, big_endian: bool) -> tuple[int, int]:
    """Return the running checksum after some more 8-byte groups (section 4.2)."""
    first, second = seed
    words = struct.unpack(f"{'>' if big_endian else '<'}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + second + even) & _WORD_MASK
        second = (second + first + odd) & _WORD_MASK
    return first, second
