"""The configuration of a deployment: every field of it takes part in its identity.

    class MixerConfig(DeploymentConfig):
        window_s: float = 3.0
        slots: int = 64

    ACME = MixerConfig(name="acme.mainnet", slots=128)

A subclass is a frozen, keyword-only dataclass without a decorator, so that none can be
forgotten. There is no way to leave a field out: what two parties need not agree on is no
field of it (`bind` takes that). Nor is it a place for secrets: hashes of single fields are shown to
peers.

The identity is ``blake3(intent || content || acl)``, each in the canonical encoding of
`encoding`:

    * intent: the record of ``name`` and ``service`` (empty where no service is known);
    * content: the record of all other fields but ``acl``, and of each public part as
      ``surface.<name>``;
    * acl: the record of ``acl``, and of each public part's own validators as ``acl.<name>``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field, fields
from inspect import get_annotations
from typing import Final, NamedTuple, dataclass_transform

from blake3 import blake3

from ..errors import ConfigError
from ..groups.config import ConsensusConfig
from ..ids import UniqueId
from ..tickets.requirement import Validators, as_validators
from .encoding import encode_record, encode_validators, encode_value

NAME_CHARACTERS_MAX: Final = 128


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
class _ConfigBase:
    """Makes a frozen dataclass of each subclass."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        dataclass(frozen=True, kw_only=True)(cls)
        found = get_annotations(cls)
        for name, annotation in found.items():
            if isinstance(annotation, InitVar) or "InitVar" in str(annotation):
                raise ConfigError(f"{cls.__name__}.{name} is an InitVar, expected a field")


class DeploymentConfig(_ConfigBase):
    """What the parties of a deployment agree on. Subclass it to add fields.

    Attributes:
        name: What its operator calls it, such as ``acme.mainnet``.
        version: Which of several generations under one name.
        salt: Random bytes that its operator publishes, for initial state; may be empty.
        consensus: The settings of its groups.
        acl: Validators of tickets that every public part of it requires, beside its own.
    """

    name: str
    version: int = 1
    salt: bytes = b""
    consensus: ConsensusConfig = field(default_factory=ConsensusConfig)
    acl: Validators = ()

    def __post_init__(self) -> None:
        name: object = self.name  # callers without a type checker hand in anything
        version: object = self.version
        if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARACTERS_MAX:
            wanted = f"a text of 1 to {NAME_CHARACTERS_MAX} characters"
            raise ConfigError(f"name is {self.name!r}, expected {wanted}")
        if type(version) is not int:
            raise ConfigError(f"version is {self.version!r}, expected an integer")
        object.__setattr__(self, "acl", as_validators(self.acl))
        self.inputs()

    def fingerprint(self) -> UniqueId:
        """Return the identity of this configuration alone, without a service's surface."""
        return compute_id(self)

    def inputs(self) -> dict[str, bytes]:
        """Return the canonical encoding of each field by its name: what its identity is made of.

        Raises:
            ConfigError: A field's value has none; says which.
        """
        found: dict[str, bytes] = {}
        for one in fields(self):
            try:
                value = getattr(self, one.name)
                is_acl = one.name == "acl"
                found[one.name] = encode_validators(value) if is_acl else encode_value(value)
            except ConfigError as exc:
                raise ConfigError(f"{one.name}: {exc}") from None
        return found


class Inputs(NamedTuple):
    """The three parts of an identity, each as names with canonical encodings."""

    intent: Mapping[str, bytes]
    content: Mapping[str, bytes]
    acl: Mapping[str, bytes]

    def digest(self) -> UniqueId:
        """Return the identity: BLAKE3 of the three, each a record."""
        return UniqueId(blake3(b"".join(map(encode_record, self))).digest())

    def flat(self) -> dict[str, bytes]:
        """Return all names with their encodings."""
        return {**self.intent, **self.content, **self.acl}


def split_inputs(
    config: DeploymentConfig,
    service: str = "",
    surface: Mapping[str, bytes] | None = None,
    surface_acl: Mapping[str, bytes] | None = None,
) -> Inputs:
    """Return what the identity of a deployment is made of.

    Args:
        config: Its configuration.
        service: What service it is one of.
        surface: The canonical encoding of each public part, by its name.
        surface_acl: Of each, that of the validators that it declares.
    """
    content = config.inputs()
    intent = {"name": content.pop("name"), "service": encode_value(service)}
    acl = {"acl": content.pop("acl")}
    for name, encoded in (surface or {}).items():
        content[f"surface.{name}"] = encoded
    for name, encoded in (surface_acl or {}).items():
        acl[f"acl.{name}"] = encoded
    return Inputs(intent, content, acl)


def compute_id(config: DeploymentConfig) -> UniqueId:
    """Return the identity of a configuration alone."""
    return split_inputs(config).digest()
