"""A simulated TD and its root, as `dcap-qvl` sees them, and the pinned root of Intel."""

from __future__ import annotations

import hashlib

import dcap_qvl
import pytest

from mosaik_actors.errors import ConfigError
from mosaik_actors.tee.der import make_sgx_extension
from mosaik_actors.tee.roots import INTEL_ROOT, TrustedRoot
from mosaik_actors.tee.simulated import SIMULATED_FMSPC, SimulatedRoot, SimulatedTd

from .vectors import MRTD, NOW, real_quote, root

OTHER = "22" * 48


@pytest.mark.parametrize("version", [4, 5])
def test_the_library_reads_and_verifies_what_is_simulated(version: int) -> None:
    """Directly, without any code of ours that checks."""
    td = SimulatedTd(root(), mrtd=MRTD, rtmr3=OTHER, version=version)
    data = td.quote(b"r" * 64)
    quote = dcap_qvl.parse_quote(data)
    assert quote.report.mr_td.hex() == MRTD
    assert quote.report.rt_mr3.hex() == OTHER
    assert quote.report.report_data == b"r" * 64
    papers = dcap_qvl.QuoteCollateralV3.from_json(root().collateral(now=NOW).text)
    found = dcap_qvl.verify_with_root_ca(data, papers, root().certificate, int(NOW) + 1)
    assert (found.status, found.advisory_ids) == ("UpToDate", [])
    with pytest.raises(ValueError, match="Verification failed"):
        dcap_qvl.verify(data, papers, int(NOW) + 1)  # below Intel's root


def test_machine_certificate_has_intels_extension() -> None:
    found = dcap_qvl.parse_quote(SimulatedTd(root()).quote(bytes(64))).pck_extension()
    assert found.fmspc.hex().upper() == SIMULATED_FMSPC
    assert found.pce_svn == 11
    assert found.cpu_svn[:8] == bytes([3, 3, 2, 2, 4, 1, 0, 5])
    assert len(found.ppid) == 16
    assert found.get_value("1.2.840.113741.1.13.1.2.18") == found.cpu_svn


def test_extension_is_byte_for_byte_that_of_a_real_machine() -> None:
    """Made with its values, it is what Intel wrote into the real quote's certificate."""
    real = dcap_qvl.parse_quote(real_quote("tdx_quote").data)
    found = real.pck_extension()
    made = make_sgx_extension(
        fmspc=found.fmspc,
        cpu_svn=found.cpu_svn,
        pce_svn=found.pce_svn,
        ppid=found.ppid,
        platform_id=found.platform_instance_id,
    )
    assert made in pem_to_der(real.cert_chain_pem_bytes())


def pem_to_der(pem: bytes) -> bytes:
    from cryptography import x509

    return x509.load_pem_x509_certificates(pem.rstrip(b"\0"))[0].tbs_certificate_bytes


def test_quote_is_the_same_in_every_replay() -> None:
    made = {SimulatedTd(SimulatedRoot("a seed"), mrtd=MRTD).quote(bytes(64)) for _ in range(2)}
    assert len(made) == 1
    assert made != {SimulatedTd(SimulatedRoot("a seed"), mrtd=MRTD).quote(b"x" * 64)}


def test_collateral_of_a_day_is_issued_once() -> None:
    simulated = SimulatedRoot("a day")
    first = simulated.collateral_of_the_day(now=NOW)
    assert simulated.collateral_of_the_day(now=NOW + 60) is first
    assert simulated.collateral_of_the_day(now=NOW + 86_400).issued == first.issued + 86_400


def test_intels_root_is_the_one_that_intel_publishes() -> None:
    """And the one that the library has built in: it verifies the real quote by itself."""
    digest = hashlib.sha256(INTEL_ROOT.certificate).hexdigest()
    assert digest == "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"
    assert not INTEL_ROOT.is_simulated
    real = real_quote("tdx_quote")
    papers = dcap_qvl.QuoteCollateralV3.from_json(real.collateral.text)
    assert dcap_qvl.verify(real.data, papers, int(real.now)).status == "UpToDate"


def test_root_is_named_by_object_or_certificate() -> None:
    for value in (root(), root().certificate, root().pck_chain.decode().rpartition("-----BEGIN")):
        text = value[1] + value[2] if isinstance(value, tuple) else value
        assert TrustedRoot.make(text).key_id == TrustedRoot.make(root()).key_id
    made = TrustedRoot.make(root())
    assert TrustedRoot.make(made) is made
    with pytest.raises(ConfigError, match="could not be read"):
        TrustedRoot.make("no certificate")
