"""The settings of a singleton; all nodes that may run it give the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..config import as_seconds, require_between
from ..errors import ConfigError

VOTERS_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Singleton:
    """How a singleton moves: ``spawn(..., singleton=Singleton(lease=3))``.

    Attributes:
        lease: For how long its host may act without a word from the others, in seconds or as
            `timedelta`. A host that is gone is given up after 2 s or so, and replaced
            1.1 leases and 0.25 s later.
        voters: How many nodes must be there before it runs for the first time; odd. With 1
            it runs on a lone node at once, and nodes that begin apart, or two nodes that
            lose each other, each run one until they meet. With 3 there is never more than
            one. Nodes with another number know nothing of each other's singletons.
    """

    lease: float = 5.0
    voters: int = 1

    def __post_init__(self) -> None:
        as_seconds(self, "lease")
        require_between("lease", self.lease, 1, 3600)
        require_between("voters", self.voters, 1, VOTERS_MAX)
        if self.voters % 2 == 0:
            raise ConfigError(f"voters is {self.voters}, expected an odd number")


def check_singleton(
    singleton: Singleton | bool, name: str | None, *, others: Mapping[str, object]
) -> Singleton | None:
    """Return how a singleton moves; None for an actor that is none.

    Args:
        singleton: What `spawn` was given.
        name: Its name.
        others: What `spawn` was given that is not for singletons, by name.

    Raises:
        ConfigError: What was given does not fit together.
    """
    if singleton is False:
        return None
    settings = Singleton() if singleton is True else singleton
    if not isinstance(settings, Singleton):
        raise ConfigError(f"singleton is {singleton!r}, expected True, False or a Singleton")
    if name is None:
        raise ConfigError("a singleton needs a name: spawn(..., name=..., singleton=True)")
    given = next((what for what, value in others.items() if value), None)
    if given is not None:
        raise ConfigError(f"{given} is not for singletons")
    return settings
