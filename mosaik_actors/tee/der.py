"""The little of DER (ITU-T X.690) that Intel's certificate extension is written in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

SGX_EXTENSION: Final = "1.2.840.113741.1.13.1"
_ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")


def make_sgx_extension(
    *, fmspc: bytes, cpu_svn: bytes, pce_svn: int, ppid: bytes, platform_id: bytes
) -> bytes:
    """Return what Intel's PCK certificates say of their machine in `SGX_EXTENSION`.

    The layout is that of "Intel SGX PCK Certificate and CRL Profile Specification", chapter
    1.3.5, for the platform CA: of a machine with one package, all of whose features are on.
    """
    components = [_entry(f"2.{n}", _integer(svn)) for n, svn in enumerate(cpu_svn, 1)]
    tcb = [*components, _entry("2.17", _integer(pce_svn)), _entry("2.18", _octets(cpu_svn))]
    configuration = [_entry(f"7.{n}", b"\x01\x01\xff") for n in (1, 2, 3)]
    return _sequence(
        [
            _entry("1", _octets(ppid)),
            _entry("2", _sequence(tcb)),
            _entry("3", _octets(bytes(2))),
            _entry("4", _octets(fmspc)),
            _entry("5", b"\x0a\x01\x01"),
            _entry("6", _octets(platform_id)),
            _entry("7", _sequence(configuration)),
        ]
    )


def join_signed(content: bytes, signature: bytes) -> bytes:
    """Return what X.509 makes of signed content: a certificate (RFC 5280 4.1).

    Args:
        content: What is signed, encoded: a ``TBSCertificate``.
        signature: The signature of it, by ECDSA with SHA-256, encoded.
    """
    return _sequence([content, _ECDSA_WITH_SHA256, _tagged(0x03, b"\0" + signature)])


def _entry(below: str, value: bytes) -> bytes:
    """Return an object identifier below `SGX_EXTENSION`, and its value."""
    return _sequence([_tagged(0x06, _encode_oid(f"{SGX_EXTENSION}.{below}")), value])


def _sequence(parts: Iterable[bytes]) -> bytes:
    return _tagged(0x30, b"".join(parts))


def _octets(value: bytes) -> bytes:
    return _tagged(0x04, value)


def _integer(value: int) -> bytes:
    return _tagged(0x02, value.to_bytes(value.bit_length() // 8 + 1))


def _tagged(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(length)]) + length + content


def _encode_oid(text: str) -> bytes:
    first, second, *rest = map(int, text.split("."))
    encoded = bytearray([40 * first + second])
    for number in rest:
        digits = [number & 0x7F]
        while number := number >> 7:
            digits.append(0x80 | number & 0x7F)
        encoded += bytes(reversed(digits))
    return bytes(encoded)
