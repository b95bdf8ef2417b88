"""The parts of a node that are loaded when they are first used: groups, the trusted domain.

Together they are half of the library's code. A node that only streams neither pays for loading
them with its start, nor for holding them with its memory; to its peers it is the same as one
that has joined no group. Whoever imports names of groups has loaded most of them by that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from thespian.actors import ActorAddress

from ..metrics.records import LISTED_MAX, CollectionStatus, GroupStatus
from ..node import Node
from .discovery import Discovery
from .required_tickets import TicketChecks

if TYPE_CHECKING:
    from ..groups.config import GroupsConfig
    from ..tee.config import TeeConfig
    from .groups import Groups
    from .trusted_domain import TrustedDomain


class PartsOnDemand:
    """Makes each part when it is asked for it first.

    Args:
        node: The node.
        catalog: The catalog actor.
        discovery: Its discovery.
        tickets: What makes requirements of validators.
        groups: The settings of groups; the defaults when None.
        tee: The settings of the trusted domain. With any it starts at once: they may name
            what it does by itself.
        has_machine: Whether the node may use the machine.

    Raises:
        ConfigError: A service of collateral is named, and the extra is not installed.
    """

    def __init__(
        self,
        node: Node,
        catalog: ActorAddress,
        discovery: Discovery,
        tickets: TicketChecks,
        groups: GroupsConfig | None,
        tee: TeeConfig | None,
        *,
        has_machine: bool,
    ) -> None:
        self._node = node
        self._catalog = catalog
        self._discovery = discovery
        self._tickets = tickets
        self._groups_config = groups
        self._has_machine = has_machine
        self._groups: Groups | None = None
        self._trusted_domain = None if tee is None else self._start_trusted_domain(tee)

    @property
    def groups(self) -> Groups:
        """Replicated state machines."""
        if self._groups is None:
            from ..groups.config import GroupsConfig
            from .groups import Groups

            config = self._groups_config or GroupsConfig()
            self._groups = Groups(self._node, self._catalog, self._tickets, config)
        return self._groups

    @property
    def trusted_domain(self) -> TrustedDomain:
        """The trusted domain that the node runs in, if it does."""
        if self._trusted_domain is None:
            from ..tee.config import TeeConfig

            self._trusted_domain = self._start_trusted_domain(TeeConfig())
        return self._trusted_domain

    def read_groups(self) -> tuple[Sequence[GroupStatus], Sequence[CollectionStatus]]:
        """Return the status of the node's members of groups, and of those of collections."""
        if self._groups is None:
            return (), ()
        from .group_view import read_collection, read_group

        joined = list(self._groups)[:LISTED_MAX]
        collections = map(read_collection, joined)
        return [read_group(one) for one in joined], [one for one in collections if one is not None]

    async def close(self) -> None:
        """Leave all groups; see `Groups.close`."""
        if self._groups is not None:
            await self._groups.close()

    def abandon(self) -> None:
        """End all groups here and now: their actors are gone."""
        if self._groups is not None:
            self._groups.abandon()

    def _start_trusted_domain(self, config: TeeConfig) -> TrustedDomain:
        from .trusted_domain import TrustedDomain

        return TrustedDomain.start(
            self._node, self._discovery, config, has_machine=self._has_machine
        )
