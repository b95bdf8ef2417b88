"""How two members prove to each other that they have the key of the group.

Four messages over a link, whose ends the transport has proven to be the peers they claim to be:

    1. header, opener to acceptor   version, group id, nonce of the opener
    2. reply, acceptor to opener    nonce of the acceptor, its proof
    3. first frame of the opener    its proof, and then its status
    4. first frame of the acceptor  its status: the bond stands

A proof is keyed BLAKE3, with a key that is derived from the group's and used for nothing else, over
everything that makes this handshake this one: who proves, version, network, group, both peers, both
nonces. So a proof is worth nothing

    * in another handshake: the nonces are fresh (ISO/IEC 9798-4, section 6: mutual authentication
      in three passes with a keyed check function);
    * sent back to its sender: opener and acceptor prove different texts;
    * handed on by somebody in the middle: the peers at that link's ends are not those in the proof.

Nonces need only differ, not be secret: nobody but the peer that a proof names can use it. A status
says much about the group, so neither side says anything of itself before the other is proven: that
is why the acceptor's status is in message 4, where the reply would have been half a round trip
sooner.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from random import Random
from typing import Annotated, Final, TypeVar

import msgspec
from blake3 import blake3

from ...errors import DecodeError, RemoteError
from ...ids import GroupId, NetworkId, PeerId
from ...transport.close import CloseCode
from ...wire_encoding import BoundedDecoder, encode
from ..wire.types import exactly
from .key import GroupKey

T = TypeVar("T")

VERSION: Final = 1
NONCE_BYTES: Final = 32
PROOF_BYTES: Final = 32
HEADER_BYTES_MAX: Final = 1024

_OPENER: Final = b"\x01"
_ACCEPTOR: Final = b"\x02"

Nonce = Annotated[bytes, exactly(NONCE_BYTES)]
Proof = Annotated[bytes, exactly(PROOF_BYTES)]


class OpenerHello(msgspec.Struct, frozen=True, array_like=True):
    """The header of a link between members.

    A later version may append to it; the group's id stays where it is.
    """

    version: Annotated[int, msgspec.Meta(ge=0, le=65_535)]  # the version of this protocol
    group_id: GroupId
    nonce: Nonce  # drawn by the opener for this link


class HandshakeAnswer(msgspec.Struct, frozen=True, array_like=True):
    """The reply to a `OpenerHello`."""

    nonce: Nonce  # drawn by the acceptor for this link
    proof: Proof  # the acceptor's


_hello_decoder = BoundedDecoder[OpenerHello](OpenerHello, "the header of a bond", HEADER_BYTES_MAX)
_answer_decoder = BoundedDecoder[HandshakeAnswer](
    HandshakeAnswer, "the reply of a bond", HEADER_BYTES_MAX
)


def group_of(header: bytes) -> GroupId:
    """Return which group a link is for, by an id that the network may know; unproven.

    Raises `DecodeError` where `header` is not one of a link between members.
    """
    return _decode(_hello_decoder, header).group_id


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who proves, and what."""

    me: PeerId
    network_id: NetworkId
    group_id: GroupId
    key: GroupKey

    def prove(
        self, role: bytes, opener: PeerId, acceptor: PeerId, nonces: tuple[bytes, bytes]
    ) -> bytes:
        """Return the proof of the opener or the acceptor: `role` says whose.

        Every part has a fixed length, so that no two handshakes prove the same text.
        """
        parts = (role, self.network_id, self.group_id, opener, acceptor, *nonces)
        text = bytes((VERSION,)) + b"".join(parts)
        return blake3(text, key=self.key.proof_key).digest()


class OpenerHandshake:
    """The opener's side, for one link to a peer. Send `header`, then call `receive_reply`."""

    __slots__ = ("_credentials", "_nonce", "_peer_id", "header")

    def __init__(self, credentials: Credentials, peer_id: PeerId, rng: Random) -> None:
        self._credentials = credentials
        self._peer_id = peer_id
        self._nonce = rng.randbytes(NONCE_BYTES)
        self.header = encode(OpenerHello(VERSION, credentials.group_id, self._nonce))

    def receive_reply(self, reply: bytes) -> bytes:
        """Take in the acceptor's reply, which proves it; return our own proof, to be sent.

        Raises `RemoteError`, with the code to close with, where it proves nothing.
        """
        answer = _decode(_answer_decoder, reply)
        own = self._credentials
        sides = own.me, self._peer_id, (self._nonce, answer.nonce)
        _compare(answer.proof, own.prove(_ACCEPTOR, *sides))
        return own.prove(_OPENER, *sides)


class AcceptorHandshake:
    """The acceptor's side, for one link of a peer. Send `reply`, then call `receive_proof`.

    Raises `RemoteError` where the header is none, or of another group or version.
    """

    __slots__ = ("_expected", "reply")

    def __init__(
        self, credentials: Credentials, peer_id: PeerId, header: bytes, rng: Random
    ) -> None:
        hello = _decode(_hello_decoder, header)
        if hello.version != VERSION:
            raise _invalid(f"a bond of version {hello.version}, this node speaks {VERSION}")
        if hello.group_id != credentials.group_id:
            text = f"group {hello.group_id.short}, expected {credentials.group_id.short}"
            raise RemoteError(text, CloseCode.GROUP_NOT_FOUND)
        if peer_id == credentials.me:
            raise _invalid("a member makes no bond with itself")
        nonce = rng.randbytes(NONCE_BYTES)
        sides = peer_id, credentials.me, (hello.nonce, nonce)
        self.reply = encode(HandshakeAnswer(nonce, credentials.prove(_ACCEPTOR, *sides)))
        self._expected = credentials.prove(_OPENER, *sides)

    def receive_proof(self, proof: bytes) -> None:
        """Take in the opener's proof. Raises `RemoteError` when it proves nothing."""
        _compare(proof, self._expected)


def _compare(proof: bytes, expected: bytes) -> None:
    # In constant time: how long it takes must not tell how much of a guess was right.
    if not hmac.compare_digest(proof, expected):
        raise RemoteError("the key of the group is not proven", CloseCode.GROUP_INVALID_PROOF)


def _decode(decoder: BoundedDecoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    except DecodeError as exc:
        raise _invalid(exc.text) from exc


def _invalid(text: str) -> DecodeError:
    return DecodeError(text, CloseCode.GROUP_INVALID_HANDSHAKE)
