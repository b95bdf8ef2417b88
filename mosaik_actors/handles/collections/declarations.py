"""Collections declared once and used from several places.

    Prices = collection(Map[str, float], "prices", write_timeout=5)

    prices = await Prices.online_writer(net)    # in one program
    prices = await Prices.online_reader(net)    # in another

A declaration holds no state: the same one serves any number of networks. What
it is given is checked when it is made, so that a typing error shows where it
is. ``reader_only`` and ``writer_only`` declare one side, for libraries that must
not hand out the other; ``as_reader`` and ``as_writer`` make one side of both.

A `storage` belongs to one node: give it where that opens the collection.
"""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar, Unpack

from ...collections.config import CollectionSettings, combine
from ...collections.naming import check_store
from ...errors import ConfigError
from ...ids import StoreId
from . import HasGroups

R_co = TypeVar("R_co", bound="_Handle", covariant=True)
W_co = TypeVar("W_co", bound="_Handle", covariant=True)


class _Handle(Protocol):
    """What a declaration needs of a reader or writer."""

    def when(self) -> Any: ...

    async def close(self) -> None: ...


class CollectionKind(Protocol[W_co, R_co]):
    """A collection with its types, such as ``Map[str, int]``."""

    def writer(self, net: HasGroups, store_id: StoreId | str) -> W_co:
        """Return a writer."""

    def reader(self, net: HasGroups, store_id: StoreId | str) -> R_co:
        """Return a reader."""


class _Declared:
    """What all declarations have: a kind, a store and settings."""

    def __init__(self, kind: Any, store_id: StoreId | str, settings: dict[str, Any]) -> None:
        if not getattr(kind, "types", ()):
            raise ConfigError(f"{kind!r} is no collection with its types, such as Map[str, int]")
        check_store(store_id)
        StoreId(store_id)
        shared = dict(settings)
        options = {name: shared.pop(name) for name in kind.options if name in shared}
        combine(None, shared)  # type: ignore[arg-type]  # that is what it checks
        self.kind = kind
        self.store_id = store_id
        self.settings = {**options, **shared}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.kind.__name__}, {self.store_id!r})"


class ReaderDeclaration(_Declared, Generic[R_co]):
    """The reading side of a collection."""

    def reader(self, net: HasGroups, **settings: Unpack[CollectionSettings]) -> R_co:
        """Return a reader; `settings` go before those of the declaration.

        Raises:
            ConfigError, NetworkDown: As for `Map.reader`.
        """
        merged: dict[str, Any] = {**self.settings, **settings}
        reader: R_co = self.kind.reader(net, self.store_id, **merged)
        return reader

    async def online_reader(self, net: HasGroups, **settings: Unpack[CollectionSettings]) -> R_co:
        """Return a reader once it is online. When cancelled, it is closed."""
        return await _online(self.reader(net, **settings))


class WriterDeclaration(_Declared, Generic[W_co]):
    """The writing side of a collection, which reads as well."""

    def writer(self, net: HasGroups, **settings: Unpack[CollectionSettings]) -> W_co:
        """Return a writer; `settings` go before those of the declaration.

        Raises:
            ConfigError, NetworkDown: As for `Map.writer`.
        """
        merged: dict[str, Any] = {**self.settings, **settings}
        writer: W_co = self.kind.writer(net, self.store_id, **merged)
        return writer

    async def online_writer(self, net: HasGroups, **settings: Unpack[CollectionSettings]) -> W_co:
        """Return a writer once it is online. When cancelled, it is closed."""
        return await _online(self.writer(net, **settings))


class CollectionDeclaration(WriterDeclaration[W_co], ReaderDeclaration[R_co]):
    """Both sides of a collection. Made by `collection`."""

    def as_reader(self) -> ReaderDeclaration[R_co]:
        """Return the declaration of the reading side only."""
        return ReaderDeclaration(self.kind, self.store_id, self.settings)

    def as_writer(self) -> WriterDeclaration[W_co]:
        """Return the declaration of the writing side only."""
        return WriterDeclaration(self.kind, self.store_id, self.settings)


class _CollectionFactory:
    """Makes declarations; called, it declares both sides."""

    def __call__(
        self, kind: CollectionKind[W_co, R_co], store_id: StoreId | str, **settings: Any
    ) -> CollectionDeclaration[W_co, R_co]:
        """Return the declaration of a collection.

        Args:
            kind: What it is, such as ``Map[str, float]``.
            store_id: Which one, by name or id.
            **settings: Fields of `CollectionConfig`; for a `PriorityQueue` also `capacity`.

        Raises:
            ConfigError: A setting has a name that is not known or a wrong value,
                `kind` has no types, or `store_id` is empty.
        """
        return CollectionDeclaration(kind, store_id, settings)

    def reader_only(
        self, kind: CollectionKind[W_co, R_co], store_id: StoreId | str, **settings: Any
    ) -> ReaderDeclaration[R_co]:
        """Return the declaration of a collection's reading side only."""
        return ReaderDeclaration(kind, store_id, settings)

    def writer_only(
        self, kind: CollectionKind[W_co, R_co], store_id: StoreId | str, **settings: Any
    ) -> WriterDeclaration[W_co]:
        """Return the declaration of a collection's writing side only."""
        return WriterDeclaration(kind, store_id, settings)


collection = _CollectionFactory()

H = TypeVar("H", bound=_Handle)


async def _online(handle: H) -> H:
    try:
        await handle.when().online()
    except BaseException:
        await handle.close()
        raise
    return handle
