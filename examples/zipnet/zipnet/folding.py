"""The envelopes, and the aggregator that folds those of a round into one.

The aggregator is trusted with nothing but its time: an envelope is noise to it, and it can
only leave envelopes out, or spoil the round. Envelopes are signed by their clients, so that
nobody sends in another's name; who spoils one's own is another matter (see the README).

All envelopes have the same bytes in the same places: the client, the round, the masked
slots, the signature.
"""

from __future__ import annotations

from collections.abc import Sequence

from mosaik_actors import PeerId, SecretKey

from .pads import KEY_BYTES, ROUND_BYTES, Refused, xor
from .slots import Shape

SIGNATURE_BYTES = 64
_HEAD_BYTES = KEY_BYTES + ROUND_BYTES


def envelope_size(shape: Shape) -> int:
    """Return how many bytes each envelope has."""
    return _HEAD_BYTES + shape.size + SIGNATURE_BYTES


def seal_envelope(identity: SecretKey, round_: int, masked: bytes, context: bytes) -> bytes:
    """Return the envelope of a client."""
    head = bytes(identity.peer_id) + round_.to_bytes(ROUND_BYTES) + masked
    return head + identity.sign(context + head)


class Fold:
    """The envelopes of one round, folded into one.

    Args:
        round_: Which one.
        clients: Who may take part, in the order in which the bits of `participants` count.
        context: The id of the deployment.
        shape: How the round is divided.
    """

    def __init__(self, round_: int, clients: Sequence[bytes], context: bytes, shape: Shape) -> None:
        self.round = round_
        self._index = {client: index for index, client in enumerate(clients)}
        self._context = context
        self._shape = shape
        self._taken: set[int] = set()
        self.folded = bytes(shape.size)

    def receive_envelope(self, envelope: bytes) -> None:
        """Take an envelope in.

        Raises:
            Refused: It is none, of another round, of somebody else, or a second one.
        """
        if len(envelope) != envelope_size(self._shape):
            raise Refused(f"an envelope of {len(envelope)} bytes")
        client, round_ = peek(envelope)
        if round_ != self.round:
            raise Refused(f"an envelope for round {round_} in round {self.round}")
        index = self._index.get(client)
        if index is None:
            raise Refused(f"an envelope of {client.hex()[:10]}, which takes no part")
        if index in self._taken:
            raise Refused(f"a second envelope of {client.hex()[:10]}")
        if not is_signed(envelope, self._context):
            raise Refused(f"an envelope that {client.hex()[:10]} has not signed")
        self._taken.add(index)
        masked = envelope[_HEAD_BYTES:-SIGNATURE_BYTES]
        self.folded = xor([self.folded, masked], self._shape.size)

    @property
    def count(self) -> int:
        """How many clients take part so far."""
        return len(self._taken)

    @property
    def is_complete(self) -> bool:
        """Whether nobody is missing."""
        return len(self._taken) == len(self._index)

    @property
    def participants(self) -> bytes:
        """One bit for each client, the first one's the lowest of the first byte."""
        return encode_set(self._taken, len(self._index))


def peek(envelope: bytes) -> tuple[bytes, int]:
    """Return who sent an envelope, and for which round, by its own account."""
    return envelope[:KEY_BYTES], int.from_bytes(envelope[KEY_BYTES:_HEAD_BYTES])


def is_signed(envelope: bytes, context: bytes) -> bool:
    """Return whether the client that an envelope names has signed it, for this deployment."""
    signed, signature = envelope[:-SIGNATURE_BYTES], envelope[-SIGNATURE_BYTES:]
    return PeerId(envelope[:KEY_BYTES]).verifies(signature, context + signed)


def encode_set(indexes: set[int], count: int) -> bytes:
    """Return a set of numbers below `count` as bits."""
    return sum(1 << index for index in sorted(indexes)).to_bytes((count + 7) // 8, "little")


def decode_set(bits: bytes, count: int) -> list[int]:
    """Return the numbers of a set in order.

    Raises:
        Refused: It is no set of numbers below `count`.
    """
    total = int.from_bytes(bits, "little")
    if len(bits) != (count + 7) // 8 or total >> count:
        raise Refused("participants that are no set of the clients")
    return [index for index in range(count) if total >> index & 1]
