"""Whether an entry that somebody offers is taken in, and if not, why.

A pure part of `catalog`. ``now`` is the wall clock in seconds. What costs the most comes last:
room is made only for an entry whose signature is right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ...ids import NetworkId, PeerId
from ..config import DiscoveryConfig
from ..entry import SignedPeerEntry
from .advertisement import Advertisement
from .entry_store import EntryStore
from .verdict import EntryVerdict

# Looked up once: in Python 3.11 that is a function call, and here it is for every entry.
_ACCEPTED: Final = EntryVerdict.ACCEPTED
_NOT_NEWER: Final = EntryVerdict.NOT_NEWER


class EntryJudge:
    """Judges entries.

    Args:
        network_id: Entries of other networks are refused.
        me: This node.
        store: What is known.
        advertisement: What this node says of itself.
        config: How old an entry may be, and how far ahead its clock.
        make_room: Makes room in the store for an entry that somebody brought; returns
            whether that was possible.
    """

    def __init__(
        self,
        network_id: NetworkId,
        me: PeerId,
        store: EntryStore,
        advertisement: Advertisement,
        config: DiscoveryConfig,
        make_room: Callable[[SignedPeerEntry, PeerId | None, float], bool],
    ) -> None:
        self._network_id = network_id
        self._me = me
        self._store = store
        self._advertisement = advertisement
        self._purge_after_s = config.purge_after
        self._drift_s = config.max_time_drift
        self._make_room = make_room

    def judge(
        self,
        signed: SignedPeerEntry,
        known: SignedPeerEntry | None,
        source: PeerId | None,
        *,
        now: float,
    ) -> EntryVerdict:
        """Return what is to become of an entry; one that is accepted has room.

        Args:
            signed: The entry, its signature not yet trusted.
            known: What there is of its peer.
            source: Who brought it; None for the user.
            now: Wall-clock time in seconds.
        """
        version, peer_id = signed.version, signed.peer_id
        if signed.entry.network != self._network_id:
            return EntryVerdict.DIFFERENT_NETWORK
        latest_ms = (now + self._drift_s) * 1000
        if version.update > latest_ms or version.start > latest_ms:
            return EntryVerdict.FUTURE
        if peer_id == self._me:
            is_echo = self._advertisement.is_echo(signed)
            return _NOT_NEWER if is_echo else EntryVerdict.OWN_ID
        self._advertisement.receive_seen(version)
        if version.update / 1000 + self._purge_after_s <= now:
            return EntryVerdict.OUTDATED
        if known is not None and version <= known.version and max(known.version) <= latest_ms:
            return _NOT_NEWER
        is_full = self._store.is_full(signed, known)
        if is_full and known is None and self._store.was_dropped(signed, source):
            return EntryVerdict.FULL
        if not signed.is_valid:
            return EntryVerdict.FORGED
        if is_full and not self._make_room(signed, source, now):
            return EntryVerdict.FULL
        return _ACCEPTED
