"""MRTD and RTMRs worked out from files, against sums written out by hand."""

from __future__ import annotations

import struct
from contextlib import suppress
from hashlib import sha384
from random import Random
from uuid import UUID

import pytest

from mosaik_actors.errors import ConfigError, DecodeError
from mosaik_actors.tee.authenticode import measure_pe
from mosaik_actors.tee.measurement import Measurement
from mosaik_actors.tee.prediction import predict_rtmr1, predict_rtmr2, replay
from mosaik_actors.tee.tdvf import TdvfSection, measure_firmware, measure_sections, parse_tdvf

FOOTER = UUID("96b582de-1fb2-45f7-baea-a366c55a082d").bytes_le
METADATA = UUID("e47a6535-984a-4798-865e-4685a7bf8ec2").bytes_le
UNRELATED = UUID("00f771de-1a7e-4fcb-890e-68c77e2fb44e").bytes_le

CODE = bytes(range(256)) * 16  # one page, each of its chunks is 00 01 .. ff
EXTENDED, LATER = 1, 2
ONE_PAGE = (
    "cd9d793217c8e5918ad18eca449ba10dcfc5faafc19ceeae"
    "46b925d054f3b68f85127312438aeba5bc187d9dc73a20fa"
)

Section = tuple[int, int, int, int, int, int]


def make_image(sections: list[Section], content: bytes = CODE) -> bytes:
    """Return an image: content, the descriptor, the table of GUIDs, 32 bytes of reset vector."""
    descriptor = struct.pack("<4sIII", b"TDVF", 16 + 32 * len(sections), 1, len(sections))
    descriptor += b"".join(struct.pack("<IIQQII", *section) for section in sections)
    unrelated = b"abcd" + struct.pack("<H", 22) + UNRELATED
    # How far the descriptor is from the end: itself, the two entries, the footer, the vector.
    from_end = len(descriptor) + 22 + len(unrelated) + 18 + 32
    metadata = struct.pack("<I", from_end) + struct.pack("<H", 22) + METADATA
    entries = metadata + unrelated
    footer = struct.pack("<H", len(entries) + 18) + FOOTER
    return content + descriptor + entries + footer + bytes(32)


def page_add(address: int) -> bytes:
    """MEM.PAGE.ADD (12 bytes), 4 zeros, the address (8 bytes), 104 zeros: 128 bytes."""
    return b"MEM.PAGE.ADD" + bytes(4) + address.to_bytes(8, "little") + bytes(104)


def extend(address: int) -> bytes:
    """MR.EXTEND (9 bytes), 7 zeros, the address (8 bytes), 104 zeros: 128 bytes."""
    return b"MR.EXTEND" + bytes(7) + address.to_bytes(8, "little") + bytes(104)


def test_mrtd_of_one_measured_page() -> None:
    """1 addition, and 16 extensions of 128 + 256 bytes: a hash of 128 + 16 * 384 = 6272 bytes."""
    chunk = bytes(range(256))
    hashed = page_add(0xFFFFF000)
    for number in range(16):
        hashed += extend(0xFFFFF000 + number * 0x100) + chunk
    assert len(hashed) == 6272
    image = make_image([(0, 4096, 0xFFFFF000, 4096, 0, EXTENDED)])
    assert measure_firmware(image) == sha384(hashed).digest()
    # The same by `sha384sum` of those 6272 bytes.
    assert str(measure_firmware(image)) == ONE_PAGE


def test_mrtd_of_unmeasured_pages_has_their_addresses_only() -> None:
    """The TD HOB (type 2), two pages: 2 additions, 256 bytes. What it says is not in MRTD."""
    hashed = page_add(0x809000) + page_add(0x80A000)
    for content in (CODE, bytes(4096)):
        image = make_image([(0, 4096, 0x809000, 8192, 2, 0)], content)
        assert measure_firmware(image) == sha384(hashed).digest()


def test_mrtd_takes_sections_in_the_order_of_the_table() -> None:
    """The higher one first; what is shorter than its memory is filled up with zeros."""
    code, rest = (0, 4096, 0x200000, 4096, 0, EXTENDED), (0, 100, 0x100000, 8192, 1, EXTENDED)
    hashed = page_add(0x200000)
    for at in range(0, 4096, 256):
        hashed += extend(0x200000 + at) + CODE[at : at + 256]
    for page in (0x100000, 0x101000):
        hashed += page_add(page)
        memory = CODE[:100] + bytes(3996) if page == 0x100000 else bytes(4096)
        for at in range(0, 4096, 256):
            hashed += extend(page + at) + memory[at : at + 256]
    assert measure_firmware(make_image([code, rest])) == sha384(hashed).digest()
    assert measure_firmware(make_image([rest, code])) != sha384(hashed).digest()


def test_pages_that_are_added_later_are_not_in_mrtd() -> None:
    code, later = (0, 4096, 0x200000, 4096, 0, EXTENDED), (0, 0, 0, 2**40, 4, LATER)
    assert measure_firmware(make_image([code, later])) == measure_firmware(make_image([code]))


def test_no_sections_are_the_hash_of_nothing() -> None:
    assert measure_sections([]) == sha384(b"").digest()
    empty = TdvfSection(b"", 0, 0, is_extended=True)
    assert measure_sections([empty]) == sha384(b"").digest()


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"", "no firmware image"),
        (bytes(4096), "the table of GUIDs is missing"),
        (make_image([])[:-32], "the table of GUIDs is missing"),
        (make_image([]).replace(METADATA, UNRELATED), "no TDX metadata"),
        (make_image([]).replace(b"TDVF", b"TDXX"), "TDVF descriptor"),
        (make_image([(0, 5000, 0, 8192, 0, 1)]), "are not in the image"),
        (make_image([(0, 4096, 1, 4096, 0, 1)]), "no whole pages"),
        (make_image([(0, 10, 0, 100, 0, 1)]), "no whole pages"),
        (make_image([(0, 4096, 0, 2**40, 0, 0)]), "have more than"),
        (make_image([(0, 0, 0, 0, 0, 0)] * 65), "at most 64"),
    ],
)
def test_what_is_no_firmware_is_refused(image: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        parse_tdvf(image)


def test_rtmr_is_a_chain_of_hashes() -> None:
    """RTMR = SHA-384(RTMR || digest), from 48 zero bytes on."""
    first, second = sha384(b"one").digest(), sha384(b"two").digest()
    assert replay([]) == bytes(48)
    assert replay([first]) == sha384(bytes(48) + first).digest()
    assert replay([first, second]) == sha384(sha384(bytes(48) + first).digest() + second).digest()
    with pytest.raises(ConfigError):
        replay([b"no digest"])


def make_kernel(*, certificates: bytes = b"", checksum: int = 0) -> bytes:
    """Return a PE32+ file: headers of 512 bytes, two sections out of order, a tail."""
    stub = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 64)
    coff = struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, 2, 0, 0, 0, 112 + 8 * 16, 0)
    optional = bytearray(112 + 8 * 16)
    struct.pack_into("<H", optional, 0, 0x20B)
    struct.pack_into("<I", optional, 60, 512)  # SizeOfHeaders
    struct.pack_into("<I", optional, 64, checksum)
    struct.pack_into("<I", optional, 108, 16)  # NumberOfRvaAndSizes
    struct.pack_into("<II", optional, 112 + 4 * 8, 512 + 48 + 4, len(certificates))
    table = b"".join(
        struct.pack("<8sIIIIIIHHI", name, 0, 0, size, begin, 0, 0, 0, 0, 0)
        for name, size, begin in ((b".data", 16, 512 + 32), (b".text", 32, 512), (b".bss", 0, 0))
    )[:80]
    headers = (stub + coff + bytes(optional) + table).ljust(512, b"\0")
    return headers + b"t" * 32 + b"d" * 16 + b"tail" + certificates


def test_pe_digest_leaves_out_checksum_and_certificates() -> None:
    """Headers but 4 bytes at 64 + 24 + 64 and 8 at 64 + 24 + 144, then the file's order."""
    kernel = make_kernel(certificates=b"c" * 8, checksum=0x12345678)
    hashed = kernel[:152] + kernel[156:232] + kernel[240:512] + b"t" * 32 + b"d" * 16 + b"tail"
    assert measure_pe(kernel) == sha384(hashed).digest()
    assert measure_pe(make_kernel()) == sha384(hashed).digest()


def test_rtmr1_has_the_kernel_and_the_events_of_booting_it() -> None:
    kernel = make_kernel()
    register = sha384(bytes(48) + measure_pe(kernel)).digest()
    for event in (
        b"Calling EFI Application from Boot Option",
        b"\0\0\0\0",
        b"Exit Boot Services Invocation",
        b"Exit Boot Services Returned with Success",
    ):
        register = sha384(register + sha384(event).digest()).digest()
    assert predict_rtmr1(kernel) == register


def test_rtmr2_has_the_command_line_and_the_initrd() -> None:
    """UTF-16 with a final zero: "a" is 61 00, then 00 00."""
    line = sha384(b"a\0\0\0").digest()
    assert predict_rtmr2("a") == sha384(bytes(48) + line).digest()
    initrd = sha384(b"files").digest()
    verbatim = sha384(sha384(bytes(48) + line).digest() + initrd).digest()
    assert predict_rtmr2("a", b"files", is_verbatim=True) == verbatim
    appended = sha384("a initrd=initrd\0".encode("utf-16-le")).digest()
    direct = sha384(sha384(bytes(48) + appended).digest() + initrd).digest()
    assert predict_rtmr2("a", b"files") == direct


def test_rubbish_is_refused_and_nothing_else_happens() -> None:
    rng = Random(5)
    image, kernel = make_image([(0, 4096, 0, 4096, 0, 1)] * 3), make_kernel()
    for _ in range(400):
        for good, read in ((image, measure_firmware), (kernel, measure_pe)):
            spoilt = bytearray(good)
            for _ in range(3):
                at = rng.choice((rng.randrange(400), len(spoilt) - 1 - rng.randrange(250)))
                spoilt[at] = rng.choice((0, 1, 255, rng.randrange(256)))
            with suppress(DecodeError):
                assert isinstance(read(bytes(spoilt[: rng.randrange(len(spoilt) * 2)])), bytes)


def test_measurement_is_read_from_bytes_and_digits() -> None:
    assert Measurement("ab" * 48) == Measurement(b"\xab" * 48) == b"\xab" * 48
    assert str(Measurement.zero()) == "00" * 48
    for wrong in ("", "ab", "xy" * 48, b"short"):
        with pytest.raises(ConfigError, match="a measurement is"):
            Measurement(wrong)
