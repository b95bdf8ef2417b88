"""What a node shows of the deployments it is bound to, so that a near miss can be seen.

Configurations that differ derive other ids, so their parties never meet: safe, and silent.
So each bound node shows a note in its catalog entry: name, identity, and four bytes of hash
for each input of the identity. Who has the same service, name and version with another
identity compares the hashes and knows which input differs, not what the other side has.

A note proves nothing and allows nothing. It travels as a ticket of a class that no validator
reads. Notes come from strangers: they are bounded, and so is what is remembered of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Final, NamedTuple

import msgspec
from blake3 import blake3

from ..errors import ConfigError, DecodeError
from ..ids import UniqueId
from ..tickets.ticket import Ticket
from ..wire_encoding import BoundedDecoder, encode

NOTE_CLASS: Final = UniqueId("mosaik.deployment.notes.v1")
NOTES_MAX: Final = 32
INPUTS_MAX: Final = 256
LABEL_CHARACTERS_MAX: Final = 128
NOTES_BYTES_MAX: Final = 16 * 1024
HASH_BYTES: Final = 4
REPORTED_MAX: Final = 256

_Text = Annotated[str, msgspec.Meta(max_length=LABEL_CHARACTERS_MAX)]
_Hash = Annotated[bytes, msgspec.Meta(max_length=HASH_BYTES)]


class DeploymentNote(msgspec.Struct, frozen=True, array_like=True):
    """One deployment that a node is bound to.

    Attributes:
        service: What service it is one of.
        name: Its name.
        version: Its version.
        id: Its identity.
        inputs: Each input of that, with the beginning of its hash.
    """

    service: _Text
    name: _Text
    version: int
    id: UniqueId
    inputs: Annotated[tuple[tuple[_Text, _Hash], ...], msgspec.Meta(max_length=INPUTS_MAX)]

    def differences(self, other: DeploymentNote) -> list[str]:
        """Return the names of the inputs that differ, or that only one has."""
        mine, theirs = dict(self.inputs), dict(other.inputs)
        names = {**mine, **theirs}
        return sorted(name for name in names if mine.get(name) != theirs.get(name))

    def nearly_is(self, other: DeploymentNote) -> bool:
        """Return whether the other one was probably meant to be this one, and is not."""
        mine = (self.service, self.name, self.version)
        return mine == (other.service, other.name, other.version) and self.id != other.id


class NearMiss(NamedTuple):
    """A deployment of this node, and one of a peer that differs from it."""

    here: DeploymentNote
    there: DeploymentNote

    def __str__(self) -> str:
        names = ", ".join(self.here.differences(self.there)) or "an unknown input"
        return (
            f"another configuration of {self.here.service} {self.here.name!r} (fingerprint "
            f"{self.there.id.short}, here {self.here.id.short}); it differs in: {names}"
        )


_decoder: Final[BoundedDecoder[tuple[DeploymentNote, ...]]] = BoundedDecoder(
    Annotated[tuple[DeploymentNote, ...], msgspec.Meta(max_length=NOTES_MAX)],
    "notes of deployments",
    NOTES_BYTES_MAX,
)


def make_note(
    service: str, name: str, version: int, id_: UniqueId, inputs: Mapping[str, bytes]
) -> DeploymentNote:
    """Return the note of a deployment. Raises `ConfigError` when it has too much to say."""
    if len(inputs) > INPUTS_MAX or max(map(len, (service, *inputs))) > LABEL_CHARACTERS_MAX:
        text = f"at most {INPUTS_MAX} fields and parts, of {LABEL_CHARACTERS_MAX} characters each"
        raise ConfigError(f"{service} has {len(inputs)} fields and public parts, expected {text}")
    hashes = tuple((key, blake3(inputs[key]).digest(HASH_BYTES)) for key in sorted(inputs))
    return DeploymentNote(service, name, version, id_, hashes)


def make_ticket(notes: Iterable[DeploymentNote]) -> Ticket:
    """Return what a node shows. Raises `ConfigError` when that is too much."""
    given = tuple(notes)
    data = encode(given)
    if len(given) > NOTES_MAX or len(data) > NOTES_BYTES_MAX:
        text = f"{len(given)} deployments on one node ({len(data)} bytes)"
        raise ConfigError(f"{text}, expected at most {NOTES_MAX} ({NOTES_BYTES_MAX} bytes)")
    return Ticket(NOTE_CLASS, data)


class DeploymentNearMisses:
    """Compares notes, and reports each pair of identities once.

    Attributes:
        own: The deployments of this node, by identity.
        bad_count: How many tickets held no notes.
    """

    def __init__(self) -> None:
        self.own: dict[UniqueId, DeploymentNote] = {}
        self.bad_count = 0
        self._reported: dict[tuple[UniqueId, UniqueId], None] = {}

    def receive(self, tickets: Iterable[Ticket]) -> list[NearMiss]:
        """Return the near misses in what a peer shows that were not reported before."""
        found = []
        for ticket in tickets:
            if ticket.class_id != NOTE_CLASS:
                continue
            try:
                notes = _decoder.decode(ticket.data)
            except DecodeError:
                self.bad_count += 1
                continue
            pairs = (NearMiss(here, there) for here in self.own.values() for there in notes)
            found += [pair for pair in pairs if self._is_new(pair)]
        return found

    def _is_new(self, pair: NearMiss) -> bool:
        key = (pair.here.id, pair.there.id)
        if not pair.here.nearly_is(pair.there) or key in self._reported:
            return False
        if len(self._reported) >= REPORTED_MAX:
            return False
        self._reported[key] = None
        return True
