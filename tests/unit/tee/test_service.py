"""What a service of collateral is asked, and what comes of its answers."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote as percent_encode

import pytest

from mosaik_actors.errors import DecodeError
from mosaik_actors.tee.collateral import CollateralKey
from mosaik_actors.tee.service import ServiceAnswer, join, list_documents

from .vectors import NOW, root

KEY = CollateralKey("B0C06F000000", "platform")


@pytest.mark.parametrize(
    "url",
    ["https://pccs:8081", "https://pccs:8081/", "https://pccs:8081/sgx/certification/v4/"],
)
def test_a_pccs_is_asked_for_four_documents(url: str) -> None:
    assert list_documents(url, KEY) == [
        "https://pccs:8081/sgx/certification/v4/pckcrl?ca=platform&encoding=der",
        "https://pccs:8081/tdx/certification/v4/tcb?fmspc=B0C06F000000&update=standard",
        "https://pccs:8081/tdx/certification/v4/qe/identity?update=standard",
        "https://pccs:8081/sgx/certification/v4/rootcacrl",
    ]


def test_intels_list_of_revoked_cas_is_where_its_root_says() -> None:
    *_, last = list_documents("https://api.trustedservices.intel.com", KEY)
    assert last == "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"


def answers(*, is_hex: bool = True) -> list[ServiceAnswer]:
    parts = root().collateral(now=NOW).parts()
    tcb = f'{{"tcbInfo":{parts["tcb_info"]},"signature":"{parts["tcb_info_signature"]}"}}'
    qe = f'{{"signature":"{parts["qe_identity_signature"]}", "enclaveIdentity" : '
    qe += f"{parts['qe_identity']} }}"
    crl = bytes.fromhex(parts["root_ca_crl"])
    tcb_chain = percent_encode(parts["tcb_info_issuer_chain"])
    pck_chain = percent_encode(parts["pck_crl_issuer_chain"])
    return [
        ServiceAnswer(bytes.fromhex(parts["pck_crl"]), {"sgx-pck-crl-issuer-chain": pck_chain}),
        ServiceAnswer(tcb.encode(), {"tcb-info-issuer-chain": tcb_chain}),
        ServiceAnswer(qe.encode(), {"sgx-enclave-identity-issuer-chain": tcb_chain}),
        ServiceAnswer(crl.hex().encode() if is_hex else crl, {}),
    ]


@pytest.mark.parametrize("is_hex", [True, False])
def test_documents_are_joined_byte_for_byte(is_hex: bool) -> None:
    """What is signed stays as it came; a PCCS has one list in digits, Intel has bytes."""
    found = join(*answers(is_hex=is_hex))
    assert found.fmspc == "53494D000000"
    assert found.expires == NOW + 30 * 86_400
    assert found.parts()["tcb_info"].encode() in answers()[1].body
    assert found.parts()["qe_identity"].encode() in answers()[2].body


@pytest.mark.parametrize(
    ("number", "body", "reason"),
    [
        (0, b"no list", "could not be read"),
        (1, b"", "could not be read"),
        (1, b"{}", "could not be read"),
        (2, b'{"enclaveIdentity": {}, "signature": "00"}', "could not be read"),
        (3, b"<html>", "could not be read"),
    ],
)
def test_what_is_no_document_is_refused(number: int, body: bytes, reason: str) -> None:
    spoilt = answers()
    spoilt[number] = replace(spoilt[number], body=body)
    with pytest.raises(DecodeError, match=reason):
        join(*spoilt)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_document_without_its_certificates_is_refused(number: int) -> None:
    spoilt = answers()
    spoilt[number] = replace(spoilt[number], headers={})
    with pytest.raises(DecodeError, match="has no header"):
        join(*spoilt)
