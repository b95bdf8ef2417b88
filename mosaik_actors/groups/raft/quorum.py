"""Quorums: who has to agree before something counts.

All of it is one question: the highest value that a majority has reached. For match indexes the
answer is what is committed (Raft thesis 3.5, 3.6), for heartbeat rounds which reads are confirmed
(6.4), for the times peers were last heard of how long ago the leader could still reach a quorum
(6.2), for votes, yes above no, who is elected (3.4).

While a change of the configuration is not known to be committed, there are two configurations, and
each must agree. The thesis (4.1) asks the new one alone, which is safe because majorities of both
overlap; we ask the old one too, so that half of an even-sized group never changes the membership by
itself. Then "who may decide" is the same for elections, commits, reads and check-quorum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ...ids import PeerId

Configurations = Sequence[Sequence[PeerId]]


def majority(voter_count: int) -> int:
    """Return how many of `voter_count` voters are a majority."""
    return voter_count // 2 + 1


def reached(values: Iterable[float]) -> float:
    """Return the highest value that a majority has reached or passed; 0 when there is nobody."""
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2] if ordered else 0


def agreed(configurations: Configurations, values: Mapping[PeerId, float]) -> float:
    """Return the highest value that a majority of each configuration has reached.

    A voter without a value counts as 0, a peer that is no voter not at all.
    """
    return min(
        [reached([values.get(peer, 0) for peer in voters]) for voters in configurations], default=0
    )


def is_won(configurations: Configurations, votes: Mapping[PeerId, bool]) -> bool | None:
    """Return whether the answers so far win or lose an election; None while it is open.

    It is lost as soon as a majority of one configuration cannot be reached any more.
    """
    hopes = {peer: votes.get(peer, True) for voters in configurations for peer in voters}
    if not agreed(configurations, hopes):
        return False
    return bool(agreed(configurations, votes)) or None
