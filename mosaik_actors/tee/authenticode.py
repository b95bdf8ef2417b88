"""The digest of a PE file by which firmware measures what it starts.

"Windows Authenticode Portable Executable Signature Format", chapter "Calculating the PE Image
Hash", with SHA-384, as the TCG has it (PC Client Platform Firmware Profile, 3.3.2.3): of the
headers without the checksum and without the place of the certificates, of the sections in the
order of the file, and of what follows them but the certificates.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

from ..errors import DecodeError
from .measurement import Measurement

_PE_OFFSET_AT: Final = 0x3C
_SECTION_BYTES: Final = 40
_SECTION_COUNT_MAX: Final = 96
_CHECKSUM_AT: Final = 64  # within the optional header
_CHECKSUM_BYTES: Final = 4
_DIRECTORIES_AT: Final = {0x10B: 96, 0x20B: 112}  # by magic: PE32, PE32+
_CERTIFICATES: Final = 4  # which directory it is
_DIRECTORY_BYTES: Final = 8


def measure_pe(image: bytes) -> Measurement:
    """Return the Authenticode digest of a PE file, such as a Linux kernel with EFI stub.

    Raises:
        DecodeError: It is none.
    """
    pe = _number("<I", image, _PE_OFFSET_AT)
    if image[:2] != b"MZ" or image[pe : pe + 4] != b"PE\0\0":
        raise DecodeError("no PE file: a kernel for trusted domains is built with an EFI stub")
    section_count = _number("<H", image, pe + 6)
    optional_bytes = _number("<H", image, pe + 20)
    optional = pe + 24
    magic = _number("<H", image, optional)
    if magic not in _DIRECTORIES_AT or section_count > _SECTION_COUNT_MAX:
        raise DecodeError(f"a PE file with magic {magic:#x} and {section_count} sections")
    headers_bytes = _number("<I", image, optional + 60)
    directories = optional + _DIRECTORIES_AT[magic]
    entry = directories + _CERTIFICATES * _DIRECTORY_BYTES
    checksum = optional + _CHECKSUM_AT
    has_certificates = _number("<I", image, directories - 4) > _CERTIFICATES
    certificate_bytes = _number("<I", image, entry + 4) if has_certificates else 0

    hasher = hashlib.sha384(image[:checksum])
    if has_certificates:
        hasher.update(image[checksum + _CHECKSUM_BYTES : entry])
        hasher.update(image[entry + _DIRECTORY_BYTES : headers_bytes])
    else:
        hasher.update(image[checksum + _CHECKSUM_BYTES : headers_bytes])
    hashed = headers_bytes
    table = optional + optional_bytes
    for begin, size in sorted(_list_sections(image, table, section_count)):
        if begin + size > len(image):
            raise DecodeError(f"a section of {size} bytes at {begin} is not in the PE file")
        hasher.update(image[begin : begin + size])
        hashed += size
    rest = len(image) - certificate_bytes
    if rest > hashed:
        hasher.update(image[hashed:rest])
    return Measurement(hasher.digest())


def _list_sections(image: bytes, table: int, count: int) -> list[tuple[int, int]]:
    """Return where each section with content begins in the file, and its size there."""
    found = []
    for at in range(table, table + count * _SECTION_BYTES, _SECTION_BYTES):
        size, begin = _number("<I", image, at + 16), _number("<I", image, at + 20)
        if size:
            found.append((begin, size))
    return found


def _number(layout: str, image: bytes, at: int) -> int:
    if at + struct.calcsize(layout) > len(image):
        raise DecodeError(f"no PE file: {len(image)} bytes, and a number at {at}")
    found: int = struct.unpack_from(layout, image, at)[0]
    return found
