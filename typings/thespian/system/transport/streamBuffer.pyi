from collections.abc import Callable

ackPacket: str
ackDataErrPacket: str

def toSendBuffer(A: object, ser: Callable[[object], bytes] = ...) -> bytes: ...

class ReceiveBuffer:
    _size: int | None
    def addMore(self, buf: bytes) -> None: ...
