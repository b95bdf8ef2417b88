"""The keeper: it forks a process for each isolated actor when the node says so, and no more.

It ends, and with it all of them, when the node ends the connection or dies. It is run by
`keeper`, has one thread, and learns nothing of an actor but its number.
"""

from __future__ import annotations

import multiprocessing
import shutil
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from .isolated_process import READ_BYTES, Shell
from .portable import FrameReader, frame

# For so long processes may end by themselves, once the node is gone.
END_GRACE_S = 1.0


def main(path: str, descriptor: int) -> None:
    """Keep the processes of the isolated actors of one node.

    Args:
        path: Where the node listens.
        descriptor: The connection with the node.
    """
    context = multiprocessing.get_context("fork")
    children: dict[int, BaseProcess] = {}  # by what can be read when they have ended
    frames = FrameReader()
    with socket.socket(fileno=descriptor) as node, suppress(ConnectionError):
        while True:
            ready = wait([node, *children])
            for sentinel in ready:
                if isinstance(sentinel, int):
                    _end_all([children.pop(sentinel)], 0)
            if node not in ready:
                continue
            data = node.recv(READ_BYTES)
            if not data:
                break
            for (number,) in frames.feed(data):
                child = context.Process(target=_run, args=(node, path, number), name="actor")
                try:
                    child.start()
                except OSError as error:
                    node.sendall(frame(number, f"no process can be started: {error}"))
                else:
                    children[child.sentinel] = child
    _end_all(list(children.values()), END_GRACE_S)
    # The node does this too, if it can.
    shutil.rmtree(Path(path).parent, ignore_errors=True)


def _run(keeper_socket: socket.socket, path: str, number: int) -> None:
    """Run one actor, in a process of its own."""
    keeper_socket.close()  # or the node would not notice the keeper's end
    node = socket.socket(socket.AF_UNIX)
    try:
        node.connect(path)
    except OSError:
        return  # the node is gone already
    Shell(node, number).run()


def _end_all(children: Sequence[BaseProcess], patience_s: float) -> None:
    """Wait for the end of processes, and kill those that have not ended after this time."""
    give_up_at = time.monotonic() + patience_s
    for child in children:
        child.join(max(0.0, give_up_at - time.monotonic()))
        if child.exitcode is None:
            child.kill()
            child.join()
