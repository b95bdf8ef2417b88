"""Who reads tickets: the protocol of validators, and what they answer.

A validator is anything with a class of tickets that it reads, a signature that
stands for all of its settings, and a function:

    class Staff:
        class_id = unique_id("acme.staff")
        signature = unique_id("acme.staff v1")

        def validate(self, data, peer):
            if data != b"we work here":
                raise InvalidTicket("not of our staff")
            return Expiration.NEVER

The runtime keeps each answer by peer, ticket and validator signature, and acts at
the moment that the answer names; it asks again only when the ticket changes, or
at `InvalidTicket.valid_from`. So the answer must follow from the data, the peer's
id, its network, the validator's settings and the time (`clock.validation_time`),
and from nothing else. A validator may be asked from a thread.

Clock: wall, in seconds since the Unix epoch.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import msgspec

from ..clock import validation_time
from ..errors import ConfigError, MosaikError, clip
from ..ids import NetworkId, PeerId, UniqueId
from .ticket import Ticket

logger = logging.getLogger(__name__)

_failed: set[str] = set()

REASON_CHARACTERS_MAX = 200
FAILED_LOGGED_MAX = 100


class Expiration(msgspec.Struct, frozen=True):
    """Until when a ticket holds: a moment, or `Expiration.NEVER`.

    Attributes:
        seconds: The moment in seconds since the Unix epoch; None is never.
    """

    seconds: float | None = None

    NEVER: ClassVar[Self]

    def __post_init__(self) -> None:
        if type(self.seconds) not in (float, int, type(None)):
            kind = type(self.seconds).__name__
            raise TypeError(f"the end is a {kind}, expected seconds or None")
        if self.seconds != self.seconds:  # no moment is after it, so it would never be over
            raise ConfigError("the end is nan, expected seconds or None")

    @classmethod
    def at(cls, moment: datetime | float) -> Self:
        """Return the end at `moment`, an aware `datetime` or seconds since the Unix epoch.

        Raises:
            ConfigError: The `datetime` has no time zone, or the number is nan.
        """
        if isinstance(moment, datetime):
            if moment.tzinfo is None:
                raise ConfigError(f"the moment {moment} has no time zone, expected an aware one")
            return cls(moment.timestamp())
        return cls(float(moment))

    @property
    def moment(self) -> datetime | None:
        """The moment as a `datetime` in UTC; None is never."""
        return None if self.seconds is None else datetime.fromtimestamp(self.seconds, UTC)

    @property
    def is_never(self) -> bool:
        """Whether there is no end."""
        return self.seconds is None

    def is_past(self, now: float) -> bool:
        """Return whether it is over at `now`; at the very moment it is."""
        return self.seconds is not None and self.seconds <= now

    def __str__(self) -> str:
        try:
            moment = self.moment
        except (ValueError, OverflowError, OSError):
            return f"{self.seconds:g} s after 1970"  # beyond what a calendar has
        return "never" if moment is None else moment.isoformat(timespec="milliseconds")


Expiration.NEVER = Expiration()


class InvalidTicket(MosaikError):
    """A ticket is not accepted.

    Attributes:
        reason: Why not. It is shown to the peer, so it holds no secrets.
        valid_from: When it will be worth asking again, in seconds since the Unix
            epoch, because the ticket is not valid yet; None: never. May be given as
            an aware `datetime`.
    """

    def __init__(self, reason: str, valid_from: datetime | float | None = None) -> None:
        text = reason if len(reason) <= REASON_CHARACTERS_MAX else clip(reason)
        super().__init__(text)
        self.reason = text
        self.valid_from = None if valid_from is None else Expiration.at(valid_from).seconds

    def __str__(self) -> str:
        return self.reason


class ExpiredTicket(InvalidTicket):
    """A ticket that was good, and has ended."""


class ValidatorFailed(InvalidTicket):
    """A validator has a mistake: nothing is known of the ticket."""


class TicketHolder(Protocol):
    """Who shows a ticket, as a validator may look at it: a `PeerInfo` and others."""

    @property
    def peer_id(self) -> PeerId:
        """Its identity, proven."""

    @property
    def network_id(self) -> NetworkId:
        """The network on which it shows the ticket."""


@runtime_checkable
class TicketValidator(Protocol):
    """Reads tickets of one class."""

    @property
    def class_id(self) -> UniqueId:
        """The class of the tickets that it reads."""

    @property
    def signature(self) -> UniqueId:
        """Another one for each setting that changes what is accepted; reveals no secret."""

    def validate(self, data: bytes, peer: Any) -> Expiration:
        """Return until when a ticket holds.

        Args:
            data: The ticket's data, from a stranger.
            peer: Who shows it, a `TicketHolder`. Its identity is proven.

        Raises:
            InvalidTicket: It is not accepted; says why not.
        """


def peer_id_of(peer: TicketHolder | PeerId) -> PeerId:
    """Return whose ticket is asked about."""
    return peer if isinstance(peer, PeerId) else peer.peer_id


def ask_validator(validator: TicketValidator, data: bytes, peer: TicketHolder) -> Expiration:
    """Return until when `validator` says that a ticket holds, maybe until a moment ago.

    Raises:
        InvalidTicket: It is not accepted, or the validator failed: who cannot be
            judged is refused.
    """
    try:
        expiration: object = validator.validate(data, peer)
    except (InvalidTicket, KeyboardInterrupt):
        raise
    # A panic in Rust, and SystemExit, are no `Exception`: nobody's tickets would be validated
    # any more after one.
    except BaseException as exc:
        _log_failure(validator, f"raised {type(exc).__name__}: {clip(exc)}", exc)
        raise ValidatorFailed(f"the validator failed: {type(exc).__name__}") from exc
    if not isinstance(expiration, Expiration):
        kind = type(expiration).__qualname__
        _log_failure(validator, f"returned a {kind}, expected an Expiration", None)
        raise ValidatorFailed("the validator failed: it returned no Expiration")
    return expiration


def _log_failure(validator: TicketValidator, what: str, error: BaseException | None) -> None:
    """Say that a validator has a mistake, once for each class: anybody may run into it."""
    name = type(validator).__qualname__
    if name in _failed or len(_failed) >= FAILED_LOGGED_MAX:
        return
    _failed.add(name)
    text = "a validator of tickets, %s, %s; what it fails on is refused"
    logger.error(text, name, what, exc_info=error)


def find_valid(
    validator: TicketValidator, tickets: Iterable[Ticket], peer: TicketHolder
) -> Expiration:
    """Return until when the longest-lived of `tickets` holds, all of the validator's class.

    Raises:
        InvalidTicket: None of them holds now; says why the first one is refused.
    """
    found: list[Expiration] = []
    refusals: list[InvalidTicket] = []
    now = validation_time()
    for ticket in tickets:
        try:
            expiration = ask_validator(validator, ticket.data, peer)
            if expiration.is_past(now):
                raise ExpiredTicket(f"expired at {expiration}")
            found.append(expiration)
        except InvalidTicket as exc:
            refusals.append(exc)
    if found:
        return max(found, key=lambda one: float("inf") if one.seconds is None else one.seconds)
    raise refusals[0] if refusals else InvalidTicket("no ticket of the class")
