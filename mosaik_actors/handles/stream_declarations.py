"""Streams declared once and used from several places.

    PriceFeed = stream(Price, "oracle.price", producer={"max_consumers": 100},
                       consumer={"criteria": where(lambda p: p.value > 0)})

    feed = await PriceFeed.online_producer(net)      # in one program
    prices = await PriceFeed.online_consumer(net)    # in another

A declaration holds no state: the same one serves any number of networks. What
it is given is checked when it is made, so that a typing error shows where it
is. On one network all producers of a declaration share one, as handles of
`Streams.produce` do. ``producer_only`` and ``consumer_only`` declare one side
for libraries that must not hand out the other.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, Generic, Protocol, Self, TypedDict, TypeVar, Unpack

from ..errors import AlreadyExists, ConfigError
from ..ids import StreamId
from ..streams.config import Backoff
from ..streams.consuming.preference import Key, Preference
from ..streams.criteria.criteria import Criteria
from ..streams.gate import Requirement
from ..tickets.requirement import Validators, as_validators
from ..tickets.validator import TicketValidator
from .consumer import Consumer
from .producer import Producer
from .streams import OnlineWhen, Streams

T = TypeVar("T")

Settings = Mapping[str, Any]


class ConsumerChoice(TypedDict, total=False):
    """What each consumer of a declared stream may choose for itself; see `Streams.consumer`."""

    require: Requirement | None
    criteria: Criteria | None
    prefer: Preference | Key | None
    online_when: OnlineWhen
    backoff: Backoff | None


class HasStreams(Protocol):
    """A `Network`, or whatever else has streams."""

    @property
    def streams(self) -> Streams:
        """The streams of the node."""


class _Declared(Generic[T]):
    """What all declarations have: a type and a stream."""

    def __init__(self, type_: type[T], stream_id: StreamId | str | None) -> None:
        self.type = type_
        self.stream_id = stream_id

    def moved(self, stream_id: StreamId, validators: Sequence[TicketValidator] = ()) -> Self:
        """Return the declaration of another stream, which requires more tickets on each side."""
        made = copy(self)
        made.stream_id = stream_id
        for side, settings in self.sides().items():
            both = (*validators, *settings["require_ticket"])
            setattr(made, f"_{side}_settings", {**settings, "require_ticket": both})
        return made

    def sides(self) -> dict[str, Settings]:
        """Return the settings of each declared side, by its name, with all validators."""
        sides = ("producer", "consumer")
        found = {side: getattr(self, f"_{side}_settings", None) for side in sides}
        return {side: settings for side, settings in found.items() if settings is not None}

    def __repr__(self) -> str:
        name = getattr(self.type, "__qualname__", None) or str(self.type)
        return f"{type(self).__name__}({name}, {self.stream_id or 'id of the type'})"


class ProducerDeclaration(_Declared[T]):
    """The producing side of a stream."""

    def __init__(
        self, type_: type[T], stream_id: StreamId | str | None = None, **settings: Any
    ) -> None:
        super().__init__(type_, stream_id)
        self._producer_settings = _checked(settings, Streams.producer, "producer")

    def producer(self, net: HasStreams) -> Producer[T]:
        """Return a producer, or another handle of the one this declaration made there.

        Raises:
            AlreadyExists: There is one that was made in another way.
            ConfigError, Closed: As for `Streams.producer`.
        """
        try:
            made = net.streams.producer(
                self.type, stream_id=self.stream_id, **self._producer_settings
            )
        except AlreadyExists as exc:
            existing: Producer[T] = exc.existing
            if existing._source.declared_by is not self:
                raise
            return existing
        made._source.declared_by = self
        return made

    async def online_producer(self, net: HasStreams) -> Producer[T]:
        """Return a producer once it is online."""
        producer = self.producer(net)
        await producer.when().online()
        return producer


class ConsumerDeclaration(_Declared[T]):
    """The consuming side of a stream."""

    def __init__(
        self, type_: type[T], stream_id: StreamId | str | None = None, **settings: Any
    ) -> None:
        super().__init__(type_, stream_id)
        self._consumer_settings = _checked(settings, Streams.consumer, "consumer")

    def consumer(self, net: HasStreams, **choice: Unpack[ConsumerChoice]) -> Consumer[T]:
        """Return a new consumer. `choice` is beside what is declared.

        Raises:
            ConfigError: `choice` holds what a consumer cannot choose, or what is declared.
        """
        declared = self._consumer_settings
        for name in choice:
            if name not in ConsumerChoice.__annotations__:
                own = ", ".join(ConsumerChoice.__annotations__)
                raise ConfigError(f"{name} is for the declaration; a consumer may choose {own}")
            if name in declared:
                raise ConfigError(f"{name} is given, but the declaration sets it")
        return net.streams.consumer(self.type, stream_id=self.stream_id, **{**declared, **choice})

    async def online_consumer(
        self, net: HasStreams, **choice: Unpack[ConsumerChoice]
    ) -> Consumer[T]:
        """Return a new consumer once it is online. When cancelled, it is closed."""
        consumer = self.consumer(net, **choice)
        try:
            await consumer.when().online()
        except BaseException:
            await consumer.close()
            raise
        return consumer


class StreamDeclaration(ProducerDeclaration[T], ConsumerDeclaration[T]):
    """Both sides of a stream. Made by `stream`."""

    def __init__(
        self,
        type_: type[T],
        stream_id: StreamId | str | None = None,
        *,
        producer: Settings | None = None,
        consumer: Settings | None = None,
        require_ticket: Validators = (),
    ) -> None:
        _Declared.__init__(self, type_, stream_id)
        both = as_validators(require_ticket)
        self._producer_settings = _checked(producer or {}, Streams.producer, "producer", both)
        self._consumer_settings = _checked(consumer or {}, Streams.consumer, "consumer", both)


class _StreamFactory:
    """Makes declarations; called, it declares both sides."""

    def __call__(
        self,
        type_: type[T],
        stream_id: StreamId | str | None = None,
        *,
        producer: Settings | None = None,
        consumer: Settings | None = None,
        require_ticket: Validators = (),
    ) -> StreamDeclaration[T]:
        """Return the declaration of a stream.

        Args:
            type_: What the items are.
            stream_id: The stream, or its name; the type's own by default.
            producer: Settings of its producers, as `Streams.producer` takes them.
            consumer: Settings of its consumers, as `Streams.consumer` takes them.
            require_ticket: Validators of tickets, one or several: what both sides
                require of each other, beside what the settings of a side require.

        Raises:
            ConfigError: A setting has a name that is not known, or `require_ticket`
                holds something else than validators.
        """
        return StreamDeclaration(
            type_,
            stream_id,
            producer=producer,
            consumer=consumer,
            require_ticket=require_ticket,
        )

    def producer_only(
        self, type_: type[T], stream_id: StreamId | str | None = None, **settings: Any
    ) -> ProducerDeclaration[T]:
        """Return the declaration of a stream's producing side only."""
        return ProducerDeclaration(type_, stream_id, **settings)

    def consumer_only(
        self, type_: type[T], stream_id: StreamId | str | None = None, **settings: Any
    ) -> ConsumerDeclaration[T]:
        """Return the declaration of a stream's consuming side only."""
        return ConsumerDeclaration(type_, stream_id, **settings)


stream = _StreamFactory()


def _checked(
    settings: Settings,
    function: Any,
    side: str,
    validators: tuple[TicketValidator, ...] = (),
) -> dict[str, Any]:
    known = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name != "stream_id"
    ]
    for name in settings:
        if name not in known:
            raise ConfigError(f"a {side} has no setting {name!r}; it has {', '.join(known)}")
    own = as_validators(settings.get("require_ticket", ()))
    return {**settings, "require_ticket": (*validators, *own)}
