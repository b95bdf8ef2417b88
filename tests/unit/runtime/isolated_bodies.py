"""Actors for tests/unit/runtime/test_isolated.py, importable by their processes."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from dataclasses import dataclass
from typing import Any

from thespian.actors import (
    Actor,
    ActorAddress,
    ActorExitRequest,
    ChildActorExited,
    DeadEnvelope,
    PoisonMessage,
    ThespianWatch,
    WakeupMessage,
    WatchMessage,
    requireCapability,
)
from thespian.initmsgs import initializing_messages

from mosaik_actors.runtime import TypeDispatcher


@dataclass(frozen=True)
class SendTo:
    target: ActorAddress
    message: Any


class Isolated(TypeDispatcher):
    isolated = True

    def __init__(self, requirements: Any) -> None:
        self.requirements = requirements
        self.seen: list[Any] = []

    def receiveMsg_str(self, message: str, sender: ActorAddress) -> None:
        if message == "pid":
            self.send(sender, os.getpid())
        elif message == "address":
            self.send(sender, self.myAddress)
        elif message == "requirements":
            self.send(sender, self.requirements)
        elif message == "fail":
            raise ValueError("on purpose")
        elif message == "log":
            self.log(sender)
        elif message == "die":
            os._exit(1)
        elif message == "wake":
            self.customer = sender
            self.wakeupAfter(0.01, "payload")
        elif message == "watch":
            self.left, self.right = socket.socketpair()
            self.send(sender, "watching")
        elif message == "child":
            self.customer = sender
            self.send(self.createActor(Grandchild), "hello")

    def log(self, sender: ActorAddress) -> None:
        """Log in all the ways that records differ, from two threads."""
        logger = logging.getLogger("bodies.logger")
        logger.debug("below the level")
        logger.info("as %s", "formatted", extra={"plain": 7, "strange": object()})
        try:
            raise ValueError("in a traceback")
        except ValueError:
            logging.getLogger("bodies").warning("with a lambda %s", lambda: 1, exc_info=True)
        logger.error("%d", "does not fit")
        thread = threading.Thread(target=logger.info, args=("x" * 200_000,))
        thread.start()
        for _ in range(20):
            self.send(sender, "y" * 10_000)
        thread.join()
        self.send(sender, "logged")

    def receiveMsg_int(self, message: int, sender: ActorAddress) -> None:
        self.send(sender, message)

    def receiveMsg_bytes(self, message: bytes, sender: ActorAddress) -> Any:
        self.customer = sender
        self.right.send(message)
        return ThespianWatch([self.left.fileno()])

    async def receiveMsg_float(self, message: float, sender: ActorAddress) -> None:
        await asyncio.sleep(message)
        self.send(sender, "slept")

    def receiveMsg_SendTo(self, message: SendTo, sender: ActorAddress) -> None:
        self.send(message.target, message.message)

    def receiveMsg_tuple(self, message: tuple[str, Any], sender: ActorAddress) -> None:
        self.send(self.customer, message)

    def receiveMsg_WakeupMessage(self, message: WakeupMessage, sender: ActorAddress) -> None:
        self.send(self.customer, message.payload)

    def receiveMsg_WatchMessage(self, message: WatchMessage, sender: ActorAddress) -> None:
        self.send(self.customer, self.left.recv(10))

    def receiveMsg_ActorExitRequest(self, message: ActorExitRequest, sender: ActorAddress) -> None:
        path = self.requirements.get("goodbye") if self.requirements else None
        if path:
            with open(path, "w") as file:  # noqa: PTH123
                file.write("goodbye")


class Grandchild(Actor):
    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if message == "hello":
            self.send(sender, ("grandchild", os.getpid()))


class CannotStart(Actor):
    isolated = True

    def __init__(self) -> None:
        raise OSError("no disk")


@requireCapability("Disk")
class NeedsDisk(Isolated):
    pass


class Hangs(Actor):
    isolated = True

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if message == "pid":
            self.send(sender, os.getpid())
        else:
            while True:
                pass


class Plain(Actor):
    """On the loop unless its creator says otherwise."""

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if message == "pid":
            self.send(sender, os.getpid())


class Parent(Actor):
    """Has an isolated child."""

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, type):
            self.customer = sender
            self.child = self.createActor(message)
            self.send(self.child, "pid")
        elif isinstance(message, int):
            self.send(self.customer, (self.child, message))
        elif message == "wait for exit":
            self.customer = sender
        elif isinstance(message, ChildActorExited):
            self.send(self.customer, ("exited", message.childAddress))


class Named(Actor):
    isolated = False  # also where its creator is isolated

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if message == "who":
            self.send(sender, ("who", os.getpid(), self.globalName))


class Child(Actor):
    """A child of an isolated actor: it has a process, too, and may be a coroutine."""

    async def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        await asyncio.sleep(0)
        if isinstance(message, tuple):
            target, what = message
            self.send(target, (what, self.myAddress, os.getpid()))
        elif message == "fail":
            raise ValueError("the child fails")
        elif message == "quit":
            raise SystemExit("the child quits")


@dataclass(frozen=True)
class Do:
    """Call a method of the actor with these arguments, and send what comes of it."""

    method: str
    arguments: tuple[Any, ...] = ()


class Asks(Actor):
    """Asks things of its actor system, from inside its process."""

    isolated = True

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, Do):
            try:
                result = getattr(self, message.method)(*message.arguments)
            except Exception as error:
                result = type(error).__name__
            self.send(sender, result)
        elif message == "heard":
            self.send(sender, self.heard)
        elif message == "name":
            self.send(sender, self.globalName)
        elif isinstance(message, DeadEnvelope):
            self.heard.append(("dead", message.deadMessage, message.deadAddress))
        elif isinstance(message, PoisonMessage):
            self.heard.append(("poison", message.poisonMessage))
        elif isinstance(message, ChildActorExited):
            self.heard.append(("exited", message.childAddress))
        elif isinstance(message, tuple):
            self.heard.append(message)


@initializing_messages([("name", str)])
class Initialized(TypeDispatcher):
    isolated = True
    name: str

    async def receiveMsg_int(self, number: int, sender: ActorAddress) -> None:
        await asyncio.sleep(0)
        self.send(sender, (self.name, number))
