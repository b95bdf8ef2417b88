"""What a service of collateral is asked, and what comes of its answers.

A pure core. The service is a PCCS (Intel's caching service, or one like it) or Intel's own;
both speak the "Intel SGX and Intel TDX Provisioning Certification Service" of version 4. Four
documents make one collateral. The certificates above them are in headers, percent-encoded.
What is signed is kept byte for byte as it came.

Only the list of revoked CAs is not the service's own with Intel: it is where Intel's root says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import unquote, urlsplit

import msgspec

from ..errors import DecodeError
from .collateral import COLLATERAL_BYTES_MAX, Collateral, CollateralKey

DOCUMENT_BYTES_MAX: Final = COLLATERAL_BYTES_MAX // 4
INTEL_HOST: Final = "api.trustedservices.intel.com"
INTEL_ROOT_CRL_URL: Final = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
_PATHS = ("/sgx/certification/v4", "/tdx/certification/v4")

_Signature = Annotated[str, msgspec.Meta(pattern="^[0-9A-Fa-f]{128}$")]


@dataclass(frozen=True, slots=True)
class ServiceAnswer:
    """One document.

    Attributes:
        body: Its bytes.
        headers: The headers, with names in lower case.
    """

    body: bytes
    headers: Mapping[str, str]

    def chain(self, *names: str) -> str:
        """Return the certificates in the header of one of `names`. Raises `DecodeError`."""
        for name in names:
            if found := self.headers.get(name.lower()):
                return unquote(found)
        raise DecodeError(f"the answer has no header {names[0]}")


class _TcbInfo(msgspec.Struct, frozen=True, rename="camel"):
    tcb_info: msgspec.Raw
    signature: _Signature


class _QeIdentity(msgspec.Struct, frozen=True, rename="camel"):
    enclave_identity: msgspec.Raw
    signature: _Signature


def list_documents(url: str, key: CollateralKey) -> list[str]:
    """Return the addresses of the four documents, in the order in which `join` takes them."""
    base = url.rstrip("/")
    for path in _PATHS:
        base = base.removesuffix(path)
    root_crl = f"{base}{_PATHS[0]}/rootcacrl"
    if urlsplit(base).hostname == INTEL_HOST:
        root_crl = INTEL_ROOT_CRL_URL
    return [
        f"{base}{_PATHS[0]}/pckcrl?ca={key.ca}&encoding=der",
        f"{base}{_PATHS[1]}/tcb?fmspc={key.fmspc}&update=standard",
        f"{base}{_PATHS[1]}/qe/identity?update=standard",
        root_crl,
    ]


def join(
    pck_crl: ServiceAnswer, tcb: ServiceAnswer, qe: ServiceAnswer, root_crl: ServiceAnswer
) -> Collateral:
    """Return the collateral of four documents.

    Raises:
        DecodeError: One is not what it should be; says which.
    """
    try:
        tcb_info = msgspec.json.decode(tcb.body, type=_TcbInfo)
        qe_identity = msgspec.json.decode(qe.body, type=_QeIdentity)
        parts = {
            "pck_crl_issuer_chain": pck_crl.chain("SGX-PCK-CRL-Issuer-Chain"),
            "root_ca_crl": _as_der(root_crl.body).hex(),
            "pck_crl": _as_der(pck_crl.body).hex(),
            "tcb_info_issuer_chain": tcb.chain(
                "TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"
            ),
            "tcb_info": bytes(tcb_info.tcb_info).decode(),
            "tcb_info_signature": tcb_info.signature,
            "qe_identity_issuer_chain": qe.chain("SGX-Enclave-Identity-Issuer-Chain"),
            "qe_identity": bytes(qe_identity.enclave_identity).decode(),
            "qe_identity_signature": qe_identity.signature,
        }
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise DecodeError(f"the service's answer could not be read: {exc}") from exc
    return Collateral.parse(msgspec.json.encode(parts))


def _as_der(body: bytes) -> bytes:
    """Return a list of revoked certificates: a PCCS writes it in hexadecimal digits."""
    try:
        return bytes.fromhex(body.decode("ascii"))
    except ValueError:
        return body
