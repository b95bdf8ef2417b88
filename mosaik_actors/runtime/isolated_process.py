"""What runs outside the node's process: the keeper, and one shell per isolated actor.

The keeper (`main`) is a process that owns an actor system on Thespian's
multiprocTCPBase and creates shells in it when the node says so. It ends, and
with it all of them, when the node ends the connection or dies.

A `Shell` is an ordinary actor of that system, in a process of its own. It
creates the user's actor, and connects to the node: messages come in through a
watched socket, and what the actor sends to addresses of the node goes out
through it. To the user's actor the shell is invisible. Its wake-ups and watches
are those of multiprocTCPBase; all else that it asks of its actor system is
done by its cell at the node (`Shell.call`). What comes meanwhile waits. What
the process logs is handled at the node.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import io
import os
import shutil
import socket
import threading
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from thespian.actors import (
    Actor,
    ActorAddress,
    ActorExitRequest,
    ActorSystem,
    ChildActorExited,
    InvalidActorAddress,
    PoisonMessage,
    ThespianWatch,
    WatchMessage,
)

from .decorated import adapt, give_up
from .log_records import forward_records
from .loopback_base import LoopbackSystemBase
from .messaging.errors import ActorSystemClosed
from .messaging.hooks import Hooks, StartActor
from .portable import FrameReader, RemoteAddress, dumps, frame, importable, loads, rebuilt

READ_BYTES = 1 << 20
ATTEMPTS_MAX = 2


# What an actor asks of the system it runs in: done by its cell at the node.
CALLS = (
    "createActor",
    "handleDeadLetters",
    "registerSourceAuthority",
    "notifyOnSourceAvailability",
    "notifyOnSystemRegistrationChanges",
    "preRegisterRemoteSystem",
    "deRegisterRemoteSystem",
    "updateCapability",
    "loadActorSource",
    "unloadActorSource",
    "actorSystemShutdown",
)


@dataclass(frozen=True)
class Launch:
    """Tells a shell what to run and where the node is."""

    path: str
    number: int
    module: str
    name: str
    global_name: str | None
    capabilities: dict[str, Any]
    requirements: Any
    log_levels: dict[str, int]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


class _Reference:
    """The `_myRef` of the user's actor: its system is the node's."""

    def __init__(self, shell: Shell, launch: Launch, wakeup_after: Callable[..., None]) -> None:
        self._shell = shell
        self.address = RemoteAddress(launch.number)
        self.globalName = launch.global_name
        self.wakeupAfter = wakeup_after

    def actor_send(self, target: ActorAddress, message: Any) -> None:
        if not isinstance(target, RemoteAddress):
            raise InvalidActorAddress(target, "not an address of this actor system")
        self._shell.send_to_node(target, message)

    def createActor(self, actor_class: Any, *rest: Any) -> Any:
        if isinstance(actor_class, type):
            importable(actor_class)
        return self._shell.call("createActor", actor_class, *rest)

    def loadActorSource(self, source: Any) -> Any:
        if hasattr(source, "read"):
            with source:
                source = io.BytesIO(source.read())
        else:
            source = str(Path(source).absolute())
        return self._shell.call("loadActorSource", source)

    def __getattr__(self, name: str) -> Any:
        if name not in CALLS:
            raise AttributeError(name)
        return partial(self._shell.call, name)


class Shell(Actor):
    """Runs one user's actor in this process, connected to the node."""

    _actor: Actor | None = None
    _socket: socket.socket
    _address: RemoteAddress
    _watched: list[int]
    _is_exiting = False  # only children's exits are of interest any more
    _is_ending = False  # nothing is

    def receiveMessage(self, message: Any, sender: ActorAddress) -> Any:
        """Pass a message on to the user's actor; it never raises."""
        if isinstance(message, Launch):
            self._launch(message)
        elif isinstance(message, WatchMessage):
            others = [ready for ready in message.ready if ready != self._socket.fileno()]
            if others:
                self._hand_over(WatchMessage(others), self._address)
            if len(others) < len(message.ready):
                self._read()
        elif not self._is_exiting:
            self._hand_over(message, self._address)  # a wake-up
        self._handle_frames()
        if isinstance(message, ActorExitRequest):
            self._socket.close()
            return None
        return ThespianWatch([self._socket.fileno(), *self._watched])

    def _launch(self, launch: Launch) -> None:
        self._address, self._watched, self._frames = RemoteAddress(launch.number), [], FrameReader()
        self._waiting: deque[tuple[Any, ...]] = deque()
        self._next: deque[tuple[Any, ActorAddress]] = deque()
        self._socket = socket.socket(socket.AF_UNIX)
        self._write_lock = threading.RLock()
        try:
            self._socket.connect(launch.path)
        except OSError:
            self.actorSystemShutdown()  # the node is gone already
            return
        self._write("hello", launch.number, os.getpid())
        forward_records(partial(self._write, "log"), launch.log_levels)
        try:
            actor_class = getattr(importlib.import_module(launch.module), launch.name)
            values = {"capabilities": launch.capabilities, "requirements": launch.requirements}
            names = inspect.signature(actor_class.__init__).parameters
            named = {name: values[name] for name in values if name in names}
            actor = actor_class(*launch.args, **{**named, **launch.kwargs})
        except (Exception, SystemExit):
            self._write("failed", traceback.format_exc())
            self._end()
            return
        actor._myRef = _Reference(self, launch, self.wakeupAfter)
        adapt(actor, self._next.extend)
        self._actor = actor
        if isinstance(actor, Hooks):
            try:
                _finish(actor.receive_hook(StartActor(), self._address))
            except (Exception, SystemExit):
                self._write("failed", traceback.format_exc())
                self._end()
                return
        self._write("ready")

    def _write(self, *parts: Any) -> None:
        data = frame(*parts)
        with self._write_lock:  # other threads of the process may log
            self._socket.sendall(data)

    # --- what the node sends ---

    def _read(self) -> bool:
        """Read from the node; return whether it is still there."""
        data = b""
        with suppress(ConnectionError):
            data = self._socket.recv(READ_BYTES)
        if not data:
            # Without a word the node is gone, and nobody needs the others either.
            self.actorSystemShutdown()
            self._end()
            return False
        self._waiting.extend(self._frames.feed(data))
        return True

    def _handle_frames(self) -> None:
        while self._waiting and not self._is_ending:
            kind, *parts = self._waiting.popleft()
            if kind == "exit":
                request = ActorExitRequest(*parts)
                self._hand_over(request, self._address)
                self._is_exiting = True
                self._write("exiting", request.isRecursive)
            elif kind == "end":
                self._end()
            else:
                self._receive(*parts)

    def _receive(self, sender_number: int, data: bytes) -> None:
        sender = RemoteAddress(sender_number)
        try:
            message = loads(data, RemoteAddress)
        except Exception:
            self._write("poison", sender_number, data, traceback.format_exc())
            return
        if not self._is_exiting or isinstance(message, ChildActorExited):
            self._hand_over(message, sender)

    # --- the user's actor ---

    def _hand_over(self, message: Any, sender: RemoteAddress) -> None:
        """Let the actor handle a message, and what it has saved until this one."""
        self._attempt(message, sender)
        while self._next and not self._is_ending:
            saved, its_sender = self._next.popleft()
            assert isinstance(its_sender, RemoteAddress)
            self._attempt(saved, its_sender)

    def _attempt(self, message: Any, sender: RemoteAddress) -> None:
        if self._actor is None:
            return
        self._watched = []
        details = ""
        for _ in range(1 if isinstance(message, ActorExitRequest) else ATTEMPTS_MAX):
            try:
                handle = self._actor.receiveMessage
                if isinstance(self._actor, Hooks) and isinstance(message, ActorExitRequest):
                    handle = self._actor.receive_exit
                result = _finish(handle(message, sender))
                if isinstance(result, ThespianWatch):
                    self._watched = list(result.filenos)
            except Exception:
                details = traceback.format_exc()
            except SystemExit:
                self._write("quit", traceback.format_exc())
                self._end()
                return
            else:
                return
        if not isinstance(message, PoisonMessage | ActorExitRequest):
            self._send_poison(message, sender, details)

    def _send_poison(self, message: Any, sender: ActorAddress, details: str) -> None:
        message, sender = give_up(self._actor, message, sender)
        assert isinstance(sender, RemoteAddress)
        try:
            data = dumps(message, _number_of)
        except Exception:  # it was changed since it came
            data = dumps(repr(message), _number_of)
        self._write("poison", sender.number, data, details)

    def _end(self) -> None:
        self._is_exiting = self._is_ending = True
        self.send(self.myAddress, ActorExitRequest())

    def send_to_node(self, target: RemoteAddress, message: Any) -> None:
        """Send what the user's actor sends."""
        self._write("send", target.number, dumps(message, _number_of))

    def call(self, name: str, *arguments: Any) -> Any:
        """Have the node do what the user's actor asks of its system, and wait for it.

        Raises:
            ActorSystemClosed: The node is gone.
            Exception: Whatever the call raises there.
        """
        self._write("call", name, dumps(arguments, _number_of))
        while True:
            for index, (kind, *parts) in enumerate(self._waiting):
                if kind in ("returned", "raised"):
                    del self._waiting[index]
                    if kind == "raised":
                        raise rebuilt(*parts)
                    return loads(parts[0], RemoteAddress)
            if not self._read():
                raise ActorSystemClosed


def _finish(result: Any) -> Any:
    """Return what a handler returns in the end."""
    return asyncio.run(result) if asyncio.iscoroutine(result) else result


def _number_of(address: ActorAddress) -> int | None:
    if not isinstance(address, RemoteAddress):
        raise InvalidActorAddress(address, "not an address of this actor system")
    return address.number


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
