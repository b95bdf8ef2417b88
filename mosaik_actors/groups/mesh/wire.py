"""What the two ends of a bond say to each other: the frames of the mesh.

Their first byte is `frames.MESH`; frames with another one on the same link belong to others.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from ...errors import DecodeError
from ...ids import PeerId
from ...wire_encoding import BoundedDecoder, encode
from ..wire.frames import MESH
from ..wire.status import Status
from .handshake import Proof

MEMBERS_MAX: Final = 1024
MESH_FRAME_BYTES_MAX: Final = 128 * 1024

_FIRST: Final = bytes((MESH,))

_PeerIds = Annotated[tuple[PeerId, ...], msgspec.Meta(max_length=MEMBERS_MAX)]


class Prove(msgspec.Struct, frozen=True, array_like=True, tag="prove"):
    """The opener's first frame: its proof, and what it says of itself."""

    proof: Proof
    status: Status


class Confirm(msgspec.Struct, frozen=True, array_like=True, tag="confirm"):
    """The acceptor's first frame: the bond stands, and what it says of itself."""

    status: Status


class Beat(msgspec.Struct, frozen=True, array_like=True, tag="beat"):
    """A heartbeat: encoded once and sent over every bond."""

    status: Status


class Peers(msgspec.Struct, frozen=True, array_like=True, tag="peers"):
    """What has changed in whom the sender is bonded with, since it last said so on this bond."""

    added: _PeerIds = ()
    removed: _PeerIds = ()


class Leave(msgspec.Struct, frozen=True, array_like=True, tag="leave"):
    """The sender leaves the group for good; the bond ends with this."""


MeshFrame = Prove | Confirm | Beat | Peers | Leave

_decoder = BoundedDecoder[MeshFrame](MeshFrame, "a frame of the mesh", MESH_FRAME_BYTES_MAX)


def encode_frame(frame: MeshFrame) -> bytes:
    """Return a frame as bytes."""
    return _FIRST + encode(frame)


def decode_frame(data: bytes) -> MeshFrame:
    """Return the frame in `data`. Raises `DecodeError` when it is none of the mesh."""
    if data[:1] != _FIRST:
        raise DecodeError("not a frame of the mesh")
    return _decoder.decode(memoryview(data)[1:])
