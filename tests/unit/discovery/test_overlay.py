"""Which peers a node keeps links to. `now` is monotonic time."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.discovery.config import DiscoveryConfig
from mosaik_actors.discovery.info import PeerInfo
from mosaik_actors.discovery.overlay import (
    DialForSync,
    DialNeighbour,
    DropNeighbour,
    Offer,
    Overlay,
    OverlayEvent,
    merge_addrs,
)
from mosaik_actors.ids import PeerId
from mosaik_actors.transport.address import PeerAddr
from mosaik_actors.transport.close import CloseCode

from .helpers import addr, entry, peer

NAMES = [f"n{n}" for n in range(20)]
ME = peer("n0")


def make(**settings: float) -> Overlay:
    return Overlay(ME, DiscoveryConfig(**settings), Random(1), now=0.0)  # type: ignore[arg-type]


def known(*names: str) -> dict[PeerId, PeerInfo]:
    return {peer(name): PeerInfo(entry(name)) for name in names}


def drain(core: Overlay) -> list[OverlayEvent]:
    events = []
    while (event := core.next_event()) is not None:
        events.append(event)
    return events


def dialled(core: Overlay) -> list[PeerId]:
    return [e.addr.peer_id for e in drain(core) if isinstance(e, DialNeighbour)]


def fill(core: Overlay, names: list[str], now: float = 0.0) -> None:
    for name in names:
        assert core.receive_offer(peer(name), urgent=True, now=now) is Offer.ACCEPT


def test_a_lone_node_dials_its_bootstrap_urgently_and_again_after_a_while() -> None:
    core = make()
    core.receive_hints("bootstrap", [addr("a")], now=0.0)
    assert drain(core) == [DialNeighbour(addr("a"), urgent=True)]
    core.receive_dial_failed(peer("a"), code=CloseCode.CANCELLED, now=1.0)
    assert drain(core) == []
    waits = []
    now = 1.0
    for _ in range(12):
        due = core.get_timer()
        assert due is not None
        while not dialled(core):
            due = core.get_timer()
            assert due is not None
            core.handle_timer(now=due)
        waits.append(due - now)
        now = due
        core.receive_dial_failed(peer("a"), code=CloseCode.CANCELLED, now=now)
    assert waits[0] < 0.5
    assert max(waits) <= 30 * 1.25
    assert waits[-1] > 20


def test_a_node_picks_random_peers_until_it_has_enough() -> None:
    core = make()
    core.receive_known(known(*NAMES), now=0.0)
    for _ in range(4):
        for peer_id in dialled(core):
            assert peer_id != ME
            core.receive_link_up(peer_id, now=0.0)
    assert len(core.neighbours) == 4
    assert drain(core) == []


def test_no_more_than_dials_max_are_dialled_at_once() -> None:
    core = make(dials_max=2)
    core.receive_hints("bootstrap", [addr(name) for name in NAMES], now=0.0)
    assert len(drain(core)) == 2


def test_a_lost_neighbour_is_replaced_at_once() -> None:
    core = make()
    fill(core, NAMES[1:5])
    core.receive_known(known(*NAMES), now=0.0)
    core.receive_link_down(peer("n1"), code=CloseCode.UNEXPECTED_CLOSE, now=5.0)
    (replacement,) = dialled(core)
    assert replacement not in {peer(name) for name in NAMES[:5]}


def test_a_stranger_that_was_hinted_at_is_synced_with_even_when_neighbours_abound() -> None:
    core = make()
    fill(core, NAMES[1:5])
    core.receive_known(known(*NAMES), now=0.0)
    core.receive_hints("rendezvous", [addr("stranger"), addr("n7")], now=0.0)
    assert drain(core) == [DialForSync(addr("stranger"))]
    core.receive_sync_done(peer("stranger"), now=1.0)
    assert drain(core) == []


def test_an_urgent_link_is_accepted_where_others_are_refused() -> None:
    core = make()
    fill(core, NAMES[1:9])
    assert core.receive_offer(peer("n9"), urgent=False, now=0.0) is Offer.REFUSE_FULL
    assert core.receive_offer(peer("n9"), urgent=True, now=0.0) is Offer.ACCEPT
    # Its first sync goes undisturbed, then one neighbour is let go.
    assert drain(core) == []
    due = core.get_timer()
    assert due == 1.0
    core.handle_timer(now=due)
    (dropped,) = drain(core)
    assert isinstance(dropped, DropNeighbour)
    assert dropped.peer_id not in core.neighbours
    assert len(core.neighbours) == 8


def test_even_urgent_links_have_a_limit() -> None:
    core = make(links_max=10)
    fill(core, NAMES[1:11])
    assert core.receive_offer(peer("n11"), urgent=True, now=0.0) is Offer.REFUSE_FULL


def test_of_two_links_that_cross_the_one_of_the_smaller_id_stays() -> None:
    low, high = sorted((ME, peer("n1")))
    cores = {one: Overlay(one, DiscoveryConfig(), Random(1), now=0.0) for one in (low, high)}
    for one, other in ((low, high), (high, low)):
        cores[one].receive_hints("bootstrap", [PeerAddr(other, (("127.0.0.1", 1),))], now=0.0)
        assert dialled(cores[one]) == [other]
    assert cores[low].receive_offer(high, urgent=True, now=0.0) is Offer.REFUSE_CROSSED
    assert cores[high].receive_offer(low, urgent=True, now=0.0) is Offer.ACCEPT
    cores[high].receive_dial_failed(low, code=CloseCode.GRACEFUL_SHUTDOWN, now=0.0)
    cores[low].receive_link_up(high, now=0.0)
    assert cores[low].neighbours == (high,)
    assert cores[high].neighbours == (low,)


def test_a_lone_sync_does_not_cross_with_a_link() -> None:
    """A newcomer that dials us is not turned away because we dial it too, for a sync."""
    newcomer = max((f"x{n}" for n in range(50)), key=peer)
    assert peer(newcomer) > ME
    core = make()
    fill(core, NAMES[1:5])
    core.receive_hints("rendezvous", [addr(newcomer)], now=0.0)
    assert drain(core) == [DialForSync(addr(newcomer))]
    assert core.receive_offer(peer(newcomer), urgent=True, now=0.0) is Offer.ACCEPT


def test_a_restarted_neighbour_may_link_again_before_its_old_link_is_missed() -> None:
    core = make()
    fill(core, ["n1"])
    assert core.receive_offer(peer("n1"), urgent=True, now=1.0) is Offer.ACCEPT
    assert core.neighbours == (peer("n1"),)


def test_neighbours_are_exchanged_now_and_then() -> None:
    core = make()
    fill(core, NAMES[1:7])
    core.receive_known(known(*NAMES), now=0.0)
    due = core.get_timer()
    assert due is not None
    assert 10 < due < 20
    core.handle_timer(now=due)
    (dial,) = drain(core)
    assert isinstance(dial, DialNeighbour)
    assert not dial.urgent
    core.receive_link_up(dial.addr.peer_id, now=due)
    (drop,) = drain(core)
    assert isinstance(drop, DropNeighbour)
    assert dial.addr.peer_id in core.neighbours
    assert len(core.neighbours) == 6


def test_a_hint_adds_to_the_ways_that_the_catalog_knows() -> None:
    """A peer that restarted on another port is found although the catalog is old."""
    merged = merge_addrs(addr("a", 1), addr("a", 2))
    assert merged.direct == (("127.0.0.1", 1), ("127.0.0.1", 2))
    core = make()
    core.receive_hints("bootstrap", [addr("a", 2), addr("a", 3)], now=0.0)
    drain(core)
    core.receive_known(known("a"), now=0.0)
    core.receive_dial_failed(peer("a"), code=CloseCode.UNEXPECTED_CLOSE, now=0.0)
    due = core.get_timer()
    assert due is not None
    core.handle_timer(now=due)
    (dial,) = drain(core)
    assert isinstance(dial, DialNeighbour)
    assert [port for _, port in dial.addr.direct] == [4433, 2, 3]


def test_a_bare_id_is_completed_with_what_is_known() -> None:
    core = make()
    core.receive_hints("bootstrap", [addr("a", 2)], now=0.0)
    core.receive_known(known("a"), now=0.0)
    completed = core.complete_addr(PeerAddr(peer("a")))
    assert [port for _, port in completed.direct] == [4433, 2]
    assert core.complete_addr(PeerAddr(peer("b"))) == PeerAddr(peer("b"))


def test_another_network_is_not_asked_again_soon() -> None:
    core = make()
    core.receive_hints("bootstrap", [addr("a")], now=0.0)
    drain(core)
    core.receive_dial_failed(peer("a"), code=CloseCode.DIFFERENT_NETWORK, now=0.0)
    core.handle_timer(now=20.0)
    assert drain(core) == []


def test_a_closed_overlay_neither_dials_nor_accepts() -> None:
    core = make()
    core.receive_known(known(*NAMES), now=0.0)
    core.close()
    assert drain(core) == []
    assert core.get_timer() is None
    assert core.receive_offer(peer("n1"), urgent=True, now=0.0) is Offer.REFUSE_FULL


actions = st.lists(
    st.tuples(
        st.sampled_from(["known", "hint", "offer", "up", "fail", "down", "time"]),
        st.sampled_from(NAMES),
        st.booleans(),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(actions, st.integers(0, 99))
def test_the_invariants_hold_in_any_history(
    history: list[tuple[str, str, bool]], seed: int
) -> None:
    core = Overlay(ME, DiscoveryConfig(links_max=9), Random(seed), now=0.0)
    now = 0.0
    dials: set[PeerId] = set()
    for action, name, flag in history:
        peer_id = peer(name)
        match action:
            case "known":
                core.receive_known(known(*NAMES[: NAMES.index(name)]), now=now)
            case "hint":
                core.receive_hints("bootstrap", [addr(name)], now=now)
            case "offer" if peer_id != ME:
                core.receive_offer(peer_id, urgent=flag, now=now)
            case "up" if peer_id in dials:
                dials.discard(peer_id)
                core.receive_link_up(peer_id, now=now)
            case "fail" if peer_id in dials:
                dials.discard(peer_id)
                core.receive_dial_failed(peer_id, code=204 if flag else 103, now=now)
            case "down":
                core.receive_link_down(peer_id, code=204 if flag else 103, now=now)
            case "time":
                now = max(now, core.get_timer() or now)
                core.handle_timer(now=now)
                timer = core.get_timer()
                assert timer is not None
                assert timer > now
        for event in drain(core):
            if isinstance(event, DropNeighbour):
                assert event.peer_id not in core.neighbours
            else:
                assert event.addr.peer_id not in dials | {ME}
                assert event.addr.peer_id not in core.neighbours
                dials.add(event.addr.peer_id)
        assert len(dials) <= 3
        assert len(core.neighbours) <= 9 + len(dials) + 3
