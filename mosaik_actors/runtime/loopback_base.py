"""Thespian's multiprocTCPBase, kept to this machine and to the processes of one keeper.

The stock base listens on every interface and unpickles whatever arrives, which
hands the process to anybody who can reach it. This one is the same base with a
transport that differs in two things:

    * Its sockets are bound to the loopback address.
    * Every message carries a MAC (keyed BLAKE3) that is checked before anything is
      unpickled: other users of the machine reach the ports, but have no key. What
      has no MAC, or a wrong one, ends its connection.

The key is ``multiprocessing``'s ``authkey``: 32 random bytes that the keeper draws
when it starts, and that each process it starts gets over the pipe by which it is
started. It is in no file, argument or environment.

A MAC does not hold for one receiver only, so a recorded message could be sent again;
recording takes the right to read this user's memory or the loopback interface.

Only what Thespian has to say to start and end processes comes this way; what actors
send goes over the private socket of `isolated_process`, and costs nothing more.

Thespian decides what address to announce by asking which interface leads to the
Internet, unless the environment variable THESPIAN_BASE_IPADDR tells it; so that
has to be 127.0.0.1 in every process of such a system.
"""

from __future__ import annotations

import hmac
import multiprocessing
import pickle
import socket
from typing import Any, Final

from blake3 import blake3
from thespian.system.multiprocTCPBase import ActorSystemBase
from thespian.system.transport import TCPTransport as stock  # noqa: N813 - a module
from thespian.system.transport.streamBuffer import (
    ReceiveBuffer,
    ackDataErrPacket,
    ackPacket,
    toSendBuffer,
)

ADDRESS_VARIABLE = "THESPIAN_BASE_IPADDR"
LOOPBACK = "127.0.0.1"
MAC_BYTES: Final = 32
MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
_KEY_CONTEXT: Final = "mosaik-actors messages of isolated actors' processes"


class ForgedMessage(Exception):
    """A message that no process of this keeper has sent; it was not unpickled."""


class SealedPickle:
    """What Thespian's transport uses in place of the module ``pickle``.

    Args:
        secret: What all processes of one keeper know, and nobody else.
    """

    def __init__(self, secret: bytes) -> None:
        self._key = blake3(secret, derive_key_context=_KEY_CONTEXT).digest()

    def dumps(self, value: object) -> bytes:
        """Pickle a value, with a MAC before it."""
        data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
        return blake3(data, key=self._key).digest() + data

    def loads(self, sealed: bytes) -> Any:
        """Unpickle what `dumps` has returned in a process with the same secret.

        Raises:
            ForgedMessage: The MAC is wrong.
        """
        data = sealed[MAC_BYTES:]
        if not hmac.compare_digest(blake3(data, key=self._key).digest(), sealed[:MAC_BYTES]):
            raise ForgedMessage("a message without the keeper's MAC")
        return pickle.loads(data)  # noqa: S301 - a process of this keeper has written it


class BoundedBuffer(ReceiveBuffer):
    """The stock buffer; refuses messages that are longer than any of ours."""

    def addMore(self, buf: bytes) -> None:
        """Take in what was read; an exception makes the transport close the connection."""
        super().addMore(buf)
        if self._size is not None and not 0 <= self._size <= MESSAGE_BYTES_MAX:
            raise ForgedMessage(f"a message of {self._size} bytes, at most {MESSAGE_BYTES_MAX}")


def _seal_stock_transport() -> None:
    """Have the stock transport of this process seal all it sends, and open all it gets.

    The process runs nothing but such a system: `LoopbackTransport` is made in the
    keeper and in the processes that it starts, before they read from any socket.
    """
    sealed = SealedPickle(bytes(multiprocessing.current_process().authkey))
    stock.serializer = sealed
    stock.ReceiveBuffer = BoundedBuffer
    stock.ackMsg = toSendBuffer(ackPacket, sealed.dumps)
    stock.ackDataErrMsg = toSendBuffer(ackDataErrPacket, sealed.dumps)


class LoopbackTransport(stock.TCPTransport):
    """The stock transport, sealed, with its listening socket on the loopback address."""

    def __init__(self, initType: Any, *args: Any) -> None:
        _seal_stock_transport()
        super().__init__(initType, *args)
        # The stock constructor has just bound the port on all interfaces, but
        # nothing was accepted from it yet.
        port = self.socket.getsockname()[1]
        self.socket.close()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((LOOPBACK, port))
        self.socket.listen(stock.LISTEN_DEPTH)


class LoopbackSystemBase(ActorSystemBase):
    """multiprocTCPBase on `LoopbackTransport`."""

    transportType = LoopbackTransport
