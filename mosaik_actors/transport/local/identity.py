"""How two processes of one machine prove their `PeerId` to each other on a Unix socket.

The kernel says which user is at the other end, and carries the bytes from one process to
the other and nowhere else; so nothing is encrypted. What is left to prove is the key:

    1. Each side sends a `HELLO`: its PeerId, its instance and a random number.
    2. Each side signs both (Ed25519), with its role, and checks the other's `PROOF`.

Both random numbers are in what is signed, so a proof is of this one connection; the role
is, so none can be sent back to who made it (the order of ISO/IEC 9798-3, mutual, as in
SIGMA without its key exchange). The binding for the proof of the network is a hash of the
same bytes.

A pure core; whoever drives it gives it random bytes and a limited time.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from blake3 import blake3

from ...errors import RemoteError
from ...ids import PeerId, SecretKey
from ...wire_encoding import BoundedDecoder, encode
from ..byte_streams.engine import HELLO, PROOF
from ..close import CloseCode
from ..engine_events import HandshakeDone
from ..proven_peer import ProvenPeer

NONCE_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
HELLO_BYTES_MAX: Final = 256
FORM: Final = 1

_SIGNED: Final = b"mosaik_actors 2026 identity on a Unix socket\0"
_BINDING_CONTEXT: Final = "mosaik_actors 2026 binding of a Unix socket"


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """Who is at one end."""

    form: int
    peer_id: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    instance: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    nonce: Annotated[bytes, msgspec.Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]


_decoder: BoundedDecoder[Hello] = BoundedDecoder(Hello, "a hello", HELLO_BYTES_MAX)


class LocalIdentity:
    """One side's part in it.

    Args:
        secret_key: The identity that is proven here.
        instance: Which run of the endpoint this is.
        nonce: `NONCE_BYTES` random bytes, for this connection alone.
        is_initiator: Whether this side dialled.
    """

    def __init__(
        self, secret_key: SecretKey, instance: int, nonce: bytes, *, is_initiator: bool
    ) -> None:
        assert len(nonce) == NONCE_BYTES, f"a nonce of {len(nonce)} bytes"
        self._secret_key = secret_key
        self._is_initiator = is_initiator
        self._hello = encode(Hello(FORM, bytes(secret_key.peer_id), instance, nonce))
        self._theirs: Hello | None = None
        self._both = b""

    def begin(self) -> list[tuple[int, bytes]]:
        """Return what is said first."""
        return [(HELLO, self._hello)]

    def receive(self, kind: int, data: bytes) -> list[tuple[int, bytes]] | HandshakeDone | None:
        """Take in what the peer says; return what to answer, or who is there.

        Raises:
            RemoteError: It is not what comes now, or proves nothing.
        """
        if kind == HELLO and self._theirs is None:
            self._theirs = _decoder.decode(data)
            if self._theirs.form != FORM:
                raise RemoteError(f"a hello of form {self._theirs.form}, expected {FORM}")
            hellos = (self._hello, data) if self._is_initiator else (data, self._hello)
            self._both = _SIGNED + b"".join(bytes([len(one)]) + one for one in hellos)
            return [(PROOF, self._secret_key.sign(self._both + self._role(self._is_initiator)))]
        if kind == PROOF and self._theirs is not None:
            peer_id = PeerId(self._theirs.peer_id)
            signed = self._both + self._role(not self._is_initiator)
            if len(data) != SIGNATURE_BYTES or not peer_id.verifies(data, signed):
                raise RemoteError("a wrong proof of who it is", CloseCode.UNKNOWN_PEER)
            binding = blake3(self._both, derive_key_context=_BINDING_CONTEXT).digest()
            return HandshakeDone(ProvenPeer(peer_id, self._theirs.instance), binding)
        raise RemoteError("says who it is in another order")

    @staticmethod
    def _role(is_initiator: bool) -> bytes:
        return b"dialler" if is_initiator else b"acceptor"
