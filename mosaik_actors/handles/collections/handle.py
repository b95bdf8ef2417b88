"""What the handles of all collections have in common.

`Map[str, int]` is a class of its own that remembers its types, so that they are
there when the program runs; it is a `Map` all the same. Its handles read the
replica through the view that they derive from, and write through the group.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from functools import lru_cache, partial
from types import TracebackType
from typing import Any, ClassVar, Final, Generic, Self, TypeVar, Unpack, cast

from ...collections.commands import EXTEND_ITEMS_MAX, CollectionMachine, ContentsReplaced, Extend
from ...collections.config import CollectionConfig, CollectionSettings, combine
from ...collections.errors import NetworkDown
from ...collections.feed import Backlog
from ...collections.naming import check_store, kind_name, name_of
from ...collections.version import Version
from ...errors import Closed
from ...groups.machine.state_sync import StateSync
from ...groups.member.events import StateReplaced
from ...ids import GroupId, StoreId
from ...schema import type_name
from ...shared_state import HandleState, Watched
from ...when import Wait
from ..group_view import GroupMetrics, Member, committed_of
from .replica import CollectionReplica, HasGroups, open_replica
from .waits import CollectionWhen

C = TypeVar("C")
M = TypeVar("M", bound=CollectionMachine)

WINDOW_COMMANDS: Final = 16
"""An `extend` is committed in windows of so many commands, so that each is quick."""


@lru_cache(maxsize=1024)
def _with_types(cls: Any, types: tuple[Any, ...], names: tuple[str, ...]) -> Any:
    """Return the class of a collection with types.

    Names are in the key because ``int | str`` equals ``str | int``.
    """
    name = f"{cls.__name__}[{', '.join(names)}]"
    members = {"types": types, "__module__": cls.__module__, "__doc__": cls.__doc__}
    return type(cls)(name, (cls,), members)


def _is_variable(type_: Any) -> bool:
    return isinstance(type_, TypeVar) or bool(getattr(type_, "__parameters__", ()))


class Changes(AsyncIterator[C]):
    """The changes of a collection from the call of `changes` on, one by one.

    Ends when the handle or the network is closed. Several may follow the same
    collection; each has all changes.
    """

    def __init__(self, replica: CollectionReplica[Any], limit: int, handle: Watched) -> None:
        self._state = replica.state
        self._backlog: Backlog = replica.feed.listen(limit)
        self._handle = handle

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> C:
        backlog, handle = self._backlog, self._handle
        while not backlog:
            if handle.is_closed:
                raise StopAsyncIteration
            await Wait(handle, lambda: len(backlog) > 0 or handle.is_closed)
        change = backlog.take()
        if isinstance(change, ContentsReplaced):
            # What can be read at this very moment has seen so many commands.
            replaced: Any = StateReplaced(committed_of(self._state))
            return cast("C", replaced)
        return cast("C", change)


class CollectionHandle(Generic[M, C]):
    """The base of all readers and writers.

    `M` is the machine, `C` what its changes are.
    """

    kind: ClassVar[str]
    type_count: ClassVar[int] = 1
    types: ClassVar[tuple[Any, ...]] = ()
    machine_class: ClassVar[Any]
    options: ClassVar[tuple[str, ...]] = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Refuse all but `_open`: whoever calls the class means ``writer`` or ``reader``."""
        if not args or not isinstance(args[0], CollectionReplica):
            what = kind_name(cls.kind, cls.types) if cls.types else cls.kind
            raise TypeError(
                f"{what} is not opened by a call: write {what}.writer(net, store_id), or "
                f"{what}.reader(net, store_id) to read only"
            )
        return super().__new__(cls)

    def __init__(
        self, replica: CollectionReplica[M], store_id: StoreId, config: CollectionConfig
    ) -> None:
        # The view of the collection comes after this class wherever the two are mixed.
        super().__init__(replica.machine.contents)  # type: ignore[call-arg]
        self._replica = replica
        self._machine = replica.machine
        self._store_id = store_id
        self._config = config
        self._state = HandleState(replica.state, self._ended)
        replica.add_handle()

    def __class_getitem__(cls, types: Any) -> Any:
        given = types if isinstance(types, tuple) else (types,)
        if cls.types or any(_is_variable(one) for one in given):
            return super().__class_getitem__(types)  # type: ignore[misc]  # it is `Generic`'s
        if len(given) != cls.type_count:
            raise TypeError(f"{cls.kind} has {cls.type_count} types, got {len(given)}")
        made: Any = _with_types
        return made(cls, given, tuple(map(type_name, given)))

    @classmethod
    def _open_reader(
        cls,
        reader: Any,
        net: HasGroups,
        store_id: StoreId | str,
        config: CollectionConfig | None,
        settings: CollectionSettings,
        **options: Any,
    ) -> Any:
        """Return a handle of another of these classes, with the types of this one."""
        typed = reader[cls.types] if cls.types else reader
        return typed._open(net, store_id, config, settings, is_observer=True, **options)

    @classmethod
    def _open(
        cls,
        net: HasGroups,
        store_id: StoreId | str,
        config: CollectionConfig | None,
        settings: CollectionSettings,
        *,
        is_observer: bool,
        **options: Any,
    ) -> Self:
        if not cls.types:
            example = ", ".join(("str", "int", "float")[: cls.type_count])
            raise TypeError(f"{cls.kind} without types: write {cls.kind}[{example}], for instance")
        check_store(store_id)
        combined = combine(config, settings)
        sync: StateSync = combined.sync
        machine: M = cls.machine_class(*cls.types, store_id=store_id, sync=sync, **options)
        has_secret = combined.secret is not None
        name = name_of(kind_name(cls.kind, cls.types), store_id, has_secret=has_secret)
        replica = open_replica(net, machine, combined, name, is_observer=is_observer)
        return cls(replica, machine.store_id, combined)

    # What it is.

    @property
    def store_id(self) -> StoreId:
        """Which collection it is, among those of its kind and types."""
        return self._store_id

    @property
    def group_id(self) -> GroupId:
        """The group that replicates it: the same on all nodes that share it."""
        return self._replica.group.id

    @property
    def version(self) -> Version:
        """How many commands this replica has seen: what can be read here."""
        return self._replica.version

    @property
    def is_online(self) -> bool:
        """Whether writes are taken, and this replica is abreast of the others."""
        return self.why_offline is None

    @property
    def why_offline(self) -> str | None:
        """Why it is not online; None when it is."""
        return "closed" if self._state.is_closed_here else self._replica.why_offline

    @property
    def members(self) -> tuple[Member, ...]:
        """Who belongs to the collection's group, and who of them votes."""
        return self._replica.group.members

    @property
    def metrics(self) -> GroupMetrics | None:
        """Numbers about this node's member of the group; None while it has no history."""
        return self._replica.group.metrics

    def when(self) -> CollectionWhen:
        """Return what can be waited for, such as ``await m.when().online()``.

        When this handle is closed, or the replica ends, waits for what does not hold
        then raise `Closed` or `NetworkDown`.
        """
        return CollectionWhen(self._state, self._replica.state)

    async def refresh(self) -> Version:
        """Wait until all that is committed anywhere at this moment can be read here.

        What is read next, before anything else is awaited, is as fresh as if
        there were one copy only (linearizable; Raft thesis 6.4).

        Raises:
            CollectionOffline: That could not be found out in time; try again.
            NetworkDown: This replica has ended.
        """
        self._check_open(None)
        return await self._replica.refresh(self._config.write_timeout)

    def changes(self) -> Changes[C]:
        """Return an iterator over the changes from now on, with the version of each.

        What replaces everything, a snapshot or a merge, comes as `StateReplaced`:
        read the collection anew, and pass over changes up to its `position`. So
        does what a reader missed that was too slow for its backlog.
        """
        return Changes(self._replica, self._config.changes_backlog, self._state)

    # The end.

    async def close(self) -> None:
        """Close this handle; the last one of the collection at this node leaves its group.

        A replica in memory is gone then. May be repeated.
        """
        if not self._state.is_closed_here:
            self._state.close()
            await self._replica.remove_handle()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # For those that derive from it.

    def _wait(self, holds: Callable[[], bool]) -> Wait[None]:
        return Wait(self._state, holds)

    async def _write(self, command: Any, value: Any) -> Version:
        """Replicate a command."""
        self._check_open(value)
        return await self._replica.execute(command, value, self._config.write_timeout)

    async def _write_and_see(self, command: Any, value: Any) -> Version:
        """Replicate a command, and note what it changed."""
        self._check_open(value)
        return await self._replica.execute_and_see(command, value, self._config.write_timeout)

    async def _extend(
        self, items: Sequence[Any], make: Callable[[Sequence[Any]], list[Extend]]
    ) -> Version:
        """Replicate the commands that `make` makes of some items, in windows.

        All are made before the first is sent, so what cannot be written raises
        with nothing written; and piece by piece, so that the loop goes on.
        """
        self._check_open(items)
        pieces: list[tuple[int, list[Extend]]] = []
        for start in range(0, len(items), EXTEND_ITEMS_MAX):
            if start:
                await asyncio.sleep(0)
            pieces.append((start, make(items[start : start + EXTEND_ITEMS_MAX])))
        version = self.version
        for start, commands in _windows(pieces):
            rest = partial(items.__getitem__, slice(start, None))
            version = await self._replica.execute_many(commands, rest, self._config.write_timeout)
        return version

    def _check_open(self, value: Any) -> None:
        if self._state.is_closed_here:
            raise Closed(value, "the collection is closed")

    def _ended(self) -> Exception:
        """Return the error for who waits in vain: this handle is closed, or the replica ended."""
        if self._state.is_closed_here:
            return Closed(reason="the collection is closed")
        ended = self._replica.state.ended()
        down = NetworkDown(None, ended.reason)
        down.__cause__ = ended
        return down


class WriterHandle(CollectionHandle[M, C]):
    """The base of all writers: how they are made."""

    @classmethod
    def writer(
        cls,
        net: HasGroups,
        store_id: StoreId | str,
        *,
        config: CollectionConfig | None = None,
        **settings: Unpack[CollectionSettings],
    ) -> Self:
        """Return a writer of a collection; the node votes in its group.

        Returns at once: ``await writer.when().online()`` waits until writes are taken.

        Args:
            net: The node.
            store_id: Which collection of this kind and these types, by name or id.
            config: How it is opened.
            **settings: Fields of `CollectionConfig`, in place of those in `config`.

        Raises:
            ConfigError: A setting is wrong, or another one than that of a handle
                which is open here already; a type cannot be used; or `store_id` is empty.
            NetworkDown: The network handle is closed.
        """
        return cls._open(net, store_id, config, settings, is_observer=False)

    @classmethod
    def new(
        cls,
        net: HasGroups,
        store_id: StoreId | str,
        *,
        config: CollectionConfig | None = None,
        **settings: Unpack[CollectionSettings],
    ) -> Self:
        """Return a writer; the same as `writer`."""
        return cls.writer(net, store_id, config=config, **settings)

    async def force_new_group(self) -> None:
        """Go on with the state here, with this node as the only voter.

        For the day that a majority of the voters is gone for good, and only then:
        what they alone had is lost. See `Group.force_new_group` for how to choose
        the node, by its `metrics`, and for what to do with the others before.

        Raises:
            ConfigError: The collection is online, or there is no state here.
            NetworkDown: This replica has ended.
            Closed: This handle is closed.
        """
        self._check_open(None)
        await self._replica.force_new_group()


def _windows(pieces: Iterable[tuple[int, list[Extend]]]) -> Iterable[tuple[int, list[Extend]]]:
    """Yield the commands of several pieces together, with where their items start."""
    window: list[Extend] = []
    first = 0
    for start, commands in pieces:
        if window and len(window) + len(commands) > WINDOW_COMMANDS:
            yield first, window
            window = []
        if not window:
            first = start
        window = [*window, *commands]
    if window:
        yield first, window
