"""Catalog sync: both sides end with the union, and equal ones say little."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.discovery.entry import EntryVersion, PeerEntry, SignedPeerEntry, encode_entry
from mosaik_actors.discovery.reconcile import EntryIndex, Reconciler, SyncState, choose_bits
from mosaik_actors.discovery.wire import (
    BUCKET_COUNT_MAX,
    BUCKET_HASH_BYTES,
    FRAME_BYTES_MAX,
    SyncBuckets,
    SyncDone,
    SyncEntries,
    SyncFrame,
    SyncRoot,
    SyncVersions,
    SyncWant,
    decode_frame,
    encode_frame,
)
from mosaik_actors.errors import RemoteError
from mosaik_actors.ids import PeerId, UniqueId

from .helpers import NETWORK, peer, signed

Entries = Mapping[PeerId, SignedPeerEntry]


def made_up(number: int, update: int, name: str = "") -> SignedPeerEntry:
    """Return an entry without a real signature: the catalog judges, not the sync."""
    owner = PeerId(bytes(UniqueId(f"peer {number}")))
    entry = PeerEntry(
        network=NETWORK, peer=owner, version=EntryVersion(1, update), relay=name or None
    )
    return SignedPeerEntry.decode(bytes(64) + encode_entry(entry))


def made_up_catalog(versions: Mapping[int, int]) -> dict[PeerId, SignedPeerEntry]:
    entries = [made_up(number, update) for number, update in versions.items()]
    return {one.peer_id: one for one in entries}


def merge(entries: Entries, encoded: list[bytes]) -> dict[PeerId, SignedPeerEntry]:
    merged = dict(entries)
    for one in map(SignedPeerEntry.decode, encoded):
        if one.peer_id not in merged or one.version > merged[one.peer_id].version:
            merged[one.peer_id] = one
    return merged


class Run:
    """One sync between two catalogs, over encoded frames."""

    def __init__(self, opener: Entries, acceptor: Entries, peers_max: int = 20_000) -> None:
        sides = [
            Reconciler(opener, peers_max=peers_max),
            Reconciler(acceptor, peers_max=peers_max),
        ]
        received: list[list[bytes]] = [[], []]
        self.bytes_count = 0
        self.frame_bytes_max = 0
        waiting = [(1, frame) for frame in sides[0].open().frames]
        while waiting:
            to, frame = waiting.pop(0)
            data = encode_frame(frame)
            self.bytes_count += len(data)
            self.frame_bytes_max = max(self.frame_bytes_max, len(data))
            decoded = decode_frame(data)
            assert decoded == frame
            step = sides[to].receive_frame(decoded)
            received[to].extend(step.entries)
            waiting.extend((1 - to, one) for one in step.frames)
        assert all(side.is_done for side in sides)
        assert sides[0].received_count == sides[1].sent_count == len(received[0])
        assert sides[1].received_count == sides[0].sent_count == len(received[1])
        self.entry_count = len(received[0]) + len(received[1])
        self.opener = merge(opener, received[0])
        self.acceptor = merge(acceptor, received[1])


catalogs = st.dictionaries(st.integers(0, 60), st.integers(0, 3), max_size=40)


@settings(max_examples=150, deadline=None)
@given(catalogs, catalogs)
def test_both_sides_end_with_the_newest_of_both(one: dict[int, int], two: dict[int, int]) -> None:
    run = Run(made_up_catalog(one), made_up_catalog(two))
    newest = {n: max(one.get(n, -1), two.get(n, -1)) for n in {**one, **two}}
    assert run.opener == run.acceptor == made_up_catalog(newest)
    differing = sum(one.get(n) != two.get(n) for n in newest)
    assert run.entry_count == differing


def test_two_equal_catalogs_of_a_thousand_peers_cost_under_a_kibibyte() -> None:
    entries = made_up_catalog(dict.fromkeys(range(1000), 1))
    run = Run(entries, dict(reversed(entries.items())))
    assert run.bytes_count < 64
    assert run.entry_count == 0


def test_one_difference_in_a_thousand_costs_a_few_kibibytes() -> None:
    entries = made_up_catalog(dict.fromkeys(range(1000), 1))
    changed = made_up_catalog({**dict.fromkeys(range(1000), 1), 500: 2})
    run = Run(entries, changed)
    assert run.entry_count == 1
    assert run.bytes_count < 3000


def test_a_large_catalog_goes_to_a_newcomer_in_bounded_frames() -> None:
    versions = dict.fromkeys(range(9000), 1)
    entries = made_up_catalog(versions)
    newcomer = made_up_catalog({9999: 1})
    for run in (Run(newcomer, entries), Run(entries, newcomer)):
        assert run.opener == run.acceptor == made_up_catalog({**versions, 9999: 1})
        assert run.frame_bytes_max <= FRAME_BYTES_MAX


def test_large_entries_are_split_over_frames() -> None:
    entries = {}
    for n in range(20):
        one = SignedPeerEntry.decode(
            bytes(64)
            + encode_entry(
                PeerEntry(
                    network=NETWORK,
                    peer=PeerId(bytes(UniqueId(str(n)))),
                    version=EntryVersion(1, 1),
                    tags=tuple(UniqueId(str(tag)) for tag in range(1000)),
                )
            )
        )
        entries[one.peer_id] = one
    run = Run({}, entries)
    assert run.opener == entries
    assert run.frame_bytes_max <= FRAME_BYTES_MAX


def test_what_is_over_holds_no_catalog() -> None:
    """A link to a neighbour keeps its last sync: with catalogs of n peers that would be much."""
    one, two = made_up_catalog(dict.fromkeys(range(50), 1)), made_up_catalog({1: 2, 77: 1})
    sides = Reconciler(one, peers_max=1000), Reconciler(two, peers_max=1000)
    frames, receiver = sides[0].open().frames, 1
    while frames:
        frames = [out for frame in frames for out in sides[receiver].receive_frame(frame).frames]
        receiver = 1 - receiver
    for side in sides:
        assert side.is_done
        held = [side._entries, side._versions, side._offered, side._buckets]
        assert not any(held)


def test_real_signatures_survive() -> None:
    run = Run({peer("a"): signed("a")}, {peer("b"): signed("b")})
    assert all(one.is_valid for one in run.opener.values())
    assert set(run.opener) == {peer("a"), peer("b")}


@pytest.mark.parametrize(
    "frame",
    [
        SyncBuckets(bytes(8)),
        SyncVersions((), (), more=False),
        SyncEntries(()),
        SyncWant((), more=False),
        SyncDone(),
    ],
)
def test_a_frame_before_its_turn_is_the_peers_fault(frame: SyncFrame) -> None:
    with pytest.raises(RemoteError, match="expected the digest"):
        Reconciler({}, peers_max=10).receive_frame(frame)


def test_an_opener_refuses_digests_that_are_no_power_of_two() -> None:
    side = Reconciler({}, peers_max=10)
    side.open()
    with pytest.raises(RemoteError, match="power of two"):
        side.receive_frame(SyncBuckets(bytes(24)))


def test_only_offered_entries_may_be_wanted_and_only_once() -> None:
    side = Reconciler({peer("a"): signed("a")}, peers_max=10)
    side.open()
    side.receive_frame(SyncBuckets(bytes(8)))
    with pytest.raises(RemoteError, match="not offered"):
        side.receive_frame(SyncWant((peer("b"),), more=False))
    side.receive_frame(SyncWant((peer("a"),), more=True))
    with pytest.raises(RemoteError, match="not offered"):
        side.receive_frame(SyncWant((peer("a"),), more=False))


def test_too_many_versions_or_entries_end_the_sync() -> None:
    side = Reconciler({peer("a"): signed("a")}, peers_max=10)
    side.receive_frame(SyncRoot(bytes(16), 1))
    versions = tuple((PeerId(bytes([n]) * 32), EntryVersion(1, 1)) for n in range(12))
    with pytest.raises(RemoteError, match="12 versions"):
        side.receive_frame(SyncVersions((0,), versions, more=False))

    side = Reconciler({}, peers_max=10)
    side.open()
    side.receive_frame(SyncBuckets(bytes(8)))
    with pytest.raises(RemoteError, match="12 entries"):
        side.receive_frame(SyncEntries((b"",) * 12))


frames = st.one_of(
    st.builds(SyncRoot, st.binary(min_size=16, max_size=16), st.integers(0, 2**60)),
    st.builds(SyncBuckets, st.binary(min_size=8, max_size=64)),
    st.builds(
        SyncVersions,
        st.lists(st.integers(0, BUCKET_COUNT_MAX - 1), max_size=9).map(tuple),
        st.lists(
            st.tuples(
                st.binary(min_size=32, max_size=32).map(PeerId),
                st.builds(EntryVersion, st.integers(0, 9), st.integers(0, 9)),
            ),
            max_size=9,
        ).map(tuple),
        st.booleans(),
    ),
    st.builds(SyncEntries, st.lists(st.binary(max_size=9), max_size=9).map(tuple)),
    st.builds(
        SyncWant,
        st.lists(st.binary(min_size=32, max_size=32).map(PeerId), max_size=3).map(tuple),
        st.booleans(),
    ),
    st.just(SyncDone()),
)


@given(st.booleans(), st.lists(frames, max_size=12))
def test_any_frames_are_taken_or_refused_as_the_peers_fault(
    opens: bool, sequence: list[SyncFrame]
) -> None:
    side = Reconciler({peer("a"): signed("a")}, peers_max=5)
    if opens:
        side.open()
    try:
        for frame in sequence:
            side.receive_frame(frame)
    except RemoteError:
        return
    assert side.state in SyncState


@given(st.integers(0, 100_000))
def test_a_bucket_holds_few_peers_and_their_number_is_bounded(entry_count: int) -> None:
    bits = choose_bits(entry_count)
    assert 1 << bits <= BUCKET_COUNT_MAX
    if entry_count < BUCKET_COUNT_MAX * 8:
        assert entry_count <= (1 << bits) * 16


@given(st.sets(st.integers(0, 400), max_size=60), st.integers(0, 9))
def test_a_bucket_is_the_peers_whose_ids_begin_with_the_same_bits(
    numbers: set[int], bits: int
) -> None:
    entries = made_up_catalog(dict.fromkeys(numbers, 1))
    index = EntryIndex(entries)
    digests = index.bucket_digests(bits)
    assert len(digests) == 1 << bits
    begun: dict[int, list[SignedPeerEntry]] = {}
    for one in sorted(entries.values(), key=lambda one: one.peer_id):
        begun.setdefault(int.from_bytes(one.peer_id) >> (256 - bits), []).append(one)
    for bucket, digest in enumerate(digests):
        lines = b"".join(one.sync_line for one in begun.get(bucket, []))
        assert digest == blake3(lines).digest(BUCKET_HASH_BYTES)
    for bucket in (*begun, 0):
        assert list(index.entries_in([bucket], bits)) == begun.get(bucket, [])
    assert list(index.entries_in([*begun, 1 << bits], bits)) == [*chain(*begun.values())]
