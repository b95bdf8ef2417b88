"""Isolated actors: in a process of their own, with an address like any other.

In the node's process an isolated actor is an `IsolatedCell`: it forwards each
message to the actor's process, and delivers what comes back as the actor's own.
The processes are started by a keeper process (keeper.py, keeper_process.py).
This side needs no thread.

There is one actor system, the node's. What an isolated actor asks of the system
(children, names, dead letters, capabilities, sources, a shutdown) its cell does
here, where any actor's cell does it; the process waits for the answer. So its
children are actors of the node as well.

What is different from an actor on the loop:
    * Messages are pickled. One that cannot be comes back as PoisonMessage.
    * The constructor runs later, in the other process. If it fails, the actor
      exits: its parent gets ChildActorExited, messages are dead letters.
    * The class must be importable, so it cannot come from ``__main__``.
    * A process that does not follow an exit request within `exit_grace_s` is
      killed. One that dies has exited.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakValueDictionary

from thespian.actors import (
    ActorAddress,
    ActorExitRequest,
    ChildActorExited,
    InvalidActorAddress,
    PoisonMessage,
    Thespian_StatusReq,
)

from ..forking import keep_from_children
from .cell import ActorCell
from .cell_state import IsolatingHost
from .isolated_process import CALLS, ProcessLaunch
from .keeper import Keeper
from .log_records import handle_record, levels
from .messaging.address import LocalAddress
from .portable import FrameReader, dumps, error_parts, frame, importable, loads

logger = logging.getLogger(__name__)


class IsolatedCell(ActorCell):
    """The node's side of an actor that runs in another process.

    `on_ready` is called once: with None when the actor has started, or with why it has not.

    An exit, in frames: "exit" to the process, whose actor handles the request;
    "exiting" back, with whether it is still recursive; then the children, which
    are actors of the node, exit; "end" to the process, which ends.
    """

    host: IsolatingHost

    __slots__ = ("_connection", "_is_asked_to_exit", "_isolation", "_launch", "_pid", "on_ready")

    def __init__(self, isolation: Isolation, launch: bytes, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._isolation = isolation
        self._launch = launch
        self._connection: asyncio.WriteTransport | None = None
        self._pid = 0
        self._is_asked_to_exit = False
        self.on_ready: Callable[[str | None], None] | None = None
        self.actor = self  # it has one, elsewhere
        self._take_in(self._forward)

    def _forward(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, Thespian_StatusReq):
            self.host.send(sender, self.status(), self.address)
        elif isinstance(message, ActorExitRequest):
            self._ask_to_exit(message)
        elif isinstance(message, ChildActorExited):
            self._child_exited(message, sender)
        elif self._is_asked_to_exit:
            self.host.dead_letter(message, self.address, sender)
        elif self._connection is None:
            self.mailbox.append((message, sender))
        else:
            self._write(message, sender)

    def _child_exited(self, message: ChildActorExited, sender: ActorAddress) -> None:
        child = message.childAddress
        if isinstance(child, LocalAddress):
            self.children.pop(child, None)
        if self._connection is not None:
            self._write(message, sender)
        if self.exiting and not self.children:
            self._end_process()

    def _write(self, message: Any, sender: ActorAddress) -> None:
        assert self._connection is not None
        self.handled += 1
        try:
            data = frame(
                "message", self._isolation.number_of(sender), self._isolation.dump(message)
            )
        except Exception:
            details = traceback.format_exc()
            self.host.poisoned += 1
            self.host.send(sender, PoisonMessage(message, details), self.address)
        else:
            self._connection.write(data)

    def _ask_to_exit(self, request: ActorExitRequest) -> None:
        if self._is_asked_to_exit:
            return
        self._is_asked_to_exit = True
        if self._connection is None:
            self.end()
            return
        self._connection.write(frame("exit", request.isRecursive))
        self._start_exit_clock()

    def _exit_handled(self, is_recursive: bool) -> None:
        """Let the children exit first, unless the actor wants them to stay."""
        if not is_recursive:
            self.children.clear()
        self.exiting = True
        if not self.children:
            self._end_process()
            return
        self._stop_exit_clock()  # each child has its own
        for child in list(self.children):
            child.deliver(ActorExitRequest(recursive=True), self.address)

    def _end_process(self) -> None:
        if self._connection is not None:
            self._connection.write(frame("end"))
            self._start_exit_clock()

    def _end_of_patience(self) -> None:
        logger.error("%s does not exit and is killed", self)
        self.end()

    def connected(self, connection: asyncio.WriteTransport, pid: int) -> None:
        """Begin to forward: the actor's process is there."""
        self._connection, self._pid = connection, pid
        connection.write(frame("launch", self._launch))
        self._launch = b""
        self.parked = False
        while self.mailbox:
            self._write(*self.mailbox.popleft())

    def receive(self, kind: str, *parts: Any) -> None:
        """Take in what the actor's process sends."""
        if kind == "failed":
            logger.warning("%s cannot start: %s", self, parts[0])
            self.reason = f"it cannot start: {parts[0].strip().splitlines()[-1]}"
            self._is_asked_to_exit = True
            self._report_ready(parts[0])
        elif kind == "ready":
            self._report_ready(None)
        elif kind == "quit":
            logger.error("%s called for the end of its process: %s", self, parts[0])
            self._is_asked_to_exit = True
        elif kind == "log":
            handle_record(*parts)
        elif kind == "exiting":
            self._exit_handled(*parts)
        elif kind == "call":
            self._answer_call(*parts)
        else:
            self._receive_message(kind, *parts)

    def _report_ready(self, failure: str | None) -> None:
        if self.on_ready is not None:
            report, self.on_ready = self.on_ready, None
            report(failure)

    def _receive_message(self, kind: str, number: int, data: bytes, *details: str) -> None:
        target = self._isolation.resolve(number)
        try:
            message = loads(data, self._isolation.resolve)
        except Exception:
            logger.warning("%s sent what cannot be read here", self, exc_info=True)
            return
        if kind == "poison":
            self.host.poisoned += 1
            message = PoisonMessage(message, details[0])
        target.deliver(message, self.address)

    def _answer_call(self, name: str, data: bytes) -> None:
        """Do for the actor what an actor on the loop does itself, with the same outcome."""
        assert name in CALLS, f"a process of ours asks for {name}"
        assert self._connection is not None
        try:
            arguments = loads(data, self._isolation.resolve)
            answer = self._isolation.dump(getattr(self, name)(*arguments))
        except Exception as error:
            self._connection.write(frame("raised", *error_parts(error)))
        else:
            self._connection.write(frame("returned", answer))

    def createActor(
        self,
        actor_class: Any,
        requirements: Any = None,
        global_name: str | None = None,
        source_hash: str | None = None,
    ) -> ActorAddress:
        """Create a child, in a process of its own unless its class says otherwise."""
        isolated = getattr(actor_class, "isolated", True) is not False
        return self.host.create_child(
            self, actor_class, requirements, global_name, source_hash, isolated=isolated
        )

    def process_lost(self, reason: str = "its process has ended unasked") -> None:
        """End, because the actor's process has ended, or has nobody who looks after it."""
        if not self._is_asked_to_exit and not self.dead and not self.host.stopping:
            logger.error("%s has to end: %s", self, reason)
            self.reason = reason
        self.end()

    def end(self) -> None:
        """End the actor; kill its process if that has not ended by itself."""
        if self.dead:
            return
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closing():
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            connection.abort()
        for child in list(self.children):  # there are none after an orderly exit
            child.deliver(ActorExitRequest(recursive=True), self.address)
        self._isolation.forget(self)
        self._report_ready("its process has ended before it was ready")
        super().end()


class _Connection(asyncio.Protocol):
    """A connection from the process of one actor."""

    def __init__(self, isolation: Isolation) -> None:
        self._isolation = isolation
        self._frames = FrameReader()
        self._cell: IsolatedCell | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._isolation.connections[transport] = None

    def data_received(self, data: bytes) -> None:
        for kind, *parts in self._frames.feed(data):
            if kind == "hello":
                self._hello(*parts)
            elif self._cell is not None:
                self._cell.receive(kind, *parts)

    def _hello(self, number: int, pid: int) -> None:
        self._cell = self._isolation.cells.get(number)
        if self._cell is None:  # ended while its process started
            self._transport.close()
        else:
            self._cell.connected(self._transport, pid)

    def connection_lost(self, error: Exception | None) -> None:
        self._isolation.connections.pop(self._transport, None)
        if self._cell is not None:
            self._cell.process_lost()


class Isolation:
    """The isolated actors of one host, and the keeper that has their processes.

    A keeper starts with the first of them, and with the first after another keeper has
    ended. `close` ends it and waits for it.
    """

    def __init__(self, host: IsolatingHost) -> None:
        self._host = host
        self.cells: dict[int, IsolatedCell] = {}
        self.connections: dict[asyncio.WriteTransport, None] = {}
        self._addresses: WeakValueDictionary[int, LocalAddress] = WeakValueDictionary()
        self._keeper: Keeper | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._process_id = os.getpid()

    # --- addresses, which cross as numbers ---

    def number_of(self, address: ActorAddress) -> int:
        """Return the number of an address that the other side may answer to."""
        if not isinstance(address, LocalAddress):
            raise InvalidActorAddress(address, "not an address of this node")
        self._host.check_own(address)
        self._addresses[address.number] = address
        return address.number

    def dump(self, message: Any) -> bytes:
        """Pickle a message, and remember the addresses in it."""
        return dumps(message, self.number_of)

    def resolve(self, number: int) -> LocalAddress:
        """Return the address that has a number; a dead one if it is forgotten."""
        address = self._addresses.get(number)
        if address is None:
            address = LocalAddress(self._host, number, self._host.dead_letter_to_nobody)
        return address

    # --- actors ---

    def create(
        self,
        actor_class: Any,
        parent: LocalAddress,
        requirements: Any,
        global_name: str | None = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> IsolatedCell:
        """Make a cell for an actor in another process, which starts meanwhile."""
        module, name = importable(actor_class)
        capabilities = dict(self._host.capabilities)
        launch = ProcessLaunch(
            module,
            name,
            global_name,
            capabilities,
            requirements,
            levels(),
            tuple(args),
            dict(kwargs or {}),
        )
        data = self.dump(launch)
        cell = IsolatedCell(self, data, self._host, actor_class, parent, requirements=requirements)
        self.number_of(cell.address)
        self.cells[cell.address.number] = cell
        if self._keeper is None:
            keep_from_children(self, Isolation._list_descriptors)
            self._keeper = Keeper(self, self._host.loop)
        self._keeper.launch(cell.address.number)
        return cell

    def forget(self, cell: IsolatedCell) -> None:
        """Drop a cell that has ended."""
        self.cells.pop(cell.address.number, None)

    # --- the keeper ---

    def accept(self) -> asyncio.Protocol:
        """Return what takes the connection of one actor's process."""
        return _Connection(self)

    def cannot_fork(self, number: int, reason: str) -> None:
        """End an actor for which there is no process."""
        if (cell := self.cells.get(number)) is not None:
            cell.receive("failed", reason)
            cell.end()

    def keeper_lost(self, keeper: Keeper, error: BaseException | None) -> None:
        """End all isolated actors: nobody would end their processes if the node died."""
        if error is not None:
            logger.error("isolated actors cannot start", exc_info=error)
        elif not self._host.stopping:
            logger.error("the process that keeps those of isolated actors has ended unasked")
        if keeper is self._keeper:
            self._keeper = None
        self._close(keeper)
        for cell in list(self.cells.values()):
            cell.process_lost("the keeper of its process has ended")

    def _close(self, keeper: Keeper) -> None:
        patience_s = self._host.config.shutdown_timeout_s
        task = self._host.loop.create_task(keeper.close(patience_s), name="keeper ends")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _list_descriptors(self) -> list[int]:
        sockets = [one.get_extra_info("socket") for one in self.connections]
        keeper = [] if self._keeper is None else self._keeper.list_descriptors()
        return keeper + [one.fileno() for one in sockets]

    async def close(self) -> None:
        """End the keeper and wait for it; all cells have ended before."""
        if os.getpid() != self._process_id:
            return  # in a forked child the keeper and the folder are its parent's
        for connection in list(self.connections):
            connection.close()
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            self._close(keeper)
        if self._closing:
            await asyncio.wait(self._closing)
