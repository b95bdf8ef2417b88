import socket as sockets
from typing import Any

from . import streamBuffer

LISTEN_DEPTH: int

class TCPTransport:
    socket: sockets.socket
    def __init__(self, initType: Any, *args: Any) -> None: ...

serializer: Any
ReceiveBuffer: type[streamBuffer.ReceiveBuffer]
ackMsg: bytes
ackDataErrMsg: bytes
