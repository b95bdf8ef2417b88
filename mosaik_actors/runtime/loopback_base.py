"""Thespian's multiprocTCPBase, kept to this machine.

The stock base listens on every interface and unpickles whatever arrives, which
hands the process to anybody who can reach it. This one is the same base with a
transport whose sockets are bound to the loopback address. Other users of the
same machine can still reach those ports; on a machine shared with people you do
not trust, do not use isolated actors.

Thespian decides what address to announce by asking which interface leads to the
Internet, unless the environment variable THESPIAN_BASE_IPADDR tells it; so that
has to be 127.0.0.1 in every process of such a system.
"""

from __future__ import annotations

import socket
from typing import Any

from thespian.system.multiprocTCPBase import ActorSystemBase
from thespian.system.transport.TCPTransport import LISTEN_DEPTH, TCPTransport

ADDRESS_VARIABLE = "THESPIAN_BASE_IPADDR"
LOOPBACK = "127.0.0.1"


class LoopbackTransport(TCPTransport):
    """The stock transport, with its listening socket on the loopback address."""

    def __init__(self, initType: Any, *args: Any) -> None:
        super().__init__(initType, *args)
        # The stock constructor has just bound the port on all interfaces, but
        # nothing was accepted from it yet.
        port = self.socket.getsockname()[1]
        self.socket.close()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((LOOPBACK, port))
        self.socket.listen(LISTEN_DEPTH)


class LoopbackSystemBase(ActorSystemBase):
    """multiprocTCPBase on `LoopbackTransport`."""

    transportType = LoopbackTransport
