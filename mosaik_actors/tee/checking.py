"""Whether a quote is genuine: from its bytes up to a root of trust.

    1. The form, byte for byte (`quote`). A TD in debug mode is refused.
    2. The certificates in the quote: three, in canonical PEM, each issued by the next, the
       last one a trusted root's own. Bytes that nothing covers have no place to be.
    3. The collateral of that kind of machine, not expired.
    4. `dcap-qvl` does what Intel's verifier does, below that root: the certificates with the
       lists of revoked ones, the signatures of the collateral, of the QE's report and of the
       quote, the QE's identity, the module's identity, and the TCB level of both.
    5. The status of the TCB has to be one of those that are accepted.

Step 2 is ours because what is fetched is fetched for quotes below a trusted root only, and
because `dcap-qvl` does not look at a root in the quote. Simulated quotes take the same way.

What was found out is kept for the whole process, by the digests of quote and collateral: a
quote that comes again by gossip costs a hash. A refusal is kept for `REFUSED_S`, as some end
with time. The checks take a millisecond or two and may read files: use it in a thread. Times
are wall clocks.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ..discovery.recent import Recent
from ..errors import clip
from .collateral import Collateral, CollateralKey, format_time
from .packing import require_extra
from .quote import Quote, QuoteError
from .roots import INTEL_ROOT, TrustedRoot, key_id_of
from .store import CollateralSource

logger = logging.getLogger(__name__)

REFUSED_S: Final = 60.0
MISSING_RETRY_S: Final = 5.0
JUDGED_RETRY_S: Final = 3600.0
UP_TO_DATE: Final = "UpToDate"
TCB_STATUSES: Final = (
    UP_TO_DATE,
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
)
_KEPT_MAX = 512
_CHAIN_CERTIFICATES = 3


class QuoteRefused(QuoteError):
    """A quote whose form is good is not accepted now; other collateral may change that.

    Attributes:
        retry_s: After how many seconds it is worth asking again.
    """

    def __init__(self, text: str, retry_s: float) -> None:
        super().__init__(text)
        self.retry_s = retry_s


@dataclass(frozen=True, slots=True)
class CheckedQuote:
    """A genuine quote.

    Attributes:
        quote: Its parts.
        root: Which root vouches for it.
        status: The status of the machine's TCB, such as "UpToDate".
        advisory_ids: Intel's security advisories that apply to the machine.
        expires: Until when this may be believed, in seconds since the Unix epoch.
    """

    quote: Quote
    root: TrustedRoot
    status: str
    advisory_ids: tuple[str, ...]
    expires: float

    @property
    def is_simulated(self) -> bool:
        """Whether it proves nothing about hardware."""
        return self.root.is_simulated


@dataclass(frozen=True, slots=True)
class _Chained:
    """What steps 1 and 2 found: a quote whose certificates lead to a root, trusted or not."""

    quote: Quote
    root_key_id: bytes
    root_name: str
    key: CollateralKey


@dataclass(frozen=True, slots=True)
class _Judged:
    """What step 4 found."""

    status: str
    advisory_ids: tuple[str, ...]
    since: float
    expires: float

    def holds(self, now: float) -> bool:
        """Return whether it need not be found anew; that it has expired is known."""
        return self.since <= now


@dataclass(frozen=True, slots=True)
class _Refused:
    reason: str
    until: float

    def holds(self, now: float) -> bool:
        return self.until - REFUSED_S <= now <= self.until


# For the whole process: several validators, and several nodes, see the same quotes.
_chained: Final[Recent[bytes, _Chained | _Refused]] = Recent(_KEPT_MAX)
_judged: Final[Recent[tuple[bytes, bytes, bytes], _Judged | _Refused]] = Recent(_KEPT_MAX)


class QuoteChecker:
    """Checks quotes, and remembers what it found.

    Args:
        roots: Which roots are trusted, besides Intel's.
        accept_status: Which statuses of a TCB are good enough.
        collateral: Where to find it.
    """

    def __init__(
        self,
        roots: Sequence[TrustedRoot],
        accept_status: Sequence[str],
        collateral: CollateralSource,
    ) -> None:
        self._roots = {root.key_id: root for root in (INTEL_ROOT, *roots)}
        self._accept_status = tuple(accept_status)
        self._collateral = collateral

    def check(self, data: bytes, *, now: float) -> CheckedQuote:
        """Return what is proven by the quote in `data`.

        Raises:
            QuoteError: It is not genuine, or not good enough; says which step failed.
            ConfigError: The extra ``tdx`` is not installed.
        """
        digest = hashlib.sha256(data).digest()
        chained = _chained.get(digest)
        if chained is None:
            chained = _read_quote(data)
            _chained.put(digest, chained)
        if isinstance(chained, _Refused):
            raise QuoteError(chained.reason)
        root = self._roots.get(chained.root_key_id)
        if root is None:
            raise QuoteError(
                f"the quote's certificates lead to {chained.root_name}, which is not trusted; a "
                "simulated root is trusted only where it is named: Tdx(roots=[...])"
            )
        collateral = self._find(chained, root, now)
        known = (digest, collateral.digest, root.key_id)
        judged = _judged.get(known)
        if judged is None or not judged.holds(now):
            judged = _judge(data, chained.quote, collateral, root, now)
            _judged.put(known, judged)
        if isinstance(judged, _Refused):
            raise QuoteRefused(judged.reason, JUDGED_RETRY_S)
        self._accept(judged, now)
        return CheckedQuote(chained.quote, root, judged.status, judged.advisory_ids, judged.expires)

    def _find(self, chained: _Chained, root: TrustedRoot, now: float) -> Collateral:
        found = root.issue_collateral(now=now) or self._collateral.find(chained.key)
        if found is None:
            raise QuoteRefused(
                f"there is no collateral for {chained.key} yet: set "
                "TeeConfig(collateral_url=...), or put its file into the folder of collateral",
                MISSING_RETRY_S,
            )
        if now >= found.expires:
            raise QuoteRefused(
                f"the collateral of {chained.key} expired at {format_time(found.expires)}",
                MISSING_RETRY_S,
            )
        return found

    def _accept(self, judged: _Judged, now: float) -> None:
        if judged.status not in self._accept_status:
            named = f" ({', '.join(judged.advisory_ids)})" if judged.advisory_ids else ""
            raise QuoteRefused(
                f"the machine's TCB is {judged.status}{named}, expected "
                f"{' or '.join(self._accept_status)}",
                JUDGED_RETRY_S,
            )
        if now >= judged.expires:
            raise QuoteRefused(
                f"the quote's certificates or collateral expired at {format_time(judged.expires)}",
                JUDGED_RETRY_S,
            )


def _read_quote(data: bytes) -> _Chained | _Refused:
    """Take steps 1 and 2, which do not depend on time."""
    dcap = _load_dcap()
    try:
        quote = Quote.parse(data)
        if quote.report.is_debug:
            raise QuoteError("the trusted domain is in debug mode: its host can look inside")
        chain = _load_chain(quote.signature.pck_chain)
        for certificate, issuer in zip(chain, [*chain[1:], chain[-1]], strict=True):
            try:
                certificate.verify_directly_issued_by(issuer)
            except Exception as exc:
                raise QuoteError(f"the quote's certificate {_name(certificate)} is forged") from exc
        parsed = dcap.parse_quote(data)
        key = CollateralKey(parsed.fmspc(), parsed.ca())
        return _Chained(quote, _read_key_id(chain[-1]), _name(chain[-1]), key)
    except ValueError as exc:
        return _Refused(_one_line(exc), 0.0)


def _judge(
    data: bytes, quote: Quote, collateral: Collateral, root: TrustedRoot, now: float
) -> _Judged | _Refused:
    """Take step 4."""
    try:
        claims = _verify(data, collateral, root, now)
        status, advisory_ids = claims["tcb"]["status"], tuple(claims["tcb"]["advisory_ids"])
        expires = min(collateral.expires, float(claims["earliest_expiration_date"]))
    except (ValueError, KeyError, TypeError) as exc:
        return _Refused(_one_line(exc), now + REFUSED_S)
    if advisory_ids:
        logger.warning("a quote of a machine with advisories: %s", ", ".join(advisory_ids))
    if root.is_simulated:
        logger.warning(
            "a quote of a SIMULATED trusted domain is good, and proves nothing about "
            "hardware: MRTD %s..., %s",
            quote.report.mr_td.hex()[:10],
            root,
        )
    return _Judged(status, advisory_ids, now, expires)


def _load_chain(pem: bytes) -> list[x509.Certificate]:
    try:
        chain = x509.load_pem_x509_certificates(pem.removesuffix(b"\0"))
        canonical = b"".join(one.public_bytes(Encoding.PEM) for one in chain)
    except Exception as exc:  # cryptography's errors have no base in common
        raise QuoteError(f"the quote's certificates could not be read: {exc}") from exc
    if len(chain) != _CHAIN_CERTIFICATES:
        raise QuoteError(f"{len(chain)} certificates in the quote, expected {_CHAIN_CERTIFICATES}")
    if canonical.rstrip(b"\n") != pem.removesuffix(b"\0").rstrip(b"\n"):
        raise QuoteError("the quote's certificates are not in canonical PEM")
    return chain


def _name(certificate: x509.Certificate) -> str:
    try:
        return clip(certificate.subject.rfc4514_string(), 100)
    except Exception:  # a name that is no text
        return "without a name"


def _read_key_id(certificate: x509.Certificate) -> bytes:
    try:
        return key_id_of(certificate)
    except Exception as exc:
        raise QuoteError(f"a certificate's key could not be read: {exc}") from exc


def _verify(data: bytes, collateral: Collateral, root: TrustedRoot, now: float) -> dict[str, Any]:
    """Return the claims of a genuine quote. Raises `ValueError`, as `dcap-qvl` does."""
    dcap = _load_dcap()
    judge = dcap.QuoteVerifier(root.certificate)
    papers = dcap.QuoteCollateralV3.from_json(collateral.text)
    # The status is for the caller to judge: the library's own policies know no reasons.
    policy = dcap.QuotePolicy.claims_only(int(now))
    try:
        claims: dict[str, Any] = json.loads(
            judge.verify_with_policy(data, papers, int(now), policy).to_json()
        )
    except ValueError:
        # The older function does the same, and says the cause of a failure too.
        dcap.verify_with_root_ca(data, papers, root.certificate, int(now))
        raise
    return claims


def _load_dcap() -> Any:
    require_extra()
    import dcap_qvl

    return dcap_qvl


def _one_line(error: Exception) -> str:
    return clip(" ".join(str(error).split()), 300).strip("'\"")
