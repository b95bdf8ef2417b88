"""What a stream, a group or the network requires: one validator or several, all of them.

What users write as ``require_ticket`` is read by `as_validators`. A requirement is
asked by whoever lets peers in, as often as it likes: it looks up what the node's
table of tickets says and computes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from ..errors import ConfigError
from ..ids import PeerId, UniqueId
from .table import ALLOWED, TicketTable, TicketVerdict
from .validator import TicketValidator

VALIDATORS_MAX: Final = 16

Validators = TicketValidator | Iterable[TicketValidator]


def as_validators(value: Any) -> tuple[TicketValidator, ...]:
    """Return the validators that a ``require_ticket`` names, each once.

    Raises:
        ConfigError: It is neither a validator nor several, or there are too many.
    """
    given: Any = (value,) if _is_validator(value) else value
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise ConfigError(f"require_ticket is {value!r}, expected a validator or several")
    validators = {}
    for one in given:
        if not _is_validator(one):
            raise ConfigError(
                f"require_ticket holds {one!r}, expected validators: with a class_id, "
                "a signature and validate(data, peer)"
            )
        validators[_signature(one)] = one
    if len(validators) > VALIDATORS_MAX:
        text = f"require_ticket holds {len(validators)} validators, at most {VALIDATORS_MAX}"
        raise ConfigError(text)
    return tuple(validators.values())


def signatures(validators: Iterable[TicketValidator]) -> list[bytes]:
    """Return what stands for each validator, as ids of groups contain it."""
    return [bytes(_signature(one)) for one in validators]


def _is_validator(value: Any) -> bool:
    if isinstance(value, type):
        return False
    return callable(getattr(value, "validate", None)) and hasattr(value, "signature")


def _signature(validator: TicketValidator) -> UniqueId:
    try:
        UniqueId(validator.class_id)
        return UniqueId(validator.signature)
    except (TypeError, ValueError, AttributeError) as exc:
        kind = type(validator).__name__
        raise ConfigError(f"the validator {kind} has no class_id or signature: {exc}") from exc


class TicketRequirement:
    """Some validators, all of which have to accept a peer.

    Args:
        validators: They.
        table: What the node knows of tickets.
        wall: What time it is, in seconds since the Unix epoch.
    """

    def __init__(
        self,
        validators: Iterable[TicketValidator],
        table: TicketTable,
        wall: Callable[[], float],
    ) -> None:
        self._table = table
        self._wall = wall
        self._signatures = [table.register(one, now=wall()) for one in validators]

    def release(self) -> None:
        """Take in that nobody asks any more. The verdict on everybody is unknown then."""
        for signature in self._signatures:
            self._table.unregister(signature)

    def judge(self, peer: Any) -> TicketVerdict:
        """Return the verdict on a peer, a `PeerInfo`, that may be newer than the table knows."""
        self._table.receive_peer(peer, now=self._wall())
        return self.judge_id(peer.peer_id)

    def judge_id(self, peer_id: PeerId) -> TicketVerdict:
        """Return the verdict on a peer: the strictest of those of all validators."""
        found = [self._table.verdict(peer_id, one) for one in self._signatures]
        worst = min(found, key=lambda one: one.until, default=ALLOWED)
        return worst._replace(is_awaited=any(one.is_awaited for one in found))

    def allows(self, verdict: TicketVerdict) -> bool:
        """Return whether a verdict allows the peer at this moment."""
        return verdict.allows(self._wall())

    def excludes(self, peer_id: PeerId) -> bool:
        """Return whether it is certain that a peer is not allowed at this moment."""
        verdict = self.judge_id(peer_id)
        return not verdict.is_awaited and not self.allows(verdict)

    def why_not(self, peer_id: PeerId) -> str | None:
        """Return why a peer is not allowed at this moment, None when it is."""
        verdict = self.judge_id(peer_id)
        return None if self.allows(verdict) else verdict.reason
