"""MRTD: the measurement of a firmware image, worked out from its file.

Before a TD runs, its host hands the firmware to the TDX module page by page, as the image's own
table of sections says, and the module hashes what it is handed (Intel TDX module specification,
"MRTD: build-time measurement register"; Intel, "TDX Virtual Firmware Design Guide", chapter 11):

    * TDH.MEM.PAGE.ADD hashes 128 bytes: ``MEM.PAGE.ADD``, zeros up to 16, the page's address
      as a little-endian 64-bit integer, zeros.
    * TDH.MR.EXTEND hashes 128 bytes with ``MR.EXTEND`` and the address of a chunk of 256 bytes,
      and then the chunk: for each of the 16 chunks of a page, of sections that say so.
    * MRTD is the SHA-384 of all of it.

The order is that of Linux and QEMU: sections as the table has them, in each of them page after
page, and of each page the addition and then its chunks. Pages that are added later, while the
TD runs (PAGE.AUG), are not in it.

The TD HOB (what the host says of the machine: memory, processors) is left out: only the
addresses of its pages are in MRTD. The firmware measures what it says into RTMR0, which
depends on the host's settings and is not worked out here.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from ..errors import DecodeError
from .measurement import Measurement

PAGE_BYTES: Final = 4096
CHUNK_BYTES: Final = 256
SECTION_COUNT_MAX: Final = 64
MEMORY_BYTES_MAX: Final = 256 * 1024 * 1024

_EXTEND = 1
_AUG = 2
_DESCRIPTOR = struct.Struct("<4sIII")
_SECTION = struct.Struct("<IIQQII")
_ENTRY_TAIL = struct.Struct("<H16s")
_TABLE_END = 32  # bytes behind the table of GUIDs: the reset vector
_TABLE_FOOTER = UUID("96b582de-1fb2-45f7-baea-a366c55a082d").bytes_le
_TDX_METADATA = UUID("e47a6535-984a-4798-865e-4685a7bf8ec2").bytes_le


@dataclass(frozen=True, slots=True)
class TdvfSection:
    """A part of the TD's memory that the host fills before the TD runs.

    Attributes:
        content: What it is filled with; zeros follow, up to `memory_bytes`.
        address: Where it goes.
        memory_bytes: How large it is there.
        is_extended: Whether its content is measured, not only that it is there.
        is_added_later: Whether the TD gets these pages while it runs.
    """

    content: bytes
    address: int
    memory_bytes: int
    is_extended: bool
    is_added_later: bool = False


def measure_firmware(image: bytes) -> Measurement:
    """Return the MRTD of a TD with that firmware. Raises `DecodeError`: it is no TDVF image."""
    return measure_sections(parse_tdvf(image))


def measure_sections(sections: Iterable[TdvfSection]) -> Measurement:
    """Return the MRTD of a TD that is built of `sections`."""
    hasher = hashlib.sha384()
    for section in sections:
        if section.is_added_later:
            continue
        for offset in range(0, section.memory_bytes, PAGE_BYTES):
            page = section.address + offset
            hasher.update(_block(b"MEM.PAGE.ADD", page))
            if not section.is_extended:
                continue
            content = section.content[offset : offset + PAGE_BYTES].ljust(PAGE_BYTES, b"\0")
            for at in range(0, PAGE_BYTES, CHUNK_BYTES):
                hasher.update(_block(b"MR.EXTEND", page + at))
                hasher.update(content[at : at + CHUNK_BYTES])
    return Measurement(hasher.digest())


def parse_tdvf(image: bytes) -> list[TdvfSection]:
    """Return the sections of a firmware image. Raises `DecodeError`: it is no TDVF image."""
    at = _find_descriptor(image)
    signature, _length, version, count = _unpack(_DESCRIPTOR, image, at)
    if signature != b"TDVF" or version != 1 or count > SECTION_COUNT_MAX:
        raise DecodeError(
            f"a TDVF descriptor {signature!r} of version {version} with {count} sections, expected "
            f"b'TDVF', 1 and at most {SECTION_COUNT_MAX}"
        )
    at += _DESCRIPTOR.size
    sections = [_read_section(image, at + n * _SECTION.size) for n in range(count)]
    if sum(section.memory_bytes for section in sections if not section.is_added_later) > (
        MEMORY_BYTES_MAX
    ):
        raise DecodeError(f"the sections have more than {MEMORY_BYTES_MAX} bytes")
    return sections


def _read_section(image: bytes, at: int) -> TdvfSection:
    offset, size, address, memory_bytes, _kind, attributes = _unpack(_SECTION, image, at)
    if offset + size > len(image) or size > memory_bytes:
        raise DecodeError(f"a section's {size} bytes at {offset} are not in the image")
    if address % PAGE_BYTES or memory_bytes % PAGE_BYTES:
        raise DecodeError(f"a section of {memory_bytes} bytes at {address:#x} is no whole pages")
    return TdvfSection(
        content=image[offset : offset + size],
        address=address,
        memory_bytes=memory_bytes,
        is_extended=bool(attributes & _EXTEND),
        is_added_later=bool(attributes & _AUG),
    )


def _find_descriptor(image: bytes) -> int:
    """Return where the descriptor begins: the table of GUIDs at the end says so.

    The table is read backwards: each entry is its data, its length (2 bytes) and its GUID, and
    the last entry is the footer, whose length is that of the whole table.
    """
    end = len(image) - _TABLE_END
    length, guid = _unpack(_ENTRY_TAIL, image, end - _ENTRY_TAIL.size)
    if guid != _TABLE_FOOTER or not _ENTRY_TAIL.size <= length <= end:
        raise DecodeError("no firmware image: the table of GUIDs is missing at its end")
    begin, at = end - length, end - _ENTRY_TAIL.size
    while at - _ENTRY_TAIL.size >= begin:
        length, guid = _unpack(_ENTRY_TAIL, image, at - _ENTRY_TAIL.size)
        if not _ENTRY_TAIL.size <= length <= at - begin:
            raise DecodeError(f"an entry of {length} bytes in the table of GUIDs")
        if guid == _TDX_METADATA:
            if length != _ENTRY_TAIL.size + 4:
                raise DecodeError(f"the entry of the TDX metadata has {length} bytes, expected 22")
            from_end = int.from_bytes(image[at - length : at - length + 4], "little")
            return len(image) - from_end
        at -= length
    raise DecodeError("the firmware has no TDX metadata: it is not made for trusted domains")


def _block(name: bytes, address: int) -> bytes:
    return (name.ljust(16, b"\0") + address.to_bytes(8, "little")).ljust(128, b"\0")


def _unpack(layout: struct.Struct, image: bytes, at: int) -> tuple[Any, ...]:
    if at < 0 or at + layout.size > len(image):
        raise DecodeError(f"no firmware image: {len(image)} bytes, and something at {at}")
    return layout.unpack_from(image, at)
