"""Holds keep the garbage collector from what was there before, and from nothing else."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from threading import Thread

import pytest

from mosaik_actors.runtime.collector import CollectorHold


@pytest.fixture(autouse=True)
def _nothing_frozen() -> Iterator[None]:
    before = gc.get_freeze_count()
    assert not before
    yield
    gc.unfreeze()


def test_what_is_there_is_set_aside_until_the_last_hold_ends() -> None:
    first, second = CollectorHold(), CollectorHold()
    assert gc.get_freeze_count() > 1000
    first.release()
    first.release()  # may be repeated
    assert gc.get_freeze_count() > 1000
    second.release()
    assert not gc.get_freeze_count()


def test_a_full_collection_looks_at_what_is_new_only() -> None:
    class Node:
        other: object = None

    old = Node()
    old.other = old
    hold = CollectorHold()
    new = Node()
    new.other = new
    del old, new
    assert gc.collect() >= 1
    held = [one for one in gc.get_objects() if type(one) is Node]
    assert not held  # neither the new one, which is gone, nor the old one, which is set aside
    hold.release()
    assert gc.collect() >= 1


def test_what_the_program_has_frozen_stays_so() -> None:
    gc.freeze()
    frozen_count = gc.get_freeze_count()
    CollectorHold().release()
    assert gc.get_freeze_count() >= frozen_count - 100


def test_what_the_program_freezes_meanwhile_stays_so() -> None:
    hold = CollectorHold()
    kept = [[number] for number in range(100_000)]
    gc.freeze()
    hold.release()
    assert gc.get_freeze_count() > len(kept)


def test_a_forgotten_hold_ends() -> None:
    hold = CollectorHold()
    del hold
    assert not gc.get_freeze_count()


def test_holds_of_many_threads_end_with_the_last_one() -> None:
    def hold() -> None:
        for _ in range(50):
            CollectorHold().release()

    threads = [Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not gc.get_freeze_count()
