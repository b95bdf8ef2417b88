"""Suspicion: which peers do not answer, and who says so.

A pure state machine; ``now`` is in the seconds of the catalog. The idea is that
of SWIM (Das, Gupta, Motivala 2002): whoever notices that a peer is gone spreads a
suspicion, and the accused, if it lives, refutes it with a newer entry. Nothing
is sent while nobody is suspected.

    1. A neighbour whose link to a peer died signs a `SuspicionClaim`: "the peer does not
       answer me; this was its last entry". It goes to everybody, once.
    2. The accused announces a newer entry at once. A claim is about one version
       of an entry, so the newer entry voids it wherever it arrives.
    3. `CONFIRM_S` after the first claim the peer counts as unreachable, if no
       newer entry came and two peers claim it, or this node noticed it itself.
       A single claim of somebody else is verified, from `PROBE_AFTER_S` on: about `PROBES`
       nodes of the network, chosen at random, try to reach the peer (SWIM's indirect
       probes) and claim it too if they cannot. They draw again, later each time, for as long as
       it is neither claimed by another one nor refuted: at first nobody may have been drawn.
    4. A newer entry makes it reachable again at any time. Who noticed tries now and then
       to become its neighbour again: it may have been cut off, with others or alone.

Where we differ from SWIM, and why:
    * There is no round of pings. Neighbours have links that the transport keeps
      alive and watches, so that a steady network costs nothing more.
    * Claims are signed, each by its accuser, and one node's claim is not enough
      for others: a broken or hostile node makes nobody unreachable.
    * The incarnation number is the version of the entry.
    * Who has a link to the accused does not believe others (`Catalog`).

Invariants:
    * A claim is taken in, and passed on, once.
    * An accuser has a budget of claims; all that is held is bounded.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from ..ids import NetworkId, PeerId, SecretKey
from ..wire_encoding import BoundedDecoder
from ..wire_encoding import encode as encode_record
from .entry import SIGNATURE_BYTES, EntryVersion

CONFIRM_S = 2.0
PROBE_AFTER_S = 0.5  # a claim that is the only one for so long is verified
CLAIM_BYTES_MAX = 256
CLAIM_COUNT_MAX = 1024
ACCUSERS_ENOUGH = 2
PROBES = 3

_SIGNED_PREFIX = b"mosaik suspicion v1\0"
_CLAIMS_KEPT_MAX = 3  # of one peer, to be sent to new neighbours
_RETRY_MIN_S = 4.0  # who noticed tries again after this, and then after twice as long each time
_RETRY_MAX_S = 16.0
_BUDGET_COUNT = 32  # claims of one accuser...
_BUDGET_S = 10.0  # ...within so many seconds


class SuspicionClaim(msgspec.Struct, frozen=True, array_like=True):
    """One peer says that another does not answer.

    Attributes:
        accuser: Who says so.
        accused: Who does not answer.
        version: The newest entry of the accused that the accuser knows.
    """

    accuser: PeerId
    accused: PeerId
    version: EntryVersion


_Encoded = Annotated[bytes, msgspec.Meta(max_length=CLAIM_BYTES_MAX)]
Claims = Annotated[tuple[_Encoded, ...], msgspec.Meta(max_length=CLAIM_COUNT_MAX)]


def sign_claim(claim: SuspicionClaim, network_id: NetworkId, key: SecretKey) -> bytes:
    """Return a claim as it travels: the accuser's signature, then what was signed."""
    data = encode_record(claim)
    return key.sign(_SIGNED_PREFIX + network_id + data) + data


def decode_claim(encoded: bytes) -> SuspicionClaim:
    """Return the claim in its travelling form. The signature is not checked.

    Raises:
        DecodeError: The bytes are no claim.
    """
    return _decoder.decode(encoded[SIGNATURE_BYTES:])


def is_signed(claim: SuspicionClaim, encoded: bytes, network_id: NetworkId) -> bool:
    """Return whether the accuser signed the claim, for this network."""
    data = _SIGNED_PREFIX + network_id + encoded[SIGNATURE_BYTES:]
    return claim.accuser.verifies(encoded[:SIGNATURE_BYTES], data)


@dataclass(slots=True)
class Suspicion:
    """What is claimed of one version of one peer.

    Attributes:
        version: The version.
        since: When the first claim came.
        claims: By accuser, as they travel; empty bytes for those that are not kept.
        is_noticed: Whether this node is one of the accusers.
        is_confirmed: Whether the peer counts as unreachable.
        retry_s: How long to wait before the next attempt to reach it.
    """

    version: EntryVersion
    since: float
    claims: dict[PeerId, bytes] = field(default_factory=dict)
    is_noticed: bool = False
    is_confirmed: bool = False
    retry_s: float = _RETRY_MIN_S

    @property
    def is_enough(self) -> bool:
        """Whether the claims suffice when nobody refutes them in time."""
        return self.is_noticed or len(self.claims) >= ACCUSERS_ENOUGH


class Suspicions:
    """The suspicions of one node, by accused peer.

    Args:
        peers_max: How many peers may be suspected at the same time.
    """

    def __init__(self, peers_max: int) -> None:
        self._peers_max = peers_max
        self._of: dict[PeerId, Suspicion] = {}
        self._deadlines: list[tuple[float, PeerId]] = []
        self._budgets: dict[PeerId, tuple[float, int]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nobody is suspected."""
        return not self._of

    def find(self, peer_id: PeerId) -> Suspicion | None:
        """Return what is claimed of a peer."""
        return self._of.get(peer_id)

    def is_unreachable(self, peer_id: PeerId) -> bool:
        """Return whether the suspicion of a peer is confirmed."""
        suspicion = self._of.get(peer_id)
        return suspicion is not None and suspicion.is_confirmed

    def is_new(self, claim: SuspicionClaim) -> bool:
        """Return whether a claim says anything that is not held yet."""
        suspicion = self._of.get(claim.accused)
        if suspicion is None:
            return len(self._of) < self._peers_max
        if claim.version != suspicion.version:
            return claim.version > suspicion.version
        return claim.accuser not in suspicion.claims

    def may_spend(self, accuser: PeerId, *, now: float) -> bool:
        """Return whether an accuser has a claim left in its budget."""
        began, count = self._budgets.get(accuser, (now, 0))
        return count < _BUDGET_COUNT or now >= began + _BUDGET_S

    def spend(self, accuser: PeerId, *, now: float) -> None:
        """Take one claim, which it has signed, from an accuser's budget."""
        began, count = self._budgets.get(accuser, (now, 0))
        if now >= began + _BUDGET_S:
            began, count = now, 0
        if len(self._budgets) >= self._peers_max:
            self._budgets = {p: b for p, b in self._budgets.items() if now < b[0] + _BUDGET_S}
        self._budgets[accuser] = (began, count + 1)

    def add(self, claim: SuspicionClaim, encoded: bytes, *, is_own: bool, now: float) -> None:
        """Hold a claim that `is_new`. The peer is looked at again when `get_timer` is due."""
        suspicion = self._of.get(claim.accused)
        if suspicion is None or suspicion.version != claim.version:
            suspicion = self._of[claim.accused] = Suspicion(claim.version, now)
            heapq.heappush(self._deadlines, (now + PROBE_AFTER_S, claim.accused))
        is_kept = len(suspicion.claims) < _CLAIMS_KEPT_MAX
        suspicion.claims[claim.accuser] = encoded if is_kept else b""
        suspicion.is_noticed = suspicion.is_noticed or is_own
        self.recheck(claim.accused, now=now)

    def retry(self, peer_id: PeerId, *, now: float) -> None:
        """See that a suspect is due again, later each time."""
        suspicion = self._of[peer_id]
        heapq.heappush(self._deadlines, (now + suspicion.retry_s, peer_id))
        suspicion.retry_s = min(2 * suspicion.retry_s, _RETRY_MAX_S)

    def recheck(self, peer_id: PeerId, *, now: float) -> None:
        """See that a suspect is decided on: something about it has changed."""
        suspicion = self._of.get(peer_id)
        if suspicion is not None and not suspicion.is_confirmed:
            heapq.heappush(self._deadlines, (max(now, suspicion.since + CONFIRM_S), peer_id))

    def clear(self, peer_id: PeerId, version: EntryVersion | None = None) -> bool:
        """Drop the suspicion of a peer, or only one that is older than `version`."""
        suspicion = self._of.get(peer_id)
        if suspicion is None or (version is not None and version <= suspicion.version):
            return False
        del self._of[peer_id]
        return True

    def get_timer(self) -> float | None:
        """Return when `take_due` is due; None for never."""
        return self._deadlines[0][0] if self._deadlines else None

    def take_due(self, *, now: float) -> list[PeerId]:
        """Return the suspected peers to decide on now, or to try to reach again."""
        due: dict[PeerId, None] = {}
        while self._deadlines and self._deadlines[0][0] <= now:
            _, peer_id = heapq.heappop(self._deadlines)
            if peer_id in self._of:
                due[peer_id] = None
        return list(due)

    def held(self) -> list[bytes]:
        """Return the claims that a new neighbour may not know, at most `CLAIM_COUNT_MAX`."""
        found: list[bytes] = []
        for suspicion in self._of.values():
            found.extend(encoded for encoded in suspicion.claims.values() if encoded)
            if len(found) >= CLAIM_COUNT_MAX:
                break
        return found[:CLAIM_COUNT_MAX]


_decoder: BoundedDecoder[SuspicionClaim] = BoundedDecoder(
    SuspicionClaim, "a claim", CLAIM_BYTES_MAX
)
