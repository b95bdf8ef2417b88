"""Telling the service manager: systemd's notification protocol (sd_notify(3)).

One datagram to the socket that ``NOTIFY_SOCKET`` names. Without the variable nothing
happens. The launcher speaks it upwards to systemd, and its own processes speak it to
the launcher.
"""

from __future__ import annotations

import os
import socket
from typing import Final

VARIABLE: Final = "NOTIFY_SOCKET"
READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"


def notify(*lines: str, path: str | None = None) -> bool:
    """Notify the manager; return whether there is one."""
    path = os.environ.get(VARIABLE) if path is None else path
    if not path:
        return False
    # A name that begins with @ is in Linux's abstract namespace.
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect(address)
            sender.send("\n".join(lines).encode())
    except OSError:
        return False
    return True
