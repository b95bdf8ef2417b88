"""Bonds by hand: one step, one block. `now` is monotonic time."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from time import process_time
from timeit import repeat
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.groups.config import ConsensusConfig
from mosaik_actors.groups.mesh.attempts import INCOMING_MAX
from mosaik_actors.groups.mesh.bond import (
    AcceptLink,
    BondFormed,
    BondLost,
    CloseLink,
    DialWanted,
    MeshEvent,
    SendBondFrame,
    StatusChanged,
)
from mosaik_actors.groups.mesh.handshake import Credentials
from mosaik_actors.groups.mesh.key import GroupKey
from mosaik_actors.groups.mesh.mesh import DIAL_TIMEOUT_S, DIALS_MAX, Mesh
from mosaik_actors.groups.mesh.redial import FIRST_WAIT_S, WAIT_S_MAX, YIELD_S
from mosaik_actors.groups.mesh.standing_bonds import NEWS_DELAY_S
from mosaik_actors.groups.mesh.topology import Bond
from mosaik_actors.groups.mesh.wire import (
    MEMBERS_MAX,
    Beat,
    Confirm,
    Leave,
    Peers,
    Prove,
    decode_frame,
    encode_frame,
)
from mosaik_actors.groups.wire.frames import MESH
from mosaik_actors.groups.wire.status import MemberStanding, Status
from mosaik_actors.ids import GroupId, PeerId
from mosaik_actors.transport.address import PeerAddr
from mosaik_actors.transport.close import CloseCode, CloseReason

from ..cores import peer
from ..mesh_simulator import BROKEN, GROUP, KEY, NETWORK, Simulation, addr_of

E = TypeVar("E")
CONFIG = ConsensusConfig()
SMALL, MIDDLE, LARGE = peer(0), peer(1), peer(2)


def make(
    me: PeerId,
    *,
    now: float = 0.0,
    key: GroupKey = KEY,
    group: GroupId = GROUP,
    status: Status | None = None,
    config: ConsensusConfig = CONFIG,
    allow: Callable[[PeerId], str | None] = lambda _peer: None,
) -> Mesh:
    return Mesh(
        Credentials(me, NETWORK, group, key),
        config,
        Random(f"{me} {now}"),
        status=status or Status(),
        allow=allow,
    )


def peers(*ids: PeerId) -> dict[PeerId, PeerAddr]:
    return {one: addr_of(one) for one in ids}


def drain(mesh: Mesh) -> list[MeshEvent]:
    events = []
    while (event := mesh.next_event()) is not None:
        events.append(event)
    return events


def only(events: list[MeshEvent], kind: type[E]) -> E:
    found = [event for event in events if isinstance(event, kind)]
    assert len(found) == 1, events
    return found[0]


def frames(events: list[MeshEvent]) -> list[object]:
    return [decode_frame(event.data) for event in events if isinstance(event, SendBondFrame)]


def dial(mesh: Mesh, to: PeerId, now: float = 0.0) -> DialWanted:
    """Let a mesh learn of a peer, and dial it."""
    mesh.receive_peers(peers(to), now=now)
    mesh.handle_timer(now=now + YIELD_S)
    return only(drain(mesh), DialWanted)


def open_link(opener: Mesh, wanted: DialWanted, acceptor: Mesh, link: int, now: float) -> Prove:
    """Bring a dial as far as the opener's proof, which is returned."""
    acceptor.receive_offer(link, opener._me, wanted.header, now=now)
    opener.receive_opened(link, wanted.token, only(drain(acceptor), AcceptLink).reply, now=now)
    prove = frames(drain(opener))[0]
    assert isinstance(prove, Prove)
    return prove


def finish(opener: Mesh, prove: Prove, acceptor: Mesh, link: int, now: float) -> list[MeshEvent]:
    """Bring the proof to the acceptor, and its answer back; return what came of it there."""
    acceptor.receive_frame(link, encode_frame(prove), now=now)
    events = drain(acceptor)
    for event in events:
        if isinstance(event, SendBondFrame) and event.link_id == link:
            opener.receive_frame(link, event.data, now=now)
    return events


def bond(opener: Mesh, acceptor: Mesh, link: int = 1, now: float = 0.0) -> None:
    """Bond two meshes over a link that both know by the same number."""
    prove = open_link(opener, dial(opener, acceptor._me, now), acceptor, link, now)
    finish(opener, prove, acceptor, link, now)
    only(drain(opener), BondFormed)
    assert opener.link_of(acceptor._me) == acceptor.link_of(opener._me) == link


def bonded_pair() -> tuple[Mesh, Mesh]:
    """Return the meshes of the smallest and the largest peer, bonded over link 1 at 0 s."""
    one, other = make(SMALL), make(LARGE)
    bond(one, other)
    return one, other


# How a bond forms.


def test_three_that_start_together_are_bonded_soon() -> None:
    for latency_s in (0.001, 0.02, 0.04):
        sim = Simulation(1, latency_s=(latency_s, latency_s))
        sim.start()
        sim.run_for(0.3)
        sim.check_converged()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1 << 32), slowness_s=st.sampled_from((0.01, 0.06, 0.2, 0.45)))
def test_crossing_dials_never_cost_a_bond(seed: int, slowness_s: float) -> None:
    """However links overtake each other: each bond forms once, at both ends, and stays."""
    sim = Simulation(seed, count_of_nodes=4, latency_s=(0.0, slowness_s))
    sim.start()
    sim.run_for(10.0)
    sim.check_converged()
    for node in sim.nodes:
        formed = [event for _, event in node.events if isinstance(event, BondFormed)]
        assert len(formed) == 3
        assert not [event for _, event in node.events if isinstance(event, BondLost)]


def test_smaller_id_dials_at_once_and_the_larger_a_moment_later() -> None:
    small, large = make(SMALL), make(LARGE)
    small.receive_peers(peers(LARGE), now=0.0)
    assert only(drain(small), DialWanted).addr == addr_of(LARGE)
    large.receive_peers(peers(SMALL), now=0.0)
    assert drain(large) == []
    assert large.get_timer() == YIELD_S
    large.handle_timer(now=YIELD_S)
    assert only(drain(large), DialWanted).peer == SMALL


def test_bond_forms_in_order_and_tells_both_statuses() -> None:
    opener = make(SMALL, status=Status(term=3))
    acceptor = make(LARGE, status=Status(term=5))
    wanted = dial(opener, LARGE)

    # 1 and 2. The header is answered; nobody says anything of itself.
    acceptor.receive_offer(7, SMALL, wanted.header, now=0.1)
    reply = only(drain(acceptor), AcceptLink).reply
    opener.receive_opened(8, wanted.token, reply, now=0.2)

    # 3. The opener proves the key; still nobody is bonded.
    (sent,) = drain(opener)
    assert isinstance(sent, SendBondFrame)
    assert sent.link_id == 8
    assert sent.data[0] == MESH
    assert not opener.bonded
    assert acceptor.peer_of(7) is None

    # 4. The acceptor confirms before anything else may go over the link.
    acceptor.receive_frame(7, sent.data, now=0.3)
    confirm, formed = drain(acceptor)
    assert formed == BondFormed(SMALL, 7, Status(term=3))
    assert isinstance(confirm, SendBondFrame)
    opener.receive_frame(8, confirm.data, now=0.4)
    assert drain(opener) == [BondFormed(LARGE, 8, Status(term=5))]
    assert opener.peer_of(8) == LARGE
    assert opener.bonded[LARGE].status == Status(term=5)
    assert acceptor.bonded[SMALL].status == Status(term=3)
    assert opener.bonds() == acceptor.bonds() == (Bond(SMALL, LARGE),)


def test_status_that_changed_during_the_handshake_is_told_after_it() -> None:
    opener, acceptor = make(SMALL), make(LARGE)
    prove = open_link(opener, dial(opener, LARGE), acceptor, 1, 0.0)
    opener.set_status(Status(term=9), now=0.0)
    finish(opener, prove, acceptor, 1, 0.0)
    assert Beat(Status(term=9)) in frames(drain(opener))


def test_peer_that_nobody_advertises_is_bonded_when_it_has_the_key() -> None:
    """It may be so new that the catalog does not show it yet."""
    newcomer, member = make(SMALL), make(LARGE)
    bond(newcomer, member)
    assert member.link_of(SMALL) == 1


def test_only_who_is_advertised_is_dialled() -> None:
    mesh = make(SMALL)
    mesh.receive_peers(peers(SMALL, MIDDLE), now=0.0)
    assert only(drain(mesh), DialWanted).peer == MIDDLE
    mesh.receive_peers({}, now=1.0)
    mesh.receive_failed(1, BROKEN, now=1.0)
    assert mesh.get_timer() is None


# Links that cross, and links that replace each other.


def crossing() -> tuple[Mesh, Mesh, DialWanted, DialWanted]:
    """Let two peers dial each other; the small one's link is 1, the large one's 2."""
    small, large = make(SMALL), make(LARGE)
    return small, large, dial(small, LARGE), dial(large, SMALL)


def offer(mesh: Mesh, link: int, wanted: DialWanted) -> bytes:
    mesh.receive_offer(link, LARGE if mesh._me == SMALL else SMALL, wanted.header, now=0.1)
    return only(drain(mesh), AcceptLink).reply


def test_larger_id_gives_way_when_the_smaller_one_gets_through() -> None:
    small, large, first, second = crossing()
    reply_2, reply_1 = offer(small, 2, second), offer(large, 1, first)
    large.receive_opened(2, second.token, reply_2, now=0.1)
    refused = only(drain(large), CloseLink)
    assert refused.reason.code == CloseCode.GROUP_ALREADY_BONDED
    small.receive_closed(2, refused.reason, now=0.1)
    small.receive_opened(1, first.token, reply_1, now=0.1)
    (prove,) = frames(drain(small))
    assert isinstance(prove, Prove)
    finish(small, prove, large, 1, 0.1)
    assert small.link_of(LARGE) == large.link_of(SMALL) == 1


def test_larger_id_bonds_when_the_smaller_one_does_not_get_through() -> None:
    """As where only one of them can be reached: an own dial that hangs blocks nobody."""
    small, large, first, second = crossing()
    prove = open_link(large, second, small, 2, 0.1)
    finish(large, prove, small, 2, 0.1)
    assert small.link_of(LARGE) == large.link_of(SMALL) == 2

    # The small one's own link opens after all: too late.
    small.receive_opened(1, first.token, b"", now=0.2)
    assert only(drain(small), CloseLink).link_id == 1
    assert small.link_of(LARGE) == 2


def test_two_proofs_that_cross_leave_the_link_of_the_smaller_id() -> None:
    """Links overtake each other: both openers have sent their proofs when they hear of it."""
    small, large, first, second = crossing()
    reply_2 = offer(small, 2, second)
    large.receive_opened(2, second.token, reply_2, now=0.1)
    prove_2 = only(drain(large), SendBondFrame)
    reply_1 = offer(large, 1, first)
    small.receive_opened(1, first.token, reply_1, now=0.1)
    prove_1 = only(drain(small), SendBondFrame)

    small.receive_frame(2, prove_2.data, now=0.1)
    closed = only(drain(small), CloseLink)
    assert (closed.link_id, closed.reason.code) == (2, CloseCode.GROUP_ALREADY_BONDED)

    large.receive_frame(1, prove_1.data, now=0.1)
    events = drain(large)
    closed = only(events, CloseLink)
    assert (closed.link_id, closed.reason.code) == (2, CloseCode.GROUP_ALREADY_BONDED)
    small.receive_frame(1, only(events, SendBondFrame).data, now=0.1)
    assert small.link_of(LARGE) == large.link_of(SMALL) == 1


def test_restarted_peer_takes_its_own_place() -> None:
    """The old link is dead, and nobody has noticed yet."""
    for restarted, stayed in ((SMALL, LARGE), (LARGE, SMALL)):
        old, other = make(restarted), make(stayed)
        bond(old, other, link=1)
        again = make(restarted, now=1.0)
        prove = open_link(again, dial(again, stayed, 1.0), other, 5, 1.0)
        events = finish(again, prove, other, 5, 1.0)

        lost, formed = only(events, BondLost), only(events, BondFormed)
        assert events.index(lost) < events.index(formed)
        assert not lost.was_graceful
        assert only(events, CloseLink).link_id == 1
        assert only(events, CloseLink).reason.code == CloseCode.GROUP_ALREADY_BONDED
        assert other.link_of(restarted) == again.link_of(stayed) == 5

        # What the old link says now is nothing to the new bond.
        other.receive_closed(1, BROKEN, now=1.1)
        other.receive_frame(1, encode_frame(Leave()), now=1.1)
        other.note_heard(1, now=99.0)
        assert other.link_of(restarted) == 5
        assert other.bonded[restarted].heard_at == 1.0


def test_offer_alone_does_not_end_a_bond() -> None:
    """Only a proof does: it shows that the peer is alive, and wants this link."""
    _, other = bonded_pair()
    again = make(SMALL, now=1.0)
    other.receive_offer(5, SMALL, dial(again, LARGE, 1.0).header, now=1.0)
    only(drain(other), AcceptLink)
    other.receive_frame(5, encode_frame(Prove(bytes(32), Status())), now=1.1)
    assert only(drain(other), CloseLink).reason.code == CloseCode.GROUP_INVALID_PROOF
    assert other.link_of(SMALL) == 1


def test_newer_offer_of_a_peer_replaces_its_older_one() -> None:
    """A peer that restarts in the middle of a handshake is not kept waiting by itself."""
    one, again, other = make(SMALL), make(SMALL, now=0.5), make(LARGE)
    other.receive_offer(1, SMALL, dial(one, LARGE).header, now=0.1)
    drain(other)
    prove = None
    other.receive_offer(2, SMALL, (wanted := dial(again, LARGE, 0.5)).header, now=0.6)
    closed, accepted = drain(other)
    assert isinstance(closed, CloseLink)
    assert closed.link_id == 1
    assert isinstance(accepted, AcceptLink)
    again.receive_opened(2, wanted.token, accepted.reply, now=0.6)
    (prove,) = frames(drain(again))
    assert isinstance(prove, Prove)
    finish(again, prove, other, 2, 0.6)
    assert other.link_of(SMALL) == 2


# Who gets no bond.


def test_wrong_key_forms_no_bond() -> None:
    one, other = make(SMALL, key=GroupKey("a guess")), make(LARGE)
    wanted = dial(one, LARGE)
    other.receive_offer(1, SMALL, wanted.header, now=0.0)
    one.receive_opened(1, wanted.token, only(drain(other), AcceptLink).reply, now=0.0)
    assert only(drain(one), CloseLink).reason.code == CloseCode.GROUP_INVALID_PROOF

    # It does not care, and sends a proof all the same.
    other.receive_frame(1, encode_frame(Prove(bytes(32), Status(term=8))), now=0.0)
    (closed,) = drain(other)
    assert isinstance(closed, CloseLink)
    assert closed.reason.code == CloseCode.GROUP_INVALID_PROOF
    assert not other.bonded


@pytest.mark.parametrize("frame", [Confirm(Status()), Beat(Status()), Peers((MIDDLE,)), Leave()])
def test_nothing_is_believed_before_the_proof(frame: Confirm | Beat | Peers | Leave) -> None:
    one, other = make(SMALL), make(LARGE)
    other.receive_offer(1, SMALL, dial(one, LARGE).header, now=0.0)
    drain(other)
    other.receive_frame(1, encode_frame(frame), now=0.0)
    (closed,) = drain(other)
    assert isinstance(closed, CloseLink)
    assert closed.reason.code == CloseCode.GROUP_INVALID_HANDSHAKE
    assert other.bonds() == ()


def test_header_of_another_group_is_refused() -> None:
    one, other = make(SMALL, group=GroupId("another")), make(LARGE)
    other.receive_offer(1, SMALL, dial(one, LARGE).header, now=0.0)
    assert only(drain(other), CloseLink).reason.code == CloseCode.GROUP_NOT_FOUND


def test_handshake_that_is_not_finished_ends() -> None:
    """Other frames on such a link are no sign of life."""
    one, other = make(SMALL), make(LARGE)
    wanted = dial(one, LARGE)
    other.receive_offer(1, SMALL, wanted.header, now=0.0)
    reply = only(drain(other), AcceptLink).reply
    one.receive_opened(1, wanted.token, reply, now=0.0)
    drain(one)
    for mesh in (one, other):
        assert mesh.get_timer() == CONFIG.bond_timeout_s
        mesh.note_heard(1, now=1.9)
        mesh.handle_timer(now=2.0)
        assert only(drain(mesh), CloseLink).reason.code == CloseCode.GROUP_TIMEOUT


def test_dial_that_nobody_answers_is_given_up_and_tried_again() -> None:
    mesh = make(SMALL)
    wanted = dial(mesh, LARGE)
    assert mesh.get_timer() == DIAL_TIMEOUT_S == wanted.timeout_s
    mesh.handle_timer(now=DIAL_TIMEOUT_S)
    assert drain(mesh) == []
    mesh.handle_timer(now=DIAL_TIMEOUT_S + FIRST_WAIT_S)
    again = only(drain(mesh), DialWanted)
    assert again.token != wanted.token

    # An answer to the first one, now, has no use.
    mesh.receive_opened(4, wanted.token, b"", now=6.0)
    assert only(drain(mesh), CloseLink).link_id == 4


def test_only_so_many_strangers_may_begin_a_handshake() -> None:
    mesh = make(SMALL)
    for number in range(INCOMING_MAX + 1):
        stranger = PeerId(bytes([9]) + number.to_bytes(31))
        mesh.receive_offer(number, stranger, dial(make(stranger), SMALL).header, now=0.0)
    events = drain(mesh)
    assert len([event for event in events if isinstance(event, AcceptLink)]) == INCOMING_MAX
    assert only(events, CloseLink).reason.code == CloseCode.CANCELLED


def test_not_all_are_dialled_at_the_same_time() -> None:
    mesh = make(SMALL)
    many = [PeerId(bytes([9]) + number.to_bytes(31)) for number in range(DIALS_MAX + 5)]
    mesh.receive_peers(peers(*many), now=0.0)
    assert len(drain(mesh)) == DIALS_MAX
    assert mesh.get_timer() == DIAL_TIMEOUT_S
    mesh.receive_failed(1, BROKEN, now=1.0)
    assert mesh.get_timer() == 0.0
    mesh.handle_timer(now=1.0)
    assert only(drain(mesh), DialWanted).peer == many[DIALS_MAX]


# Dialling again.


def test_failures_are_answered_with_longer_waits() -> None:
    mesh = make(SMALL)
    wanted, now, waits = dial(mesh, LARGE), 0.0, []
    for _ in range(10):
        mesh.receive_failed(wanted.token, BROKEN, now=now)
        due_at = mesh.get_timer()
        assert due_at is not None
        waits.append(due_at - now)
        now = due_at
        mesh.handle_timer(now=now)
        wanted = only(drain(mesh), DialWanted)
    for number, wait_s in enumerate(waits):
        longest_s = min(WAIT_S_MAX, FIRST_WAIT_S * 2**number)
        assert longest_s / 2 <= wait_s <= longest_s + 1e-6
    assert len(set(waits)) == len(waits), "no jitter"

    # One that has moved is dialled at once.
    mesh.receive_failed(wanted.token, BROKEN, now=now)
    mesh.receive_peers({LARGE: PeerAddr(LARGE, (("127.0.0.1", 9),))}, now=now)
    assert only(drain(mesh), DialWanted).addr.direct == (("127.0.0.1", 9),)


def test_lost_bond_is_dialled_again_after_a_short_wait() -> None:
    one, _ = bonded_pair()
    one.receive_closed(1, BROKEN, now=9.0)
    assert only(drain(one), BondLost) == BondLost(LARGE, BROKEN, was_graceful=False)
    one.handle_timer(now=9.0 + FIRST_WAIT_S)
    assert only(drain(one), DialWanted).peer == LARGE


def test_bonds_that_never_last_are_dialled_less_and_less_often() -> None:
    one, now, waits = make(SMALL), 0.0, []
    for link in range(1, 6):
        wanted = dial(one, LARGE, now)
        other = make(LARGE, now=now)
        finish(one, open_link(one, wanted, other, link, now), other, link, now)
        one.close_link(link, CloseReason(CloseCode.PROTOCOL_VIOLATION), now=now)
        drain(one)
        one.handle_timer(now=now + NEWS_DELAY_S)
        due_at = one.get_timer()
        assert due_at is not None
        waits.append(due_at - now)
        now = due_at
    assert waits[-1] > 4 * waits[0]


# Signs of life.


def test_heartbeats_go_out_with_the_status_and_more_rarely_when_it_is_the_same() -> None:
    one, _ = bonded_pair()
    one.handle_timer(now=NEWS_DELAY_S)
    drain(one)
    one.set_status(Status(commit_index=7), now=0.1)
    assert drain(one) == [], "an index can wait for the next heartbeat"
    last, gaps = 0.0, []
    for number in range(20):
        due_at = one.get_timer()
        assert due_at is not None
        one.handle_timer(now=due_at)
        beat = only(drain(one), SendBondFrame)
        assert decode_frame(beat.data) == Beat(Status(commit_index=7 + number // 10 * number))
        one.note_heard(1, now=due_at)
        gaps.append(due_at - last)
        last = due_at
        if number >= 9:  # something new each time: it is said at the usual pace
            one.set_status(Status(commit_index=7 + (number + 1) // 10 * (number + 1)), now=due_at)
    jitter_s = CONFIG.heartbeat_jitter + 1e-9
    for gap_s in (gaps[0], *gaps[10:]):
        assert -1e-9 <= gap_s - CONFIG.heartbeat_interval <= jitter_s
    # Four of them within the time after which the bond would count as silent.
    for gap_s in gaps[2:10]:
        assert -1e-9 <= gap_s - CONFIG.bond_timeout_s / 4 <= jitter_s


def test_a_heartbeat_that_says_the_same_is_no_event() -> None:
    one, _ = bonded_pair()
    beat = encode_frame(Beat(Status(commit_index=7)))
    one.receive_frame(1, beat, now=0.1)
    assert StatusChanged(LARGE, Status(commit_index=7)) in drain(one)
    one.receive_frame(1, beat, now=0.2)
    assert drain(one) == [], "nothing has changed"


def test_one_heartbeat_is_encoded_for_all() -> None:
    one, _ = bonded_pair()
    bond(one, make(MIDDLE), link=2)
    one.set_status(Status(standing=MemberStanding.VOTER), now=0.1)
    first, second = drain(one)
    assert isinstance(first, SendBondFrame)
    assert isinstance(second, SendBondFrame)
    assert first.data is second.data


@pytest.mark.parametrize(
    "status",
    [
        Status(standing=MemberStanding.LEARNER),
        Status(history=bytes(16)),
        Status(leader=MIDDLE),
        Status(is_leaving=True),
        Status(is_catching_up=True),
        Status(closed_into=bytes(16)),
        Status(merged=(bytes(16),)),
    ],
)
def test_what_others_must_act_on_is_told_at_once(status: Status) -> None:
    one, other = bonded_pair()
    one.set_status(status, now=0.1)
    (sent,) = drain(one)
    assert isinstance(sent, SendBondFrame)
    other.receive_frame(1, sent.data, now=0.1)
    assert only(drain(other), StatusChanged) == StatusChanged(SMALL, status)
    assert other.bonded[SMALL].status == status
    assert other.bonded[SMALL].status == status


def run_until(mesh: Mesh, end: float) -> list[MeshEvent]:
    """Let time pass; the timer fires when it is due."""
    events = []
    while (due_at := mesh.get_timer()) is not None and due_at <= end:
        mesh.handle_timer(now=due_at)
        events += drain(mesh)
    return events


def test_silent_bond_is_closed_in_time() -> None:
    one, _ = bonded_pair()
    one.receive_peers({}, now=0.0)
    one.note_heard(1, now=0.7)
    assert not [e for e in run_until(one, 2.69) if isinstance(e, BondLost | CloseLink)]
    events = run_until(one, 2.701)
    assert only(events, CloseLink).reason.code == CloseCode.GROUP_TIMEOUT
    assert only(events, BondLost).reason.code == CloseCode.GROUP_TIMEOUT
    assert not one.bonded
    run_until(one, 5.0)
    assert one.get_timer() is None


def test_any_frame_is_a_sign_of_life() -> None:
    one, _ = bonded_pair()
    for step in range(1, 50):
        run_until(one, step * 1.0)
        one.note_heard(1, now=step * 1.0)
    assert one.link_of(LARGE) == 1


def test_own_standstill_is_not_the_silence_of_others() -> None:
    """What they have sent meanwhile waits to be read, after the timer."""
    one, _ = bonded_pair()
    run_until(one, 1.0)
    one.handle_timer(now=31.0)
    assert one.link_of(LARGE) == 1
    assert [e for e in run_until(one, 34.0) if isinstance(e, BondLost)], "now it is"


# Who is bonded with whom.


def test_bonds_between_others_are_learnt_and_forgotten() -> None:
    sim = Simulation(3)
    sim.start()
    sim.run_for(1.0)
    middle = sim.nodes[1]

    def seen_by(number: int) -> tuple[Bond, ...]:
        return sim.nodes[number].mesh.bonds()

    assert seen_by(0) == (Bond(SMALL, MIDDLE), Bond(SMALL, LARGE), Bond(MIDDLE, LARGE))

    # The bond between the two others ends: both tell.
    sim.cut = {(MIDDLE, LARGE): None, (LARGE, MIDDLE): None}
    sim.run_for(4.0)
    assert seen_by(0) == (Bond(SMALL, MIDDLE), Bond(SMALL, LARGE))

    # It forms again: both tell.
    sim.cut.clear()
    sim.run_for(12.0)
    sim.check_converged()

    # A teller goes: what it told goes with it.
    sim.leave(middle, 100.0)
    sim.run_for(1.0)
    assert seen_by(0) == seen_by(2) == (Bond(SMALL, LARGE),)


def test_news_of_several_bonds_travel_together() -> None:
    one, other = bonded_pair()
    run_until(one, 0.1)
    bond(make(MIDDLE), one, link=2, now=0.1)
    bond(make(peer(3)), one, link=3, now=0.12)
    told = [e for e in run_until(one, 0.19) if isinstance(e, SendBondFrame) and e.link_id == 1]
    assert frames(list(told)) == [Peers((MIDDLE, peer(3)))]
    other.receive_frame(1, told[0].data, now=0.2)
    drain(other)
    assert other.bonds() == (Bond(SMALL, MIDDLE), Bond(SMALL, LARGE), Bond(SMALL, peer(3)))


def test_newcomer_is_told_of_all_bonds() -> None:
    one, _ = bonded_pair()
    run_until(one, 0.1)
    newcomer = make(MIDDLE)
    prove = open_link(newcomer, dial(newcomer, SMALL), one, 2, 0.1)
    finish(newcomer, prove, one, 2, 0.1)
    assert newcomer.bonds() == (Bond(SMALL, MIDDLE), Bond(SMALL, LARGE))


def test_member_that_tells_of_too_many_bonds_loses_its_own() -> None:
    _, other = bonded_pair()
    many = [PeerId(bytes([9]) + number.to_bytes(31)) for number in range(MEMBERS_MAX + 1)]
    other.receive_frame(1, encode_frame(Peers(tuple(many[:MEMBERS_MAX]))), now=0.1)
    assert len(other.bonds()) == MEMBERS_MAX + 1
    drain(other)
    other.receive_frame(1, encode_frame(Peers(tuple(many[MEMBERS_MAX:]))), now=0.1)
    assert only(drain(other), CloseLink).reason.code == CloseCode.PROTOCOL_VIOLATION
    assert other.bonds() == ()


# Leaving and refusing.


def test_departure_is_told_and_nobody_dials_soon() -> None:
    one, other = bonded_pair()
    other.receive_peers(peers(SMALL), now=0.0)
    one.leave(now=1.0)
    events = drain(one)
    assert [type(e) for e in events] == [SendBondFrame, CloseLink, BondLost]
    assert only(events, CloseLink).reason.code == CloseCode.GRACEFUL_SHUTDOWN
    assert only(events, BondLost).was_graceful

    # The other end learns it from the frame; the closing that follows says nothing new.
    other.receive_frame(1, only(events, SendBondFrame).data, now=1.0)
    other.receive_closed(1, BROKEN, now=1.0)
    assert only(drain(other), BondLost).was_graceful
    assert not [e for e in run_until(other, 1.0 + WAIT_S_MAX / 2) if isinstance(e, DialWanted)]

    # Who has left takes part in nothing.
    one.receive_peers(peers(LARGE), now=2.0)
    one.recheck(now=2.0)
    one.set_status(Status(is_leaving=True), now=2.0)
    one.handle_timer(now=2.0)
    one.leave(now=2.0)
    assert one.get_timer() is None
    assert drain(one) == []
    one.receive_offer(9, MIDDLE, dial(make(MIDDLE), SMALL).header, now=2.0)
    assert only(drain(one), CloseLink).reason.code == CloseCode.GROUP_NOT_FOUND


def test_leaving_ends_handshakes_too() -> None:
    one, other = make(SMALL), make(LARGE)
    wanted = dial(one, LARGE)
    other.receive_offer(1, SMALL, wanted.header, now=0.0)
    other.leave(now=0.1)
    assert only(drain(other), CloseLink).link_id == 1
    one.leave(now=0.1)
    one.receive_opened(1, wanted.token, b"", now=0.2)
    assert only(drain(one), CloseLink).link_id == 1


def test_link_that_closes_without_a_departure_is_no_departure() -> None:
    """A node that stops says goodbye to its links; its members may come back from their disks."""
    one, _ = bonded_pair()
    one.receive_closed(1, CloseReason(CloseCode.GRACEFUL_SHUTDOWN, remote=True), now=1.0)
    assert not only(drain(one), BondLost).was_graceful


def test_refused_peer_gets_no_bond_until_it_is_welcome() -> None:
    reason: dict[PeerId, str | None] = {LARGE: "it has no ticket"}
    one, other = make(SMALL, allow=reason.get), make(LARGE)

    # It is not dialled, and its own link is refused once it has proven the key.
    one.receive_peers(peers(LARGE), now=0.0)
    assert drain(one) == []
    prove = open_link(other, dial(other, SMALL), one, 1, 0.0)
    events = finish(other, prove, one, 1, 0.0)
    assert only(events, CloseLink).reason == CloseReason(
        CloseCode.GROUP_NOT_ALLOWED, "it has no ticket"
    )
    assert not one.bonded

    # Once it is taken in, it is dialled at once.
    reason[LARGE] = None
    one.recheck(now=0.01)
    wanted = only(drain(one), DialWanted)
    other.receive_closed(1, BROKEN, now=0.01)
    finish(one, open_link(one, wanted, other, 2, 0.01), other, 2, 0.01)
    assert one.link_of(LARGE) == 2
    drain(one)

    # Its ticket expires.
    reason[LARGE] = "its ticket has expired"
    one.recheck(now=5.0)
    events = drain(one)
    assert only(events, CloseLink).reason.text == "its ticket has expired"
    assert not only(events, BondLost).was_graceful
    assert not [e for e in run_until(one, 30.0) if isinstance(e, DialWanted)]


def test_caller_may_close_a_link_for_what_came_over_it() -> None:
    one, _ = bonded_pair()
    reason = CloseReason(CloseCode.PROTOCOL_VIOLATION, "not a message of Raft")
    one.close_link(1, reason, now=1.0)
    events = drain(one)
    assert only(events, CloseLink) == CloseLink(1, reason)
    assert only(events, BondLost) == BondLost(LARGE, reason, was_graceful=False)
    one.close_link(1, reason, now=1.0)
    assert drain(one) == []


# What it costs.


def bonded_with_many(count: int) -> Mesh:
    mesh = make(SMALL)
    for number in range(count):
        bond(make(PeerId(bytes([9]) + number.to_bytes(31))), mesh, link=number)
    run_until(mesh, 0.1)
    return mesh


def test_sign_of_life_costs_next_to_nothing() -> None:
    """0.3 us at most, on the hot path of every burst of frames; the best of a few runs counts."""
    mesh = bonded_with_many(10)
    count = 20_000
    seconds = min(
        repeat(lambda: mesh.note_heard(7, now=0.2), number=count, repeat=7, timer=process_time)
    )
    idle = min(repeat(lambda: None, number=count, repeat=7, timer=process_time))
    assert (seconds - idle) / count < 0.3e-6


def test_heartbeats_are_cheap() -> None:
    """For 100 bonds: sending them all, and taking in one, though it says nothing new."""
    mesh = bonded_with_many(100)
    beat = encode_frame(Beat(Status(commit_index=1)))
    for link in range(100):
        mesh.receive_frame(link, beat, now=0.2)
    drain(mesh)

    def beat_all() -> None:
        due_at = mesh.get_timer()
        assert due_at is not None
        for link in range(100):
            mesh.note_heard(link, now=due_at)
        mesh.handle_timer(now=due_at)
        drain(mesh)

    assert min(repeat(beat_all, number=5, repeat=5, timer=process_time)) / 5 < 2e-3
    taken = min(
        repeat(
            lambda: mesh.receive_frame(7, beat, now=0.2), number=5000, repeat=5, timer=process_time
        )
    )
    assert taken / 5000 < 1e-5
    assert drain(mesh) == []
