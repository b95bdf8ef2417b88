"""What runs in the process of an isolated actor: a shell.

Each of these processes is forked by the keeper (`keeper_process`). Its `Shell` connects to
the node, creates the user's actor, and waits for what the node sends, for the actor's
wake-ups and for what it watches; what the actor sends goes out the same way. To the
user's actor the shell is invisible. All else that it asks of its actor system is done by
its cell at the node (`Shell.call`). What comes meanwhile waits. What the process logs is
handled at the node.
"""

from __future__ import annotations

import asyncio
import heapq
import importlib
import inspect
import io
import itertools
import math
import os
import select
import socket
import threading
import time
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from thespian.actors import (
    Actor,
    ActorAddress,
    ActorExitRequest,
    ChildActorExited,
    InvalidActorAddress,
    PoisonMessage,
    ThespianWatch,
    WakeupMessage,
    WatchMessage,
)
from thespian.system.timing import timePeriodSeconds

from .decorated import adapt, give_up
from .log_records import forward_records
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
class ProcessLaunch:
    """What a shell runs."""

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

    def __init__(self, shell: Shell, number: int, global_name: str | None) -> None:
        self._shell = shell
        self.address = RemoteAddress(number)
        self.globalName = global_name
        self.wakeupAfter = shell.wake_up_after

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


class Shell:
    """Runs one user's actor in this process, connected to the node.

    Args:
        node: The connection.
        number: Which of the node's actors it is.
    """

    def __init__(self, node: socket.socket, number: int) -> None:
        self._socket = node
        self._address = RemoteAddress(number)
        self._actor: Actor | None = None
        self._frames = FrameReader()
        self._waiting: deque[tuple[Any, ...]] = deque()
        self._next: deque[tuple[Any, ActorAddress]] = deque()
        self._watched: list[int] = []
        self._wakeups: list[tuple[float, int, WakeupMessage]] = []
        self._wakeup_numbers = itertools.count()
        self._write_lock = threading.RLock()
        self._is_exiting = False  # only children's exits are of interest any more
        self._is_ending = False  # nothing is

    def run(self) -> None:
        """Run the actor that the node sends, until it has ended or the node is gone."""
        with suppress(ConnectionError):  # the node is gone, and nobody needs the actor
            self._write("hello", self._address.number, os.getpid())
            while not self._is_ending:
                self._turn()
        self._socket.close()

    def _turn(self) -> None:
        """Wait until something happens, and handle all of it."""
        node = self._socket.fileno()
        ready = _wait_for({node, *self._watched}, self._seconds_to_wakeup())
        if others := [one for one in self._watched if one in ready]:
            self._hand_over(WatchMessage(others), self._address)
        self._wake_up()
        if node in ready and not self._is_ending:
            self._read()
        self._handle_frames()

    def _launch(self, launch: ProcessLaunch) -> None:
        forward_records(partial(self._write, "log"), launch.log_levels)
        try:
            actor_class = getattr(importlib.import_module(launch.module), launch.name)
            values = {"capabilities": launch.capabilities, "requirements": launch.requirements}
            names = inspect.signature(actor_class.__init__).parameters
            named = {name: values[name] for name in values if name in names}
            actor = actor_class(*launch.args, **{**named, **launch.kwargs})
            actor._myRef = _Reference(self, self._address.number, launch.global_name)
            adapt(actor, self._next.extend)
            self._actor = actor
            if isinstance(actor, Hooks):
                _finish(actor.receive_hook(StartActor(), self._address))
        except (Exception, SystemExit):
            self._fail()
            return
        self._write("ready")

    def _fail(self) -> None:
        self._write("failed", traceback.format_exc())
        self._end()

    # --- the actor's wake-ups ---

    def wake_up_after(self, period: timedelta | float, payload: Any = None) -> None:
        """Deliver a WakeupMessage after a period given as timedelta or in seconds."""
        due_at = time.monotonic() + timePeriodSeconds(period)
        message = WakeupMessage(period, payload)
        if not self._is_exiting:
            heapq.heappush(self._wakeups, (due_at, next(self._wakeup_numbers), message))

    def _seconds_to_wakeup(self) -> float | None:
        return max(0.0, self._wakeups[0][0] - time.monotonic()) if self._wakeups else None

    def _wake_up(self) -> None:
        now = time.monotonic()  # what is asked for meanwhile has its turn after the others
        while self._wakeups and self._wakeups[0][0] <= now:
            _, _, message = heapq.heappop(self._wakeups)
            self._hand_over(message, self._address)

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
            self._end()  # the node is gone
            return False
        self._waiting.extend(self._frames.feed(data))
        return True

    def _handle_frames(self) -> None:
        while self._waiting and not self._is_ending:
            kind, *parts = self._waiting.popleft()
            if kind == "launch":
                try:
                    launch = loads(parts[0], RemoteAddress)
                except Exception:
                    self._fail()
                else:
                    self._launch(launch)
            elif kind == "exit":
                request = ActorExitRequest(*parts)
                self._hand_over(request, self._address)
                self._is_exiting = True
                self._watched, self._wakeups = [], []
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
                if isinstance(result, ThespianWatch) and not self._is_exiting:
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


def _wait_for(descriptors: Sequence[int] | set[int], seconds: float | None) -> set[int]:
    """Return which of some descriptors can be read, or are closed or broken."""
    poll = select.poll()
    for one in descriptors:
        poll.register(one, select.POLLIN)
    return {one for one, _ in poll.poll(None if seconds is None else math.ceil(seconds * 1000))}
