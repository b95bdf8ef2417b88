"""A trusted domain in software, for tests and for machines without TDX.

A `SimulatedTd` makes quotes that have every byte a real one has, and a `SimulatedRoot` stands
where Intel does: it issues the certificates above them and the collateral that judges them.
So the very same checks run on them, with one difference: nobody trusts such a root who does
not name it, as in ``Tdx(roots=[root])``.

A simulated TD proves nothing about a machine. Whoever has the root's seed can make any quote.

Source of the formats: "Intel SGX PCK Certificate and CRL Profile Specification"; the answers
of Intel's provisioning certification service, version 4.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from blake3 import blake3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID, ObjectIdentifier

from .collateral import Collateral
from .der import SGX_EXTENSION, join_signed, make_sgx_extension
from .measurement import Measurement
from .measurements import Measurements
from .quote import Quote, QuoteSignature, TdReport

SIMULATED_FMSPC: Final = "53494D000000"
_PROVIDER = "simulated"

# Deterministic (RFC 6979), so that a simulated TD makes the same quote in every replay.
_ECDSA = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
_CURVE_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_NOT_BEFORE = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_AFTER = datetime(2049, 12, 31, tzinfo=UTC)
_DAY_S = 86_400.0
_UPDATE_EVERY = timedelta(days=30)
_CPU_SVN = bytes([3, 3, 2, 2, 4, 1, 0, 5]) + bytes(8)
_PCE_SVN = 11
_TEE_TCB_SVN = bytes([5, 1, 2]) + bytes(13)
_QE_SVN = 4
_QE_ATTRIBUTES = bytes.fromhex("11000000000000000000000000000000")
_QE_SIGNER = hashlib.sha256(b"simulated quoting enclave").digest()
_MODULE_SIGNER = bytes(48)
_QE_AUTH_DATA = bytes(range(32))


class SimulatedRoot:
    """A root of trust of one's own, and what is below it.

    Two roots of one seed are the same root: processes need not hand it around.

    Args:
        seed: What its keys are made of: as secret as the root should be.
    """

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._today: Collateral | None = None
        self._root = _Authority(seed, "Simulated SGX Root CA", path_length=1)
        self._platform = _Authority(
            seed, "Simulated SGX PCK Platform CA", path_length=0, by=self._root
        )
        self._tcb = _Authority(seed, "Simulated SGX TCB Signing", path_length=None, by=self._root)
        extension = make_sgx_extension(
            fmspc=bytes.fromhex(SIMULATED_FMSPC),
            cpu_svn=_CPU_SVN,
            pce_svn=_PCE_SVN,
            ppid=blake3(seed.encode()).digest()[:16],
            platform_id=blake3(seed.encode()).digest()[16:],
        )
        self._pck = _Authority(
            seed,
            "Simulated SGX PCK Certificate",
            path_length=None,
            by=self._platform,
            extension=extension,
        )

    def __repr__(self) -> str:
        return f"SimulatedRoot({hashlib.sha256(self.certificate).hexdigest()[:10]})"

    @property
    def certificate(self) -> bytes:
        """The root's certificate (DER)."""
        return self._root.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pck_chain(self) -> bytes:
        """The certificates in each of its quotes (PEM): of the machine, its issuer, the root."""
        return (self._pck.pem + self._platform.pem + self._root.pem).encode() + b"\0"

    def collateral(
        self,
        *,
        now: float,
        tcb_status: str = "UpToDate",
        advisory_ids: Iterable[str] = (),
        is_revoked: bool = False,
    ) -> Collateral:
        """Return what judges this root's quotes for 30 days.

        Args:
            now: When it is issued, in seconds since the Unix epoch.
            tcb_status: What it says of the simulated machine.
            advisory_ids: Which advisories it names.
            is_revoked: Whether the machine's certificate is revoked.
        """
        issued = datetime.fromtimestamp(int(now), UTC)
        tcb_info = self._describe_tcb(issued, tcb_status, list(advisory_ids))
        qe_identity = self._describe_qe(issued)
        tcb_chain = self._tcb.pem + self._root.pem
        revoked = [self._pck.certificate.serial_number] if is_revoked else []
        fields = {
            "pck_crl_issuer_chain": self._platform.pem + self._root.pem,
            "root_ca_crl": self._root.revoke([], issued).hex(),
            "pck_crl": self._platform.revoke(revoked, issued).hex(),
            "tcb_info_issuer_chain": tcb_chain,
            "tcb_info": tcb_info,
            "tcb_info_signature": self._tcb.sign(tcb_info.encode()).hex(),
            "qe_identity_issuer_chain": tcb_chain,
            "qe_identity": qe_identity,
            "qe_identity_signature": self._tcb.sign(qe_identity.encode()).hex(),
        }
        return Collateral.parse(json.dumps(fields).encode())

    def collateral_of_the_day(self, *, now: float) -> Collateral:
        """Return collateral that was issued when the day of `now` (UTC) began."""
        day = now // _DAY_S * _DAY_S
        if self._today is None or self._today.issued != day:
            self._today = self.collateral(now=day)
        return self._today

    def sign_report(self, qe_report: bytes) -> bytes:
        """Return the machine's signature of a quoting enclave's report."""
        return self._pck.sign(qe_report)

    def make_attestation_key(self) -> ec.EllipticCurvePrivateKey:
        """Return the key of the machine's quoting enclave."""
        return _derive_key(self._seed, "attestation key")

    def _describe_tcb(self, issued: datetime, status: str, advisory_ids: list[str]) -> str:
        module = {
            "mrsigner": _MODULE_SIGNER.hex(),
            "attributes": bytes(8).hex(),
            "attributesMask": "FF" * 8,
        }
        level = {
            "tcb": {
                "sgxtcbcomponents": [{"svn": svn} for svn in _CPU_SVN],
                "pcesvn": _PCE_SVN,
                "tdxtcbcomponents": [{"svn": svn} for svn in _TEE_TCB_SVN],
            },
            "tcbDate": _format(_NOT_BEFORE),
            "tcbStatus": status,
            "advisoryIDs": advisory_ids,
        }
        module_level = {
            "tcb": {"isvsvn": _TEE_TCB_SVN[0]},
            "tcbDate": _format(_NOT_BEFORE),
            "tcbStatus": "UpToDate",
        }
        identity = {"id": f"TDX_{_TEE_TCB_SVN[1]:02d}", **module, "tcbLevels": [module_level]}
        return _encode(
            {
                "id": "TDX",
                "version": 3,
                **_period(issued),
                "fmspc": SIMULATED_FMSPC,
                "pceId": "0000",
                "tcbType": 0,
                "tcbEvaluationDataNumber": 1,
                "tdxModule": module,
                "tdxModuleIdentities": [identity],
                "tcbLevels": [level],
            }
        )

    def _describe_qe(self, issued: datetime) -> str:
        level = {
            "tcb": {"isvsvn": _QE_SVN},
            "tcbDate": _format(_NOT_BEFORE),
            "tcbStatus": "UpToDate",
        }
        return _encode(
            {
                "id": "TD_QE",
                "version": 2,
                **_period(issued),
                "tcbEvaluationDataNumber": 1,
                "miscselect": "00000000",
                "miscselectMask": "FFFFFFFF",
                "attributes": _QE_ATTRIBUTES.hex().upper(),
                "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
                "mrsigner": _QE_SIGNER.hex().upper(),
                "isvprodid": 2,
                "tcbLevels": [level],
            }
        )


class SimulatedTd:
    """A trusted domain in software: it makes quotes as the kernel of a real one does.

    Args:
        root: Whose certificates its quotes carry.
        mrtd: What it claims to have been built of; zero when None, as the rest.
        rtmr0: What it claims of its firmware's configuration.
        rtmr1: What it claims to have loaded.
        rtmr2: What it claims of the command line and initial file system.
        rtmr3: What it claims that applications extended.
        version: Of its quotes: 4 with a TD 1.0 report, or 5 with a TD 1.5 report.
        is_debug: Whether it claims to run in debug mode.
    """

    provider = _PROVIDER

    def __init__(
        self,
        root: SimulatedRoot,
        *,
        mrtd: Measurement | str | bytes | None = None,
        rtmr0: Measurement | str | bytes | None = None,
        rtmr1: Measurement | str | bytes | None = None,
        rtmr2: Measurement | str | bytes | None = None,
        rtmr3: Measurement | str | bytes | None = None,
        version: int = 4,
        is_debug: bool = False,
    ) -> None:
        self.root = root
        given = (mrtd, rtmr0, rtmr1, rtmr2, rtmr3)
        self.measurements = Measurements(
            *(Measurement.zero() if value is None else Measurement(value) for value in given)
        )
        self._version = version
        self._is_debug = is_debug

    def __repr__(self) -> str:
        return f"SimulatedTd({self.measurements.mrtd.short}, {self.root!r})"

    def quote(self, report_data: bytes) -> bytes:
        """Return a quote with `report_data` (64 bytes) in it. Blocks for a millisecond."""
        key = self.root.make_attestation_key()
        point = key.public_key().public_numbers()
        public = point.x.to_bytes(32) + point.y.to_bytes(32)
        qe_report = _make_qe_report(hashlib.sha256(public + _QE_AUTH_DATA).digest())
        signature = QuoteSignature(
            signature=bytes(64),
            attestation_key=public,
            qe_report=qe_report,
            qe_report_signature=self.root.sign_report(qe_report),
            qe_auth_data=_QE_AUTH_DATA,
            pck_chain=self.root.pck_chain,
        )
        quote = Quote(version=self._version, report=self._report(report_data), signature=signature)
        signed = replace(signature, signature=_sign(key, quote.signed))
        return replace(quote, signature=signed).encode()

    def _report(self, report_data: bytes) -> TdReport:
        is_15 = self._version == 5
        attributes = bytes.fromhex("0000001000000000")
        measured = self.measurements
        return TdReport(
            tee_tcb_svn=_TEE_TCB_SVN,
            td_attributes=b"\x01" + attributes[1:] if self._is_debug else attributes,
            mr_td=measured.mrtd,
            rtmr0=measured.rtmr0,
            rtmr1=measured.rtmr1,
            rtmr2=measured.rtmr2,
            rtmr3=measured.rtmr3,
            report_data=report_data,
            tee_tcb_svn_2=_TEE_TCB_SVN if is_15 else None,
            mr_service_td=bytes(48) if is_15 else None,
        )


class _Authority:
    """A key, its certificate, and what it signs."""

    def __init__(
        self,
        seed: str,
        name: str,
        *,
        path_length: int | None,
        by: _Authority | None = None,
        extension: bytes | None = None,
    ) -> None:
        self._key = _derive_key(seed, name)
        # Two roots with one name would be taken for one by who looks up names.
        tag = blake3(seed.encode()).hexdigest()[:8]
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} {tag}")])
        is_ca = path_length is not None
        issuer = by or self
        public = self._key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(issuer.name)
            .public_key(public)
            .serial_number(int.from_bytes(blake3(f"{seed}/{name}".encode()).digest()[:16]) | 1)
            .not_valid_before(_NOT_BEFORE)
            .not_valid_after(_NOT_AFTER)
            .add_extension(issuer.key_id, critical=False)
            .add_extension(_CRL_AT, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(_usage(is_ca), critical=True)
            .add_extension(x509.BasicConstraints(is_ca, path_length), critical=True)
        )
        if extension is not None:
            value = x509.UnrecognizedExtension(ObjectIdentifier(SGX_EXTENSION), extension)
            builder = builder.add_extension(value, critical=False)
        drafted = builder.sign(issuer._key, hashes.SHA256()).tbs_certificate_bytes
        signed = join_signed(drafted, issuer._key.sign(drafted, _ECDSA))
        self.certificate = x509.load_der_x509_certificate(signed)
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_id(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())

    def sign(self, data: bytes) -> bytes:
        return _sign(self._key, data)

    def revoke(self, serial_numbers: list[int], issued: datetime) -> bytes:
        """Return the list of revoked certificates (DER)."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.name)
            .last_update(issued)
            .next_update(issued + _UPDATE_EVERY)
            .add_extension(x509.CRLNumber(1), critical=False)
            .add_extension(self.key_id, critical=False)
        )
        for number in serial_numbers:
            revoked = x509.RevokedCertificateBuilder().serial_number(number)
            builder = builder.add_revoked_certificate(revoked.revocation_date(issued).build())
        made = builder.sign(self._key, hashes.SHA256())
        return made.public_bytes(serialization.Encoding.DER)


_CRL_AT = x509.CRLDistributionPoints(
    [
        x509.DistributionPoint(
            [x509.UniformResourceIdentifier("http://simulated.invalid/crl.der")], None, None, None
        )
    ]
)


def _usage(is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=not is_ca,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def _derive_key(seed: str, what: str) -> ec.EllipticCurvePrivateKey:
    digest = blake3(f"mosaik simulated root\0{seed}\0{what}".encode()).digest(length=48)
    number = int.from_bytes(digest) % (_CURVE_ORDER - 1) + 1
    return ec.derive_private_key(number, ec.SECP256R1())


def _sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """Return r and s, 32 bytes each."""
    r, s = decode_dss_signature(key.sign(data, _ECDSA))
    return r.to_bytes(32) + s.to_bytes(32)


def _make_qe_report(hashed: bytes) -> bytes:
    """Return the report of the quoting enclave (SGX, 384 bytes)."""
    return b"".join(
        (
            _CPU_SVN,
            bytes(4 + 28),
            _QE_ATTRIBUTES,
            hashlib.sha256(b"simulated enclave").digest(),
            bytes(32),
            _QE_SIGNER,
            bytes(96),
            (2).to_bytes(2, "little"),
            _QE_SVN.to_bytes(2, "little"),
            bytes(60),
            hashed.ljust(64, b"\0"),
        )
    )


def _encode(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _period(issued: datetime) -> dict[str, str]:
    return {"issueDate": _format(issued), "nextUpdate": _format(issued + _UPDATE_EVERY)}


def _format(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
