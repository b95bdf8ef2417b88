"""The public parts of a deployment: what is declared once, and the handles that binding gives.

    class Mixer(Deployment[MixerConfig]):
        service = "acme.mixer"
        submit = public(stream(Envelope))
        rounds = public(collection(Vec[Round], "rounds"))

    mixer = Mixer.bind(net, ACME)
    producer = mixer.submit.producer()      # a Producer[Envelope]

A part is called what its attribute is called, and its id is derived from the deployment's by
that name. A declaration that names itself must agree. What takes part in the identity: the
kind of each part, the schemas of its types with their `WIRE_SIZE`, a collection's own
`capacity`, `consensus` and `sync`, an actor's messages, and all validators.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Generic, TypedDict, TypeVar, Unpack, overload

from ..collections.config import CollectionSettings
from ..errors import ConfigError
from ..groups.config import GroupsConfig
from ..groups.storage.interface import LogStorage
from ..handles.collections.declarations import (
    CollectionDeclaration,
    ReaderDeclaration,
    WriterDeclaration,
)
from ..handles.consumer import Consumer
from ..handles.producer import Producer
from ..handles.stream_declarations import (
    ConsumerChoice,
    ConsumerDeclaration,
    ProducerDeclaration,
    StreamDeclaration,
)
from ..ids import StoreId, UniqueId
from ..network import Network
from ..runtime import ActorRef
from ..tickets.requirement import Validators, as_validators
from ..tickets.validator import TicketValidator
from .encoding import encode_record, encode_validators, encode_value

H = TypeVar("H")
T = TypeVar("T")
R = TypeVar("R", bound=Any)
W = TypeVar("W", bound=Any)

_IDENTICAL: Final = ("capacity", "consensus", "sync")


class LocalSettings(TypedDict, total=False):
    """What each node may choose for itself when it opens a collection."""

    storage: LogStorage | None
    groups: GroupsConfig | None
    write_timeout: float | None
    changes_backlog: int
    secret: str | bytes | None


class ProducerHandle(Generic[T]):
    """The producing side of a public stream."""

    def __init__(self, net: Network, declaration: Any) -> None:
        self._net = net
        self._declaration = declaration

    def producer(self) -> Producer[T]:
        """Return a producer, or another handle of the one that is there."""
        made: Producer[T] = self._declaration.producer(self._net)
        return made

    async def online_producer(self) -> Producer[T]:
        """Return a producer once it is online."""
        made: Producer[T] = await self._declaration.online_producer(self._net)
        return made


class ConsumerHandle(Generic[T]):
    """The consuming side of a public stream."""

    def __init__(self, net: Network, declaration: Any) -> None:
        self._net = net
        self._declaration = declaration

    def consumer(self, **choice: Unpack[ConsumerChoice]) -> Consumer[T]:
        """Return a new consumer; `choice` as for `Streams.consumer`."""
        made: Consumer[T] = self._declaration.consumer(self._net, **choice)
        return made

    async def online_consumer(self, **choice: Unpack[ConsumerChoice]) -> Consumer[T]:
        """Return a new consumer once it is online. When cancelled, it is closed."""
        made: Consumer[T] = await self._declaration.online_consumer(self._net, **choice)
        return made


class StreamHandle(ProducerHandle[T], ConsumerHandle[T]):
    """Both sides of a public stream."""


class PublicReader(Generic[R]):
    """The reading side of a public collection."""

    def __init__(self, net: Network, declaration: Any) -> None:
        self._net = net
        self._declaration = declaration

    def reader(self, **settings: Unpack[LocalSettings]) -> R:
        """Return a reader."""
        made: R = self._declaration.reader(self._net, **_local(settings))
        return made

    async def online_reader(self, **settings: Unpack[LocalSettings]) -> R:
        """Return a reader once it is online. When cancelled, it is closed."""
        made: R = await self._declaration.online_reader(self._net, **_local(settings))
        return made


class PublicWriter(Generic[W]):
    """The writing side of a public collection."""

    def __init__(self, net: Network, declaration: Any) -> None:
        self._net = net
        self._declaration = declaration

    def writer(self, **settings: Unpack[LocalSettings]) -> W:
        """Return a writer, which reads as well."""
        made: W = self._declaration.writer(self._net, **_local(settings))
        return made

    async def online_writer(self, **settings: Unpack[LocalSettings]) -> W:
        """Return a writer once it is online. When cancelled, it is closed."""
        made: W = await self._declaration.online_writer(self._net, **_local(settings))
        return made


class PublicCollection(PublicWriter[W], PublicReader[R]):
    """Both sides of a public collection."""


class ActorDeclaration:
    """A public actor, which is resolved by a name that nobody has to know. Made by `actor`."""

    def __init__(
        self, actor_class: type[Any], messages: tuple[Any, ...], validators: tuple[Any, ...]
    ) -> None:
        self.actor_class = actor_class
        self.messages = messages
        self.validators = validators
        self.name = ""

    def moved(self, name: str, validators: Iterable[TicketValidator]) -> ActorDeclaration:
        """Return the declaration under a name, which requires more tickets."""
        both = as_validators((*validators, *self.validators))
        made = ActorDeclaration(self.actor_class, self.messages, both)
        made.name = name
        return made


def actor(
    actor_class: type[Any], *, messages: Iterable[Any] = (), require_ticket: Validators = ()
) -> ActorDeclaration:
    """Return the declaration of a public actor.

    Args:
        actor_class: Its class.
        messages: The types of its messages, which then take part in the identity.
        require_ticket: Validators that all must accept who sends to it.
    """
    return ActorDeclaration(actor_class, tuple(messages), as_validators(require_ticket))


class ActorHandle:
    """A public actor: spawned by who offers it, resolved by all others."""

    def __init__(self, net: Network, declaration: ActorDeclaration) -> None:
        self._net = net
        self._declaration = declaration

    async def spawn(self, **settings: Any) -> ActorRef:
        """Create the actor here; `settings` as for `Actors.spawn`, but for its name and tickets.

        Raises:
            ConfigError, AlreadyExists, Closed: As for `Actors.spawn`.
        """
        for taken in ("name", "require_ticket"):
            if taken in settings:
                raise ConfigError(f"{taken} is given, but the deployment's declaration sets it")
        declared = self._declaration
        return await self._net.actors.spawn(
            declared.actor_class,
            name=declared.name,
            require_ticket=declared.validators,
            **settings,
        )

    async def resolve(self, *, nearest: bool = False, timeout: float | None = None) -> ActorRef:
        """Return the actor, wherever it is. Raises `NotResolved`."""
        return await self._net.actors.resolve(
            self._declaration.name, nearest=nearest, timeout=timeout
        )


class Part(Generic[H]):
    """One public part, as the attribute of a `Deployment`. Made by `public`."""

    def __init__(self, handle_class: type[Any], declaration: Any) -> None:
        self.declaration = declaration
        self.label = ""
        self._handle_class = handle_class

    def __set_name__(self, owner: type, name: str) -> None:
        declared = getattr(self.declaration, "stream_id", None)
        declared = declared or getattr(self.declaration, "store_id", None)
        if declared is not None and declared != name:
            text = f"{owner.__name__}.{name} declares {declared!r}, expected {name!r} or no name"
            raise ConfigError(text)
        self.label = name

    @overload
    def __get__(self, bound: None, owner: type) -> Part[H]: ...
    @overload
    def __get__(self, bound: Any, owner: type) -> H: ...
    def __get__(self, bound: Any, owner: type) -> Any:
        """Return the handle of a bound deployment, or the part itself of the class."""
        return self if bound is None else bound._handles[self.label]

    def encode(self) -> bytes:
        """Return what it adds to the content of the identity."""
        match self.declaration:
            case ActorDeclaration(messages=messages):
                return encode_record(
                    {"kind": encode_value("actor"), "types": encode_value(messages)}
                )
            case ReaderDeclaration() | WriterDeclaration() as declared:
                found = {
                    "kind": encode_value(declared.kind.kind),
                    "types": encode_value(tuple(declared.kind.types)),
                }
                for name in _IDENTICAL:
                    if name in declared.settings:
                        value = declared.settings[name]
                        found[name] = encode_value((type(value).__qualname__, value))
                return encode_record(found)
        types = encode_value((self.declaration.type,))
        return encode_record({"kind": encode_value("stream"), "types": types})

    def encode_acl(self) -> bytes:
        """Return what it adds to the ACL: the validators of each side."""
        match self.declaration:
            case ActorDeclaration(validators=validators):
                sides = {"both": validators}
            case ReaderDeclaration() | WriterDeclaration() as declared:
                sides = {"both": as_validators(declared.settings.get("require_ticket", ()))}
            case declared:
                settings = declared.sides().items()
                sides = {side: as_validators(one["require_ticket"]) for side, one in settings}
        return encode_record({side: encode_validators(found) for side, found in sides.items()})

    def move(self, deployment: UniqueId, config: Any) -> Any:
        """Return its declaration in a deployment: under a derived id, with the config's ACL."""
        declared, place = self.declaration, deployment.derive(self.label)
        if isinstance(declared, ActorDeclaration):
            return declared.moved(place.hex, config.acl)
        if isinstance(declared, ReaderDeclaration | WriterDeclaration):
            own = declared.settings
            both = (*config.acl, *as_validators(own.get("require_ticket", ())))
            settings = {"consensus": config.consensus, **own, "require_ticket": both}
            return type(declared)(declared.kind, StoreId(place), settings)
        return declared.moved(place, config.acl)

    def open(self, net: Network, declaration: Any) -> H:
        """Return the handle of a declaration that `move` made, on a network."""
        handle: H = self._handle_class(net, declaration)
        return handle


@overload
def public(declaration: StreamDeclaration[T]) -> Part[StreamHandle[T]]: ...
@overload
def public(declaration: ProducerDeclaration[T]) -> Part[ProducerHandle[T]]: ...
@overload
def public(declaration: ConsumerDeclaration[T]) -> Part[ConsumerHandle[T]]: ...
@overload
def public(declaration: CollectionDeclaration[W, R]) -> Part[PublicCollection[W, R]]: ...
@overload
def public(declaration: ReaderDeclaration[R]) -> Part[PublicReader[R]]: ...
@overload
def public(declaration: WriterDeclaration[W]) -> Part[PublicWriter[W]]: ...
@overload
def public(declaration: ActorDeclaration) -> Part[ActorHandle]: ...
def public(declaration: Any) -> Part[Any]:
    """Make a declaration a public part of the `Deployment` whose attribute it becomes.

    Raises:
        ConfigError: It is no declaration of a stream, a collection or an actor.
    """
    for declared, handle in _HANDLES.items():
        if isinstance(declaration, declared):
            return Part(handle, declaration)
    raise ConfigError(f"{declaration!r} is no declaration: use stream, collection or actor")


_HANDLES: Final[dict[type[Any], type[Any]]] = {  # what has both sides comes first
    StreamDeclaration: StreamHandle,
    ProducerDeclaration: ProducerHandle,
    ConsumerDeclaration: ConsumerHandle,
    CollectionDeclaration: PublicCollection,
    ReaderDeclaration: PublicReader,
    WriterDeclaration: PublicWriter,
    ActorDeclaration: ActorHandle,
}


def _local(settings: LocalSettings) -> CollectionSettings:
    for name in settings:
        if name not in LocalSettings.__annotations__:
            raise ConfigError(f"{name} is part of a deployment's identity: it cannot be set here")
    return settings  # type: ignore[return-value]  # its keys are some of those
