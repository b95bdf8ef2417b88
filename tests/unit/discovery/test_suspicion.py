"""Who counts as unreachable: signed claims, two accusers, a newer entry refutes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.discovery.catalog.catalog import Catalog
from mosaik_actors.discovery.catalog.verdict import EntryVerdict
from mosaik_actors.discovery.entry import EntryVersion
from mosaik_actors.discovery.suspicion import (
    CLAIM_BYTES_MAX,
    CONFIRM_S,
    PROBE_AFTER_S,
    SuspicionClaim,
    decode_claim,
    is_signed,
    sign_claim,
)
from mosaik_actors.discovery.view import PeerUpdated, SecretKeyShared
from mosaik_actors.discovery.wire import Suspect, decode_frame, encode_frame
from mosaik_actors.errors import DecodeError
from mosaik_actors.ids import NetworkId

from .helpers import NETWORK, NOW, catalog, key, peer, signed

OTHERS = ("a", "b", "c", "d")


def knowing(*names: str, draw: float = 1.0) -> Catalog:
    core = catalog(draw=lambda: draw)
    for name in names or OTHERS:
        assert core.receive_entry(signed(name), now=NOW) is EntryVerdict.ACCEPTED
    return core


def claim_of(accuser: str, accused: str, update: float = NOW) -> bytes:
    version = EntryVersion(int(NOW * 1000), int(update * 1000))
    return sign_claim(SuspicionClaim(peer(accuser), peer(accused), version), NETWORK, key(accuser))


def reaches(core: Catalog, name: str) -> bool:
    return core.snapshot()[peer(name)].is_reachable


def test_a_claim_travels_whole_and_is_for_one_network() -> None:
    encoded = claim_of("a", "b")
    assert len(encoded) <= CLAIM_BYTES_MAX
    claim = decode_claim(encoded)
    assert claim == SuspicionClaim(peer("a"), peer("b"), signed("b").version)
    assert is_signed(claim, encoded, NETWORK)
    assert not is_signed(claim, encoded, NetworkId("another"))
    assert decode_frame(encode_frame(Suspect((encoded,)))) == Suspect((encoded,))
    for broken in (b"", encoded[:70], encoded + b"x", bytes(200)):
        with pytest.raises(DecodeError):
            decode_claim(broken)


def test_two_accusers_make_a_peer_unreachable_after_a_while() -> None:
    core = knowing()
    events_before = core.version
    assert core.receive_claim(claim_of("a", "d"), now=NOW) is EntryVerdict.ACCEPTED
    assert core.receive_claim(claim_of("b", "d"), now=NOW + 1) is EntryVerdict.ACCEPTED
    assert len(core.reachability.take_claims()) == 2
    assert core.reachability.take_accused() == [peer("d")]
    assert core.get_urgent_timer() == NOW + PROBE_AFTER_S
    core.handle_timer(now=NOW + PROBE_AFTER_S)
    assert core.reachability.take_probes() == []  # two are enough
    core.handle_timer(now=NOW + CONFIRM_S - 0.1)
    assert reaches(core, "d")
    core.handle_timer(now=NOW + CONFIRM_S)
    assert not reaches(core, "d")
    assert core.version > events_before
    updates = [event for event in iter(core.next_event, None) if isinstance(event, PeerUpdated)]
    assert [(one.peer_id, one.peer.is_reachable) for one in updates] == [(peer("d"), False)]
    # It is known still, and told to newcomers with the claims.
    assert peer("d") in core.told_entries()
    assert len(core.reachability.held_claims()) == 2


def test_one_accuser_is_not_enough_and_makes_some_look_themselves() -> None:
    for draw, probes in ((0.0, [peer("d")]), (0.99, [])):
        core = knowing(draw=draw)
        core.receive_claim(claim_of("a", "d"), now=NOW)
        # Not at once: others may claim it as well.
        core.handle_timer(now=NOW + PROBE_AFTER_S - 0.01)
        assert core.reachability.take_probes() == []
        core.handle_timer(now=NOW + PROBE_AFTER_S)
        assert core.reachability.take_probes() == probes
        core.handle_timer(now=NOW + 60)
        assert reaches(core, "d")
    # Who looked and got no answer believes itself, at once.
    core.suspect(peer("d"), now=NOW + 60)
    core.handle_timer(now=NOW + 60)
    assert not reaches(core, "d")


def test_when_nobody_was_drawn_to_look_they_draw_again() -> None:
    draws = iter([0.99, 0.99, 0.99, 0.0])
    core = catalog(draw=lambda: next(draws))
    for name in OTHERS:
        core.receive_entry(signed(name), now=NOW)
    core.receive_claim(claim_of("a", "d"), now=NOW)
    looked: list[float] = []
    for tenths in range(300):
        now = NOW + tenths / 10
        core.handle_timer(now=now)
        if core.reachability.take_probes():
            looked.append(tenths / 10)
            core.receive_claim(claim_of("b", "d"), now=now)  # that one got no answer either
    # Drawn after 0.5, 2, 6 and 14 seconds; two claims are enough, and nobody draws any more.
    assert looked == [14.0]
    assert not reaches(core, "d")
    assert next(draws, None) is None
    # What is refuted is not looked at again.
    core = knowing(draw=0.0)
    core.receive_claim(claim_of("a", "d"), now=NOW)
    core.receive_entry(signed("d", update=NOW + 1), now=NOW + 1)
    core.handle_timer(now=NOW + 60)
    assert core.reachability.take_probes() == []


def test_a_newer_entry_refutes_before_and_after() -> None:
    core = knowing()
    for accuser in ("a", "b"):
        core.receive_claim(claim_of(accuser, "d"), now=NOW)
    core.receive_entry(signed("d", update=NOW + 1), now=NOW + 1)
    core.handle_timer(now=NOW + 10)
    assert reaches(core, "d")
    # The old claims are void for good; new ones are about the new entry.
    assert core.receive_claim(claim_of("c", "d"), now=NOW + 10) is EntryVerdict.NOT_NEWER
    core.receive_claim(claim_of("a", "d", NOW + 1), now=NOW + 10)
    core.receive_claim(claim_of("b", "d", NOW + 1), now=NOW + 10)
    core.handle_timer(now=NOW + 20)
    assert not reaches(core, "d")
    core.receive_entry(signed("d", update=NOW + 21), now=NOW + 21)
    assert reaches(core, "d")
    assert core.reachability.held_claims() == []


def test_the_accused_refutes_at_once_but_not_in_a_storm() -> None:
    core = knowing()
    core.take_fresh()
    first = core.me.version
    assert core.receive_claim(claim_of("a", "me"), now=NOW + 1) is EntryVerdict.ACCEPTED
    assert core.me.version > first
    assert core.take_fresh() == [core.me]
    assert core.reachability.take_accused() == [peer("me")]
    assert core.reachability.take_claims() == []
    # A claim about what it said before is void; one about the new entry waits for its turn.
    assert core.receive_claim(claim_of("b", "me"), now=NOW + 1.1) is EntryVerdict.NOT_NEWER
    second = core.me.version
    assert core.receive_claim(claim_of("a", "me", NOW + 1), now=NOW + 1.1) is EntryVerdict.ACCEPTED
    assert core.me.version == second
    core.handle_timer(now=NOW + 2.01)
    assert core.me.version > second


def test_who_has_a_link_to_the_accused_believes_nobody() -> None:
    core = knowing()
    core.receive_link_up(peer("d"))
    for accuser in ("a", "b", "c"):
        core.receive_claim(claim_of(accuser, "d"), now=NOW)
    core.handle_timer(now=NOW + 60)
    assert reaches(core, "d")


def test_hostile_claims_are_refused() -> None:
    core = knowing("a", "b", "d")
    good = claim_of("a", "d")
    forged = bytes(64) + good[64:]
    for encoded, verdict in (
        (b"nonsense" * 20, EntryVerdict.MALFORMED),
        (bytes(CLAIM_BYTES_MAX + 1), EntryVerdict.OVERSIZED),
        (forged, EntryVerdict.FORGED),
        (claim_of("stranger", "d"), EntryVerdict.NOT_NEWER),
        (claim_of("a", "a"), EntryVerdict.NOT_NEWER),
        (claim_of("a", "d", NOW - 1), EntryVerdict.NOT_NEWER),
        (claim_of("a", "d", NOW + 3600), EntryVerdict.NOT_NEWER),
    ):
        assert core.receive_claim(encoded, now=NOW) is verdict
    assert core.reachability.take_claims() == []
    # Nobody can use up the budget of another one.
    for n in range(60):
        fake = claim_of("b", f"unknown {n}")
        assert core.receive_claim(bytes(64) + fake[64:], now=NOW) is EntryVerdict.FORGED
    # One accuser, however often it speaks, is one accuser, and has a budget.
    verdicts = [core.receive_claim(claim_of("a", f"unknown {n}"), now=NOW) for n in range(60)]
    assert verdicts.count(EntryVerdict.ACCEPTED) < 40
    assert core.receive_claim(claim_of("a", "d"), now=NOW) is EntryVerdict.FULL
    assert core.receive_claim(claim_of("b", "d"), now=NOW) is EntryVerdict.ACCEPTED
    core.handle_timer(now=NOW + 60)
    assert reaches(core, "d")


def test_claims_may_come_before_the_entry_they_are_about() -> None:
    core = knowing("a", "b")
    for accuser in ("a", "b"):
        core.receive_claim(claim_of(accuser, "late"), now=NOW)
    core.handle_timer(now=NOW + 60)
    core.receive_entry(signed("late"), now=NOW + 60)
    core.handle_timer(now=NOW + 60)
    assert not reaches(core, "late")


def test_claims_may_come_before_their_accusers_are_known() -> None:
    """A newcomer hears of claims while its first sync is under way."""
    core = knowing("d")
    for accuser in ("a", "b"):
        assert core.receive_claim(claim_of(accuser, "d"), now=NOW) is EntryVerdict.NOT_NEWER
    for n in range(40):
        core.receive_claim(claim_of(f"stranger {n % 5}", "d"), now=NOW)
    assert sum(map(len, core.reachability._early.values())) <= 40
    for accuser in ("a", "b"):
        core.receive_entry(signed(accuser), now=NOW)
    core.handle_timer(now=NOW + 60)
    assert not reaches(core, "d")


def test_without_any_link_nobody_is_reachable() -> None:
    core = knowing()
    core.receive_link_up(peer("a"))
    core.receive_link_down(peer("a"), is_broken=True, now=NOW)
    core.handle_timer(now=NOW + CONFIRM_S)
    assert not any(info.is_reachable for info in core.snapshot().values())
    core.receive_link_up(peer("b"))
    assert all(info.is_reachable for info in core.snapshot().values())


def test_a_departure_and_time_end_every_suspicion() -> None:
    core = knowing()
    for accused in ("c", "d"):
        for accuser in ("a", "b"):
            core.receive_claim(claim_of(accuser, accused), now=NOW)
    core.receive_entry(signed("c", update=NOW + 1, departed=True), now=NOW + 1)
    core.handle_timer(now=NOW + 299)
    assert core.reachability.held_claims()
    assert peer("c") not in core.snapshot()
    core.handle_timer(now=NOW + 300)  # purge_after
    assert peer("d") not in core.snapshot()
    assert core.reachability.held_claims() == []


def test_two_nodes_with_one_key_both_notice_and_a_restart_is_none() -> None:
    """Only who lives can name an entry that was written after it started."""
    one, two = catalog("me", now=NOW), catalog("me", now=NOW + 1)
    for now in range(3):
        mine, theirs = one.take_fresh(), two.take_fresh()
        for entry in theirs:
            one.receive_entry(entry, now=NOW + 2 + now)
        for entry in mine:
            two.receive_entry(entry, now=NOW + 2 + now)
    for core in (one, two):
        assert SecretKeyShared(peer("me")) in list(iter(core.next_event, None))
    # The entries of an earlier self, its clock ahead or not, in any order, are no such proof.
    before = [signed("me", start=NOW + n, update=NOW + n + 1) for n in range(5)]
    for order in (before, before[::-1]):
        restarted = catalog("me", now=NOW + 2)
        for step, entry in enumerate(order):
            restarted.take_fresh()
            restarted.receive_entry(entry, now=NOW + 2 + step)
        assert list(iter(restarted.next_event, None)) == []
        assert restarted.me.version > before[-1].version or restarted.me.version > before[0].version


claims = st.lists(
    st.tuples(
        st.sampled_from(("claim", "entry", "time", "link", "cut", "suspect")),
        st.sampled_from(OTHERS),
        st.sampled_from((*OTHERS, "me")),
        st.integers(0, 5),
    ),
    max_size=40,
)


@settings(max_examples=100, deadline=None)
@given(claims)
def test_nobody_is_unreachable_on_one_word(history: list[tuple[str, str, str, int]]) -> None:
    core = knowing()
    now, newest = NOW, dict.fromkeys(OTHERS, NOW)
    said: dict[str, set[str]] = {name: set() for name in OTHERS}
    for action, one, two, seconds in history:
        match action:
            case "claim":
                update = newest.get(two, NOW)
                if core.receive_claim(claim_of(one, two, update), now=now) is EntryVerdict.ACCEPTED:
                    said.get(two, set()).add(one)
            case "entry":
                newest[one] = now = now + 0.5
                core.receive_entry(signed(one, update=now), now=now)
                said[one] = set()
            case "time":
                now += seconds
                core.handle_timer(now=now)
            case "link":
                core.receive_link_up(peer(one))
            case "cut":
                core.receive_link_down(peer(one), is_broken=False, now=now)
            case "suspect":
                core.suspect(peer(one), now=now)
                said[one].add("me")
        for name in OTHERS:
            if not reaches(core, name):
                assert len(said[name]) >= 2 or "me" in said[name]
        timer = core.get_timer()
        assert action != "time" or timer is None or timer > now
