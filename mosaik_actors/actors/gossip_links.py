"""The discovery links of a node, and the peer actors that look after them; a part of `gossip`.

It creates peer actors, knows which one is for what, and writes to the links of neighbours. What
becomes of a link the gossip actor hears from its peer actor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from thespian.actors import ActorAddress

from ..discovery.config import DiscoveryConfig
from ..discovery.gossip.link_roles import LinkRole, LinkRoles
from ..discovery.messages import AdoptLink, DialLink, EndLink, StartSync
from ..discovery.wire import LinkPurpose
from ..ids import PeerId
from ..node import Node
from ..runtime import TypeDispatcher
from ..transport.address import PeerAddr
from ..transport.close import CloseCode, CloseReason
from ..transport.interface import Link
from .peer import PeerActor

_TOO_SLOW = CloseReason(CloseCode.CANCELLED, "announcements are not taken in")
_REPLACED = CloseReason(CloseCode.GRACEFUL_SHUTDOWN, "a newer link replaces this one")


class GossipLinks:
    """The links of the gossip actor.

    Args:
        owner: The gossip actor: it is the parent of the peer actors.
        node: The node.
        config: The settings of discovery.
        catalog: The catalog actor.
        allowance_s: Returns how much longer than usual a dial and a sync may take.

    Attributes:
        roles: Which peer actor is for what.
        open: The links of neighbours.
    """

    def __init__(
        self,
        owner: TypeDispatcher,
        node: Node,
        config: DiscoveryConfig,
        catalog: ActorAddress,
        allowance_s: Callable[[], float],
    ) -> None:
        self._owner = owner
        self._node = node
        self._config = config
        self._catalog = catalog
        self._allowance_s = allowance_s
        self.roles: LinkRoles[ActorAddress] = LinkRoles()
        self.open: dict[PeerId, Link] = {}
        self._peers: dict[ActorAddress, None] = {}
        self._adopted: dict[Link, ActorAddress] = {}

    @property
    def is_empty(self) -> bool:
        """Whether there is no peer actor."""
        return not self._peers

    @property
    def adopted_count(self) -> int:
        """How many links there are that peers have opened."""
        return len(self._adopted)

    def dial(
        self,
        role: LinkRole,
        addr: PeerAddr,
        purpose: LinkPurpose,
        requests: tuple[StartSync, ...] = (),
        *,
        config: DiscoveryConfig | None = None,
    ) -> None:
        """Have a peer actor open a link."""
        actor = self._create()
        config = config or self._find_config()
        start = DialLink(self._node, config, self._catalog, addr, purpose, requests)
        self._owner.send(actor, start)
        self.roles.put(role, addr.peer_id, actor)

    def adopt(self, link: Link, purpose: LinkPurpose) -> ActorAddress:
        """Have a peer actor look after a link that a peer has opened."""
        actor = self._create()
        self._adopted[link] = actor
        start = AdoptLink(self._node, self._find_config(), self._catalog, link, purpose)
        self._owner.send(actor, start)
        link.attach(partial(self._owner.send, actor))
        return actor

    def adopter_of(self, link: Link) -> ActorAddress | None:
        """Return who looks after a link that a peer has opened, None for nobody."""
        return self._adopted.get(link)

    def replace(self, peer_id: PeerId, actor: ActorAddress, link: Link) -> None:
        """Take a link for the one to a neighbour; an older one ends."""
        older = self.roles.put(LinkRole.NEIGHBOUR, peer_id, actor)
        self.open[peer_id] = link
        if older is not None:
            self._owner.send(older, EndLink(_REPLACED))

    def refuse(self, actor: ActorAddress) -> None:
        """End a link that another one has replaced meanwhile."""
        self._owner.send(actor, EndLink(_REPLACED))

    def write(self, peer_id: PeerId, frames: Iterable[bytes]) -> None:
        """Write to a neighbour; one that does not read loses its link."""
        link = self.open.get(peer_id)
        if link is None:
            return
        link.write_many(frames)
        if link.unsent_bytes > self._config.unsent_bytes_max:
            self.end(peer_id, _TOO_SLOW)

    def end(self, peer_id: PeerId, reason: CloseReason) -> bool:
        """Have the link to a neighbour ended; return whether there is one. It is reported."""
        actor = self.roles.get(LinkRole.NEIGHBOUR, peer_id)
        if actor is not None:
            self._owner.send(actor, EndLink(reason))
        return actor is not None

    def drop(self, peer_id: PeerId, reason: CloseReason) -> None:
        """End the link to a neighbour, which is none any more."""
        del self.open[peer_id]
        self._owner.send(self.roles.pop(LinkRole.NEIGHBOUR, peer_id), EndLink(reason))

    def end_all(self, end: EndLink) -> None:
        """Notify all peer actors to end their links."""
        for actor in self._peers:
            self._owner.send(actor, end)

    def forget(self, actor: ActorAddress) -> list[tuple[LinkRole, PeerId]]:
        """Forget a peer actor that is gone; return the links that have gone with it."""
        self._peers.pop(actor, None)
        for link in [link for link, one in self._adopted.items() if one == actor]:
            del self._adopted[link]
        return self.roles.held_by(actor)

    def _find_config(self) -> DiscoveryConfig:
        """Return the settings; while this node is late, with more time for others."""
        more_s = self._allowance_s()
        if not more_s:
            return self._config
        dial_timeout = self._config.dial_timeout + more_s
        sync_timeout = self._config.sync_timeout + more_s
        return replace(self._config, dial_timeout=dial_timeout, sync_timeout=sync_timeout)

    def _create(self) -> ActorAddress:
        actor: ActorAddress = self._owner.createActor(PeerActor)
        self._peers[actor] = None
        return actor
