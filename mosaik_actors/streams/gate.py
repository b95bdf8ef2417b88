"""Who may subscribe to a producer: asked at the subscription and on every catalog change.

The users' own predicates run here, and one that raises counts as not met: a
mistake in one must not take a node's streams down.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING

from ..discovery.info import depends_on_rtt, for_predicate
from ..errors import ConfigError
from ..ids import PeerId, StreamId
from ..peer_text import printable
from ..schema import Schema, SchemaMismatch
from ..transport.close import CloseCode, CloseReason
from .conditions import Condition
from .predicates import AwaitableAnswer, call_plain, tell_once
from .schema import check_readable

if TYPE_CHECKING:
    from ..discovery.info import PeerInfo

logger = logging.getLogger(__name__)

Requirement = Callable[["PeerInfo"], bool]

PEER_SUBSCRIPTIONS_MAX = 16  # of one peer to one producer

NOT_ALLOWED = CloseReason(CloseCode.STREAM_NOT_ALLOWED, "the requirements are not met")
WITHOUT_TICKET = "no valid ticket: "
UNKNOWN_PEER = CloseReason(CloseCode.UNKNOWN_PEER, "your entry is not known here, sync first")


def is_allowed(peer: PeerInfo, require: Requirement | None) -> bool | None:
    """Return whether a peer meets a requirement.

    One that raises, or returns something to await, is not met. None: it looked
    at a round-trip time that nobody has measured yet; measure it and ask again, and
    until then do not let the peer in, whatever the predicate said.
    """
    if require is None:
        return True
    shown = for_predicate(peer)
    try:
        answer = bool(call_plain("the require predicate", require, shown))
    except AwaitableAnswer as exc:
        tell_once(logger, exc)
        return False
    except Exception:
        if not depends_on_rtt(shown):
            logger.exception("a require predicate failed for peer %s", peer.peer_id.short)
        answer = False
    return None if depends_on_rtt(shown) else answer


def without_ticket(reason: str) -> CloseReason:
    """Return what a peer whose tickets are not accepted is sent."""
    return CloseReason(CloseCode.STREAM_NOT_ALLOWED, clip(WITHOUT_TICKET + reason))


def holds(condition: Condition, peers: Iterable[PeerInfo]) -> bool:
    """Return whether a condition holds. One whose predicate raises does not."""
    try:
        return condition.holds(peers)
    except AwaitableAnswer as exc:
        tell_once(logger, exc)
        return False
    except Exception:
        logger.exception("a predicate of an online_when condition failed")
        return False


def require_sync(name: str, function: object) -> None:
    """Raise `ConfigError` for what is neither None nor a plain function.

    The result of a coroutine function would always be true.
    """
    if function is not None and not callable(function):
        raise ConfigError(f"{name} is {function!r}, expected a function")
    call = getattr(type(function), "__call__", None)  # noqa: B004  # objects with such a method
    if iscoroutinefunction(function) or iscoroutinefunction(call):
        raise ConfigError(f"{name} is a coroutine function, expected a plain one")


def make_condition(online_when: Callable[[Condition], object]) -> Condition:
    """Return what an ``online_when`` function makes. Raises `ConfigError` if it is no condition."""
    require_sync("online_when", online_when)
    condition = online_when(Condition())
    if not isinstance(condition, Condition):
        name = type(condition).__qualname__
        raise ConfigError(f"online_when returned {name}, expected a condition such as it is given")
    return condition


def refusal(
    peer: PeerInfo | None,
    *,
    require: Requirement | None,
    here: Schema,
    there: Schema,
    consumers: Collection[PeerId],
    consumers_max: int | None,
) -> CloseReason | None:
    """Return why a subscription is refused, None when it is not.

    `consumers` holds the subscriber of each subscription that stands: some
    peers more than once, though each is one consumer.
    """
    if peer is None:
        return UNKNOWN_PEER
    if not is_allowed(peer, require):
        return NOT_ALLOWED
    own_count = sum(one == peer.peer_id for one in consumers)
    if own_count >= PEER_SUBSCRIPTIONS_MAX:
        text = f"you have {own_count} subscriptions already, the most allowed"
        return CloseReason(CloseCode.STREAM_NO_CAPACITY, text)
    peer_count = len(set(consumers))
    if consumers_max is not None and not own_count and peer_count >= consumers_max:
        text = f"there are {peer_count} consumers already, the most allowed"
        return CloseReason(CloseCode.STREAM_NO_CAPACITY, text)
    try:
        check_readable(here, there)
    except SchemaMismatch as exc:
        return CloseReason(CloseCode.STREAM_SCHEMA_MISMATCH, clip(str(exc)))
    return None


def clip(text: str, bytes_max: int = 250) -> str:
    """Return a text cut to what a close reason may carry."""
    data = text.encode()
    return text if len(data) <= bytes_max else data[: bytes_max - 3].decode(errors="ignore") + "..."


def near_miss(name: str, stream_id: StreamId, peers: Iterable[PeerInfo]) -> str | None:
    """Return a hint when a peer offers a stream that is probably meant, None when none does."""
    if StreamId(name) != stream_id:
        return None  # it was chosen by its id, so no name is wrong
    last = name.rpartition(".")[2]
    for peer in peers:
        if not peer.is_reachable:
            continue  # what it offered is away
        for other_id, other_name in peer.streams.items():
            if other_id != stream_id and other_name.rpartition(".")[2] == last:
                offered = printable(other_name)
                return (
                    f"no producer of {name}; peer {peer.peer_id.short} offers {offered}; "
                    "give both the same stream_id"
                )
    return None
