"""Reachability: which of the known peers answer, on whose word, and what is done about it.

A pure state machine above `suspicion`. ``now`` is the wall clock in seconds, ``steady``
the same in seconds that no jump of the clock moves.

    * While this node has a link to a peer it believes no claim against it.
    * A claim against this node is refuted with a newer entry, at most every
      `_REFUTE_GAP_S`.
    * A claim of a peer whose entry is not here yet is kept for a while.
    * Without any link, after one that broke, nobody is reachable: see `is_reachable`.

After each call drain `take_changed`: what is shown of these peers may differ now.

Invariants:
    * A claim's signature is checked only if it can change something and its accuser has
      budget left.
    * At most `_EARLY_MAX` strangers' claims are kept, and as many of each.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Final

from ...errors import DecodeError
from ...ids import NetworkId, PeerId
from ..entry import EntryVersion, SignedPeerEntry
from ..suspicion import (
    CLAIM_BYTES_MAX,
    CONFIRM_S,
    PROBES,
    SuspicionClaim,
    Suspicions,
    decode_claim,
    is_signed,
)
from .entry_store import EntryStore
from .local import LocalEntry
from .verdict import EntryVerdict

_REFUTE_GAP_S: Final = 1.0
_EARLY_MAX: Final = 32  # strangers whose claims are kept, and claims of each


class Reachability:
    """The state machine of this module's docstring.

    Args:
        network_id: What claims are signed for.
        local: The own entry: it signs claims, and refutes those of others.
        store: Who is known.
        peers_max: How many suspects there may be.
        drift_s: How far ahead of this clock a version may be.
        draw: Returns a random number from 0 to 1.
    """

    def __init__(
        self,
        *,
        network_id: NetworkId,
        local: LocalEntry,
        store: EntryStore,
        peers_max: int,
        drift_s: float,
        draw: Callable[[], float],
    ) -> None:
        self._network_id = network_id
        self._local = local
        self._me = local.entry.peer
        self._store = store
        self._drift_s = drift_s
        self._draw = draw
        self._suspicions = Suspicions(peers_max)
        self._linked: dict[PeerId, None] = {}
        self._isolated_at: float | None = None
        self._is_isolated = False
        self._refute_at: float | None = None
        self._refuted_at = float("-inf")
        self._refuted_version = EntryVersion(0, 0)
        self._claims: list[bytes] = []
        self._accused: dict[PeerId, None] = {}
        self._early: dict[PeerId, dict[bytes, None]] = {}
        self._to_probe: dict[PeerId, None] = {}
        self._to_dial: dict[PeerId, None] = {}
        self._changed: list[PeerId] = []

    @property
    def linked(self) -> Container[PeerId]:
        """Who has a link to this node."""
        return self._linked

    @property
    def has_doubts(self) -> bool:
        """Whether `is_reachable` may say no of anybody."""
        return self._is_isolated or not self._suspicions.is_empty

    def is_reachable(self, peer_id: PeerId) -> bool:
        """Return whether a peer is believed to answer."""
        return not self._is_isolated and not self._suspicions.is_unreachable(peer_id)

    # What happens to links and entries.

    def receive_link_up(self, peer_id: PeerId) -> None:
        """Note that this node has a link to a peer."""
        self._linked[peer_id] = None
        self._isolated_at = None
        self._set_isolated(False)

    def receive_link_down(self, peer_id: PeerId, *, is_broken: bool, steady: float) -> None:
        """Note that a link ended."""
        self._linked.pop(peer_id, None)
        self._suspicions.recheck(peer_id, now=steady)
        if is_broken and not self._linked:
            self._isolated_at = steady + CONFIRM_S

    def receive_entry(self, signed: SignedPeerEntry) -> None:
        """Note that a peer said something itself: claims against what it said before are over."""
        self._suspicions.clear(signed.peer_id, signed.version)

    def receive_newcomer(self, peer_id: PeerId, *, steady: float) -> None:
        """Note that a peer is known now that was not."""
        self._suspicions.recheck(peer_id, now=steady)

    @property
    def has_early(self) -> bool:
        """Whether `take_early` may return anything."""
        return bool(self._early)

    def take_early(self, peer_id: PeerId) -> list[bytes]:
        """Return the claims of a peer that came before its entry, to be received again."""
        return list(self._early.pop(peer_id)) if peer_id in self._early else []

    def forget(self, peer_id: PeerId) -> None:
        """Forget all claims against a peer."""
        self._suspicions.clear(peer_id)

    # Claims.

    def suspect(self, peer_id: PeerId, *, steady: float) -> None:
        """Claim that a peer does not answer this node, if it is known as living."""
        signed = self._store.find(peer_id)
        if signed is None or self._store.is_gone(peer_id) or peer_id in self._linked:
            return
        if self._suspicions.is_new(SuspicionClaim(self._me, peer_id, signed.version)):
            claim, encoded = self._local.sign_claim(peer_id, signed.version)
            self._add_claim(claim, encoded, steady)

    def receive_claim(self, encoded: bytes, *, now: float, steady: float) -> EntryVerdict:
        """Take in a claim that a neighbour passed on; afterwards drain `take_claims`."""
        if len(encoded) > CLAIM_BYTES_MAX:
            return EntryVerdict.OVERSIZED
        try:
            claim = decode_claim(encoded)
        except DecodeError:
            return EntryVerdict.MALFORMED
        if claim.accuser not in self._store:
            self._keep_early(claim.accuser, encoded)
        if not self._is_worth_checking(claim, now):
            return EntryVerdict.NOT_NEWER
        if not self._suspicions.may_spend(claim.accuser, now=steady):
            return EntryVerdict.FULL
        if not is_signed(claim, encoded, self._network_id):
            return EntryVerdict.FORGED
        self._suspicions.spend(claim.accuser, now=steady)
        self._accused[claim.accused] = None
        if claim.accused == self._me:
            self._refute_at = max(steady, self._refuted_at + _REFUTE_GAP_S)
            if self._refute_at <= steady:
                self._refute(now, steady)
        else:
            self._add_claim(claim, encoded, steady)
        return EntryVerdict.ACCEPTED

    def held_claims(self) -> list[bytes]:
        """Return the claims that a new neighbour may not know."""
        return self._suspicions.held()

    # Time, and what came of it all.

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due, in steady seconds; None for never."""
        due_at = (self._suspicions.get_timer(), self._isolated_at, self._refute_at)
        return min((at for at in due_at if at is not None), default=None)

    def handle_timer(self, *, now: float, steady: float) -> None:
        """Decide on suspects. May be called early."""
        for peer_id in self._suspicions.take_due(now=steady):
            self._decide(peer_id, steady)
        if self._isolated_at is not None and steady >= self._isolated_at:
            self._isolated_at = None
            self._set_isolated(True)
        if self._refute_at is not None and steady >= self._refute_at:
            self._refute(now, steady)

    def take_changed(self) -> list[PeerId]:
        """Return of whom `is_reachable` may say something else since the last call."""
        changed, self._changed = self._changed, []
        return changed

    def take_claims(self) -> list[bytes]:
        """Return the claims accepted since the last call: pass them on."""
        claims, self._claims = self._claims, []
        return claims

    def take_accused(self) -> list[PeerId]:
        """Return who was accused since the last call: what they say next is urgent."""
        accused = list(self._accused)
        self._accused.clear()
        return accused

    def take_probes(self) -> list[PeerId]:
        """Return the peers to try to reach now; `suspect` those that do not answer."""
        probes = list(self._to_probe)
        self._to_probe.clear()
        return probes

    def take_dials(self) -> list[PeerId]:
        """Return the unreachable peers that this node should try to have as neighbours."""
        dials = list(self._to_dial)
        self._to_dial.clear()
        return dials

    # Helpers.

    def _is_worth_checking(self, claim: SuspicionClaim, now: float) -> bool:
        """Return whether a claim may change anything, before its signature is looked at."""
        if claim.accuser == claim.accused or claim.accuser not in self._store:
            return False
        if claim.accused == self._me:
            return claim.version >= self._refuted_version and not self._local.entry.departed
        known = self._store.find(claim.accused)
        return (
            self._store.is_live(claim.accuser)
            and not self._store.is_gone(claim.accused)
            and (known is None or claim.version >= known.version)
            and max(claim.version) / 1000 <= now + self._drift_s
            and self._suspicions.is_new(claim)
        )

    def _keep_early(self, accuser: PeerId, encoded: bytes) -> None:
        """Keep a claim of a stranger for a while: a sync may be bringing its entry."""
        if len(self._early) >= _EARLY_MAX and accuser not in self._early:
            del self._early[next(iter(self._early))]
        kept = self._early.setdefault(accuser, {})
        if len(kept) < _EARLY_MAX:
            kept[encoded] = None

    def _add_claim(self, claim: SuspicionClaim, encoded: bytes, steady: float) -> None:
        is_own = claim.accuser == self._me
        self._suspicions.add(claim, encoded, is_own=is_own, now=steady)
        self._claims.append(encoded)
        self._accused[claim.accused] = None

    def _decide(self, peer_id: PeerId, steady: float) -> None:
        """Decide on a suspect: have it verified, or take it for unreachable when time is up."""
        suspicion, signed = self._suspicions.find(peer_id), self._store.find(peer_id)
        if suspicion is None or signed is None or peer_id in self._linked:
            return
        if signed.version > suspicion.version:
            self._suspicions.clear(peer_id)
        elif suspicion.is_confirmed:
            if suspicion.is_noticed:
                self._to_dial[peer_id] = None
                self._suspicions.retry(peer_id, now=steady)
        elif suspicion.is_enough and steady < suspicion.since + CONFIRM_S:
            return  # it has some time left to answer
        elif suspicion.is_enough:
            suspicion.is_confirmed = True
            self._changed.append(peer_id)
            self._suspicions.retry(peer_id, now=steady)
        else:
            if self._draw() * len(self._store) < PROBES:
                self._to_probe[peer_id] = None
            if steady >= suspicion.since + CONFIRM_S:
                # Perhaps nobody was drawn: until it is claimed or refuted, draw again.
                self._suspicions.retry(peer_id, now=steady)

    def _refute(self, now: float, steady: float) -> None:
        self._refute_at = None
        self._refuted_at = steady
        self._local.refresh(now=now)
        self._refuted_version = self._local.entry.version

    def _set_isolated(self, is_isolated: bool) -> None:
        if is_isolated is not self._is_isolated:
            self._is_isolated = is_isolated
            self._changed += self._store
