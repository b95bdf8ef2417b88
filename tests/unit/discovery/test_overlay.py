"""Which peers a node keeps links to (HyParView, DSN 2007). `now` is monotonic time."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.discovery.config import DiscoveryConfig
from mosaik_actors.discovery.gossip.addresses import merge_addrs
from mosaik_actors.discovery.gossip.edges import (
    DialNeighbour,
    DropNeighbour,
    Offer,
    OverlayEvent,
    SendFrame,
)
from mosaik_actors.discovery.gossip.overlay import ACTIVE_WALK, PASSIVE_WALK, Overlay
from mosaik_actors.discovery.info import PeerInfo
from mosaik_actors.discovery.wire import Contact, ForwardJoin, Shuffle, ShuffleReply
from mosaik_actors.ids import PeerId
from mosaik_actors.transport.address import PeerAddr
from mosaik_actors.transport.close import CloseCode

from .helpers import NOW, addr, entry, peer, signed

NAMES = [f"n{n}" for n in range(20)]
ME = peer("n0")


def make(**settings: float) -> Overlay:
    return Overlay(ME, DiscoveryConfig(**settings), Random(1), now=0.0)  # type: ignore[arg-type]


def known(*names: str, update: float = NOW) -> dict[PeerId, PeerInfo]:
    return {peer(name): PeerInfo(entry(name, update=update)) for name in names}


def drain(core: Overlay) -> list[OverlayEvent]:
    events = []
    while (event := core.next_event()) is not None:
        events.append(event)
    return events


def dialled(core: Overlay) -> list[PeerId]:
    return [e.addr.peer_id for e in drain(core) if isinstance(e, DialNeighbour)]


def written(core: Overlay) -> list[SendFrame]:
    return [e for e in drain(core) if isinstance(e, SendFrame)]


def offer(core: Overlay, name: str, *, urgent: bool = False, now: float = 0.0) -> Offer:
    return core.receive_offer(peer(name), "neighbour", None, urgent=urgent, now=now)


def join(core: Overlay, name: str, now: float = 0.0) -> Offer:
    return core.receive_offer(peer(name), "join", addr(name), urgent=True, now=now)


def fill(core: Overlay, names: list[str], now: float = 0.0) -> None:
    for name in names:
        assert offer(core, name, urgent=True, now=now) is Offer.ACCEPT


def contact(name: str) -> Contact:
    return Contact.of(addr(name))


def remember(core: Overlay, *names: str) -> None:
    """Put peers into the passive view, as walks do that pass by."""
    source = core.neighbours[0]
    for name in names:
        core.receive_frame(source, ForwardJoin(contact(name), PASSIVE_WALK), now=0.0)
    drain(core)


def test_a_lone_node_dials_its_bootstrap_urgently_and_again_after_a_while() -> None:
    core = make()
    core.receive_hints("bootstrap", [addr("a")], now=0.0)
    assert drain(core) == [DialNeighbour(addr("a"), "join", urgent=True)]
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


def test_a_stranger_that_was_hinted_at_is_joined_even_when_neighbours_abound() -> None:
    """It may belong to a whole network that this one does not know."""
    core = make()
    fill(core, NAMES[1:5])
    core.receive_known(known(*NAMES), now=0.0)
    core.receive_hints("rendezvous", [addr("stranger"), addr("n7")], now=0.0)
    assert drain(core) == [DialNeighbour(addr("stranger"), "join", urgent=False)]
    core.receive_guest_done(peer("stranger"), now=1.0)
    assert drain(core) == []


def test_where_many_are_found_others_have_time_to_make_a_stranger_known() -> None:
    core = make()
    fill(core, NAMES[1:5])
    core.receive_known(known(*NAMES), now=0.0)
    core.receive_hints("rendezvous", [addr("stranger"), *map(addr, NAMES)], now=0.0)
    assert drain(core) == []  # most likely a neighbour knows it
    due = core.get_timer()
    assert due is not None
    assert 1.0 < due < 3.0
    core.handle_timer(now=due)
    assert drain(core) == [DialNeighbour(addr("stranger"), "join", urgent=False)]
    core.receive_guest_done(peer("stranger"), now=due)
    assert drain(core) == []


def test_a_stranger_that_neighbours_make_known_is_not_joined() -> None:
    core = make()
    fill(core, NAMES[1:5])
    core.receive_known(known(*NAMES), now=0.0)
    core.receive_hints("rendezvous", [addr("stranger"), *map(addr, NAMES)], now=0.0)
    core.receive_known(known(*NAMES, "stranger"), now=0.5)
    core.handle_timer(now=10.0)
    assert drain(core) == []
    # Its entry is gone, and it is found still: others may know more again.
    core.receive_known(known(*NAMES), now=20.0)
    core.handle_timer(now=20.0)
    assert drain(core) == []
    core.handle_timer(now=23.0)
    assert dialled(core) == [peer("stranger")]


def test_a_node_that_finds_many_joins_through_two_of_them() -> None:
    """If each joined each that it finds, n nodes would dial n^2 times."""
    core = make()
    core.receive_hints("rendezvous", [addr(name) for name in NAMES], now=0.0)
    first = dialled(core)
    assert len(first) == 2
    core.receive_dial_failed(first[0], code=CloseCode.UNEXPECTED_CLOSE, now=0.1)
    (third,) = dialled(core)
    assert third not in first
    core.receive_link_up(third, now=0.2)
    core.receive_guest_done(first[1], now=0.3)
    assert drain(core) == []


def test_strangers_are_met_one_at_a_time_once_nobody_new_comes() -> None:
    core = make()
    fill(core, NAMES[1:5])
    core.receive_known(known(*NAMES[:5]), now=0.0)
    core.receive_hints("rendezvous", [addr(name) for name in NAMES], now=0.0)
    for count in range(5, 10):  # somebody new comes every second
        core.receive_known(known(*NAMES[:count]), now=float(count - 5))
        assert drain(core) == []
    core.handle_timer(now=4.0 + 2.5)
    (met,) = dialled(core)
    assert met in {peer(name) for name in NAMES[9:]}
    core.handle_timer(now=9.0)
    assert drain(core) == []  # until this dial has ended
    core.receive_guest_done(met, now=9.0)
    assert drain(core) == []
    core.handle_timer(now=9.0 + 2.5)
    assert len(drain(core)) == 1


def test_a_stranger_is_met_in_the_end_although_somebody_new_comes_all_the_time() -> None:
    core = make()
    fill(core, NAMES[1:5])
    core.receive_hints("rendezvous", [addr("stranger"), *map(addr, NAMES)], now=0.0)
    for second in range(30):
        names = [f"newcomer{n}" for n in range(second)]
        core.receive_known(known(*NAMES, *names), now=float(second))
        if peer("stranger") in dialled(core):
            assert 20 <= second < 25
            return
    raise AssertionError("the stranger was not dialled")


def test_an_urgent_link_is_accepted_where_others_are_refused() -> None:
    """Section 4.3: a request of high priority is always accepted."""
    core = make()
    fill(core, NAMES[1:8])
    assert offer(core, "n9") is Offer.REFUSE_FULL
    assert offer(core, "n9", urgent=True) is Offer.ACCEPT
    # Its first sync goes undisturbed, then one neighbour is let go.
    assert drain(core) == []
    due = core.get_timer()
    assert due == 1.0
    core.receive_known(known(*NAMES), now=0.5)
    core.handle_timer(now=due)
    (dropped,) = drain(core)
    assert isinstance(dropped, DropNeighbour)
    assert dropped.peer_id not in core.neighbours
    assert len(core.neighbours) == 7
    # Section 4.2: who is let go is remembered in the passive view.
    assert core.passive == (dropped.peer_id,)


def test_even_urgent_links_have_a_limit() -> None:
    core = make(links_max=10)
    fill(core, NAMES[1:11])
    assert offer(core, "n11", urgent=True) is Offer.REFUSE_FULL


# Joining (section 4.2).


def test_a_contact_tells_its_neighbours_of_a_newcomer() -> None:
    core = make()
    fill(core, ["n1", "n2"])
    assert join(core, "n3") is Offer.ACCEPT
    frame = ForwardJoin(contact("n3"), ACTIVE_WALK)
    told = written(core)
    assert {one.peer_id for one in told} == {peer("n1"), peer("n2")}
    assert {one.frame for one in told} == {frame}


def test_a_contact_without_room_has_a_guest() -> None:
    core = make()
    fill(core, NAMES[1:8])
    assert join(core, "n9") is Offer.GUEST
    assert len(core.neighbours) == 7
    assert len(written(core)) == 4


def test_a_walk_goes_on_and_leaves_the_newcomer_in_passive_views_on_the_way() -> None:
    core = make()
    fill(core, ["n1", "n2", "n3"])
    core.receive_frame(peer("n1"), ForwardJoin(contact("n9"), PASSIVE_WALK), now=0.0)
    (passed,) = written(core)
    assert passed.peer_id in (peer("n2"), peer("n3"))
    assert passed.frame == ForwardJoin(contact("n9"), PASSIVE_WALK - 1)
    assert core.passive == (peer("n9"),)


def test_where_a_walk_ends_the_newcomer_is_dialled() -> None:
    core = make()
    fill(core, ["n1", "n2", "n3"])
    core.receive_frame(peer("n1"), ForwardJoin(contact("n9"), 0), now=0.0)
    assert drain(core) == [DialNeighbour(addr("n9"), "neighbour", urgent=True)]


def test_a_walk_ends_where_there_is_nobody_else() -> None:
    core = make()
    fill(core, ["n1"])
    core.receive_frame(peer("n1"), ForwardJoin(contact("n9"), 5), now=0.0)
    assert drain(core) == [DialNeighbour(addr("n9"), "neighbour", urgent=True)]


def test_a_walk_that_ends_where_there_is_no_room_disturbs_nobody() -> None:
    core = make()
    fill(core, NAMES[1:8])
    core.receive_frame(peer("n1"), ForwardJoin(contact("n9"), 0), now=0.0)
    assert drain(core) == []
    assert core.passive == (peer("n9"),)


def test_a_newcomer_waits_to_be_dialled_before_it_dials() -> None:
    core = make()
    core.receive_hints("bootstrap", [addr("n1")], now=0.0)
    drain(core)
    core.receive_guest_done(peer("n1"), now=1.0)
    core.receive_known(known(*NAMES), now=1.0)
    assert drain(core) == []
    due = core.get_timer()
    assert due is not None
    assert 1.0 < due <= 1.5
    core.handle_timer(now=1.5)
    assert [e.purpose for e in drain(core) if isinstance(e, DialNeighbour)] == ["neighbour"] * 3


def test_a_newcomer_whose_contact_knew_nobody_asks_it_again() -> None:
    core = make()
    core.receive_hints("bootstrap", [addr("n1")], now=0.0)
    drain(core)
    core.receive_known(known("n1"), now=1.0)
    core.receive_guest_done(peer("n1"), now=1.0)
    while not (events := drain(core)):
        due = core.get_timer()
        assert due is not None
        assert due < 3
        core.handle_timer(now=due)
    assert events == [DialNeighbour(addr("n1"), "join", urgent=True)]


# Repair (section 4.3).


def test_a_lost_neighbour_is_replaced_from_the_passive_view_first() -> None:
    core = make()
    fill(core, NAMES[1:5])
    remember(core, "n9")
    core.receive_known(known(*NAMES), now=0.0)
    core.receive_link_down(peer("n1"), code=CloseCode.UNEXPECTED_CLOSE, now=5.0)
    assert drain(core) == [DialNeighbour(addr("n9"), "neighbour", urgent=False)]


def test_who_has_no_neighbour_left_insists() -> None:
    """Section 4.3: the priority is high if the requester has no neighbour."""
    core = make()
    fill(core, NAMES[1:5])
    for name in NAMES[1:5]:
        core.receive_link_down(peer(name), code=CloseCode.UNEXPECTED_CLOSE, now=5.0)
    core.receive_known(known(*NAMES), now=5.0)
    dials = [event for event in drain(core) if isinstance(event, DialNeighbour)]
    assert dials
    assert all(dial.urgent for dial in dials)


def test_who_was_refused_often_insists() -> None:
    core = make(dials_max=1)
    fill(core, ["n1"])
    core.receive_known(known(*NAMES), now=0.0)
    seen = []
    for _ in range(4):
        (dial,) = drain(core)
        assert isinstance(dial, DialNeighbour)
        seen.append(dial.urgent)
        code = CloseCode.GRACEFUL_SHUTDOWN
        core.receive_dial_failed(dial.addr.peer_id, code=code, now=0.0)
    assert seen == [False, False, False, True]


def test_who_cannot_be_reached_leaves_the_passive_view() -> None:
    """Section 4.3: a failed connection removes the node from the passive view."""
    core = make()
    fill(core, NAMES[1:5])
    remember(core, "n9")
    core.receive_link_down(peer("n1"), code=CloseCode.UNEXPECTED_CLOSE, now=0.0)
    assert dialled(core) == [peer("n9")]
    core.receive_dial_failed(peer("n9"), code=CloseCode.UNEXPECTED_CLOSE, now=0.0)
    assert core.passive == ()


# Shuffles (section 4.4).


def shuffle_of(core: Overlay) -> SendFrame:
    while True:
        due = core.get_timer()
        assert due is not None
        core.handle_timer(now=due)
        for event in drain(core):
            if isinstance(event, SendFrame) and isinstance(event.frame, Shuffle):
                return event


def test_a_shuffle_holds_the_origin_and_samples_of_both_views() -> None:
    core = make()
    core.receive_own(signed("n0"), now=0.0)
    fill(core, NAMES[1:7])
    core.receive_known(known(*NAMES), now=0.0)
    remember(core, *NAMES[8:16])
    event = shuffle_of(core)
    assert isinstance(event.frame, Shuffle)
    assert (event.frame.steps, event.frame.path) == (ACTIVE_WALK, (ME,))
    first, *rest = (one.peer for one in event.frame.contacts)
    assert first == ME
    assert event.peer_id not in rest
    assert len(set(rest) & set(core.neighbours)) == 3
    assert len(set(rest) & set(core.passive)) == 4


def test_a_shuffle_walks_and_is_answered_where_it_ends() -> None:
    core = make()
    fill(core, ["n1", "n2"])
    remember(core, "n8", "n9")
    shuffle = Shuffle((contact("n5"), contact("n6")), 3, (peer("n5"), peer("n1")))
    core.receive_frame(peer("n1"), shuffle, now=0.0)
    path = (peer("n5"), peer("n1"), ME)
    assert written(core) == [SendFrame(peer("n2"), Shuffle(shuffle.contacts, 2, path))]
    last = Shuffle(shuffle.contacts, 1, shuffle.path)
    core.receive_frame(peer("n1"), last, now=0.0)
    (answer,) = written(core)
    assert answer.peer_id == peer("n1")
    assert isinstance(answer.frame, ShuffleReply)
    assert {one.peer for one in answer.frame.contacts} == {peer("n8"), peer("n9")}
    assert {peer("n5"), peer("n6")} <= set(core.passive)


def test_a_reply_goes_back_the_way_of_the_shuffle() -> None:
    core = make()
    fill(core, ["n1", "n2"])
    contacts = (contact("n8"),)
    core.receive_frame(peer("n2"), ShuffleReply(contacts, (peer("n1"), ME)), now=0.0)
    assert written(core) == [SendFrame(peer("n1"), ShuffleReply(contacts, (peer("n1"),)))]
    assert list(core.passive) == []
    core.receive_frame(peer("n2"), ShuffleReply(contacts, (ME,)), now=0.0)
    assert list(core.passive) == [peer("n8")]


def test_a_shuffle_that_claims_another_way_is_dropped() -> None:
    core = make()
    fill(core, ["n1", "n2"])
    for path in ((), (peer("n5"),), (peer("n1"),) * 9):
        core.receive_frame(peer("n1"), Shuffle((contact("n5"),), 3, path), now=0.0)
    assert written(core) == []


def test_what_was_sent_in_a_shuffle_makes_room_for_what_comes_back() -> None:
    """Section 4.4: replace first those that were sent to the other side."""
    core = make(passive_max=8)
    fill(core, NAMES[1:5])
    core.receive_known(known(*NAMES), now=0.0)
    remember(core, *NAMES[8:16])
    event = shuffle_of(core)
    assert isinstance(event.frame, Shuffle)
    sent = {one.peer for one in event.frame.contacts} & set(core.passive)
    kept = set(core.passive) - sent
    reply = tuple(map(contact, NAMES[16:20]))
    core.receive_frame(event.peer_id, ShuffleReply(reply, (ME,)), now=0.0)
    assert set(core.passive) == kept | {one.peer for one in reply}


# Who lost each other.


def test_one_of_those_who_fell_silent_is_dialled_now_and_then() -> None:
    core = make()
    fill(core, NAMES[1:7])
    core.receive_own(signed("n0"), now=0.0)
    core.receive_known(known(*NAMES[1:15]), now=0.0)
    due: float | None = 0.0
    while not (dials := [e for e in drain(core) if isinstance(e, DialNeighbour)]):
        due = core.get_timer()
        assert due is not None
        core.handle_timer(now=due)
        if due < 60:
            heard = known(*NAMES[1:10], update=NOW + due)
            core.receive_known(heard | known(*NAMES[10:15]), now=due)
    assert due is not None
    assert 82 < due < 160
    (dial,) = dials
    assert dial.purpose == "join"
    assert dial.addr.peer_id in map(peer, NAMES[10:15])


def test_who_lost_everybody_dials_those_of_the_past() -> None:
    core = make()
    core.receive_known({}, [signed("n1")], now=0.0)
    (dial,) = drain(core)
    assert isinstance(dial, DialNeighbour)
    assert (dial.addr.peer_id, dial.urgent) == (peer("n1"), True)


def test_the_departed_leave_the_passive_view() -> None:
    core = make()
    fill(core, NAMES[1:6])
    remember(core, "n9")
    core.receive_departed([signed("n9", departed=True)])
    assert core.passive == ()


# When links cross, and other accidents.


def test_of_two_links_that_cross_the_one_of_the_smaller_id_stays() -> None:
    low, high = sorted((ME, peer("n1")))
    cores = {one: Overlay(one, DiscoveryConfig(), Random(1), now=0.0) for one in (low, high)}
    for one, other in ((low, high), (high, low)):
        cores[one].receive_hints("bootstrap", [PeerAddr(other, (("127.0.0.1", 1),))], now=0.0)
        assert dialled(cores[one]) == [other]
    assert (
        cores[low].receive_offer(high, "join", None, urgent=True, now=0.0) is Offer.REFUSE_CROSSED
    )
    assert cores[high].receive_offer(low, "join", None, urgent=True, now=0.0) is Offer.ACCEPT
    cores[high].receive_dial_failed(low, code=CloseCode.GRACEFUL_SHUTDOWN, now=0.0)
    cores[low].receive_link_up(high, now=0.0)
    assert cores[low].neighbours == (high,)
    assert cores[high].neighbours == (low,)


def test_a_restarted_neighbour_may_link_again_before_its_old_link_is_missed() -> None:
    core = make()
    fill(core, ["n1"])
    assert offer(core, "n1", urgent=True, now=1.0) is Offer.ACCEPT
    assert core.neighbours == (peer("n1"),)


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
    assert offer(core, "n1", urgent=True) is Offer.REFUSE_FULL
    core.receive_frame(peer("n1"), ForwardJoin(contact("n9"), 0), now=0.0)
    assert drain(core) == []


actions = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "known",
                "hint",
                "offer",
                "join",
                "up",
                "guest",
                "fail",
                "down",
                "walk",
                "shuffle",
                "reply",
                "life",
                "time",
            ]
        ),
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
    core = Overlay(ME, DiscoveryConfig(links_max=9, passive_max=5), Random(seed), now=0.0)
    now = 0.0
    dials: set[PeerId] = set()
    for action, name, flag in history:
        peer_id = peer(name)
        contacts = tuple(map(contact, NAMES[: NAMES.index(name) + 1]))
        match action:
            case "known":
                past = [signed(other) for other in NAMES[-3:]]
                core.receive_known(known(*NAMES[: NAMES.index(name)]), past, now=now)
            case "hint":
                core.receive_hints("bootstrap", [addr(name)], now=now)
            case "offer" if peer_id != ME:
                offer(core, name, urgent=flag, now=now)
            case "join" if peer_id != ME:
                join(core, name, now=now)
            case "up" if peer_id in dials:
                dials.discard(peer_id)
                core.receive_link_up(peer_id, now=now)
            case "guest" if peer_id in dials:
                dials.discard(peer_id)
                core.receive_guest_done(peer_id, now=now)
            case "fail" if peer_id in dials:
                dials.discard(peer_id)
                core.receive_dial_failed(peer_id, code=204 if flag else 103, now=now)
            case "down":
                core.receive_link_down(peer_id, code=204 if flag else 103, now=now)
            case "walk":
                steps = PASSIVE_WALK if flag else 0
                core.receive_frame(peer("n1"), ForwardJoin(contact(name), steps), now=now)
            case "shuffle":
                frame = Shuffle(contacts, 1 if flag else 6, (peer_id,))
                core.receive_frame(peer_id, frame, now=now)
            case "reply":
                core.receive_frame(peer_id, ShuffleReply(contacts, (ME,)), now=now)
            case "life":
                core.receive_departed([signed(name, departed=flag)])
            case "time":
                now = max(now, core.get_timer() or now)
                core.handle_timer(now=now)
                timer = core.get_timer()
                assert timer is not None
                assert timer > now
        for event in drain(core):
            if isinstance(event, DropNeighbour):
                assert event.peer_id not in core.neighbours
            elif isinstance(event, DialNeighbour):
                assert event.addr.peer_id not in dials | {ME}
                assert event.addr.peer_id not in core.neighbours
                dials.add(event.addr.peer_id)
        assert len(dials) <= 3
        assert len(core.neighbours) <= 9 + len(dials) + 3
        assert len(core.passive) <= 5
        assert not {ME, *core.neighbours} & set(core.passive)
