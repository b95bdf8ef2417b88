"""One node's replica of one collection, which its handles there share.

The first handle joins the collection's group, the last one to close leaves it. A
replica in memory is gone then, and the group replaces it before. One with a
durable log keeps its place in the group, for it comes back with its data.

A node that opens a collection as a reader only is an observer of its group: it does
not vote. When it opens a writer later, its member votes from then on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from thespian.actors import ActorAddress, ActorExitRequest

from ...actors.collection import CollectionActor
from ...collections.commands import CollectionMachine
from ...collections.config import CollectionConfig
from ...collections.errors import CollectionOffline, NetworkDown
from ...collections.feed import ChangeFeed
from ...collections.messages import StartCollection
from ...collections.naming import CollectionName, NearMisses, key_of
from ...collections.version import Version
from ...errors import Closed, ConfigError, GroupOffline, GroupTerminated, QueryOffline
from ...groups.machine.machine import Consistency, LeadershipPreference
from ...groups.shared import GroupState
from ...runtime import ActorSystemClosed
from ..groups import Group, Groups
from .waits import history_of, version_of

M = TypeVar("M", bound=CollectionMachine)


class HasGroups(Protocol):
    """A `Network`, or whatever else has groups."""

    @property
    def groups(self) -> Groups:
        """The groups of the node."""


class CollectionReplica(Generic[M]):
    """A node's replica of a collection. Made by `open_replica`.

    Attributes:
        group: The member of the collection's group.
        machine: Its machine.
        feed: Its changes.
        config: How the first handle opened it, which all that share it go by.
    """

    def __init__(
        self,
        groups: Groups,
        group: Group,
        machine: M,
        config: CollectionConfig,
        name: CollectionName,
    ) -> None:
        self.group = group
        self.machine = machine
        self.config = config
        self.feed = ChangeFeed(machine)
        self._handle_count = 0
        self._system = groups._node.system
        self._watcher: ActorAddress = self._system.createActor(CollectionActor)
        self._near_misses = NearMisses()
        start = StartCollection(groups._catalog, group.id, name, self._near_misses, groups._node)
        self._system.tell(self._watcher, start)

    @property
    def state(self) -> GroupState:
        """What the replica actor shows."""
        return self.group._state

    @property
    def why_offline(self) -> str | None:
        """Why writes are not taken at the moment; None when they are."""
        why = self.group.why_offline
        return None if why is None else self._explained(why)

    def _explained(self, why: str) -> str:
        """Add who nearly shares the collection to a reason: without a history it may be that."""
        near_miss = None if self.group.history else self._near_misses.why
        return why if near_miss is None else f"{why}; {near_miss}"

    @property
    def version(self) -> Version:
        """What can be read here at this moment."""
        return version_of(self.state)

    def add_handle(self) -> None:
        """Count one more handle."""
        self._handle_count += 1

    async def remove_handle(self) -> None:
        """Count one handle less; without any, leave the group."""
        self._handle_count -= 1
        if self._handle_count:
            return
        try:
            self._system.tell(self._watcher, ActorExitRequest())
        except ActorSystemClosed:
            return
        await self.group._leave(is_final=not self.group._spec.is_durable)

    async def execute(self, command: Any, value: Any, timeout: float | None) -> Version:
        """Replicate a command; return its version once it is applied here.

        Raises:
            CollectionOffline, NetworkDown: With `value`.
        """
        try:
            position = await self.group.execute(command, timeout=timeout)
        except (GroupOffline, GroupTerminated, Closed) as exc:
            raise self._translated(exc, value) from exc
        return Version(position, history_of(self.state))

    async def execute_many(
        self, commands: list[Any], make_value: Callable[[], Any], timeout: float | None
    ) -> Version:
        """Replicate commands in order; return the version of the last. Raises as `execute`."""
        try:
            positions = await self.group.execute_many(commands, timeout=timeout)
        except (GroupOffline, GroupTerminated, Closed) as exc:
            raise self._translated(exc, make_value()) from exc
        return Version(positions[-1], history_of(self.state))

    async def execute_and_see(self, command: Any, value: Any, timeout: float | None) -> Version:
        """Do as `execute`, and note in the version what the command changed."""
        begun = self.feed.begin()
        try:
            version = await self.execute(command, value, timeout)
            version.changes = self.feed.outcomes.find(begun, version)
            return version
        finally:
            self.feed.end()

    async def refresh(self, timeout: float | None) -> Version:
        """Wait until everything that is committed now can be read here."""
        try:
            await self.group.query(None, Consistency.STRONG, timeout=timeout)
        except (QueryOffline, GroupTerminated, Closed) as exc:
            raise self._translated(exc, None) from exc
        return self.version

    def _translated(self, error: Exception, value: Any) -> CollectionOffline | NetworkDown:
        """Return a group's error as a collection's, with what was to be written."""
        match error:
            case GroupOffline(reason=reason, may_take_effect=may_take_effect):
                return CollectionOffline(value, self._explained(reason), may_take_effect)
            case QueryOffline(reason=reason):
                return CollectionOffline(value, self._explained(reason))
            case GroupTerminated(reason=reason) | Closed(reason=reason):
                return NetworkDown(value, reason)
        raise AssertionError(f"no error of a group: {error!r}")

    async def force_new_group(self) -> None:
        """Begin a new history from the state here; see `Group.force_new_group`."""
        try:
            await self.group.force_new_group()
        except (GroupTerminated, ActorSystemClosed) as exc:
            raise NetworkDown(None, str(exc)) from exc


def open_replica(
    net: HasGroups,
    machine: M,
    config: CollectionConfig,
    name: CollectionName,
    *,
    is_observer: bool,
) -> CollectionReplica[M]:
    """Return a node's replica of a collection, the one there is or a new one.

    Args:
        net: The node.
        machine: A new machine, which is used if there is no replica.
        config: The settings.
        name: What it is called, here and to others.
        is_observer: Whether it is enough that the replica follows.

    Raises:
        ConfigError: There is a replica already, with another `storage`, `groups`
            or `sync` than is asked for here. Who asks for none takes what there is.
        NetworkDown: The network handle is closed or not started.
    """
    if is_observer:
        machine.leadership_preference = LeadershipPreference.OBSERVER
    try:
        groups = net.groups
        group = groups.join(
            key_of(machine.store_id, config.secret),
            machine,
            storage=config.storage,
            consensus=config.consensus,
            require_ticket=config.require_ticket,
            settings=config.groups,
            name=str(name),
            shown_name=name.shown,
        )
        joined: Any = group.machine  # that of the first handle, if there is one
        if joined.shared is None:
            joined.shared = CollectionReplica(groups, group, joined, config, name)
    except (Closed, ActorSystemClosed) as exc:
        raise NetworkDown(None, str(exc)) from exc
    replica: CollectionReplica[M] = joined.shared
    _check_shared(config, replica.config, name)
    return replica


def _check_shared(wanted: CollectionConfig, used: CollectionConfig, name: CollectionName) -> None:
    """Raise `ConfigError` for a setting that the replica there is does not go by.

    Those that all members agree on are in the group's id, so they do not differ; and
    another `storage` was refused by the group.
    """
    usual = CollectionConfig()
    for setting in ("groups", "sync"):
        value, in_use = getattr(wanted, setting), getattr(used, setting)
        if value not in (getattr(usual, setting), in_use):
            raise ConfigError(
                f"{name} is open already at this node with {setting}={in_use}, and cannot be "
                f"opened with {value} beside it: give both the same, or close the first before"
            )
