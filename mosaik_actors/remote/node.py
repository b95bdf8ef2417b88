"""This node's actors as other nodes know them, and the nodes whose actors are known here.

One for each node; shared by the actor that owns the links (``actors/remote.py``) and the
handle (``net.actors``), which both run on the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from thespian.actors import ActorAddress

from ..discovery.info import PeerInfo
from ..discovery.view import CatalogSnapshot
from ..errors import AlreadyExists
from ..ids import PeerId
from ..runtime import ActorGone, ActorRef
from ..runtime.host import ActorHost
from ..runtime.messaging.address import LocalAddress
from ..shared_state import SharedState
from .config import ActorsConfig
from .outgoing import to_wire
from .peer import RemotePeer
from .registry import Codecs
from .wire import INCARNATION_BYTES, WireRef, decode_ref, encode_ref

# How many nodes are kept before those that nothing is known of are forgotten.
_PEERS_KEPT = 1024

Requirement = Callable[[PeerInfo], bool]


class RequiredOfSenders(Protocol):
    """The tickets that an actor requires of the nodes that send to it."""

    def why_not(self, peer_id: PeerId) -> str | None:
        """Return why a node is not allowed at this moment, None when it is."""

    def release(self) -> None:
        """Take in that nobody asks any more."""


class RemoteNode:
    """This node among others.

    Attributes:
        peer_id: Who it is.
        incarnation: Which start of it this is.
        names: The actors that can be resolved here.
        catalog: Who else is there.
        state: Changes when `catalog` or `names` do; its events are the dead letters.
        open_link: Dials a node; set by the actor that owns the links.
        withdraw: Takes a name out of the entry; set by the handle.
    """

    def __init__(
        self,
        host: ActorHost,
        peer_id: PeerId,
        incarnation: bytes,
        config: ActorsConfig,
        catalog: CatalogSnapshot,
        frame_bytes_max: int,
    ) -> None:
        self._host = host
        self.peer_id = peer_id
        self.incarnation = incarnation[:INCARNATION_BYTES]
        self.config = config
        self.catalog = catalog
        self.frame_bytes_max = frame_bytes_max
        self.waiting_max = config.waiting_max
        self.questions_max = config.questions_max
        self.unsent_bytes_max = config.unsent_bytes_max
        self.names: dict[str, ActorRef] = {}
        self.state = SharedState(config.letters_backlog)
        self.codecs = Codecs(
            self._encode_ref,
            lambda data: self.resolve_ref(decode_ref(data)),
        )
        self.open_link: Callable[[PeerId], None] = lambda peer_id: None
        self.withdraw: Callable[[str], None] = lambda name: None
        self._peers: dict[PeerId, RemotePeer] = {}
        self._requirements: dict[int, Requirement] = {}
        self._tickets: dict[int, RequiredOfSenders] = {}
        self._name_ends = host.new_address(self._actor_ended)
        host.home = self
        host.letters.listener = self.state.publish

    @property
    def host(self) -> ActorHost:
        """The actor system."""
        return self._host

    @property
    def peers(self) -> list[RemotePeer]:
        """The nodes that this one has had to do with."""
        return list(self._peers.values())

    def peer(self, peer_id: PeerId) -> RemotePeer:
        """Return another node, as far as its actors go."""
        found = self._peers.get(peer_id)
        if found is None:
            if len(self._peers) >= _PEERS_KEPT:  # references may name any number of nodes
                self._peers = {one.peer_id: one for one in self.peers if not one.is_idle}
            found = self._peers[peer_id] = RemotePeer(self, peer_id)
        return found

    def dial(self, peer_id: PeerId) -> None:
        """Open a link to a node."""
        self.open_link(peer_id)

    # --- references and names ---

    def resolve_ref(self, ref: WireRef) -> ActorRef:
        """Return the reference that was sent; a dead one if the actor is no more."""
        if ref.peer != self.peer_id:
            return self.peer(ref.peer).ref(ref.incarnation, ref.number, ref.name, ref.class_name)
        cell = self._host.cells.get(ref.number)
        if ref.incarnation == self.incarnation and cell is not None and cell.address.is_shared:
            return cell.address
        gone = self._host.new_reference(lambda _message, _sender: None)
        gone.name, gone.class_name = ref.name or None, ref.class_name
        self._host.retire(gone)
        return gone

    def _encode_ref(self, address: LocalAddress) -> bytes:
        if not isinstance(address, ActorRef) or address.host is not self._host:
            raise TypeError(f"{address} is not the address of an actor that can travel")
        return encode_ref(to_wire(address, self))

    def check_free(self, name: str) -> None:
        """Raise `AlreadyExists` if an actor of this node has the name."""
        if name in self.names:
            raise AlreadyExists(self.names[name], f"an actor named {name!r} on this node")

    def put_name(self, name: str, ref: ActorRef) -> None:
        """Let an actor be found here by its name, until it ends."""
        self.check_free(name)
        ref.name = name
        ref.is_shared = True
        self.names[name] = ref
        self._host.watch(ref, self._name_ends)
        self.state.changed()

    def find_name(self, name: str) -> ActorRef | None:
        """Return the actor of this node that has a name."""
        return self.names.get(name)

    def _actor_ended(self, message: Any, _sender: ActorAddress) -> None:
        if not isinstance(message, ActorGone):
            return
        ref = message.ref
        self._requirements.pop(ref.number, None)
        if (tickets := self._tickets.pop(ref.number, None)) is not None:
            tickets.release()
        if ref.name is not None and self.names.get(ref.name) is ref:
            del self.names[ref.name]
            self.withdraw(ref.name)
            self.state.changed()

    # --- who may ---

    def require(self, ref: ActorRef, requirement: Requirement) -> None:
        """Let only nodes that meet a requirement send to an actor."""
        self._requirements[ref.number] = requirement
        self._host.watch(ref, self._name_ends)

    def require_tickets(self, ref: ActorRef, tickets: RequiredOfSenders) -> None:
        """Let only nodes with valid tickets send to an actor."""
        self._tickets[ref.number] = tickets
        self._host.watch(ref, self._name_ends)

    def why_not(self, peer_id: PeerId, target: ActorRef) -> str | None:
        """Return why a node may not send to an actor, None when it may.

        Who is not known yet may not, where anything is required.
        """
        requirement, tickets = (
            self._requirements.get(target.number),
            self._tickets.get(target.number),
        )
        if requirement is None and tickets is None:
            return None
        info = self.catalog.get(peer_id)
        if info is None or (requirement is not None and not requirement(info)):
            return "this node may not use it"
        why = None if tickets is None else tickets.why_not(peer_id)
        return None if why is None else f"this node may not use it: no valid ticket: {why}"[:200]

    # --- who is there ---

    def take_catalog(self, catalog: CatalogSnapshot) -> None:
        """Take in who is there now; nodes that have left or do not answer are lost."""
        before, self.catalog = self.catalog, catalog
        for peer in self.peers:
            info = catalog.get(peer.peer_id)
            if info is None and peer.peer_id in before:
                peer.lost("its node has left")
                peer.close()
            elif info is not None and not info.is_reachable:
                peer.lost("its node does not answer")
        self.state.changed()

    def close(self, error: Exception) -> None:
        """End everything: the node closes."""
        for peer in self.peers:
            peer.lost("this node closes")
            peer.close()
        self._host.letters.listener = None
        self.state.close(error)
