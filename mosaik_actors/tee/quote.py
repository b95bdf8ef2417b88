"""TDX quotes, read and written byte for byte.

A quote is what a trusted domain (TD) shows to prove what it runs: a report, which the
processor made, and the signature of the quoting enclave (QE) of that machine, with the
certificates that lead from it to a root. This module knows the layout and nothing of trust:
who asks whether a quote is genuine asks `checking`.

    * Versions 4 and 5 (Intel, "TDX DCAP Quote Generation Library and Quote Verification
      Library", appendix A.3 and A.4), reports TD 1.0 and TD 1.5, ECDSA on P-256.
    * ``Quote.parse(data).encode() == data`` for every quote that is accepted. Bytes that no
      field covers are refused: the lengths inside must fill what contains them, and what the
      kernel pads a quote with must be zero.
    * Nothing is allocated for what a length claims, and a quote has `QUOTE_BYTES_MAX` at most.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final, Self

from ..errors import DecodeError

QUOTE_BYTES_MAX: Final = 16 * 1024
REPORT_DATA_BYTES: Final = 64
INTEL_QE_VENDOR: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")

_TEE_TYPE_TDX = 0x81
_ECDSA_P256 = 2
_TD_REPORT_10 = 2
_TD_REPORT_15 = 3
_QE_REPORT_DATA = 6
_PCK_CHAIN = 5
_UNDER_DEBUG = 0xFF  # of the attributes: the TUD bits, any of which makes a TD untrusted

_HEADER = struct.Struct("<HHIHH16s20s")
_BODY_HEAD = struct.Struct("<HI")
_LENGTH = struct.Struct("<I")
_REPORT = struct.Struct("<16s48s48s8s8s8s48s48s48s48s48s48s48s48s64s")
_REPORT_15_TAIL = struct.Struct("<16s48s")
_SIGNED = struct.Struct("<64s64sHI")
_QE_REPORT = struct.Struct("<384s64sH")
_CERTIFICATES = struct.Struct("<HI")


class QuoteError(DecodeError):
    """Bytes are not a TDX quote that this module knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TdReport:
    """What the processor says of a trusted domain.

    Attributes:
        tee_tcb_svn: The versions of the TDX module's parts.
        mr_seam: The measurement of the TDX module.
        mr_signer_seam: Who signed it; zero for Intel.
        seam_attributes: The attributes of the module; zero.
        td_attributes: The attributes of the TD. See `is_debug`.
        xfam: The processor features that the TD may use.
        mr_td: What the TD was built of, before it ran.
        mr_config_id: Set by whoever started it, for the configuration.
        mr_owner: Set by whoever started it, for its owner.
        mr_owner_config: Set by whoever started it, for the owner's configuration.
        rtmr0: Extended while running: by the firmware, with its configuration.
        rtmr1: With what was loaded to boot: the kernel.
        rtmr2: With its command line and initial file system.
        rtmr3: Left to applications.
        report_data: What the TD put in itself.
        tee_tcb_svn_2: Of a TD 1.5 report: the versions when the module was last updated.
        mr_service_td: Of a TD 1.5 report: the service TDs bound to this one.
    """

    tee_tcb_svn: bytes = bytes(16)
    mr_seam: bytes = bytes(48)
    mr_signer_seam: bytes = bytes(48)
    seam_attributes: bytes = bytes(8)
    td_attributes: bytes = bytes.fromhex("0000001000000000")
    xfam: bytes = bytes.fromhex("e702060000000000")
    mr_td: bytes = bytes(48)
    mr_config_id: bytes = bytes(48)
    mr_owner: bytes = bytes(48)
    mr_owner_config: bytes = bytes(48)
    rtmr0: bytes = bytes(48)
    rtmr1: bytes = bytes(48)
    rtmr2: bytes = bytes(48)
    rtmr3: bytes = bytes(48)
    report_data: bytes = bytes(REPORT_DATA_BYTES)
    tee_tcb_svn_2: bytes | None = None
    mr_service_td: bytes | None = None

    @property
    def is_debug(self) -> bool:
        """Whether the host can look into the TD: then its measurements mean nothing."""
        return bool(self.td_attributes[0] & _UNDER_DEBUG)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the report in `data`. Raises `QuoteError` when it has neither length."""
        if len(data) not in (_REPORT.size, _REPORT.size + _REPORT_15_TAIL.size):
            raise QuoteError(f"a TD report of {len(data)} bytes, expected 584 or 648")
        names = cls.__dataclass_fields__
        values: list[bytes] = list(_REPORT.unpack_from(data))
        if len(data) > _REPORT.size:
            values += _REPORT_15_TAIL.unpack_from(data, _REPORT.size)
        return cls(**dict(zip(names, values, strict=False)))

    def encode(self) -> bytes:
        """Return its 584 bytes (TD 1.0) or 648 (TD 1.5)."""
        values = [getattr(self, name) for name in self.__dataclass_fields__]
        base = _REPORT.pack(*values[:-2])
        if self.tee_tcb_svn_2 is None or self.mr_service_td is None:
            return base
        return base + _REPORT_15_TAIL.pack(self.tee_tcb_svn_2, self.mr_service_td)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteSignature:
    """Who vouches for the report.

    Attributes:
        signature: The QE's, of header and report: r and s, 32 bytes each.
        attestation_key: Its public key: x and y.
        qe_report: The report of the QE's enclave, which has the hash of that key.
        qe_report_signature: Of that report, by the machine's PCK certificate.
        qe_auth_data: Goes into that hash.
        pck_chain: The PEM text of the PCK certificate and those above it.
    """

    signature: bytes
    attestation_key: bytes
    qe_report: bytes
    qe_report_signature: bytes
    qe_auth_data: bytes
    pck_chain: bytes

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the signature data in `data`. Raises `QuoteError`."""
        signature, key, kind, size = _unpack(_SIGNED, data, 0)
        at = _SIGNED.size
        if kind != _QE_REPORT_DATA:
            raise QuoteError(f"certification data of type {kind}, expected {_QE_REPORT_DATA}")
        _expect_rest(data, at, size, "the QE's report")
        qe_report, qe_signature, auth_bytes = _unpack(_QE_REPORT, data, at)
        at += _QE_REPORT.size
        auth = data[at : at + auth_bytes]
        at += auth_bytes
        kind, size = _unpack(_CERTIFICATES, data, at)
        at += _CERTIFICATES.size
        if kind != _PCK_CHAIN:
            raise QuoteError(f"PCK certification data of type {kind}, expected {_PCK_CHAIN}")
        _expect_rest(data, at, size, "the PCK certificates")
        return cls(
            signature=signature,
            attestation_key=key,
            qe_report=qe_report,
            qe_report_signature=qe_signature,
            qe_auth_data=auth,
            pck_chain=data[at:],
        )

    def encode(self) -> bytes:
        """Return the bytes that `parse` reads."""
        inner = _QE_REPORT.pack(self.qe_report, self.qe_report_signature, len(self.qe_auth_data))
        inner += self.qe_auth_data + _CERTIFICATES.pack(_PCK_CHAIN, len(self.pck_chain))
        inner += self.pck_chain
        head = _SIGNED.pack(self.signature, self.attestation_key, _QE_REPORT_DATA, len(inner))
        return head + inner


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A quote's parts.

    Attributes:
        version: 4 or 5.
        report: What the processor says.
        signature: Who vouches for it.
        qe_svn: Two bytes that older versions used; zero.
        pce_svn: Likewise.
        qe_vendor_id: Who made the quoting enclave.
        user_data: What the QE put in: an id of the machine.
        padding: The number of zero bytes behind.
    """

    version: int
    report: TdReport
    signature: QuoteSignature
    qe_svn: int = 0
    pce_svn: int = 0
    qe_vendor_id: bytes = INTEL_QE_VENDOR
    user_data: bytes = bytes(20)
    padding: int = 0

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the quote in `data`.

        Raises:
            QuoteError: It is none, is of another kind than TDX with ECDSA on P-256, or has
                bytes that belong to no field.
        """
        if len(data) > QUOTE_BYTES_MAX:
            raise QuoteError(f"a quote of {len(data)} bytes, at most {QUOTE_BYTES_MAX}")
        version, key_type, tee_type, qe_svn, pce_svn, vendor, user_data = _unpack(_HEADER, data, 0)
        at = _HEADER.size
        if version not in (4, 5) or tee_type != _TEE_TYPE_TDX or key_type != _ECDSA_P256:
            raise QuoteError(
                f"a quote of version {version}, TEE type {tee_type:#x}, key type {key_type}; "
                f"expected version 4 or 5, {_TEE_TYPE_TDX:#x} (TDX), {_ECDSA_P256} (ECDSA P-256)"
            )
        size = _REPORT.size
        if version == 5:
            kind, size = _unpack(_BODY_HEAD, data, at)
            at += _BODY_HEAD.size
            sizes = {_TD_REPORT_10: _REPORT.size, _TD_REPORT_15: _REPORT.size + 64}
            if sizes.get(kind) != size:
                raise QuoteError(f"a body of type {kind} with {size} bytes is no TD report")
        report = TdReport.parse(data[at : at + size])
        at += size
        [length] = _unpack(_LENGTH, data, at)
        at += _LENGTH.size
        if at + length > len(data):
            raise QuoteError(f"{length} bytes of signature data are announced, not all are there")
        if any(data[at + length :]):
            raise QuoteError("bytes behind the quote are not zero")
        return cls(
            version=version,
            report=report,
            signature=QuoteSignature.parse(data[at : at + length]),
            qe_svn=qe_svn,
            pce_svn=pce_svn,
            qe_vendor_id=vendor,
            user_data=user_data,
            padding=len(data) - at - length,
        )

    @property
    def signed(self) -> bytes:
        """The bytes that the attestation key signs: header and report."""
        header = (self.qe_svn, self.pce_svn, self.qe_vendor_id, self.user_data)
        head = _HEADER.pack(self.version, _ECDSA_P256, _TEE_TYPE_TDX, *header)
        report = self.report.encode()
        if self.version == 5:
            kind = _TD_REPORT_10 if len(report) == _REPORT.size else _TD_REPORT_15
            head += _BODY_HEAD.pack(kind, len(report))
        return head + report

    def encode(self) -> bytes:
        """Return its bytes, the same that `parse` was given."""
        signature = self.signature.encode()
        return self.signed + _LENGTH.pack(len(signature)) + signature + bytes(self.padding)


def _unpack(layout: struct.Struct, data: bytes, at: int) -> tuple[Any, ...]:
    if at + layout.size > len(data):
        raise QuoteError(f"the quote is cut off: {len(data)} bytes in a part that needs more")
    return layout.unpack_from(data, at)


def _expect_rest(data: bytes, at: int, size: int, what: str) -> None:
    if len(data) - at != size:
        raise QuoteError(f"{size} bytes are announced for {what}, there are {len(data) - at}")
