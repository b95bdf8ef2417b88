"""Actors that other processes can import."""

from __future__ import annotations

import os
from typing import Any

from mosaik_actors import MosaikActor, Request


class Pid(Request[int]):
    """In which process do you run?"""


class Crash(Request[None]):
    """End your process."""


class Spin(Request[None]):
    """Never come back."""


class Fail(Request[None]):
    """Raise an error."""


class Alone(MosaikActor):
    """Runs in a process of its own."""

    def __init__(self, greeting: str, *, fails: bool = False) -> None:
        if fails:
            raise ValueError("cannot start")
        self.greeting = greeting

    async def started(self) -> None:
        self.greeting += "!"

    def receiveMsg_str(self, text: str, sender: Any) -> None:
        self.send(sender, f"{self.greeting} {text}")

    def receiveMsg_Pid(self, message: Pid, sender: Any) -> int:
        return os.getpid()

    def receiveMsg_Crash(self, message: Crash, sender: Any) -> None:
        os._exit(3)

    def receiveMsg_Spin(self, message: Spin, sender: Any) -> None:
        while True:
            pass

    def receiveMsg_Fail(self, message: Fail, sender: Any) -> None:
        raise ValueError("on purpose")
