"""Quotes, byte for byte."""

from __future__ import annotations

from contextlib import suppress
from random import Random

import pytest

from mosaik_actors.tee.measurements import Measurements
from mosaik_actors.tee.quote import QUOTE_BYTES_MAX, Quote, QuoteError
from mosaik_actors.tee.simulated import SimulatedTd

from .vectors import real_quote, root


@pytest.mark.parametrize("name", ["tdx_quote", "tdx_quote_outdated"])
def test_real_quotes_come_back_byte_for_byte(name: str) -> None:
    """A version 4 quote with a TD 1.0 report and padding; a version 5 one with TD 1.5."""
    data = real_quote(name).data
    assert Quote.parse(data).encode() == data


def test_real_quote_says_what_it_measures() -> None:
    quote = Quote.parse(real_quote("tdx_quote").data)
    measured = Measurements.of(quote.report)
    assert quote.version == 4
    assert quote.padding == 70
    assert measured.mrtd.short == "91eb2b44d1"
    assert measured["rtmr2"].short == "d833feef2c"
    assert not quote.report.is_debug


@pytest.mark.parametrize(("version", "size"), [(4, 584), (5, 648)])
def test_simulated_quotes_are_byte_exact(version: int, size: int) -> None:
    data = SimulatedTd(root(), version=version).quote(b"r" * 64)
    quote = Quote.parse(data)
    assert quote.encode() == data
    assert len(quote.report.encode()) == size
    assert quote.report.report_data == b"r" * 64


def spoil(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


@pytest.mark.parametrize(
    ("at", "new", "reason"),
    [
        (0, b"\3\0", "version 3"),
        (2, b"\3\0", "key type 3"),
        (4, bytes(4), "TEE type 0x0"),
        (632, b"\xff\xff\xff\xff", "are announced, not all are there"),
        (632, bytes(4), "bytes behind the quote are not zero"),
        (636 + 128, b"\5\0", "certification data of type 5"),
        (636 + 130, bytes(4), "0 bytes are announced for the QE's report"),
        (636 + 134 + 448, b"\xff\xff", "cut off"),
        (636 + 134 + 450 + 32, b"\4\0", "PCK certification data of type 4"),
        (636 + 134 + 450 + 34, bytes(4), "0 bytes are announced for the PCK certificates"),
    ],
)
def test_quote_with_a_wrong_field_is_refused(at: int, new: bytes, reason: str) -> None:
    data = SimulatedTd(root()).quote(bytes(64))
    with pytest.raises(QuoteError, match=reason):
        Quote.parse(spoil(data, at, new))


def test_body_of_version_5_has_the_size_of_its_type() -> None:
    data = SimulatedTd(root(), version=5).quote(bytes(64))
    for at, new in ((48, b"\2"), (48, b"\4"), (50, b"\x48")):
        with pytest.raises(QuoteError, match="is no TD report"):
            Quote.parse(spoil(data, at, new))


def test_bytes_behind_a_quote_must_be_zero_and_few() -> None:
    data = SimulatedTd(root()).quote(bytes(64))
    assert Quote.parse(data + bytes(100)).encode() == data + bytes(100)
    with pytest.raises(QuoteError, match="not zero"):
        Quote.parse(data + bytes(99) + b"\1")
    with pytest.raises(QuoteError, match="at most"):
        Quote.parse(data.ljust(QUOTE_BYTES_MAX + 1, b"\0"))


def test_every_cut_of_a_quote_is_refused() -> None:
    data = SimulatedTd(root()).quote(bytes(64))
    for size in range(0, len(data), 13):
        with pytest.raises(QuoteError):
            Quote.parse(data[:size])


def test_whatever_is_parsed_is_a_quote_or_an_error() -> None:
    """What is accepted comes back byte for byte."""
    rng = Random(3)
    for version in (4, 5):
        good = SimulatedTd(root(), version=version).quote(bytes(64))
        for _ in range(300):
            data = bytearray(good)
            for _ in range(rng.randint(1, 4)):
                data[rng.randrange(1400)] = rng.choice((0, 1, 127, 255, rng.randrange(256)))
            with suppress(QuoteError):
                assert Quote.parse(bytes(data)).encode() == data
