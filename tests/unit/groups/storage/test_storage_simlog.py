"""The log on a simulated disk: crashes, torn writes, failing syncs, a full disk, decay."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.groups.storage.interface import (
    BatchError,
    LogOwner,
    LogState,
    LogStorage,
    SaveBatch,
    StorageCorrupt,
    StorageError,
    StorageFull,
    StorageInUse,
    StorageMismatch,
    Stored,
)
from mosaik_actors.ids import UniqueId
from mosaik_actors.testing.disk import SimDisk
from mosaik_actors.testing.simlog import SimLog

from ..storage_batches import OWNER, PEERS, draw_batch, entries, snapshot_at, started

NAME = "group.log"


def opened(disk: SimDisk, *, rewrite_bytes: int = 64 * 1024) -> SimLog:
    log = SimLog(disk, NAME, rewrite_bytes=rewrite_bytes)
    log.open(OWNER)
    return log


def disk_with(*batches: SaveBatch, seed: int = 0) -> SimDisk:
    disk = SimDisk(Random(seed))
    log = opened(disk)
    for batch in batches:
        log.save(batch)
    log.close()
    return disk


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_after_a_crash_all_that_was_saved_is_there_and_nothing_partial(seed: int) -> None:
    """Random batches, crashes, torn writes, failing syncs and full disks, against the model."""
    rng = Random(seed)
    disk = SimDisk(Random(seed + 1))
    log = opened(disk, rewrite_bytes=200)
    model, unsure = LogState(), None
    for _ in range(rng.randint(1, 25)):
        fault = rng.random()
        if fault < 0.15:
            disk.fail_syncs(rng.randint(1, 2))
        elif fault < 0.25:
            disk.fill(rng.randrange(400))
        batch = draw_batch(model, rng)
        try:
            log.save(batch)
        except StorageFull:
            pass  # Nothing of it may show, now or later.
        except StorageError:
            unsure = batch
        else:
            model.apply(batch)
            assert log.load() == model.stored
        disk.fail_syncs(0)
        disk.fill(None)
        if unsure is not None or rng.random() < 0.2:
            if rng.random() < 0.7:
                disk.crash()
            log.close()
            log = opened(disk, rewrite_bytes=200)
            found = log.load()
            if unsure is not None and found != model.stored:
                model.apply(unsure)
            assert found == model.stored
            unsure = None
            # What `load` has returned may be acknowledged, so it stays.
            disk.crash()
            log = opened(disk, rewrite_bytes=200)
            assert log.load() == model.stored


@given(st.integers(0, 2**32), st.integers(0, 400))
def test_a_file_cut_anywhere_gives_a_prefix_of_the_batches(seed: int, cut: int) -> None:
    rng, model = Random(seed), LogState()
    disk = SimDisk(Random(seed))
    log = opened(disk)
    header_bytes = disk.open(NAME).size
    states = [model.stored]
    for _ in range(5):
        batch = draw_batch(model, rng)
        log.save(batch)
        model.apply(batch)
        states.append(model.stored)
    file = disk.open(NAME)
    file.truncate(max(header_bytes, file.size - cut))
    log.close()
    assert opened(disk).load() in states


@given(st.integers(0, 2**32), st.data())
def test_a_changed_byte_is_refused_or_taken_for_a_torn_end(seed: int, data: st.DataObject) -> None:
    """No flipped bit ever turns into a different log."""
    rng, model = Random(seed), LogState()
    disk = SimDisk(Random(seed))
    log = opened(disk)
    for _ in range(5):
        batch = draw_batch(model, rng)
        log.save(batch)
        model.apply(batch)
    log.close()
    file = disk.open(NAME)
    at = data.draw(st.integers(0, file.size - 1))
    file.write_at(at, bytes([file.read(at, 1)[0] ^ data.draw(st.integers(1, 255))]))
    with pytest.raises(StorageCorrupt) as caught:
        opened(disk)
    assert caught.value.lost
    with pytest.raises(StorageCorrupt):
        opened(disk)


def test_a_torn_batch_is_dropped_and_the_log_goes_on() -> None:
    torn = 0
    for seed in range(20):
        disk = disk_with(started(3), seed=seed)
        log = opened(disk)
        disk.fail_syncs(1)
        with pytest.raises(StorageError, match="Input/output error"):
            log.save(SaveBatch(entries=entries(4, 3)))
        disk.crash()
        log = opened(disk)
        found = [entry.index for entry in log.load().entries]
        assert found in ([1, 2, 3], [1, 2, 3, 4, 5, 6])
        torn += found == [1, 2, 3]
        log.save(SaveBatch(entries=entries(found[-1] + 1, 1)))
        assert len(log.load().entries) == len(found) + 1
    assert torn > 10


def test_after_a_failed_sync_nothing_is_accepted_until_it_is_opened_again() -> None:
    """The next sync would succeed and mean nothing (PostgreSQL, 2018)."""
    disk = disk_with(started(3))
    log = opened(disk)
    disk.fail_syncs(1)
    with pytest.raises(StorageError):
        log.save(SaveBatch(entries=entries(4, 1)))
    for call in (lambda: log.save(SaveBatch(entries=entries(4, 1))), log.load):
        with pytest.raises(StorageError, match="failed earlier") as caught:
            call()
        assert isinstance(caught.value.__cause__, StorageError)
    log.close()
    log.open(OWNER)
    # The cache still had the batch: it is written anew, and safe from here on.
    assert len(log.load().entries) == 4
    disk.crash()
    assert len(opened(disk).load().entries) == 4


def test_full_disk_is_reported_and_recovers() -> None:
    disk = disk_with(started(3))
    log = opened(disk)
    disk.fill(10)
    for _ in range(2):
        with pytest.raises(StorageFull, match="No space left"):
            log.save(SaveBatch(entries=entries(4, 1)))
    assert len(log.load().entries) == 3
    disk.fill(None)
    log.save(SaveBatch(entries=entries(4, 1)))
    disk.crash()
    assert len(opened(disk).load().entries) == 4


def test_a_full_disk_at_opening_is_reported_and_loses_nothing() -> None:
    disk = disk_with(started(3))
    disk.fill(10)
    with pytest.raises(StorageFull):
        opened(disk)
    disk.fill(None)
    assert len(opened(disk).load().entries) == 3


def test_the_file_stays_in_proportion_to_what_it_holds() -> None:
    disk = SimDisk(Random(0))
    log = opened(disk, rewrite_bytes=1000)
    log.save(started(1))
    for index in range(2, 500):
        log.save(SaveBatch(entries=entries(index, 1)))
        log.save(SaveBatch(snapshot=snapshot_at(index - 1), compact_to=index - 1))
    assert len(log.load().entries) == 1
    assert disk.open(NAME).size < 3000
    assert disk.names() == [NAME]


class FailsThirdSync(SimDisk):
    """A disk whose third sync from now on fails, once told so."""

    syncs_left: int | None = None

    def check_sync(self) -> None:
        if self.syncs_left is not None:
            self.syncs_left -= 1
            self.fail_syncs(1 if self.syncs_left == 0 else 0)
        super().check_sync()


def test_a_rewrite_that_fails_leaves_the_batch_saved_and_ends_the_log() -> None:
    disk = FailsThirdSync(Random(0))
    log = opened(disk, rewrite_bytes=1000)
    # Syncs: of the first batch, of the second one, of the rewrite that it brings about.
    disk.syncs_left = 3
    log.save(started(1))
    log.save(SaveBatch(entries=entries(2, 200)))
    with pytest.raises(StorageError, match="failed earlier"):
        log.save(SaveBatch(entries=entries(202, 1)))
    disk.crash()
    log = opened(disk)
    assert len(log.load().entries) == 201
    assert disk.names() == [NAME]


def test_a_rewrite_without_room_is_left_for_later() -> None:
    disk = SimDisk(Random(0))
    log = opened(disk, rewrite_bytes=1000)
    log.save(started(1))
    disk.fill(5000)
    log.save(SaveBatch(entries=entries(2, 200)))
    with pytest.raises(StorageFull):
        log.save(SaveBatch(entries=entries(202, 200)))
    disk.fill(None)
    log.save(SaveBatch(entries=entries(202, 1)))
    disk.crash()
    assert len(opened(disk).load().entries) == 202


def test_a_log_of_another_group_or_peer_is_refused() -> None:
    disk = disk_with(started(3))
    other = LogOwner(UniqueId("another group"), OWNER.peer_id)
    with pytest.raises(StorageMismatch, match="group is") as caught:
        SimLog(disk, NAME).open(other)
    assert (caught.value.found, caught.value.expected) == (str(OWNER.group_id), str(other.group_id))
    with pytest.raises(StorageMismatch, match="peer is"):
        SimLog(disk, NAME).open(LogOwner(OWNER.group_id, PEERS[2]))
    assert len(opened(disk).load().entries) == 3


def test_a_log_cut_before_its_first_batch_is_refused() -> None:
    disk = disk_with(started(3))
    disk.open(NAME).truncate(0)
    with pytest.raises(StorageCorrupt, match="lost: everything"):
        opened(disk)


def test_calls_out_of_order_are_refused() -> None:
    storage: LogStorage = SimLog(SimDisk(Random(0)), NAME)
    assert storage.is_durable
    with pytest.raises(StorageError, match="not open"):
        storage.load()
    storage.open(OWNER)
    assert storage.load() == Stored()
    with pytest.raises(StorageInUse):
        storage.open(OWNER)
    with pytest.raises(BatchError):
        storage.save(SaveBatch(entries=entries(2, 1)))
    storage.close()
    storage.close()
