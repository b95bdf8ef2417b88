"""Which peers may be connected: those that the node's user allows and that keep the rules.

Asked of each peer that has proven who it is and that it belongs to the network, and of
those that are connected whenever an answer changes. A peer is refused that

    * is not on the list of allowed peers, where there is one (`NOT_ALLOWED`);
    * is denied, or banned for a time (`BANNED`);
    * broke rules again and again, for a time (`BROKE_RULES`, see `scores`).

What refuses a peer says so with its close code, and is what `NotAdmitted.gate` names there.

A pure core; ``now`` is monotonic time in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ..ids import PeerId
from .close import CloseCode, CloseReason, gate_of
from .scores import FaultLimits, Scores


class Standing(msgspec.Struct, frozen=True):
    """What this node has against a peer.

    Attributes:
        peer_id: Whom it is about.
        gate: Which gate refuses it: "allow", "deny" or "conduct"; "" when none does.
        why: Why, in words; "" when none does.
        for_s: For how many more seconds; None when until that is changed, or when none does.
        fault_count: How many rules it broke since it is known here.
        score: What of that counts still: with `TransportConfig.faults_max` it is refused.
    """

    peer_id: PeerId
    gate: str
    why: str
    for_s: float | None
    fault_count: int
    score: float


class _Ban(msgspec.Struct, frozen=True):
    until: float | None
    why: str


class Gate:
    """The lists, the bans and the scores of one node."""

    def __init__(self, config: FaultLimits) -> None:
        self._scores = Scores(config)
        self._allowed: dict[PeerId, None] | None = None
        self._bans: dict[PeerId, _Ban] = {}

    def set_lists(self, allow: Iterable[PeerId] | None, deny: Iterable[PeerId]) -> None:
        """Begin with these lists.

        Args:
            allow: The only peers that may be connected; None for all.
            deny: Those that may not, whether they are allowed or not.
        """
        self._allowed = None if allow is None else dict.fromkeys(allow)
        self._bans = {peer_id: _Ban(None, "") for peer_id in deny}

    def ban(self, peer_id: PeerId, *, for_s: float | None, why: str, now: float) -> None:
        """Refuse a peer from now on, in place of an earlier ban of it.

        Args:
            peer_id: Whom.
            for_s: For how many seconds; None until it is allowed.
            why: The reason it gets.
            now: Monotonic time in seconds.
        """
        for known, ban in list(self._bans.items()):
            if ban.until is not None and ban.until <= now:
                del self._bans[known]
        self._bans[peer_id] = _Ban(None if for_s is None else now + for_s, why)

    def allow(self, peer_id: PeerId) -> None:
        """Lift a ban, forget broken rules, and add to the list of allowed peers if there is one."""
        self._bans.pop(peer_id, None)
        self._scores.forgive(peer_id)
        if self._allowed is not None:
            self._allowed[peer_id] = None

    def receive_fault(self, peer_id: PeerId, *, now: float) -> CloseReason | None:
        """Take in that a peer broke a rule; return why it is refused from now on, if it is."""
        if self._scores.receive_fault(peer_id, now=now):
            return self.objection(peer_id, now=now)
        return None

    def objection(self, peer_id: PeerId, *, now: float) -> CloseReason | None:
        """Return why a peer is refused, None when it may be connected."""
        if ban := self._ban(peer_id, now):
            text = "this peer is banned" + _for_text(ban.until, now)
            return CloseReason(CloseCode.BANNED, f"{text}: {ban.why}" if ban.why else text)
        if self._allowed is not None and peer_id not in self._allowed:
            text = "this peer is not on the list of those that are allowed"
            return CloseReason(CloseCode.NOT_ALLOWED, text)
        if left_s := self._scores.refused_for_s(peer_id, now=now):
            text = "this peer broke too many rules" + _for_text(now + left_s, now)
            return CloseReason(CloseCode.BROKE_RULES, text)
        return None

    def standings(self, *, now: float) -> list[Standing]:
        """Return what there is against whom; of who is merely on no list there is none."""
        return [
            self._standing(peer_id, now)
            for peer_id in dict.fromkeys([*self._bans, *self._scores.known()])
            if self._ban(peer_id, now) or self._scores.fault_count(peer_id)
        ]

    def _standing(self, peer_id: PeerId, now: float) -> Standing:
        reason = self.objection(peer_id, now=now)
        ban = self._ban(peer_id, now)
        for_s: float | None = None
        if ban is not None and ban.until is not None:
            for_s = ban.until - now
        elif reason is not None and reason.code == CloseCode.BROKE_RULES:
            for_s = self._scores.refused_for_s(peer_id, now=now)
        return Standing(
            peer_id,
            (reason is not None and gate_of(reason.code)) or "",
            "" if reason is None else reason.text,
            for_s,
            self._scores.fault_count(peer_id),
            self._scores.score(peer_id, now=now),
        )

    def _ban(self, peer_id: PeerId, now: float) -> _Ban | None:
        ban = self._bans.get(peer_id)
        return ban if ban is not None and (ban.until is None or now < ban.until) else None


def _for_text(until: float | None, now: float) -> str:
    return "" if until is None else f" for another {max(1.0, until - now):.0f} s"
