"""Admission: both ends of a connection prove that they belong to the same network.

The proof is the first thing on a connection after the TLS handshake, and until it is
done nothing else is read. What is proven is a key: made of the network's id or, where
the network has a secret, of both. Neither is ever sent.

    1. The dialler sends a proof under each of its keys, as the whole of one stream.
    2. The acceptor looks for one that a key of its own gives. If there is none it ends
       the connection with "different network", and says nothing else.
    3. The acceptor answers with its own proof, under that key, and the dialler checks it.

A proof is a keyed hash (BLAKE3) of the side's role, the *binding* of this connection,
and both PeerIds. The binding is a hash of the TLS secrets of both directions, which
nobody but the two ends has and which are other ones on each connection (the idea of
RFC 9266). So a proof is worth nothing on another connection, at another peer, or sent
back to who made it; both PeerIds were proven by the handshake before.

Who speaks first shows a proof to somebody who has proven nothing but a PeerId. With a
secret that is of no use to him: a secret is too long to be guessed. Without one the key
is as good as the network's name, and names can be tried out, on his own machine, by who
has a proof to compare with. So the dialler speaks first: it chose whom to dial, and
knows the PeerId that must answer, while anybody may dial. Who dials a stranger's
address with a short name and no secret gives that name away to whoever guesses well.
A password-authenticated exchange (CPace) would not even do that; it costs two
multiplications on a curve for each key and side, and what has to be hidden can have a
secret instead.

A pure core; no time, as whoever drives it gives a proof a limited time.

Invariants:
    * No more than `PROOFS_BYTES_MAX` bytes are held.
    * `receive_data` says yes only after a proof under a key of this side.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Final

from blake3 import blake3

from ..errors import RemoteError
from ..ids import NetworkId, PeerId
from .close import DIFFERENT_NETWORK

SECRETS_MAX: Final = 4
PROOF_BYTES: Final = 32
PROOFS_BYTES_MAX: Final = 1 + SECRETS_MAX * PROOF_BYTES

_FORM: Final = b"\x01"
_DIALLER: Final = b"dialler"
_ACCEPTOR: Final = b"acceptor"
_OPEN_CONTEXT: Final = "mosaik_actors 2026 network key of an id alone"
_SECRET_CONTEXT: Final = "mosaik_actors 2026 network key of an id and a secret"
_PROOF_CONTEXT: Final = "mosaik_actors 2026 admission proof"
_BINDING_CONTEXT: Final = "mosaik_actors 2026 admission channel binding"


class NetworkKeys:
    """The keys of one network: one for each of its secrets, or that of its id alone.

    Args:
        network_id: The network.
        secrets: Its secrets, at most `SECRETS_MAX`. All are accepted; the first is the
            one that is meant to stay. None: who knows the id may take part.

    Attributes:
        network_id: The network.
        has_secret: Whether it takes more than the id to take part.
    """

    __slots__ = ("_keys", "_proof_keys", "has_secret", "network_id")

    def __init__(self, network_id: NetworkId, secrets: Sequence[bytes] = ()) -> None:
        assert len(secrets) <= SECRETS_MAX, "whoever reads the settings counts the secrets"
        self.network_id = network_id
        self.has_secret = bool(secrets)
        context = _SECRET_CONTEXT if secrets else _OPEN_CONTEXT
        self._keys = tuple(
            blake3(network_id + secret, derive_key_context=context).digest()
            for secret in dict.fromkeys(secrets or (b"",))
        )
        self._proof_keys = self.derive(_PROOF_CONTEXT)

    def derive(self, context: str) -> tuple[bytes, ...]:
        """Return a key for another purpose from each key, in order.

        Args:
            context: What it is for; a text that nothing else uses.
        """
        return tuple(blake3(key, derive_key_context=context).digest() for key in self._keys)

    def __repr__(self) -> str:
        return f"NetworkKeys({self.network_id.short}, {len(self._keys)} keys)"

    @property
    def proof_keys(self) -> tuple[bytes, ...]:
        """The keys that proofs are made with, in order."""
        return self._proof_keys


class Admission:
    """One side of the proof on one connection.

    Args:
        keys: What this side proves, and accepts.
        binding: What tells this connection from all others, as `bind_channel` gives it.
        here: This side's PeerId.
        there: The other side's PeerId, which it has proven.
        is_dialler: Whether this side dialled.
    """

    def __init__(
        self,
        keys: NetworkKeys,
        *,
        binding: bytes,
        here: PeerId,
        there: PeerId,
        is_dialler: bool,
    ) -> None:
        self._keys = keys.proof_keys
        self._is_dialler = is_dialler
        dialler, acceptor = (here, there) if is_dialler else (there, here)
        self._channel = binding + dialler + acceptor
        self._received = b""

    def begin(self) -> bytes:
        """Return what the dialler sends first, and then nothing more on that stream."""
        assert self._is_dialler, "the acceptor waits for the dialler's proof"
        return _FORM + b"".join(self._prove(key, _DIALLER) for key in self._keys)

    def receive_data(self, data: bytes, *, is_end: bool) -> bytes | None:
        """Take in what the other side sent on the stream, in order.

        Returns:
            None while more has to come. Otherwise the other side has proven itself, and
            this is the answer to it, which is empty for the dialler.

        Raises:
            RemoteError: It has not, or sent something else. The connection has to end
                with the error's code and text.
        """
        self._received += data
        count_max = 1 if self._is_dialler else SECRETS_MAX
        if len(self._received) > len(_FORM) + count_max * PROOF_BYTES:
            raise RemoteError(f"a proof of the network of {len(self._received)} bytes")
        if not is_end:
            return None
        form, proofs = self._received[:1], self._received[1:]
        if form != _FORM or not proofs or len(proofs) % PROOF_BYTES:
            raise RemoteError("that is not a proof of the network")
        key = self._find_key(proofs)
        if key is None:
            raise RemoteError(DIFFERENT_NETWORK.text, DIFFERENT_NETWORK.code)
        if self._is_dialler:
            return b""
        return _FORM + self._prove(key, _ACCEPTOR)

    def _find_key(self, proofs: bytes) -> bytes | None:
        """Return the first key of ours that one of the other side's proofs was made with."""
        role = _ACCEPTOR if self._is_dialler else _DIALLER
        given = [proofs[at : at + PROOF_BYTES] for at in range(0, len(proofs), PROOF_BYTES)]
        for key in self._keys:
            wanted = self._prove(key, role)
            # A list: all are compared, so that the time says nothing of which one it was.
            if any([hmac.compare_digest(wanted, one) for one in given]):  # noqa: C419
                return key
        return None

    def _prove(self, key: bytes, role: bytes) -> bytes:
        return blake3(self._channel + role, key=key).digest()


def bind_channel(dialler_secret: bytes, acceptor_secret: bytes) -> bytes:
    """Return the binding of a connection: the same at its two ends, and nowhere else.

    Args:
        dialler_secret: The first TLS traffic secret of what the dialler sends (RFC 8446
            section 7.1).
        acceptor_secret: The same of what the acceptor sends.
    """
    hashed = blake3(derive_key_context=_BINDING_CONTEXT)
    for secret in (dialler_secret, acceptor_secret):
        hashed.update(len(secret).to_bytes(2) + secret)
    return hashed.digest()
