"""Quiescence: a leader and a follower with nothing to do send each other nothing.

The leader offers it with a heartbeat (`Heartbeat.may_quiesce`) when all of its log is
committed and saved by that follower; the follower agrees (`HeartbeatReply.is_quiesced`) when
that is also all of its own log, and committed as far as it knows. From then on each takes the
*liveness* of the other for its heartbeats or replies: when something of the other's node was
heard last, over the connection that carries their messages.

Timeouts stay what they are. A follower stands for election when its leader was not heard for
an election timeout, and a leader steps down when it does not hear a quorum for one; only
where "heard" comes from differs. Reads, votes and commits need messages as ever, so that
nothing that is promised depends on it.

What ends it, at once and at each side for itself:
    * the next message from the leader that does not offer it again. All that a leader does
      is one, so is stepping down (`Replication.part`);
    * a change of the liveness: the caller offers none when the connection is another one, or
      when the other says that it has another history, leader or term;
    * a request for a vote that comes to the leader;
    * doubt: the leader sends a heartbeat once in `RaftConfig.quiesced_interval` all the same, and a
      follower that gets none for `DOUBT_FACTOR` times as long stands for election.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from ...ids import PeerId

DOUBT_FACTOR: Final = 3


class Liveness(Protocol):
    """When another replica's node was heard, as long as it is the one that is connected now."""

    @property
    def last_heard_at(self) -> float:
        """When anything of it was heard last, on the caller's clock."""

    @property
    def is_watched(self) -> bool:
        """Whether the caller calls `recheck_quiescence` before it is silent for a timeout."""


LivenessOf = Callable[[PeerId], Liveness | None]
"""Returns the liveness of another replica, None where its messages alone may be relied on: also
while it does not agree who leads, in which term."""
