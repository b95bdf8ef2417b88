"""Catalog sync: two peers find out what differs, and exchange only that.

A pure state machine, one per sync and side. It works on what
`Catalog.told_entries` returned when the sync began; entries that arrive
meanwhile travel as announcements.

    1. opener -> acceptor: the digest of everything (`SyncRoot`).
    2. acceptor -> opener: `SyncDone` when it is the same, and that is all; else
       one digest per bucket (`SyncBuckets`). A bucket holds the peers whose ids
       begin with the same bits, about eight of them.
    3. opener -> acceptor: ids and versions in the buckets that differ
       (`SyncVersions`).
    4. acceptor -> opener: what it has newer or alone (`SyncEntries`), then whose
       entries it wants (`SyncWant`).
    5. opener -> acceptor: those, then `SyncDone`.
    6. acceptor -> opener: `SyncDone`, once its catalog has taken all of them in:
       from here on each side knows that the other knows.

Two equal catalogs cost about 60 bytes at any size. One that differs in d peers
costs 8 bytes for every eight peers, and about 400 bytes and the entry for each
of the d.

Rules:
    * Entries from the other side are handed out as they come and judged by the
      catalog, never here.
    * What a frame may hold is limited by `wire`; how much may come in total is
      limited here. A frame out of turn is a `RemoteError`, and ends the link.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain, islice, pairwise
from operator import attrgetter
from typing import TypeVar, cast

from blake3 import blake3

from ..errors import RemoteError
from ..ids import ID_BYTES, PeerId
from .entry import EntryVersion, SignedPeerEntry
from .wire import (
    BUCKET_COUNT_MAX,
    BUCKET_HASH_BYTES,
    ROOT_HASH_BYTES,
    VERSION_COUNT_MAX,
    SyncBuckets,
    SyncDone,
    SyncEntries,
    SyncFrame,
    SyncRoot,
    SyncVersions,
    SyncWant,
    pack_entries,
)

_PEERS_PER_BUCKET = 8
_LINE_BYTES = ID_BYTES + 16
_NO_ENTRIES = blake3(b"").digest(BUCKET_HASH_BYTES)
_sync_line = attrgetter("sync_line")

_T = TypeVar("_T")
Entries = Mapping[PeerId, SignedPeerEntry]


class SyncState(Enum):
    """What a side of a sync waits for."""

    ROOT = "the digest"  # the acceptor
    VERSIONS = "the versions"
    WANTED = "the entries it wanted"
    BUCKETS = "the digests of the buckets"  # the opener
    ANSWER = "entries, and which are wanted"
    CONFIRMATION = "the confirmation"
    DONE = "nothing, it is done"


@dataclass(slots=True)
class SyncStep:
    """What to do after a frame, in this order.

    Attributes:
        entries: Hand these encoded entries to the catalog.
        frames: Then send these. After the acceptor's last step, only once the
            catalog has judged all entries of this sync.
    """

    entries: tuple[bytes, ...] = ()
    frames: list[SyncFrame] = field(default_factory=list)


class Reconciler:
    """One side of one sync.

    Args:
        entries: What this side would send; must not change.
        peers_max: The largest catalog that is believable.
    """

    def __init__(self, entries: Entries, *, peers_max: int) -> None:
        self._entries = entries
        self._index = EntryIndex(entries)
        # A catalog holds peers_max others and its owner.
        self._count_max = peers_max + 1
        self._state = SyncState.ROOT
        self._bits = 0
        self._buckets: list[int] = []
        self._versions: dict[bytes, EntryVersion] = {}
        self._offered: list[bytes] = []
        self._unserved: set[bytes] | None = None  # of those, once the other side wants any
        self.received_count = 0
        self.sent_count = 0

    @property
    def state(self) -> SyncState:
        """What this side waits for."""
        return self._state

    @property
    def is_done(self) -> bool:
        """Whether this side has nothing more to send or to wait for."""
        return self._state is SyncState.DONE

    def open(self) -> SyncStep:
        """Begin, as the opener. The other side just waits for its first frame."""
        assert self._state is SyncState.ROOT, f"cannot open a sync that waits for {self._state}"
        self._state = SyncState.BUCKETS
        root = SyncRoot(self._index.digest(ROOT_HASH_BYTES), len(self._entries))
        return SyncStep(frames=[root])

    def receive_frame(self, frame: SyncFrame) -> SyncStep:
        """Take in the other side's next frame, and return what to do.

        Raises:
            RemoteError: The frame is out of turn, or there is too much of it.
        """
        match frame, self._state:
            case SyncRoot(), SyncState.ROOT:
                return self._compare_root(frame)
            case SyncBuckets(), SyncState.BUCKETS:
                return self._compare_buckets(frame)
            case SyncVersions(), SyncState.VERSIONS:
                return self._compare_versions(frame)
            case SyncEntries(), SyncState.ANSWER | SyncState.WANTED:
                self.received_count += len(frame.entries)
                self._require_at_most(self.received_count, "entries")
                return SyncStep(entries=frame.entries)
            case SyncWant(), SyncState.ANSWER:
                return self._serve(frame)
            case SyncDone(), SyncState.BUCKETS | SyncState.CONFIRMATION:
                self._end()
                return SyncStep()
            case SyncDone(), SyncState.WANTED:
                self._end()
                return SyncStep(frames=[SyncDone()])
        raise RemoteError(f"a sync frame {type(frame).__name__}, expected {self._state.value}")

    def _end(self) -> None:
        """Hold nothing of the sync: a link to a neighbour lives on, and keeps its last one."""
        self._state = SyncState.DONE
        self._entries = {}
        self._index = EntryIndex({})
        self._buckets = []
        self._versions = {}
        self._offered = []
        self._unserved = None

    def _compare_root(self, root: SyncRoot) -> SyncStep:
        if root.digest == self._index.digest(ROOT_HASH_BYTES):
            self._end()
            return SyncStep(frames=[SyncDone()])
        self._state = SyncState.VERSIONS
        self._bits = choose_bits(max(root.entry_count, len(self._entries)))
        return SyncStep(frames=[SyncBuckets(b"".join(self._index.bucket_digests(self._bits)))])

    def _compare_buckets(self, frame: SyncBuckets) -> SyncStep:
        bucket_count = len(frame.digests) // BUCKET_HASH_BYTES
        self._bits = bucket_count.bit_length() - 1
        if len(frame.digests) != BUCKET_HASH_BYTES << self._bits:
            raise RemoteError(f"{len(frame.digests)} bytes of digests, expected a power of two")
        size = BUCKET_HASH_BYTES
        digests = enumerate(self._index.bucket_digests(self._bits))
        differing = tuple(
            index
            for index, digest in digests
            if digest != frame.digests[index * size : (index + 1) * size]
        )
        versions = [
            (signed.sync_line[:ID_BYTES], signed.version)
            for signed in self._index.entries_in(differing, self._bits)
        ]
        self._offered = [peer_id for peer_id, _ in versions]
        self._state = SyncState.ANSWER
        return SyncStep(frames=list(_version_frames(differing, versions)))

    def _compare_versions(self, frame: SyncVersions) -> SyncStep:
        self._buckets.extend(frame.buckets)
        self._versions.update(frame.versions)
        self._require_at_most(len(self._versions), "versions")
        if len(self._buckets) > BUCKET_COUNT_MAX:
            raise RemoteError(f"{len(self._buckets)} buckets, at most {BUCKET_COUNT_MAX}")
        if frame.more:
            return SyncStep()
        theirs = self._versions
        find = cast("Mapping[PeerId, EntryVersion]", theirs).get  # an id is its bytes
        lacking = [
            signed
            for signed in self._index.entries_in(dict.fromkeys(self._buckets), self._bits)
            if (version := find(signed.peer_id)) is None or signed.version > version
        ]
        known = cast("Mapping[bytes, SignedPeerEntry]", self._entries)
        wanted = [
            peer_id
            for peer_id, version in theirs.items()
            if (signed := known.get(peer_id)) is None or version > signed.version
        ]
        self._state = SyncState.WANTED
        return SyncStep(frames=[*self._entry_frames(lacking), *_want_frames(wanted)])

    def _serve(self, frame: SyncWant) -> SyncStep:
        if self._unserved is None:
            self._unserved = set(self._offered) if frame.peers else set()
        wanted = []
        for peer_id in frame.peers:
            if peer_id not in self._unserved:
                short = PeerId(peer_id).short
                raise RemoteError(f"the entry of {short} is wanted, it was not offered")
            self._unserved.discard(peer_id)
            wanted.append(self._entries[PeerId(peer_id)])
        step = SyncStep(frames=list(self._entry_frames(wanted)))
        if not frame.more:
            step.frames.append(SyncDone())
            self._state = SyncState.CONFIRMATION
        return step

    def _entry_frames(self, entries: Iterable[SignedPeerEntry]) -> Iterator[SyncFrame]:
        for group in pack_entries(signed.encode() for signed in entries):
            self.sent_count += len(group)
            yield SyncEntries(group)

    def _require_at_most(self, count: int, what: str) -> None:
        if count > self._count_max:
            raise RemoteError(f"{count} {what} in a sync, at most {self._count_max}")


def choose_bits(entry_count: int) -> int:
    """Return how many leading bits of an id choose its bucket, for catalogs of this size."""
    bucket_count = max(1, min(entry_count // _PEERS_PER_BUCKET, BUCKET_COUNT_MAX))
    return bucket_count.bit_length() - 1


class EntryIndex:
    """Entries by their peers' ids, of which those of a bucket are next to each other.

    Args:
        entries: The entries; those of a catalog are nearly in order.
    """

    __slots__ = ("_in_order", "_lines", "_text")

    def __init__(self, entries: Entries) -> None:
        self._in_order = sorted(entries.values(), key=_sync_line)
        self._lines = [signed.sync_line for signed in self._in_order]
        self._text = b"".join(self._lines)

    def digest(self, length: int) -> bytes:
        """Return `length` bytes that are the same for the same peers in the same versions."""
        return blake3(self._text).digest(length)

    def bucket_digests(self, bits: int) -> list[bytes]:
        """Return the digest of each bucket: of the peers whose ids begin with the same bits."""
        text, size = self._text, _LINE_BYTES
        ends = [size * cut for cut in self._cuts(bits)]
        return [
            blake3(text[start:end]).digest(BUCKET_HASH_BYTES) if start < end else _NO_ENTRIES
            for start, end in pairwise(ends)
        ]

    def entries_in(self, buckets: Iterable[int], bits: int) -> Iterator[SignedPeerEntry]:
        """Return the entries of some buckets; there is nothing in one that does not exist."""
        cuts = self._cuts(bits)
        found = [self._in_order[cuts[at] : cuts[at + 1]] for at in buckets if at < len(cuts) - 1]
        return chain.from_iterable(found)

    def _cuts(self, bits: int) -> list[int]:
        """Return where each bucket begins, and where the last one ends."""
        lines, cuts = self._lines, [0]
        for bucket in range(1, 1 << bits):
            first = (bucket << (16 - bits)).to_bytes(2)
            cuts.append(bisect_left(lines, first, lo=cuts[-1]))
        cuts.append(len(lines))
        return cuts


def _version_frames(
    buckets: tuple[int, ...], versions: list[tuple[bytes, EntryVersion]]
) -> Iterator[SyncFrame]:
    for group, more in _groups(versions):
        yield SyncVersions(buckets, tuple(group), more)
        buckets = ()


def _want_frames(peers: list[bytes]) -> Iterator[SyncFrame]:
    for group, more in _groups(peers):
        yield SyncWant(tuple(group), more)


def _groups(items: list[_T]) -> Iterator[tuple[list[_T], bool]]:
    rest = iter(items)
    group = list(islice(rest, VERSION_COUNT_MAX))
    while True:
        following = list(islice(rest, VERSION_COUNT_MAX))
        yield group, bool(following)
        if not following:
            return
        group = following
