"""What a node knows of another peer, in the form that users see.

A `PeerInfo` is immutable: a newer entry or a new measurement makes a new one.
Wherever an id is looked up, its name is accepted too: ``"fast" in info.tags``.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import NamedTuple, Self, cast

from ..config import seconds
from ..ids import NetworkId, PeerId, UniqueId
from ..tickets.ticket import Ticket
from ..tickets.validator import Expiration, TicketValidator, find_valid
from ..transport.address import PeerAddr, without_loopback
from .entry import EntryVersion, PeerEntry


class IdSet(frozenset[UniqueId | str]):
    """An immutable set of ids in which names can be looked up."""

    # The type says that names may be looked up; what comes out are ids.
    __slots__ = ()

    def __iter__(self) -> Iterator[UniqueId]:
        return cast("Iterator[UniqueId]", super().__iter__())

    def __contains__(self, item: object) -> bool:
        return super().__contains__(UniqueId(item) if isinstance(item, str) else item)

    def __reduce__(self) -> tuple[type[Self], tuple[list[UniqueId]]]:
        return type(self), (sorted(iter(self)),)


class IdMap(Mapping[UniqueId | str, str]):
    """An immutable mapping from ids to the names behind them; look up by id or by name."""

    __slots__ = ("_names",)

    def __init__(self, items: Iterable[tuple[UniqueId, str]] = ()) -> None:
        self._names = dict(items)

    def __getitem__(self, key: UniqueId | str) -> str:
        return self._names[UniqueId(key) if isinstance(key, str) else key]

    def __contains__(self, key: object) -> bool:
        return (UniqueId(key) if isinstance(key, str) else key) in self._names

    def __iter__(self) -> Iterator[UniqueId]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def keys(self) -> KeysView[UniqueId]:
        """Return the ids."""
        return self._names.keys()

    def items(self) -> ItemsView[UniqueId, str]:
        """Return the ids, each with its name."""
        return self._names.items()

    def __hash__(self) -> int:
        return hash(frozenset(self._names))

    def __repr__(self) -> str:
        return f"IdMap({[name or key.short for key, name in self._names.items()]})"


class _Facets(NamedTuple):
    """An entry's lists in the form in which users look things up."""

    tags: IdSet
    streams: IdMap
    groups: IdMap
    actors: IdMap


@dataclass(frozen=True, slots=True, repr=False)
class PeerInfo:
    """A peer as this node knows it.

    Attributes:
        entry: The peer's own words.
        rtt: The smoothed round-trip time to it in seconds; None while unmeasured.
        is_signed: Whether the peer signed the entry; False when it was
            inserted by hand.
        is_reachable: False while the peer does not answer, as far as its
            neighbours or this node can tell: what it offers counts as away.
        is_from_afar: Whether another machine brought the entry: what it says of the
            loopback interface is about that machine then.
        clock: What time it is, in seconds since the Unix epoch, as discovery sees it.
    """

    entry: PeerEntry
    rtt: float | None = None
    is_signed: bool = True
    is_reachable: bool = True
    is_from_afar: bool = field(default=False, kw_only=True)
    clock: Callable[[], float] | None = field(default=None, compare=False, kw_only=True)
    # Most entries are replaced before anybody looks into them: made when first asked for.
    _facets: _Facets | None = field(default=None, init=False, compare=False)

    @property
    def tags(self) -> IdSet:
        """Its labels."""
        return self._find_facets().tags

    @property
    def streams(self) -> IdMap:
        """The streams it produces, with their names."""
        return self._find_facets().streams

    @property
    def groups(self) -> IdMap:
        """The groups it is a member of, with their names."""
        return self._find_facets().groups

    @property
    def actors(self) -> IdMap:
        """The actors that can be resolved at it, with their names."""
        return self._find_facets().actors

    @property
    def peer_id(self) -> PeerId:
        """Who it is."""
        return self.entry.peer

    @property
    def network_id(self) -> NetworkId:
        """The network that it is on."""
        return self.entry.network

    @property
    def addr(self) -> PeerAddr:
        """Where it can be reached."""
        return without_loopback(self.entry.addr) if self.is_from_afar else self.entry.addr

    @property
    def version(self) -> EntryVersion:
        """Which of its entries this is."""
        return self.entry.version

    @property
    def tickets(self) -> tuple[Ticket, ...]:
        """What it may prove, opaque and unchecked."""
        return self.entry.tickets

    @property
    def last_heard_s(self) -> float:
        """How many seconds ago the peer gave the last sign of life that is known here.

        By the peer's own clock, so that a difference between the clocks counts in.
        """
        if self.clock is None:
            return 0.0
        return max(0.0, self.clock() - self.entry.version.update / 1000)

    def __repr__(self) -> str:
        streams = [name or key.short for key, name in self.streams.items()]
        rtt = "unmeasured" if self.rtt is None else f"{self.rtt * 1000:.1f} ms"
        state = "" if self.is_reachable else ", unreachable"
        return f"PeerInfo({self.peer_id.short}, {rtt}, streams {streams}{state})"

    def rtt_below(self, limit: float | timedelta) -> bool:
        """Return whether it was measured to be nearer than `limit`; False while unmeasured."""
        return self.rtt is not None and self.rtt < seconds(limit)

    def tickets_of(self, class_id: UniqueId | str) -> tuple[Ticket, ...]:
        """Return its tickets of one class, in its own order."""
        wanted = UniqueId(class_id)
        return tuple(ticket for ticket in self.entry.tickets if ticket.class_id == wanted)

    def has_valid_ticket(self, class_id: UniqueId | str, is_valid: Callable[[bytes], bool]) -> bool:
        """Return whether `is_valid` accepts the data of one of its tickets of a class."""
        return any(is_valid(ticket.data) for ticket in self.tickets_of(class_id))

    def validate_ticket(self, validator: TicketValidator) -> Expiration:
        """Return until when the longest-lived of its tickets holds that `validator` accepts.

        Raises:
            InvalidTicket: It has none that holds now; says why the first one is refused.
        """
        return find_valid(validator, self.tickets_of(validator.class_id), self)

    def _find_facets(self) -> _Facets:
        facets = self._facets
        if facets is None:
            entry = self.entry
            facets = _Facets(
                IdSet(entry.tags),
                IdMap((one.id, one.name) for one in entry.streams),
                IdMap((one.id, one.name) for one in entry.groups),
                IdMap((one.id, one.name) for one in entry.actors),
            )
            object.__setattr__(self, "_facets", facets)
        return facets

    def measured(self, rtt_s: float | None) -> PeerInfo:
        """Return this peer with a round-trip time, if it has none yet and one is given."""
        return self if self.rtt is not None or rtt_s is None else replace(self, rtt=rtt_s)


class UnmeasuredPeer(PeerInfo):
    """A peer whose round-trip time is not known, as a predicate sees it.

    The answer of a predicate that looked at the round-trip time is worth nothing
    before there is one; `was_asked` says whether it looked.

    Attributes:
        was_asked: Whether somebody wanted to know the round-trip time.
    """

    __slots__ = ("was_asked",)

    was_asked: bool

    def __init__(self, info: PeerInfo) -> None:
        for one in fields(PeerInfo):
            if one.name != "rtt":
                object.__setattr__(self, one.name, getattr(info, one.name))
        object.__setattr__(self, "was_asked", False)

    @property
    def rtt(self) -> float | None:
        """None: nobody measured it."""
        object.__setattr__(self, "was_asked", True)
        return None

    def __repr__(self) -> str:
        was_asked = self.was_asked
        text = super().__repr__()
        object.__setattr__(self, "was_asked", was_asked)  # who prints a peer asks for nothing
        return text


def for_predicate(info: PeerInfo) -> PeerInfo:
    """Return a peer as it is shown to a predicate; then ask `depends_on_rtt` about the answer."""
    return info if info.rtt is not None else UnmeasuredPeer(info)


def depends_on_rtt(info: PeerInfo) -> bool:
    """Return whether a predicate looked at a round-trip time that nobody knows."""
    return isinstance(info, UnmeasuredPeer) and info.was_asked
