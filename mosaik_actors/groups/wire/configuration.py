"""Who is in the group: the configurations in a log, and which changes are legal.

A configuration is an entry of the log and in force from the moment it is in the log, committed or
not (Raft thesis 4.1); when a later leader removes the entry, the one before is in force again. So
the configurations are kept with their indexes, beside the log.

Invariants:
    * At most one voter differs between two configurations in a row.
    * At most one configuration of a log is not committed: a leader makes a new one only when the
      last is committed, and when it has committed an entry of its own term (the correction to 4.1
      that was published on raft-dev in 2015: without it two leaders could each hold a change the
      other does not know of, with majorities that do not overlap).
    * A new voter was a learner before (4.2.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

from ...errors import ConfigError, DecodeError
from ...ids import PeerId
from ...wire_encoding import BoundedDecoder, encode
from .records import LEARNER_COUNT_MAX, VOTER_COUNT_MAX, Voters

VOTERS_BYTES_MAX = 64 * 1024


class IllegalChange(ConfigError):
    """A configuration that may not follow the present one; the text says why."""


def make_voters(voters: Iterable[PeerId], learners: Iterable[PeerId] = ()) -> Voters:
    """Return the configuration with these voters and learners, in any order."""
    return Voters(tuple(sorted(voters)), tuple(sorted(learners)))


def promote(current: Voters, peer: PeerId) -> Voters:
    """Return `current` with a learner turned into a voter."""
    others = remove(current, peer)
    return make_voters((*others.voters, peer), others.learners)


def demote(current: Voters, peer: PeerId) -> Voters:
    """Return `current` with a voter turned into a learner."""
    others = remove(current, peer)
    return make_voters(others.voters, (*others.learners, peer))


def remove(current: Voters, peer: PeerId) -> Voters:
    """Return `current` without `peer`."""
    return Voters(
        tuple(other for other in current.voters if other != peer),
        tuple(other for other in current.learners if other != peer),
    )


def check_voters(voters: Voters) -> None:
    """Raise `IllegalChange` unless this can be a configuration at all."""
    for name, peers, count_max in (
        ("voters", voters.voters, VOTER_COUNT_MAX),
        ("learners", voters.learners, LEARNER_COUNT_MAX),
    ):
        if len(peers) > count_max:
            raise IllegalChange(f"{len(peers)} {name}, expected {count_max} at most")
        if any(left >= right for left, right in pairwise(peers)):
            raise IllegalChange(f"the {name} are not in ascending order, each once")
    both = frozenset(voters.voters).intersection(voters.learners)
    if both:
        raise IllegalChange(f"{min(both).short} is a voter and a learner")
    if not voters.voters:
        raise IllegalChange("no voters, expected at least one")


def check_change(current: Voters, target: Voters) -> None:
    """Raise `IllegalChange` unless `target` may directly follow `current`."""
    check_voters(target)
    if target == current:
        raise IllegalChange("nothing changes")
    before, after = frozenset(current.voters), frozenset(target.voters)
    if len(before ^ after) > 1:
        raise IllegalChange(f"{len(before ^ after)} voters change, expected one at a time")
    for peer in sorted(after - before):
        if peer not in current.learners:
            raise IllegalChange(f"{peer.short} is no learner, expected before it votes")


_decoder = BoundedDecoder[Voters](Voters, "a configuration", VOTERS_BYTES_MAX)

encode_voters: Callable[[Voters], bytes] = encode


def decode_voters(data: bytes) -> Voters:
    """Return the configuration in an entry. Raises `DecodeError` when it is none."""
    voters = _decoder.decode(data)
    try:
        check_voters(voters)
    except IllegalChange as exc:
        raise DecodeError(f"not a configuration: {exc}") from exc
    return voters


class Configurations:
    """The configurations of a log, with their indexes, from where its snapshot ends."""

    def __init__(self, index: int, voters: Voters) -> None:
        self._know([(index, voters)])

    def _know(self, known: list[tuple[int, Voters]]) -> None:
        self._known = known
        # Where the configuration in force is in the log, and what it is.
        self.latest_index, self.latest = known[-1]
        self._decides = (self.latest.voters,) if self.latest.voters else ()

    def is_pending(self, commit_index: int) -> bool:
        """Return whether the configuration in force is not known to be committed."""
        return len(self._known) > 1 and self.latest_index > commit_index

    def deciding(self, commit_index: int) -> tuple[tuple[PeerId, ...], ...]:
        """Return the sets of voters that must each agree: see `quorum`."""
        if len(self._known) > 1 and self.latest_index > commit_index:
            before = self._known[-2][1].voters
            return (before, self.latest.voters) if before else (self.latest.voters,)
        return self._decides

    def members(self, commit_index: int) -> list[PeerId]:
        """Return who is replicated to: members now, and before a pending change; sorted."""
        peers = {*self.latest.voters, *self.latest.learners}
        if self.is_pending(commit_index):
            before = self._known[-2][1]
            peers.update(before.voters, before.learners)
        return sorted(peers)

    def final(self, index: int) -> tuple[int, Voters]:
        """Return the latest configuration up to an index, with its own; at least the first."""
        return next((k for k in reversed(self._known) if k[0] <= index), self._known[0])

    def at(self, index: int) -> Voters:
        """Return the configuration in force at an index at or after the metadata."""
        known_index, voters = self.final(index)
        assert known_index <= index, f"configuration at {index}, metadata at {known_index}"
        return voters

    def between(self, after_index: int, last_index: int) -> Iterator[tuple[int, Voters]]:
        """Yield the configurations after `after_index` up to `last_index`, with their indexes."""
        for index, voters in self._known[1:]:
            if after_index < index <= last_index:
                yield index, voters

    def append(self, index: int, voters: Voters) -> None:
        """Take in the configuration of a new entry."""
        assert index > self.latest_index, f"configuration {index} after {self.latest_index}"
        self._know([*self._known, (index, voters)])

    def truncate(self, from_index: int) -> bool:
        """Forget those from `from_index` on; return whether there were any."""
        before = self._known
        self._know([before[0], *(k for k in before[1:] if k[0] < from_index)])
        return len(self._known) != len(before)

    def compact(self, index: int) -> None:
        """Forget those before the one in force at `index`, which becomes the metadata."""
        voters = self.at(index)
        self._know([(index, voters), *(k for k in self._known if k[0] > index)])

    def restart(self, index: int, voters: Voters, *, keep: bool) -> None:
        """Begin after a snapshot at `index`, with those of the log after it if it is kept."""
        later = [k for k in self._known[1:] if k[0] > index] if keep else []
        self._know([(index, voters), *later])
