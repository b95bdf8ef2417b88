"""Whatever a peer sends: it is taken in, or its link is closed; nothing is raised.

The peer at the other end is proven by the transport, and may be anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mosaik_actors.errors import DecodeError
from mosaik_actors.groups.mesh.bond import AcceptLink, BondLost, CloseLink, MeshEvent
from mosaik_actors.groups.mesh.mesh import Mesh
from mosaik_actors.groups.mesh.topology import Topology
from mosaik_actors.groups.mesh.wire import (
    MEMBERS_MAX,
    MESH_FRAME_BYTES_MAX,
    Beat,
    Confirm,
    Leave,
    MeshFrame,
    Peers,
    Prove,
    decode_frame,
    encode_frame,
)
from mosaik_actors.groups.wire.frames import MESH
from mosaik_actors.groups.wire.status import MERGED_COUNT_MAX, MemberStanding, Status
from mosaik_actors.ids import PeerId
from mosaik_actors.transport.close import CloseCode

from ..cores import peer
from .test_mesh import LARGE, SMALL, bonded_pair, dial, drain, make, only

STATUS = Status(
    standing=MemberStanding.VOTER,
    history=bytes(16),
    term=1 << 61,
    leader=LARGE,
    commit_index=(1 << 62) - 1,
    leadership_factor=1000.0,
    merged=(bytes(16),) * MERGED_COUNT_MAX,
)
FRAMES: tuple[MeshFrame, ...] = (
    Prove(bytes(32), STATUS),
    Confirm(STATUS),
    Beat(STATUS),
    Peers((peer(5),), (peer(6),)),
    Leave(),
)

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=15) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=20,
)
tags = st.sampled_from(["prove", "confirm", "beat", "peers", "leave", "other", ""])


@st.composite
def arrays(draw: st.DrawFn) -> bytes:
    """A frame with a known tag and anything after it."""
    return b"\x00" + msgspec.msgpack.encode([draw(tags), *draw(st.lists(anything, max_size=4))])


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A frame that was right before a few of its bytes changed, or its end was lost."""
    data = bytearray(encode_frame(draw(st.sampled_from(FRAMES))))
    for _ in range(draw(st.integers(1, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))])


# A busy machine is no failure.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
hostile = st.binary(max_size=60) | arrays() | damaged() | st.sampled_from(FRAMES).map(encode_frame)


def waiting_for_proof() -> Mesh:
    """Return a mesh that has answered an offer on link 1."""
    mesh = make(LARGE)
    mesh.receive_offer(1, SMALL, dial(make(SMALL), LARGE).header, now=0.0)
    drain(mesh)
    return mesh


def waiting_for_confirmation() -> Mesh:
    """Return a mesh that has sent its proof on link 1."""
    mesh, other = make(SMALL), make(LARGE)
    wanted = dial(mesh, LARGE)
    other.receive_offer(1, SMALL, wanted.header, now=0.0)
    mesh.receive_opened(1, wanted.token, only(drain(other), AcceptLink).reply, now=0.0)
    drain(mesh)
    return mesh


def standing() -> Mesh:
    """Return a mesh with a bond on link 1."""
    return bonded_pair()[0]


def closed(events: list[MeshEvent]) -> bool:
    return any(isinstance(event, CloseLink) and event.link_id == 1 for event in events)


@patient
@given(st.lists(hostile, min_size=1, max_size=5))
@pytest.mark.parametrize("begin", [waiting_for_proof, waiting_for_confirmation, standing])
def test_any_frame_is_taken_or_ends_its_link(begin: Callable[[], Mesh], sent: list[bytes]) -> None:
    mesh = begin()
    was_bonded = bool(mesh.bonded)
    for number, data in enumerate(sent):
        mesh.receive_frame(1, data, now=number * 0.1)
    mesh.receive_frame(2, sent[0], now=1.0)  # a link nobody has heard of
    events = drain(mesh)
    is_over = closed(events)
    assert is_over == (mesh.peer_of(1) is None and not held(mesh))
    if was_bonded:
        assert is_over == any(isinstance(event, BondLost) for event in events)
    for data in sent:
        try:
            decode_frame(data)
        except DecodeError:
            assert is_over, "a frame of a wrong form was borne"


def held(mesh: Mesh) -> bool:
    """Return whether link 1 is in a handshake still."""
    return 1 in mesh._attempts.by_link


@patient
@given(st.binary(max_size=150) | anything.map(msgspec.msgpack.encode))
def test_any_header_and_any_reply_is_refused_without_harm(data: bytes) -> None:
    mesh = make(SMALL)
    mesh.receive_offer(1, LARGE, data, now=0.0)
    assert only(drain(mesh), CloseLink).reason.code == CloseCode.GROUP_INVALID_HANDSHAKE
    wanted = dial(mesh, LARGE)
    mesh.receive_opened(2, wanted.token, data, now=0.0)
    assert only(drain(mesh), CloseLink).reason.code == CloseCode.GROUP_INVALID_HANDSHAKE
    assert not mesh.bonded


@patient
@given(
    st.sampled_from(FRAMES)
    | st.builds(
        Peers,
        st.lists(st.binary(min_size=32, max_size=32).map(PeerId), max_size=5).map(tuple),
        st.lists(st.binary(min_size=32, max_size=32).map(PeerId), max_size=5).map(tuple),
    )
)
def test_frames_survive_the_wire(frame: MeshFrame) -> None:
    data = encode_frame(frame)
    assert data[0] == MESH
    assert decode_frame(data) == frame


def test_empty_frame_ends_a_bond() -> None:
    """Also before the first heartbeat, when nothing has been said twice yet."""
    mesh = standing()
    mesh.receive_frame(1, b"", now=0.1)
    assert only(drain(mesh), CloseLink).reason.code == CloseCode.PROTOCOL_VIOLATION


def test_frames_of_others_are_not_of_the_mesh() -> None:
    for data in (b"", b"\x01", b"\x06abc"):
        with pytest.raises(DecodeError, match="not a frame of the mesh"):
            decode_frame(data)


def test_largest_frame_fits_and_nothing_above_it() -> None:
    many = tuple(PeerId(bytes([9]) + number.to_bytes(31)) for number in range(MEMBERS_MAX))
    largest = Peers(many, many)
    assert decode_frame(encode_frame(largest)) == largest
    for frame in (Peers((*many, SMALL)), Peers((), (*many, SMALL))):
        with pytest.raises(DecodeError):
            decode_frame(encode_frame(frame))
    with pytest.raises(DecodeError, match="at most"):
        decode_frame(bytes(MESH_FRAME_BYTES_MAX + 2))


@pytest.mark.parametrize(
    "status",
    [
        ["standing"],
        [9],
        [0, bytes(17)],
        [0, b"", -1],
        [0, b"", 1 << 62],
        [0, b"", 0, bytes(31)],
        [0, b"", 0, None, 0, 0, False, 0.5],
        [0, b"", 0, None, 0, 0, False, float("nan")],
        [0, b"", 0, None, 0, 0, False, 1.0, False, False, False, b"", [b""] * 65],
    ],
)
def test_status_that_cannot_be_is_refused(status: list[Any]) -> None:
    mesh = standing()
    mesh.receive_frame(1, b"\x00" + msgspec.msgpack.encode(["beat", status]), now=0.1)
    assert only(drain(mesh), CloseLink).reason.code == CloseCode.PROTOCOL_VIOLATION


@patient
@given(st.integers(0, 1 << 32))
def test_topology_is_what_the_bonded_say(seed: int) -> None:
    """Compared with the plain rule, on random news: the last word of each teller counts."""
    rng = Random(seed)
    ids = [peer(number) for number in range(6)]
    me, others = ids[0], ids[1:]
    core = Topology(me)
    said: dict[PeerId, set[PeerId]] = {}
    for _ in range(60):
        one = rng.choice(others)
        if one not in said:
            core.add(one)
            said[one] = set()
        elif rng.random() < 0.2:
            core.remove(one)
            del said[one]
        else:
            added = tuple(rng.sample(ids, rng.randrange(3)))
            removed = tuple(rng.sample([i for i in ids if i not in added], rng.randrange(3)))
            core.receive(one, Peers(added, removed))
            said[one] = (said[one] | set(added)) - set(removed)
        expected = {(min(me, one), max(me, one)) for one in said}
        for teller, told in said.items():
            expected |= {(min(teller, p), max(teller, p)) for p in told if p not in (me, teller)}
        assert core.bonds() == tuple(sorted(expected))


@patient
@given(st.integers(0, 1 << 32))
def test_news_add_up_to_what_is_so(seed: int) -> None:
    """For a peer that was told since the beginning, and for one that came in the middle."""
    rng = Random(seed)
    others = [peer(number) for number in range(1, 7)]
    core = Topology(peer(0))
    own: set[PeerId] = set()
    told: dict[PeerId, set[PeerId]] = {}
    for _ in range(60):
        one = rng.choice(others)
        if rng.random() < 0.3:
            if (news := core.take_news()) is not None:
                for known in told.values():
                    known |= set(news.added)
                    known -= set(news.removed)
            assert all(known == own for known in told.values())
        elif one in own:
            core.remove(one)
            own.remove(one)
            del told[one]
        else:
            told[one] = set(core.add(one).added)
            own.add(one)
