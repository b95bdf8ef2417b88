"""`Deployment`: a service's public surface, declared once and bound on any network.

    class Mixer(Deployment[MixerConfig]):
        service = "acme.mixer"
        submit = public(stream(Envelope))

    mixer = Mixer.bind(net, MixerConfig(name="acme.mainnet"))

Everything descends from one identity (see `config`). Binding opens nothing; it shows a note
of the deployment to peers (see `notes`) and warns once of each other one that was probably
meant to be the same.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, ClassVar, Generic, Self, TypeVar
from weakref import WeakKeyDictionary, ref

from blake3 import blake3

from ..discovery.view import PeerDiscovered, PeerUpdated
from ..errors import ConfigError
from ..handles.discovery import Discovery
from ..ids import UniqueId
from ..network import Network
from ..peer_text import printable
from ..shared_state import Lagged
from .config import NAME_CHARACTERS_MAX, DeploymentConfig, Inputs, split_inputs
from .notes import DeploymentNearMisses, make_note, make_ticket
from .surface import Part

logger = logging.getLogger(__name__)

C = TypeVar("C", bound=DeploymentConfig)

SECRET_BYTES_MIN = 16


class Deployment(Generic[C]):
    """A service. Subclass it, name the `service`, and declare its `public` parts.

    Attributes:
        service: What the service is called by all who build on it, such as ``acme.mixer``.
        parts: The public parts by name; made from the class's attributes.
        config: The configuration that this one is bound with.
    """

    service: ClassVar[str] = ""
    parts: ClassVar[dict[str, Part[Any]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        found = {name: one for name, one in vars(cls).items() if isinstance(one, Part)}
        cls.parts = {**cls.parts, **found}
        if not 0 < len(cls.service) <= NAME_CHARACTERS_MAX:
            wanted = f"a name of 1 to {NAME_CHARACTERS_MAX} characters"
            raise ConfigError(f"{cls.__name__}.service is {cls.service!r}, expected {wanted}")

    def __init__(self, net: Network, config: C) -> None:
        self.config = config
        self._id = self.deployment_id(config)
        moved = _of_node(net.discovery).join(type(self), self._id, config)
        self._handles = {name: self.parts[name].open(net, one) for name, one in moved.items()}

    @classmethod
    def bind(cls, net: Network, config: C) -> Self:
        """Return the handles of a deployment on a running network. May be repeated.

        Raises:
            ConfigError: `config` is none, or the node is bound to too many.
            EntryTooLarge: The node's entry has no room for the note.
            Closed: The network is closed, or was not started.
        """
        return cls(net, config)

    @classmethod
    def inputs(cls, config: C) -> Inputs:
        """Return everything that the identity is made of, by name."""
        if not isinstance(config, DeploymentConfig):
            raise ConfigError(f"config is {config!r}, expected a DeploymentConfig")
        surface, acl = {}, {}
        for name, part in cls.parts.items():
            try:
                surface[name], acl[name] = part.encode(), part.encode_acl()
            except ConfigError as exc:
                raise ConfigError(f"{cls.__name__}.{name}: {exc}") from None
        return split_inputs(config, cls.service, surface, acl)

    @classmethod
    def deployment_id(cls, config: C) -> UniqueId:
        """Return the identity of the deployment of a configuration, for diagnostics. Pure."""
        return cls.inputs(config).digest()

    def fingerprint(self) -> str:
        """Return the identity as 64 hexadecimal digits, for people to compare."""
        return self._id.hex

    def private_network(self, secret: str | bytes, **settings: Any) -> Network:
        """Return a network for what only the service's own nodes need to say to each other.

        Its id and its secret are derived: one secret of the operator serves any number of
        deployments, and what one of them leaks opens no other one. Start it as any other.

        Args:
            secret: What the operator's nodes know, at least 16 bytes.
            **settings: As for `Network`, but for `secret`.

        Raises:
            ConfigError: The secret is too short, or a setting is wrong.
        """
        key = secret.encode() if isinstance(secret, str) else bytes(secret)
        if len(key) < SECRET_BYTES_MIN:
            raise ConfigError(f"secret has {len(key)} bytes, expected {SECRET_BYTES_MIN} or more")
        context = "mosaik_actors deployment private network v1"
        derived = blake3(key + self._id, derive_key_context=context).digest()
        return Network(self._id.derive("private"), secret=derived, **settings)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.config.name!r}, {self._id.short})"


class _NodeDeployments:
    """What one node is bound to."""

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = ref(discovery)
        self._misses = DeploymentNearMisses()
        self._moved: dict[UniqueId, dict[str, Any]] = {}
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._follow(discovery.events()), name="deployments")

    def join(self, kind: type[Deployment[Any]], id_: UniqueId, config: Any) -> dict[str, Any]:
        """Return the declarations of a deployment here, the same ones each time."""
        known = self._moved.get(id_)
        if known is not None:
            return known
        flat = kind.inputs(config).flat()
        note = make_note(kind.service, config.name, config.version, id_, flat)
        discovery = self._discovery()
        assert discovery is not None, "whoever joins holds it"
        discovery.replace_ticket(make_ticket((*self._misses.own.values(), note)))
        self._misses.own[id_] = note
        moved = {name: part.move(id_, config) for name, part in kind.parts.items()}
        self._moved[id_] = moved
        self._look_at_all()
        return moved

    async def _follow(self, events: Any) -> None:
        async for event in events:
            match event:
                case PeerDiscovered() | PeerUpdated():
                    self._look_at(event.peer)
                case Lagged():
                    self._look_at_all()

    def _look_at_all(self) -> None:
        discovery = self._discovery()
        if discovery is not None:
            for peer in discovery.catalog().values():
                self._look_at(peer)

    def _look_at(self, peer: Any) -> None:
        for miss in self._misses.receive(peer.tickets):
            text = "peer %s has %s. The two never meet; compare the configurations"
            logger.warning(text, peer.peer_id.short, printable(str(miss)))


_nodes: WeakKeyDictionary[Discovery, _NodeDeployments] = WeakKeyDictionary()


def _of_node(discovery: Discovery) -> _NodeDeployments:
    found = _nodes.get(discovery)
    if found is None:
        found = _nodes[discovery] = _NodeDeployments(discovery)
    return found
