"""The runtime's own figures: what `Cell.stats` and `ActorHost.stats` return."""

from __future__ import annotations

from dataclasses import dataclass

from thespian.actors import ActorAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxStats:
    """One actor's figures at one moment."""

    address: ActorAddress
    actor_class: str
    depth: int
    """Messages that wait."""
    depth_max: int
    """The most that waited at the start of one of its turns."""
    age_s: float
    """For how long the oldest message that waits has waited, at least."""
    rejected: int
    """Messages that its full mailbox did not take, or did not keep."""
    restarts: int
    """How often it was made anew."""
    handled: int
    slow_count: int
    """Handler calls that held the loop longer than `slow_handler_s`."""
    is_busy: bool
    """True while a coroutine handler runs, or the actor waits for its source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemStats:
    """The figures of an actor system at one moment; counts are since its start."""

    actors: int
    """Living actors."""
    created: int
    exited: int
    handled: int
    """Messages handed to actors."""
    queued: int
    """Messages in mailboxes."""
    failures: int
    """Exceptions out of handlers, first attempts included."""
    poisoned: int
    """Messages given up after the second failure."""
    dead_letters: int
    slow: dict[str, int]
    """Handler calls longer than `slow_handler_s`, by class of actor."""
    drains: int
    """Turns of the loop that the actors used."""
    drains_cut_short: int
    """Those of them that ended at the quota, with messages left."""
