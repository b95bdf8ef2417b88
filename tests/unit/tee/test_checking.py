"""Whether a quote is genuine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from mosaik_actors.errors import DecodeError
from mosaik_actors.tee import checking
from mosaik_actors.tee.checking import QuoteChecker, QuoteRefused
from mosaik_actors.tee.collateral import Collateral, CollateralKey
from mosaik_actors.tee.quote import Quote, QuoteError
from mosaik_actors.tee.roots import INTEL_ROOT, TrustedRoot
from mosaik_actors.tee.simulated import SimulatedRoot, SimulatedTd

from .vectors import NOW, real_quote, root


class Held:
    """Collateral that a test holds."""

    def __init__(self, collateral: Collateral | None) -> None:
        self.collateral = collateral
        self.asked: list[CollateralKey] = []

    def find(self, key: CollateralKey) -> Collateral | None:
        self.asked.append(key)
        return self.collateral


def checker(
    collateral: Collateral | None,
    roots: Iterable[TrustedRoot] = (),
    accept_status: Iterable[str] = ("UpToDate",),
) -> QuoteChecker:
    return QuoteChecker(tuple(roots), tuple(accept_status), Held(collateral))


def pinned(simulated: SimulatedRoot) -> TrustedRoot:
    """The root as its certificate alone, so that its collateral is the test's."""
    return TrustedRoot.make(simulated.certificate)


def test_real_quote_is_accepted_at_its_time() -> None:
    real = real_quote("tdx_quote")
    checked = checker(real.collateral).check(real.data, now=real.now)
    assert checked.status == "UpToDate"
    assert checked.advisory_ids == ()
    assert checked.root is INTEL_ROOT
    assert not checked.is_simulated
    assert real.now < checked.expires <= real.collateral.expires


def test_outdated_quote_is_refused() -> None:
    """Its platform is below every level of the TCB, so no status would let it in."""
    real = real_quote("tdx_quote_outdated")
    for accepted in (("UpToDate",), checking.TCB_STATUSES):
        with pytest.raises(QuoteRefused, match="No matching TCB level"):
            checker(real.collateral, accept_status=accepted).check(real.data, now=real.now)


def test_real_quote_is_refused_before_and_after_its_time() -> None:
    real = real_quote("tdx_quote")
    judge = checker(real.collateral)
    with pytest.raises(QuoteRefused, match="expired"):
        judge.check(real.data, now=real.collateral.expires)
    with pytest.raises(QuoteRefused, match=r"not valid yet|NotValidYet|future"):
        judge.check(real.data, now=1_400_000_000.0)


REGIONS = {
    "header": (0, 48),
    "TDX module": (48, 184),
    "MRTD": (184, 232),
    "configuration and owner": (232, 376),
    "RTMRs": (376, 568),
    "report data": (568, 632),
    "length": (632, 636),
    "signature": (636, 700),
    "attestation key": (700, 764),
    "certification head": (764, 770),
    "QE report": (770, 1154),
    "QE report's signature": (1154, 1218),
    "QE auth data": (1218, 1252),
    "certificates' head": (1252, 1258),
    "PCK certificate": (1258, 2940),
    "platform CA": (2940, 3880),
    "root": (3880, 4936),
    "padding": (4936, 5006),
}


@pytest.mark.parametrize("region", REGIONS)
def test_real_quote_with_one_bit_flipped_is_refused(region: str) -> None:
    real = real_quote("tdx_quote")
    judge = checker(real.collateral)
    rng = Random(region)
    begin, end = REGIONS[region]
    for at in {begin, end - 1, *(rng.randrange(begin, end) for _ in range(12))}:
        spoilt = bytearray(real.data)
        spoilt[at] ^= 1 << rng.randrange(8)
        with pytest.raises(QuoteError):
            judge.check(bytes(spoilt), now=real.now)


@pytest.mark.parametrize("version", [4, 5])
def test_simulated_quote_is_accepted_where_its_root_is_named(
    version: int, caplog: pytest.LogCaptureFixture
) -> None:
    quote = SimulatedTd(root(), version=version).quote(bytes(64))
    judge = checker(None, [TrustedRoot.make(root())])
    with caplog.at_level(logging.WARNING):
        checked = judge.check(quote, now=NOW)
    assert checked.is_simulated
    assert "SIMULATED" in caplog.text
    with pytest.raises(QuoteError, match="not trusted"):
        checker(None).check(quote, now=NOW)
    with pytest.raises(QuoteError, match="not trusted"):
        checker(None, [TrustedRoot.make(SimulatedRoot("other"))]).check(quote, now=NOW)


def test_root_of_one_seed_is_one_root() -> None:
    """Two processes need nothing but the seed."""
    quote = SimulatedTd(SimulatedRoot("shared")).quote(bytes(64))
    judge = checker(None, [TrustedRoot.make(SimulatedRoot("shared"))])
    assert judge.check(quote, now=NOW).is_simulated


def forge_chain(quote: Quote) -> Quote:
    """A stranger's machine certificate above the trusted root's own."""
    trusted = root().pck_chain.split(b"-----BEGIN")
    strange = SimulatedRoot("stranger").pck_chain.split(b"-----BEGIN")
    chain = b"-----BEGIN".join([b"", strange[1], strange[2], trusted[3]])
    return replace(quote, signature=replace(quote.signature, pck_chain=chain))


def swap_measurement(quote: Quote) -> Quote:
    return replace(quote, report=replace(quote.report, mr_td=b"x" * 48))


def use_other_key(quote: Quote) -> Quote:
    other = Quote.parse(SimulatedTd(SimulatedRoot("stranger")).quote(bytes(64))).signature
    taken = replace(
        quote.signature, signature=other.signature, attestation_key=other.attestation_key
    )
    return replace(quote, signature=taken)


def append_text(quote: Quote) -> Quote:
    chain = quote.signature.pck_chain + b"# more\n"
    return replace(quote, signature=replace(quote.signature, pck_chain=chain))


def drop_root(quote: Quote) -> Quote:
    chain = b"-----BEGIN".join(quote.signature.pck_chain.split(b"-----BEGIN")[:3])
    return replace(quote, signature=replace(quote.signature, pck_chain=chain))


@pytest.mark.parametrize(
    ("forge", "reason"),
    [
        (forge_chain, "is forged"),
        (swap_measurement, "signature"),
        (use_other_key, r"QE report hash|signature"),
        (append_text, "canonical PEM"),
        (drop_root, "2 certificates"),
    ],
)
def test_forged_quote_is_refused(forge: Callable[[Quote], Quote], reason: str) -> None:
    quote = forge(Quote.parse(SimulatedTd(root()).quote(bytes(64)))).encode()
    with pytest.raises(QuoteError, match=reason):
        checker(None, [TrustedRoot.make(root())]).check(quote, now=NOW)


def test_td_in_debug_mode_is_refused() -> None:
    quote = SimulatedTd(root(), is_debug=True).quote(bytes(64))
    with pytest.raises(QuoteError, match="debug mode"):
        checker(None, [TrustedRoot.make(root())]).check(quote, now=NOW)


def test_status_has_to_be_accepted_and_advisories_are_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    quote = SimulatedTd(root()).quote(bytes(64))
    papers = root().collateral(now=NOW, tcb_status="OutOfDate", advisory_ids=["SIM-SA-1"])
    with pytest.raises(QuoteRefused, match=r"TCB is OutOfDate \(SIM-SA-1\), expected UpToDate"):
        checker(papers, [pinned(root())]).check(quote, now=NOW + 1)
    both = ("UpToDate", "OutOfDate")
    with caplog.at_level(logging.WARNING):
        checked = checker(papers, [pinned(root())], both).check(quote, now=NOW + 1)
    assert checked.status == "OutOfDate"
    assert checked.advisory_ids == ("SIM-SA-1",)
    assert "SIM-SA-1" in caplog.text


def test_revoked_machine_is_refused() -> None:
    quote = SimulatedTd(root()).quote(bytes(64))
    papers = root().collateral(now=NOW, is_revoked=True)
    with pytest.raises(QuoteRefused, match="Revoked"):
        checker(papers, [pinned(root())]).check(quote, now=NOW + 1)


def test_collateral_of_another_root_is_refused() -> None:
    quote = SimulatedTd(root()).quote(bytes(64))
    papers = SimulatedRoot("stranger").collateral(now=NOW)
    with pytest.raises(QuoteRefused):
        checker(papers, [pinned(root())]).check(quote, now=NOW + 1)


def test_collateral_that_is_missing_or_expired_refuses_for_the_time_being() -> None:
    quote = SimulatedTd(root()).quote(bytes(64))
    held = Held(None)
    judge = QuoteChecker((pinned(root()),), ("UpToDate",), held)
    with pytest.raises(QuoteRefused, match="no collateral for 53494D000000-platform yet"):
        judge.check(quote, now=NOW)
    held.collateral = root().collateral(now=NOW - 31 * 86_400)
    with pytest.raises(QuoteRefused, match="expired at 2023-11-1"):
        judge.check(quote, now=NOW)
    held.collateral = root().collateral(now=NOW - 1)
    assert judge.check(quote, now=NOW).expires == NOW - 1 + 30 * 86_400


def test_strangers_quotes_ask_for_no_collateral() -> None:
    held = Held(None)
    judge = QuoteChecker((), ("UpToDate",), held)
    with pytest.raises(QuoteError):
        judge.check(SimulatedTd(root()).quote(bytes(64)), now=NOW)
    assert held.asked == []


def test_quote_is_checked_once_for_each_collateral(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bytes] = []
    verify = checking._verify

    def counted(data: bytes, *rest: Any) -> dict[str, Any]:
        calls.append(data)
        return verify(data, *rest)

    monkeypatch.setattr(checking, "_verify", counted)
    held = Held(root().collateral(now=NOW - 5))
    judge = QuoteChecker((pinned(root()),), ("UpToDate",), held)
    quote = SimulatedTd(root()).quote(bytes(64))
    for _ in range(3):
        judge.check(quote, now=NOW)
    assert len(calls) == 1
    held.collateral = root().collateral(now=NOW - 4)
    judge.check(quote, now=NOW)
    assert len(calls) == 2
    held.collateral = root().collateral(now=NOW - 4, is_revoked=True)
    for later in (0, 1):
        with pytest.raises(QuoteRefused):
            judge.check(quote, now=NOW + later)
    assert len(calls) == 3
    with pytest.raises(QuoteRefused):
        judge.check(quote, now=NOW + checking.REFUSED_S + 1)
    assert len(calls) == 4


@pytest.mark.parametrize("spoil", [b"", b"{}", b"[]", b"\xff", b'{"tcb_info": 1}'])
def test_what_is_no_collateral_is_refused(spoil: bytes) -> None:
    with pytest.raises(DecodeError, match="collateral could not be read"):
        Collateral.parse(spoil)
