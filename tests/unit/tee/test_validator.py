"""Who is let in by `Tdx`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from mosaik_actors.errors import ConfigError
from mosaik_actors.ids import SecretKey, unique_id
from mosaik_actors.tee.measurements import Measurements
from mosaik_actors.tee.packing import TdxBinding, pack
from mosaik_actors.tee.roots import INTEL_ROOT, load_certificate
from mosaik_actors.tee.simulated import SimulatedRoot, SimulatedTd
from mosaik_actors.tee.sources import TdxUnavailable
from mosaik_actors.tee.validator import Tdx
from mosaik_actors.tickets.validator import Expiration, InvalidTicket, TicketValidator

from .vectors import MRTD, NOW, Holder, at, bind, make_ticket, real_quote, root

OTHER = "22" * 48


def validate(
    validator: Tdx, binding: TdxBinding | None = None, td: SimulatedTd | None = None
) -> Expiration:
    data = make_ticket(td, binding).to_ticket().data
    with at(NOW):
        return validator.validate(data, Holder())


def two_certificates() -> bytes:
    both = (root(), SimulatedRoot("another one"))
    return b"".join(load_certificate(one.certificate).public_bytes(Encoding.PEM) for one in both)


def tdx(*args: Any, **settings: Any) -> Tdx:
    return Tdx(*args, roots=[root()], **settings)


def test_ticket_of_the_right_domain_is_accepted() -> None:
    validator = tdx(MRTD)
    assert isinstance(validator, TicketValidator)
    found = validate(validator)
    # The collateral of a simulated root is issued each day, for 30 days.
    assert found == Expiration.at(NOW // 86_400 * 86_400 + 30 * 86_400)


@pytest.mark.parametrize(
    ("binding", "reason"),
    [
        (bind(peer=SecretKey.from_seed("another").peer_id), "it is the ticket of peer"),
        (bind(network=unique_id("another")), "it is for the network"),
        (bind(expiration=NOW), "it expired at"),
        (bind(expiration=NOW - 1), "it expired at"),
        (bind(quoted=NOW + 11), "has not come yet"),
        (bind(started=NOW + 11, quoted=NOW + 12), "has not come yet"),
        (bind(started=NOW - 5, quoted=NOW - 6), "made before its node started"),
        (bind(quoted=NOW - 60), "its quote is 60 s old, at most 60"),
    ],
)
def test_ticket_for_something_else_is_refused(binding: TdxBinding, reason: str) -> None:
    with pytest.raises(InvalidTicket, match=reason):
        validate(tdx(max_age=60), binding)


def test_peers_clock_may_be_ahead_by_the_drift_and_no_more() -> None:
    assert not validate(tdx(), bind(quoted=NOW + 10)).is_never
    with pytest.raises(InvalidTicket) as refused:
        validate(tdx(), bind(quoted=NOW + 15))
    assert refused.value.valid_from == NOW + 5
    with pytest.raises(InvalidTicket):
        validate(tdx(max_time_drift=0), bind(quoted=NOW + 1))


def test_ticket_holds_until_the_first_of_its_ends() -> None:
    assert validate(tdx(), bind(expiration=NOW + 30)) == Expiration.at(NOW + 30)
    assert validate(tdx(max_age=60), bind(expiration=NOW + 300)) == Expiration.at(NOW + 50)


def test_forged_binding_is_refused() -> None:
    quote = make_ticket().quote_bytes
    with at(NOW), pytest.raises(InvalidTicket, match="bound to another"):
        tdx().validate(pack(quote, bind(expiration=NOW + 999)), Holder())


def variants_of(*registers: str) -> list[dict[str, str]]:
    return [{name: OTHER} for name in registers]


@pytest.mark.parametrize(
    ("settings", "is_accepted"),
    [
        ({}, True),
        ({"mrtd": MRTD}, True),
        ({"mrtd": OTHER}, False),
        ({"mrtd": MRTD, "rtmr0": bytes(48)}, True),
        ({"mrtd": MRTD, "rtmr1": OTHER}, False),
        ({"mrtd": MRTD, "rtmr2": OTHER}, False),
        ({"rtmr3": OTHER}, False),
        ({"variants": [{"mrtd": MRTD}, {"mrtd": OTHER}]}, True),
        ({"variants": variants_of("mrtd", "rtmr1")}, False),
        ({"mrtd": MRTD, "variants": [{"rtmr2": bytes(48)}]}, True),
        ({"mrtd": OTHER, "variants": [{"rtmr2": bytes(48)}]}, False),
        ({"mrtd": MRTD, "variants": [{"rtmr1": bytes(48), "rtmr2": OTHER}]}, False),
    ],
)
def test_baseline_and_one_variant_have_to_match(
    settings: dict[str, Any], is_accepted: bool
) -> None:
    if is_accepted:
        assert not validate(tdx(**settings)).is_never
    else:
        with pytest.raises(InvalidTicket, match=r"expected|match none of"):
            validate(tdx(**settings))


def test_refusal_names_the_register_and_both_values() -> None:
    with pytest.raises(InvalidTicket, match=r"its mrtd is 1111111111\.\.\., expected 2222222222"):
        validate(tdx(OTHER))


def test_own_measurements_can_be_required() -> None:
    here = SimulatedTd(root(), mrtd=MRTD, rtmr2=OTHER)
    twin, stranger = SimulatedTd(root(), mrtd=MRTD, rtmr2=OTHER), SimulatedTd(root(), mrtd=MRTD)
    assert not validate(Tdx.from_local(here, roots=[root()]), td=twin).is_never
    with pytest.raises(InvalidTicket, match="rtmr2"):
        validate(Tdx.from_local(here, roots=[root()]), td=stranger)
    assert not validate(tdx().require_own_mrtd(here), td=stranger).is_never
    with pytest.raises(InvalidTicket, match="rtmr2"):
        validate(tdx().require_own_mrtd(here).require_own_rtmr2(here), td=stranger)
    with pytest.raises(ConfigError, match="but here it is"):
        tdx(OTHER).require_own_mrtd(here)


def test_outside_of_a_domain_there_is_nothing_of_ones_own() -> None:
    with pytest.raises(TdxUnavailable, match="does not exist"):
        Tdx.from_local()
    with pytest.raises(TdxUnavailable):
        Measurements.local()


SETTINGS: list[Callable[[], Tdx]] = [
    Tdx,
    lambda: Tdx(MRTD),
    lambda: Tdx(OTHER),
    lambda: Tdx(rtmr0=MRTD),
    lambda: Tdx(rtmr1=MRTD),
    lambda: Tdx(rtmr2=MRTD),
    lambda: Tdx(rtmr3=MRTD),
    lambda: Tdx(variants=[{"mrtd": MRTD}]),
    lambda: Tdx(variants=[{"mrtd": MRTD}, {"rtmr0": MRTD}]),
    lambda: Tdx(variants=[{"mrtd": MRTD, "rtmr0": MRTD}]),
    lambda: Tdx(roots=[root()]),
    lambda: Tdx(roots=[SimulatedRoot("other")]),
    lambda: Tdx(accept_status=["OutOfDate"]),
    lambda: Tdx(accept_status=["UpToDate", "OutOfDate"]),
    lambda: Tdx(max_age=60),
    lambda: Tdx(max_age=61),
    lambda: Tdx(max_time_drift=5),
]


def test_signature_changes_with_every_setting_that_matters() -> None:
    assert len({make().signature for make in SETTINGS}) == len(SETTINGS)


def test_signature_is_the_same_for_the_same_rules(tmp_path: Path) -> None:
    def signatures(*several: Tdx) -> Iterable[object]:
        return {one.signature for one in several}

    assert len(set(signatures(Tdx(MRTD), Tdx(bytes.fromhex(MRTD)), Tdx(MRTD.upper())))) == 1
    assert len(set(signatures(Tdx(), Tdx(collateral=tmp_path)))) == 1
    both = ["UpToDate", "OutOfDate"]
    assert len(set(signatures(Tdx(accept_status=both), Tdx(accept_status=both[::-1])))) == 1
    one, two = {"mrtd": MRTD}, {"mrtd": OTHER}
    assert len(set(signatures(Tdx(variants=[one, two]), Tdx(variants=[two, one])))) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"mrtd": "xx"},
        {"mrtd": b"short"},
        {"variants": [{}]},
        {"variants": [{"rtmr9": MRTD}]},
        {"variants": ["text"]},
        {"roots": ["text"]},
        {"roots": [5]},
        {"accept_status": []},
        {"accept_status": ["Good"]},
        {"accept_status": ["Revoked"]},
        {"max_age": 0},
        {"max_time_drift": -1},
        {"max_time_drift": float("nan")},
        {"roots": [two_certificates()]},
        {"collateral": 5},
    ],
)
def test_wrong_setting_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Tdx(**settings)


def test_simulated_roots_are_said_loudly(caplog: pytest.LogCaptureFixture) -> None:
    assert not Tdx(roots=[INTEL_ROOT]).is_simulated
    assert caplog.text == ""
    assert tdx().is_simulated
    assert "SIMULATED" in caplog.text
    assert "SIMULATED" in repr(tdx())


def test_real_quote_is_judged_by_its_file() -> None:
    """The quote was made by others, and so it is bound to nothing of ours."""
    real = real_quote("tdx_quote")
    validator = Tdx(collateral=real.collateral_file)
    assert validator.check_quote(real.data, now=real.now).status == "UpToDate"
    with at(real.now), pytest.raises(InvalidTicket, match="bound to another"):
        validator.validate(pack(real.data, bind()), Holder())


def test_refusal_for_want_of_collateral_is_worth_another_try(tmp_path: Path) -> None:
    validator = Tdx(roots=[root().certificate], collateral=tmp_path)
    with pytest.raises(InvalidTicket, match="no collateral") as refused:
        validate(validator)
    assert refused.value.valid_from == NOW + 5
