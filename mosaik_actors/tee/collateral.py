"""Collateral: what Intel says of machines, signed, by which their quotes are judged.

Lists of revoked certificates, which versions of firmware and of the quoting enclave are good,
and the certificates below which that is signed. It holds for about 30 days. It is the same
for all machines of one kind (an FMSPC) whose certificates one authority issued, so that is
what it is looked up by: the `CollateralKey`.

The form is the JSON object of the tools around `dcap-qvl`, with the nine parts of Intel's
`sgx_ql_qve_collateral_t`: texts as they are, binary parts in hexadecimal digits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final, Self

import msgspec
from cryptography import x509

from ..errors import DecodeError

COLLATERAL_BYTES_MAX: Final = 2 * 1024 * 1024
_Text = Annotated[str, msgspec.Meta(max_length=COLLATERAL_BYTES_MAX)]


@dataclass(frozen=True, slots=True)
class CollateralKey:
    """Which collateral judges a quote.

    Attributes:
        fmspc: The kind of machine: 12 hexadecimal digits, in capitals.
        ca: Who issued its certificate: "platform" or "processor".
    """

    fmspc: str
    ca: str

    def __str__(self) -> str:
        return f"{self.fmspc}-{self.ca}"


class _Parts(msgspec.Struct, frozen=True, kw_only=True):
    pck_crl_issuer_chain: _Text
    root_ca_crl: _Text
    pck_crl: _Text
    tcb_info_issuer_chain: _Text
    tcb_info: _Text
    tcb_info_signature: _Text
    qe_identity_issuer_chain: _Text
    qe_identity: _Text
    qe_identity_signature: _Text


class _Dated(msgspec.Struct, frozen=True, rename="camel"):
    issue_date: Annotated[str, msgspec.Meta(max_length=64)]
    next_update: Annotated[str, msgspec.Meta(max_length=64)]


class _TcbInfo(_Dated, frozen=True, rename="camel"):
    fmspc: Annotated[str, msgspec.Meta(pattern="^[0-9A-Fa-f]{12}$")]


_parts = msgspec.json.Decoder(_Parts)
_tcb_info = msgspec.json.Decoder(_TcbInfo)
_dated = msgspec.json.Decoder(_Dated)


@dataclass(frozen=True, slots=True)
class Collateral:
    """One collateral, whose form is good. Whether it is genuine is for `checking`.

    Attributes:
        text: The JSON.
        fmspc: The kind of machine that it is about.
        issued: When its newest part was issued, in seconds since the Unix epoch.
        expires: When its first part runs out, likewise.
        digest: The SHA-256 of the text.
    """

    text: str
    fmspc: str
    issued: float
    expires: float
    digest: bytes

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the collateral in `data`.

        Raises:
            DecodeError: It is none; says what is wrong with it.
        """
        if len(data) > COLLATERAL_BYTES_MAX:
            raise DecodeError(f"collateral of {len(data)} bytes, at most {COLLATERAL_BYTES_MAX}")
        try:
            parts = _parts.decode(data)
            tcb_info = _tcb_info.decode(parts.tcb_info)
            papers = (tcb_info, _dated.decode(parts.qe_identity))
            texts = (parts.root_ca_crl, parts.pck_crl)
            lists = [x509.load_der_x509_crl(bytes.fromhex(text)) for text in texts]
            # One without a date of its next update would never run out.
            ends = [one.next_update_utc for one in lists]
            expires = [datetime.fromisoformat(paper.next_update) for paper in papers]
            expires += [end for end in ends if end is not None]
            issued = [datetime.fromisoformat(paper.issue_date) for paper in papers]
            if len(expires) < len(papers) + len(lists):
                raise ValueError("a list of revoked certificates says no next update")
            return cls(
                text=data.decode(),
                fmspc=tcb_info.fmspc.upper(),
                issued=max(moment.timestamp() for moment in issued),
                expires=min(moment.timestamp() for moment in expires),
                digest=hashlib.sha256(data).digest(),
            )
        except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as exc:
            raise DecodeError(f"collateral could not be read: {exc}") from exc

    def parts(self) -> Mapping[str, str]:
        """Return its nine parts by name."""
        return msgspec.structs.asdict(_parts.decode(self.text))


def format_time(seconds: float) -> str:
    """Return a moment (seconds since the Unix epoch) for people."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()
