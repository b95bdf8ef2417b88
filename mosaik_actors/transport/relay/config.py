"""The settings of relays: of the nodes that use them, and of a relay itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ...config import as_seconds, require_above, require_between
from ...errors import ConfigError
from ...ids import UniqueId
from ..address import PeerAddr

RELAYS_MAX = 8
_DATAGRAM_BYTES = 1024  # as the limits of a relay take it
_QUEUE_BYTES_MIN = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class RelayConfig:
    """Which relays a node uses.

    Attributes:
        relays: Their addresses, as `PeerAddr` or its text, at most 8. The node keeps a
            connection to each, and is reached through any of them. Peers are reached
            through these and no others: an address that gossip names is never dialled as
            a relay.
        secret: What the relays want to know of who uses them, as text, bytes or the `Path`
            of a file; None for relays that serve everybody.
        tickets: Which of the tickets that the node shows (`net.discovery.add_ticket` and
            `keep_ticket`) relays are shown as well: their classes, such as ``Jwt.class_id``, as
            ids or names. For relays that require some; none by default, since relays are not
            of the network.
        wait: For how many seconds the start of the node waits for the first relay. Then
            it goes on without, and connects when there is one.
        retry_min: Seconds until a relay that was lost is dialled again; doubles each time.
        retry_max: The longest such wait.
        queue_bytes_max: With so many bytes on their way to a relay, datagrams are dropped,
            as a full router does. 512 KiB: 5 MB/s at 100 ms.
    """

    relays: tuple[PeerAddr, ...]
    secret: Any = None
    tickets: tuple[UniqueId, ...] = ()
    wait: float = 3.0
    retry_min: float = 0.5
    retry_max: float = 30.0
    queue_bytes_max: int = 512 * 1024

    def __post_init__(self) -> None:
        given: Any = self.relays
        if isinstance(given, PeerAddr | str):
            given = (given,)
        if not isinstance(given, Iterable):
            raise ConfigError(f"relays is {given!r}, expected an address's text, or several")
        try:
            relays = tuple(
                one if isinstance(one, PeerAddr) else PeerAddr.parse(one) for one in given
            )
        except (AttributeError, TypeError, ValueError) as exc:
            raise ConfigError(f"relays: {exc}") from exc
        require_between("the number of relays", len(relays), 1, RELAYS_MAX)
        for relay in relays:
            if not relay.direct:
                raise ConfigError(f"relays: {relay} has no address, expected PEER_ID@HOST:PORT")
        if len({relay.peer_id for relay in relays}) < len(relays):
            raise ConfigError("relays names one relay twice")
        object.__setattr__(self, "relays", relays)
        object.__setattr__(self, "tickets", _as_classes(self.tickets))
        as_seconds(self, "wait", "retry_min", "retry_max")
        require_above("wait", self.wait)
        require_above("retry_min", self.retry_min)
        if self.retry_max < self.retry_min:
            raise ConfigError(
                f"retry_max is {self.retry_max}, expected at least retry_min, "
                f"which is {self.retry_min}"
            )
        require_above("queue_bytes_max", self.queue_bytes_max, _QUEUE_BYTES_MIN - 1)


@dataclass(frozen=True, kw_only=True)
class RelayLimits:
    """What a relay gives to each peer, and to how many.

    Attributes:
        peers_max: How many peers may be served at a time, one connection each; more are
            refused. An idle one costs some 100 KB.
        bytes_per_s: How many bytes of datagrams one peer may send per second, on the average;
            a second's worth may come at once. What is more is dropped. 8 MiB: 67 Mbit/s.
        datagrams_per_s: The same as a number of datagrams; when None, as many as there
            are of 1,024 bytes in `bytes_per_s`.
        queue_bytes_max: With so many bytes on their way to one peer, more for it are dropped.
    """

    peers_max: int = 1024
    bytes_per_s: int = 8 * 1024 * 1024
    datagrams_per_s: int | None = None
    queue_bytes_max: int = 512 * 1024

    def __post_init__(self) -> None:
        require_above("peers_max", self.peers_max)
        require_above("bytes_per_s", self.bytes_per_s, _QUEUE_BYTES_MIN - 1)
        if self.datagrams_per_s is not None:
            require_above("datagrams_per_s", self.datagrams_per_s)
        require_above("queue_bytes_max", self.queue_bytes_max, _QUEUE_BYTES_MIN - 1)

    @property
    def datagram_rate(self) -> int:
        """How many datagrams one peer may send per second."""
        return self.datagrams_per_s or -(-self.bytes_per_s // _DATAGRAM_BYTES)


def _as_classes(given: Any) -> tuple[UniqueId, ...]:
    several = (given,) if isinstance(given, UniqueId | str | bytes) else given
    try:
        return tuple(dict.fromkeys(map(UniqueId, several)))
    except (TypeError, ValueError) as exc:
        raise ConfigError(
            f"tickets is {given!r}, expected classes of tickets, as Jwt.class_id: {exc}"
        ) from exc


def own_config(value: Any) -> RelayConfig | None:
    """Return what `Network(relay=...)` means: a configuration, addresses, or None."""
    if value is None or isinstance(value, RelayConfig):
        return value
    try:
        return RelayConfig(relays=value)
    except ConfigError as exc:
        raise ConfigError(f"relay: {exc}") from exc
