"""What runs outside the node's process: the keeper, and one shell per isolated actor.

The keeper (`main`) is a process that owns an actor system on Thespian's
multiprocTCPBase and creates shells in it when the node says so. It ends, and
with it all of them, when the node ends the connection or dies.

A `Shell` is an ordinary actor of that system, in a process of its own. It
creates the user's actor, and connects to the node: messages come in through a
watched socket, and what the actor sends to addresses of the node goes out
through it. To the user's actor the shell is invisible: `createActor`, wake-ups
and watches are those of multiprocTCPBase.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import shutil
import socket
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thespian.actors import (
    Actor,
    ActorAddress,
    ActorExitRequest,
    ActorSystem,
    PoisonMessage,
    ThespianWatch,
    WatchMessage,
)

from .loopback_base import LoopbackSystemBase
from .portable import FrameReader, RemoteAddress, dumps, frame, loads

READ_BYTES = 1 << 20
ATTEMPTS_MAX = 2


@dataclass(frozen=True)
class Launch:
    """Tells a shell what to run and where the node is."""

    path: str
    number: int
    module: str
    name: str
    capabilities: dict[str, Any]
    requirements: Any


class _Reference:
    """The `_myRef` of the user's actor: the shell's, but for what goes to the node."""

    def __init__(self, shell: Shell, reference: Any) -> None:
        self._shell = shell
        self._reference = reference

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reference, name)

    def actor_send(self, target: ActorAddress, message: Any) -> None:
        if isinstance(target, RemoteAddress):
            self._shell.send_to_node(target, message)
        else:
            self._reference.actor_send(target, message)


class Shell(Actor):
    """Runs one user's actor in this process, connected to the node."""

    _actor: Actor | None = None
    _socket: socket.socket
    _number: int
    _watched: list[int]
    _is_exiting = False

    def receiveMessage(self, message: Any, sender: ActorAddress) -> Any:
        """Pass a message on to the user's actor; it never raises."""
        if isinstance(message, Launch):
            self._launch(message)
        elif isinstance(message, WatchMessage):
            others = [ready for ready in message.ready if ready != self._socket.fileno()]
            if others:
                self._hand_over(WatchMessage(others), sender)
            if len(others) < len(message.ready):
                self._read()
        elif not self._is_exiting:
            self._hand_over(message, sender)
        if isinstance(message, ActorExitRequest):
            self._socket.close()
            return None
        return ThespianWatch([self._socket.fileno(), *self._watched])

    def _launch(self, launch: Launch) -> None:
        self._number, self._watched, self._frames = launch.number, [], FrameReader()
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(launch.path)
        except OSError:
            self.actorSystemShutdown()  # the node is gone already
            return
        self._socket.sendall(frame("hello", launch.number, os.getpid()))
        try:
            actor_class = getattr(importlib.import_module(launch.module), launch.name)
            values = {"capabilities": launch.capabilities, "requirements": launch.requirements}
            names = inspect.signature(actor_class.__init__).parameters
            actor = actor_class(**{name: values[name] for name in values if name in names})
        except Exception:
            self._socket.sendall(frame("failed", traceback.format_exc()))
            self._exit()
            return
        actor._myRef = _Reference(self, self._myRef)
        self._actor = actor

    def _read(self) -> None:
        data = self._socket.recv(READ_BYTES)
        if not data:
            # Without a word the node is gone, and nobody needs the others either.
            self.actorSystemShutdown()
            self._exit()
            return
        for kind, *parts in self._frames.feed(data):
            if self._is_exiting:
                return
            if kind == "exit":
                self._hand_over(ActorExitRequest(*parts), self.myAddress)
                self._exit()
            else:
                self._receive(*parts)

    def _receive(self, sender_number: int, data: bytes) -> None:
        sender = RemoteAddress(sender_number)
        try:
            message = loads(data, self._resolve)
        except Exception:
            self._socket.sendall(frame("poison", sender_number, data, traceback.format_exc()))
            return
        details = self._hand_over(message, sender, is_local=False)
        if details is not None and not isinstance(message, PoisonMessage):
            self._socket.sendall(frame("poison", sender_number, data, details))

    def _resolve(self, number: int) -> ActorAddress:
        return self.myAddress if number == self._number else RemoteAddress(number)

    def _number_of(self, address: ActorAddress) -> int | None:
        if isinstance(address, RemoteAddress):
            return address.number
        return self._number if address == self.myAddress else None

    def _hand_over(
        self, message: Any, sender: ActorAddress, *, is_local: bool = True
    ) -> str | None:
        """Let the actor handle a message; return the traceback of its second failure."""
        if self._actor is None:
            return None
        self._watched = []
        details = None
        for _ in range(1 if isinstance(message, ActorExitRequest) else ATTEMPTS_MAX):
            try:
                result = self._actor.receiveMessage(message, sender)
                if asyncio.iscoroutine(result):
                    result = asyncio.run(result)
                if isinstance(result, ThespianWatch):
                    self._watched = list(result.filenos)
            except Exception:
                details = traceback.format_exc()
            else:
                return None
        if is_local and not isinstance(message, PoisonMessage | ActorExitRequest):
            self.send(sender, PoisonMessage(message, details))
        return details

    def _exit(self) -> None:
        self._is_exiting = True
        self.send(self.myAddress, ActorExitRequest())

    def send_to_node(self, target: RemoteAddress, message: Any) -> None:
        """Send what the user's actor sends to an actor of the node."""
        data = dumps(message, self._number_of)
        self._socket.sendall(frame("send", target.number, data))


def free_port() -> int:
    """Return a port of the loopback address that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start_system() -> ActorSystem:
    system = ActorSystem.__new__(ActorSystem)
    # What ActorSystem.__init__ does with the name of a base, for a class of one.
    system.systemAddress = ActorAddress("/ActorSys")
    system.capabilities = {"Admin Port": free_port(), "Process Startup Method": "spawn"}
    system._isTransientUnique = True
    quiet = {"version": 1, "handlers": {}, "root": {"level": "CRITICAL", "handlers": []}}
    system._systemBase = LoopbackSystemBase(system, logDefs=quiet)
    return system


def main(path: str) -> None:
    """Keep the isolated actors of the node whose socket is at `path`."""
    node = socket.socket(socket.AF_UNIX)
    try:
        node.connect(path)
    except OSError:
        return  # the node is gone already
    system = _start_system()
    try:
        node.sendall(frame("hello", None, os.getpid()))
        frames = FrameReader()
        while data := node.recv(READ_BYTES):
            for (launch,) in frames.feed(data):
                system.tell(system.createActor(Shell), launch)
    except ConnectionError:
        pass  # the node died
    finally:
        system.shutdown()
        node.close()
        # The node does this too, if it can.
        shutil.rmtree(Path(path).parent, ignore_errors=True)
