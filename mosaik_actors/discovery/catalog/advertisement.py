"""What others have of this node's own entry, and what shows that it has to be dated anew.

A pure state machine above `local`. ``now`` is the wall clock in seconds.

    * An entry under this node's id that it did not write is answered with one that
      supersedes it, more and more rarely. If it names one of ours as superseded, another
      node that lives has this node's key; an earlier self cannot have written that.
    * An own entry that turns out to be dated too late, once the clock was put back, is
      dated anew.

Invariants:
    * The last `_OWN_KEPT_MAX` own entries are known again.
    * An entry of a second self is answered at most once in `_SUPERSEDE_WAIT_S`.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from ..entry import EntryVersion, SignedPeerEntry
from .local import LocalEntry

_OWN_KEPT_MAX: Final = 64  # own entries by which a second node with our key is known
_SUPERSEDE_WAIT_S: Final = 1.0  # after the first answer to an entry under our id; then doubled


class Advertisement:
    """The state machine of this module's docstring.

    Args:
        local: The own entry.
        drift_s: How far ahead of this clock a version may be.
        wait_max_s: How long to wait at most before a second self is answered again.
    """

    def __init__(self, local: LocalEntry, *, drift_s: float, wait_max_s: float) -> None:
        self._local = local
        self._drift_s = drift_s
        self._wait_max_s = wait_max_s
        self._published: EntryVersion | None = None
        self._shown = local.entry
        self._ids: deque[bytes] = deque(maxlen=_OWN_KEPT_MAX)
        self._supersede_at = float("-inf")
        self._supersede_wait_s = 0.0
        self._was_ahead = False
        self._newest_seen_ms = 0

    def is_echo(self, signed: SignedPeerEntry) -> bool:
        """Return whether this is what we said ourselves, come back on other ways."""
        return signed.version <= self._local.entry.version and signed.is_valid

    def receive_seen(self, version: EntryVersion) -> None:
        """Note that another peer wrote this version."""
        if version.update > self._newest_seen_ms:
            self._newest_seen_ms = version.update

    def receive_other_self(self, signed: SignedPeerEntry, *, now: float) -> bool:
        """Answer an entry under the own id that this node did not write.

        Returns:
            Whether it shows that a node that lives has this node's key.
        """
        if not signed.is_valid:
            return False
        is_shared = signed.entry.supersedes in self._ids
        # An earlier self with a clock ahead of ours would outlive us in every
        # catalog. More and more rarely: a second node with our key, which
        # answers in kind, must not start a storm.
        if now < self._supersede_at:
            return is_shared
        longest_s = self._wait_max_s
        if now >= self._supersede_at + 2 * longest_s:
            self._supersede_wait_s = 0.0
        self._supersede_wait_s = min(max(_SUPERSEDE_WAIT_S, 2 * self._supersede_wait_s), longest_s)
        self._supersede_at = now + self._supersede_wait_s
        self._local.supersede(signed, now=now)
        return is_shared

    def receive_jump(self, jump_s: float, *, now: float) -> None:
        """Note that the clock was put forward or back by so much, for good."""
        self._was_ahead = self._was_ahead or jump_s > self._drift_s
        if jump_s < 0 and self._is_dated_ahead(now):
            self._was_ahead = False
            self._local.correct(now=now)

    def has_changed(self) -> bool:
        """Return whether the entry has another version than at the last `take`."""
        return self._published != self._local.entry.version

    def take(self) -> bool:
        """Note that the entry is published; return whether it says something else."""
        own = self._local.entry
        says_more = not own.says_the_same_as(self._shown)
        self._published, self._shown = own.version, own
        self._ids.append(self._local.signed.message_id)
        return says_more

    def _is_dated_ahead(self, now: float) -> bool:
        """Return whether the own entry is dated too late, now that the clock was put back.

        If it is only ahead of a clock that was put back wrongly, it is about as
        new as what others wrote last.
        """
        written_s = max(self._local.entry.version) / 1000
        is_ahead_of_others = written_s > self._newest_seen_ms / 1000 + self._drift_s
        return written_s > now + self._drift_s and (self._was_ahead or is_ahead_of_others)
