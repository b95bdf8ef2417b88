"""The settings of one collection, as one node opens it.

Some are agreed on: they go into the group's id, and nodes that differ in them
never share a log. The others are each node's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TypedDict

from ..config import as_seconds, require_above, require_between
from ..errors import ConfigError
from ..groups.config import ConsensusConfig, GroupsConfig
from ..groups.machine.state_sync import StateSync
from ..groups.storage.interface import LogStorage
from ..groups.sync.settings import SnapshotSync
from ..tickets.requirement import Validators, as_validators

BACKLOG_MAX = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionConfig:
    """How a collection is opened.

    Agreed on by all nodes:

    Attributes:
        sync: How nodes that join get the state.
        consensus: The settings of the group.
        require_ticket: Validators of tickets, one or several, all of which must accept
            a node, whether it writes or reads.
        secret: What nodes must know, beside the store, to take part: text, which counts
            as its UTF-8 bytes, or bytes. Part of the group's key and shown nowhere. Use
            random text, such as ``secrets.token_urlsafe(32)``: one that can be guessed can
            be tried by all who see the group's id. None: who knows the store takes part.

    Each node's own:

    Attributes:
        storage: Where the log is kept, such as ``SqliteLog(path)``; of one
            collection only. None: in memory.
        groups: Settings of the member; None: the node's.
        write_timeout: Seconds (or a `timedelta`) that a write waits to be committed;
            None: the `forward_timeout` of `consensus`.
        changes_backlog: Changes kept for each reader of `changes` that is slow.
    """

    sync: StateSync = field(default_factory=SnapshotSync)
    consensus: ConsensusConfig = field(default_factory=ConsensusConfig)
    require_ticket: Validators = ()
    secret: str | bytes | None = field(default=None, repr=False)
    storage: LogStorage | None = None
    groups: GroupsConfig | None = None
    write_timeout: float | None = None
    changes_backlog: int = 100_000

    def __post_init__(self) -> None:
        object.__setattr__(self, "require_ticket", as_validators(self.require_ticket))
        _check_secret(self.secret)
        if self.write_timeout is not None:
            as_seconds(self, "write_timeout")
            require_above("write_timeout", self.write_timeout)
        require_between("changes_backlog", self.changes_backlog, 1, BACKLOG_MAX)


class CollectionSettings(TypedDict, total=False):
    """The fields of `CollectionConfig` as keywords."""

    sync: StateSync
    consensus: ConsensusConfig
    require_ticket: Validators
    secret: str | bytes | None
    storage: LogStorage | None
    groups: GroupsConfig | None
    write_timeout: float | None
    changes_backlog: int


def combine(config: CollectionConfig | None, settings: CollectionSettings) -> CollectionConfig:
    """Return a configuration with some settings in place of its own.

    Raises:
        ConfigError: A setting has a name that is not known, or a wrong value.
    """
    known = [one.name for one in fields(CollectionConfig)]
    for name in settings:
        if name not in known:
            raise ConfigError(f"a collection has no setting {name!r}; it has {', '.join(known)}")
    return replace(config or CollectionConfig(), **settings)


def _check_secret(secret: object) -> None:
    """Raise `ConfigError` for what is no secret. Its text does not repeat any of it."""
    match secret:
        case None:
            return
        case "" | b"":
            raise ConfigError("secret is empty, expected text or bytes, or None for no secret")
        case str():
            # An encoding error would carry the text itself.
            if any("\ud800" <= one <= "\udfff" for one in secret):
                raise ConfigError("secret has characters that UTF-8 cannot encode")
        case bytes():
            return
        case _:
            raise ConfigError(f"secret is of type {type(secret).__name__}, expected str or bytes")
