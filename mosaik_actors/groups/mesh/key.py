"""The key of a group: who has it may be a member, and what it says of the group's id.

A key is 32 secret bytes. It never travels. The group's id is made from its
hash, so that members can be found by the id without giving the key away, and
each end of a bond proves that it has the key (`handshake`).

Everything that members must agree on goes into the id: the consensus settings,
what the state machine is, how state is synchronised, and who validates tickets.
Two programs that disagree never meet, instead of corrupting each other's log.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Self

from blake3 import blake3

from ...ids import GroupId, UniqueId

_PROOF_CONTEXT: Final = "mosaik_actors group bond proof v1"


class GroupKey:
    """The secret that members of a group share.

    Args:
        value: 32 bytes; 64 hexadecimal digits; or any other text, which is
            hashed, and then the key is only as secret as the text.

    Raises:
        ValueError: `value` is empty, or bytes of another length than 32.
        TypeError: `value` is neither text nor bytes.
    """

    __slots__ = ("_id", "_proof_key")

    def __init__(self, value: str | bytes) -> None:
        if not value:
            raise ValueError("a group's key is empty, expected a secret")
        self._id = UniqueId(value)
        self._proof_key = blake3(bytes(self._id), derive_key_context=_PROOF_CONTEXT).digest()

    @classmethod
    def generate(cls) -> Self:
        """Return a new key from the system's entropy."""
        return cls(bytes(UniqueId.random()))

    @classmethod
    def from_validator(cls, validator: object) -> Self:
        """Return the key that a ticket validator's signature stands for.

        Whoever names the same validator has the same key: then the tickets,
        not the key, decide who is let in.

        Raises:
            TypeError: `validator` has no `signature`.
        """
        signature = getattr(validator, "signature", None)
        if not isinstance(signature, bytes):
            raise TypeError(f"{type(validator).__name__} has no signature, so it makes no key")
        return cls(bytes(UniqueId.from_parts("group key of a validator", signature)))

    @property
    def hex(self) -> str:
        """The key itself as 64 hexadecimal digits: as secret as the key."""
        return self._id.hex

    @property
    def proof_key(self) -> bytes:
        """32 bytes to prove the key with, useless for anything else."""
        return self._proof_key

    def hashed(self) -> UniqueId:
        """Return the hash of the key, which may be shown."""
        return self._id.hashed()

    def __bytes__(self) -> bytes:
        return bytes(self._id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GroupKey) and self._id == other._id

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        return f"GroupKey(hash {self.hashed().short})"


def derive_group_id(
    key: GroupKey,
    consensus: bytes,
    machine: str | bytes,
    sync: str | bytes,
    validators: Iterable[bytes] = (),
) -> GroupId:
    """Return the id of the group with this key and these signatures; validators in any order."""
    group_id = key.hashed().derive(consensus).derive(machine).derive(sync)
    for signature in sorted(validators):
        group_id = group_id.derive(signature)
    return group_id
