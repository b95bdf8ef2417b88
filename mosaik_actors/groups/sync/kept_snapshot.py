"""A snapshot that a provider keeps for a while: made in portions, served in parts.

The parts come from an iterator of the machine, which may have to work for each. They are made a
bounded number at a time, so that the event loop gets its turns, and kept until nobody has asked for
the snapshot for its time to live.

A part that cannot be made ends the snapshot: it is served no more. What was already served of it is
right all the same, for every member makes the same parts.
"""

from __future__ import annotations

from typing import Final

from ..machine.sync_roles import RequestedSnapshot
from ..wire.records import PART_BYTES_MAX, PARTS_COUNT_MAX, SnapshotMetadata
from ..wire.sync import ANSWER_BYTES, SNAPSHOT_BYTES_MAX, PartsDigest, SnapshotSummary

TURN_PARTS: Final = 64
TURN_BYTES: Final = 1024 * 1024
_PART_OVERHEAD_BYTES: Final = 8


class KeptSnapshot:
    """One snapshot.

    Args:
        snapshot: The snapshot; its iterator is this object's from now on.
        expires_s: Until when it is kept.

    Attributes:
        metadata: Where it stands in the log.
        request_id: The system entry's.
        expires_s: Until when it is kept; moved on by whoever is asked for it.
        is_wanted: Somebody asked for parts: then all of them are made.
        whole: The number of its parts and their digest, once all are made.
        failure: Why it could not be made; empty while it could.
    """

    def __init__(self, snapshot: RequestedSnapshot, *, expires_s: float) -> None:
        self.metadata: SnapshotMetadata = snapshot.metadata
        self.request_id = snapshot.request_id
        self.expires_s = expires_s
        self.is_wanted = False
        self.whole: SnapshotSummary | None = None
        self.failure = ""
        self._source = iter(snapshot.parts)
        self._parts: list[bytes] = []
        self._bytes_count = 0
        self._digest = PartsDigest(snapshot.metadata)

    @property
    def is_making(self) -> bool:
        """Whether there is something left to make."""
        return self.whole is None and not self.failure

    def make(self) -> None:
        """Make the next portion of parts."""
        end = self._bytes_count + TURN_BYTES
        for _ in range(TURN_PARTS):
            if not self.is_making or self._bytes_count >= end:
                return
            self._make_one()

    def take(self, first_part: int, part_count: int) -> tuple[tuple[bytes, ...], bool]:
        """Return parts that are made, as many as an answer holds; the first whatever its size.

        And whether the answer would not get fuller by waiting for more parts.
        """
        chosen: list[bytes] = []
        room = ANSWER_BYTES
        for part in self._parts[first_part : first_part + part_count]:
            room -= len(part) + _PART_OVERHEAD_BYTES
            if room < 0 and chosen:
                break
            chosen.append(part)
        is_full = room <= 0 or len(chosen) == part_count or not self.is_making
        return tuple(chosen), is_full

    def _make_one(self) -> None:
        try:
            part = next(self._source)
            self._check(len(part))
            self._digest.add(part)
        except StopIteration:
            self.whole = SnapshotSummary(len(self._parts), self._digest.digest())
        except Exception as exc:  # the machine's own code: it ends this snapshot only
            self.failure = f"{type(exc).__name__}: {exc}"
            self._parts.clear()
            self._source = iter(())
        else:
            self._parts.append(part)
            self._bytes_count += len(part)

    def _check(self, size: int) -> None:
        if size > PART_BYTES_MAX:
            raise ValueError(f"part of {size} bytes, expected {PART_BYTES_MAX} at most")
        if len(self._parts) >= PARTS_COUNT_MAX:
            raise ValueError(f"more than {PARTS_COUNT_MAX} parts")
        if self._bytes_count + size > SNAPSHOT_BYTES_MAX:
            raise ValueError(f"more than {SNAPSHOT_BYTES_MAX} bytes")
