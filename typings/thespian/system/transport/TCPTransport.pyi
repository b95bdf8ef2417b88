import socket as sockets
from typing import Any

LISTEN_DEPTH: int

class TCPTransport:
    socket: sockets.socket
    def __init__(self, initType: Any, *args: Any) -> None: ...
