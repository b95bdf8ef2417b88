"""Batches for the tests of storages, drawn so that each fits what is stored."""

from random import Random

from mosaik_actors.groups.storage.interface import LogOwner, LogState, SaveBatch
from mosaik_actors.groups.wire.records import Entry, EntryKind, HardState, SnapshotMetadata, Voters
from mosaik_actors.ids import PeerId, UniqueId

PEERS = tuple(PeerId(bytes([number]) * 32) for number in range(1, 4))
OWNER = LogOwner(UniqueId("a group"), PEERS[0])


def entries(first: int, count: int, term: int = 1, data: bytes = b"command") -> list[Entry]:
    return [Entry(first + step, term, EntryKind.COMMANDS, data) for step in range(count)]


def started(count: int, term: int = 1) -> SaveBatch:
    """Return the first batch of a log: a term, and entries of it."""
    return SaveBatch(hard_state=HardState(term), entries=entries(1, count, term))


def snapshot_at(
    index: int, term: int = 1, data: bytes = b"state"
) -> tuple[SnapshotMetadata, bytes]:
    return SnapshotMetadata(index, term, Voters(PEERS)), data


def draw_batch(state: LogState, rng: Random, *, data_bytes_max: int = 60) -> SaveBatch:
    """Return a random batch that fits `state`: every kind of step, alone and together."""
    shape = state.shape
    reset = rng.random() < 0.03
    old = shape.hard_state
    if reset:
        old = HardState(old.term, old.vote)
    hard_state = _draw_hard_state(old, rng) if rng.random() < 0.4 else None
    term = (hard_state or old).term
    snapshot_index = 0 if reset or shape.metadata is None else shape.metadata.index
    base, (last_index, last_term) = ((0, 0), (0, 0)) if reset else (shape.base, shape.last)
    terms = {} if reset else {entry.index: entry.term for entry in state.stored.entries}
    terms[base[0]] = base[1]
    snapshot = truncate_from = compact_to = None
    settled = max(snapshot_index, old.commit_index)
    if rng.random() < 0.3 and settled < last_index:
        truncate_from = rng.randint(settled + 1, last_index)
        last_index, last_term = truncate_from - 1, terms[truncate_from - 1]
    kind = rng.random()
    if kind < 0.1 and term:
        # Another's snapshot, beyond the log: the log begins after it.
        snapshot_index = last_index + rng.randint(1, 5)
        last_term = rng.randint(max(last_term, 1), term)
        snapshot = snapshot_at(
            snapshot_index, last_term, rng.randbytes(rng.randrange(data_bytes_max))
        )
        last_index = compact_to = snapshot_index
    elif kind < 0.3 and max(snapshot_index, 1) <= last_index:
        snapshot_index = rng.randint(max(snapshot_index, 1), last_index)
        if snapshot_index in terms:
            data = rng.randbytes(rng.randrange(data_bytes_max))
            snapshot = snapshot_at(snapshot_index, terms[snapshot_index], data)
    if compact_to is None and snapshot_index and rng.random() < 0.5:
        compact_to = rng.randint(0, snapshot_index) if snapshot_index in terms else None
    added = []
    for index in range(last_index + 1, last_index + 1 + (rng.randrange(6) if term else 0)):
        last_term = rng.randint(max(last_term, 1), term)
        data = rng.randbytes(rng.randrange(data_bytes_max))
        added.append(Entry(index, last_term, rng.choice(list(EntryKind)), data))
    if hard_state is not None:
        last_index = added[-1].index if added else last_index
        commit_index = rng.randint(old.commit_index, last_index)
        hard_state = HardState(hard_state.term, hard_state.vote, commit_index)
    return SaveBatch(
        reset=reset,
        hard_state=hard_state,
        snapshot=snapshot,
        truncate_from=truncate_from,
        compact_to=compact_to,
        entries=added,
    )


def _draw_hard_state(old: HardState, rng: Random) -> HardState:
    if old.term and rng.random() < 0.4:
        return HardState(old.term, old.vote or rng.choice(PEERS))
    return HardState(old.term + rng.randint(1, 3), rng.choice([None, *PEERS]))
