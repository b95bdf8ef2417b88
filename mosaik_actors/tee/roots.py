"""Roots of trust: below which certificate a machine's own has to be.

Intel's is always trusted. Another one is trusted by a validator that names it, and then the
quote is *simulated*: it proves that its maker has that root's keys, and nothing about hardware.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ..errors import ConfigError
from .collateral import Collateral

_INTEL_PEM: Final = b"""\
-----BEGIN CERTIFICATE-----
MIICjzCCAjSgAwIBAgIUImUM1lqdNInzg7SVUr9QGzknBqwwCgYIKoZIzj0EAwIw
aDEaMBgGA1UEAwwRSW50ZWwgU0dYIFJvb3QgQ0ExGjAYBgNVBAoMEUludGVsIENv
cnBvcmF0aW9uMRQwEgYDVQQHDAtTYW50YSBDbGFyYTELMAkGA1UECAwCQ0ExCzAJ
BgNVBAYTAlVTMB4XDTE4MDUyMTEwNDUxMFoXDTQ5MTIzMTIzNTk1OVowaDEaMBgG
A1UEAwwRSW50ZWwgU0dYIFJvb3QgQ0ExGjAYBgNVBAoMEUludGVsIENvcnBvcmF0
aW9uMRQwEgYDVQQHDAtTYW50YSBDbGFyYTELMAkGA1UECAwCQ0ExCzAJBgNVBAYT
AlVTMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEC6nEwMDIYZOj/iPWsCzaEKi7
1OiOSLRFhWGjbnBVJfVnkY4u3IjkDYYL0MxO4mqsyYjlBalTVYxFP2sJBK5zlKOB
uzCBuDAfBgNVHSMEGDAWgBQiZQzWWp00ifODtJVSv1AbOScGrDBSBgNVHR8ESzBJ
MEegRaBDhkFodHRwczovL2NlcnRpZmljYXRlcy50cnVzdGVkc2VydmljZXMuaW50
ZWwuY29tL0ludGVsU0dYUm9vdENBLmRlcjAdBgNVHQ4EFgQUImUM1lqdNInzg7SV
Ur9QGzknBqwwDgYDVR0PAQH/BAQDAgEGMBIGA1UdEwEB/wQIMAYBAf8CAQEwCgYI
KoZIzj0EAwIDSQAwRgIhAOW/5QkR+S9CiSDcNoowLuPRLsWGf/Yi7GSX94BgwTwg
AiEA4J0lrHoMs+Xo5o/sX6O9QWxHRAvZUGOdRQ7cvqRXaqI=
-----END CERTIFICATE-----
"""


class CollateralIssuer(Protocol):
    """A root that has its keys at hand, as a `SimulatedRoot` does."""

    @property
    def certificate(self) -> bytes:
        """Its certificate (DER)."""

    def collateral_of_the_day(self, *, now: float) -> Collateral:
        """Return what judges its quotes; the same all day. `now`: wall clock, in seconds."""


@dataclass(frozen=True, slots=True)
class TrustedRoot:
    """One root.

    Attributes:
        certificate: Its certificate (DER).
        is_simulated: Whether it is another one than Intel's.
        issuer: Where its collateral comes from; None for one that is fetched or in files.
        key_id: The SHA-256 of its public key: what tells roots apart.
    """

    certificate: bytes
    is_simulated: bool = True
    issuer: CollateralIssuer | None = field(default=None, compare=False)
    key_id: bytes = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key_id", key_id_of(load_certificate(self.certificate)))

    @classmethod
    def make(cls, value: TrustedRoot | CollateralIssuer | bytes | str) -> TrustedRoot:
        """Return the root that a user named: an object, or a certificate (DER, or PEM text).

        Raises:
            ConfigError: It is none of that.
        """
        if isinstance(value, TrustedRoot):
            return value
        if isinstance(value, bytes | str):
            found = load_certificate(value.encode() if isinstance(value, str) else value)
            return cls(found.public_bytes(Encoding.DER))
        certificate = getattr(value, "certificate", None)
        if not isinstance(certificate, bytes):
            raise ConfigError(
                f"a root is {value!r}, expected a SimulatedRoot or a certificate (DER or PEM)"
            )
        return cls(certificate, issuer=value)

    def issue_collateral(self, *, now: float) -> Collateral | None:
        """Return today's collateral of a root that has its keys at hand, None of any other."""
        if self.issuer is None:
            return None
        return self.issuer.collateral_of_the_day(now=now)

    def __str__(self) -> str:
        return f"{'simulated' if self.is_simulated else 'Intel'} root {self.key_id.hex()[:10]}"


def load_certificate(data: bytes) -> x509.Certificate:
    """Return a certificate, DER or PEM. Raises `ConfigError` when it is none."""
    try:
        if data.lstrip().startswith(b"-----"):
            found = x509.load_pem_x509_certificates(data)
            if len(found) != 1:  # to take the first one would leave out the others unsaid
                raise ConfigError(f"a root has {len(found)} certificates, expected one for each")
            return found[0]
        return x509.load_der_x509_certificate(data)
    except ValueError as exc:
        raise ConfigError(f"a root's certificate could not be read: {exc}") from exc


def key_id_of(certificate: x509.Certificate) -> bytes:
    """Return the `key_id` of a root with that certificate."""
    public = certificate.public_key()
    encoded = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(encoded).digest()


INTEL_ROOT: Final = TrustedRoot(
    load_certificate(_INTEL_PEM).public_bytes(Encoding.DER), is_simulated=False
)
