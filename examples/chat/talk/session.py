"""One person's part in the chat: what goes between the network and the model.

A room is a `Vec` of lines that all who are in it write. Who is there is two things: what people
say of themselves is in a `Map`, each under their own peer id, and whether they live is known to
discovery. So nobody has to renew a lease, nobody's crash has to be written down, and a
network that falls apart and heals shows who left and came back by itself.

Rooms are never compacted: two histories of which one is whole can always be merged, and the
log of a chat is no longer than the chat.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from mosaik_actors import (
    CollectionOffline,
    GroupsConfig,
    ItemInserted,
    LogReplaySync,
    Map,
    Network,
    NetworkDown,
    PeerId,
    SqliteLog,
    StateReplaced,
    Vec,
)

from .commands import (
    HELP,
    Help,
    Join,
    Leave,
    ListPeople,
    ListRooms,
    Meet,
    Quit,
    Rename,
    Say,
    ShowHistory,
    parse,
)
from .messages import ROOMS_MAX, Line, Person, store_of_people, store_of_room
from .model import Model

NEVER: Final = 1 << 62
WHOLE: Final = GroupsConfig(compact_entries=NEVER, compact_bytes=NEVER)
WRITE_TIMEOUT_S: Final = 5.0
LEAVE_TIMEOUT_S: Final = 1.0


class OpenRoom:
    """A room's collection, and the tasks that work for it."""

    def __init__(self, lines: Vec[Line]) -> None:
        self.lines = lines
        self.outbox: asyncio.Queue[Line] = asyncio.Queue()
        self.tasks: list[asyncio.Task[None]] = []


class Chat:
    """One person's part in the chat. Use it as an async context manager.

    Args:
        net: The node.
        nick: What its user is called.
        folder: Where rooms are kept on this machine; None keeps them in memory.

    Raises:
        NetworkDown: At the end, when a room could not go on: its storage failed, or the network
            is closed.
    """

    def __init__(self, net: Network, nick: str, folder: Path | None = None) -> None:
        rng = net.node.randomness.branch("chat")
        self.net = net
        self.model = Model(nick, lambda: rng.randbytes(12).hex())
        self._folder = folder
        self._rooms: dict[str, OpenRoom] = {}
        self._stack = AsyncExitStack()
        self._people: Map[PeerId, Person]
        self._group: asyncio.TaskGroup
        self._tasks: list[asyncio.Task[None]] = []
        self._next = asyncio.Event()

    async def __aenter__(self) -> Self:
        store = store_of_people(self.net.id)
        self._people = Map[PeerId, Person].writer(
            self.net, store, sync=LogReplaySync(), groups=WHOLE, write_timeout=WRITE_TIMEOUT_S
        )
        self._stack.push_async_callback(self._people.close)
        self._group = await self._stack.enter_async_context(asyncio.TaskGroup())
        self._start(self._introduce_myself())
        self._start(self._watch_people())
        return self

    async def __aexit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            for task in [
                *self._tasks,
                *(task for one in self._rooms.values() for task in one.tasks),
            ]:
                task.cancel()
            with suppress(CollectionOffline, NetworkDown, TimeoutError):
                async with asyncio.timeout(LEAVE_TIMEOUT_S):  # else they see that the node is gone
                    await self._people.remove(self.net.peer_id)
            for room in self._rooms.values():
                await room.lines.close()
        finally:
            try:
                await self._stack.__aexit__(error_class, error, trace)
            except ExceptionGroup as group:
                # Of many tasks that failed, for one reason as a rule, the first says it.
                raise group.exceptions[0] from None

    # What a user does.

    def type(self, typed: str) -> bool:
        """Do what a line that was typed asks for; return whether the chat goes on."""
        text = typed.strip()
        if not text:
            return True
        try:
            command = parse(text)
            if isinstance(command, Quit):
                return False
            self._obey(command)
        except ValueError as error:
            self.model.notice(str(error))
        self.changed()
        return True

    def join(self, name: str) -> None:
        """Go to a room. What is typed there is pending until its history is here.

        Raises:
            ValueError: There are too many rooms.
        """
        if name not in self._rooms:
            if len(self._rooms) == ROOMS_MAX:
                raise ValueError(f"nobody is in more than {ROOMS_MAX} rooms; /leave one first")
            storage = None if self._folder is None else SqliteLog(self._folder / f"{name}.db")
            store = store_of_room(self.net.id, name)
            room = OpenRoom(
                Vec[Line].writer(
                    self.net,
                    store,
                    sync=LogReplaySync(),
                    groups=WHOLE,
                    storage=storage,
                    write_timeout=WRITE_TIMEOUT_S,
                )
            )
            self._rooms[name] = room
            for work in (self._follow(name, room.lines), self._send(name, room)):
                room.tasks.append(self._group.create_task(work))
        self.model.enter(name)
        self.changed()

    def changed(self) -> None:
        """Let all who wait for a change of the model look at it."""
        self._next.set()
        self._next = asyncio.Event()

    async def change(self) -> None:
        """Wait for the next change of the model."""
        await self._next.wait()

    async def flush(self, timeout: float) -> int:
        """Wait until all that was typed is sent; return how many lines are not when time is up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.model.pending_count:
                    await self.change()
        return self.model.pending_count

    def _obey(self, command: Any) -> None:
        model = self.model
        if model.room is None and isinstance(command, Say | ShowHistory | ListPeople):
            raise ValueError("you are in no room; /join one")
        match command:
            case Say(text):
                line = model.compose(text, self.net.node.clock.wall())
                self._rooms[model.current].outbox.put_nowait(line)
            case Join(name):
                self.join(name)
            case Leave(name):
                self._leave(name or model.current)
            case ListRooms():
                counts = model.count_people()
                model.notice(f"{len(counts)} rooms" if len(counts) != 1 else "1 room")
                for name, count in counts.items():
                    mine = ", and you" if name in model.rooms else ""
                    model.notice(f"  {name}: {count} there{mine}")
            case ListPeople():
                nicks = model.people_in(model.current)
                model.notice(f"{len(nicks)} in {model.current}: {', '.join(nicks)}")
            case Rename(nick):
                model.nick = nick
                model.notice(f"you are now called {nick}")
            case ShowHistory(count):
                model.show_history(count)
            case Meet(addr):
                try:
                    self.net.discovery.dial(addr)
                except ValueError as error:
                    raise ValueError(f"that is no address: {error}") from error
            case Help():
                for text in HELP.splitlines():
                    model.notice(text)

    def _leave(self, name: str) -> None:
        room = self._rooms.pop(name, None)
        if room is None:
            raise ValueError(f"you are not in {name}" if name else "you are in no room")
        for task in room.tasks:
            task.cancel()
        unsent = len(self.model.rooms[name].pending)
        self.model.leave(name)
        self.model.notice(f"you have left {name}" + f", {unsent} lines not sent" * bool(unsent))
        self._group.create_task(room.lines.close())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something done until the chat ends."""
        self._tasks.append(self._group.create_task(work))

    # Lines.

    async def _follow(self, name: str, lines: Vec[Line]) -> None:
        """Give the model what is in a room, and then what comes."""
        await lines.when().online()
        changes = lines.changes()
        self.model.receive_history(name, lines)
        self.changed()
        async for change in changes:
            match change:
                case ItemInserted(_, line):
                    self.model.receive_line(name, line)
                case StateReplaced():
                    self.model.receive_history(name, lines)
            self.changed()

    async def _send(self, name: str, room: OpenRoom) -> None:
        """Write lines one after the other, each however long that takes."""
        while True:
            line = await room.outbox.get()
            while not await self._is_written(name, room.lines, line):
                await room.lines.when().online()
                # A write whose fate is unknown may be there by now. If it comes only after it was
                # written again, the model shows it once.
                if line in room.lines:
                    break
            self.model.rooms[name].problem = None

    async def _is_written(self, name: str, lines: Vec[Line], line: Line) -> bool:
        try:
            await lines.push_back(line)
        except CollectionOffline as error:
            if self.model.rooms[name].problem is None:
                self.model.notice(f"not sent yet: {error.reason}", name)
            self.model.rooms[name].problem = error.reason
            self.changed()
            return False
        return True

    # People.

    def _myself(self) -> Person:
        return Person(self.model.nick, tuple(self._rooms))

    def _look_at_people(self) -> None:
        """Give the model those who live, of all others who said who they are."""
        catalog = self.net.discovery.catalog()  # without this node
        self.model.receive_people(
            {
                peer: person
                for peer, person in self._people.items()
                if peer in catalog and catalog[peer].is_reachable
            }
        )
        self.changed()

    async def _watch_people(self) -> None:
        await self._people.when().online()
        self._start(self._watch_peers())
        updated = self._people.when().updated()
        while True:
            self._look_at_people()
            await updated

    async def _watch_peers(self) -> None:
        async for _ in self.net.discovery.watch():
            self._look_at_people()

    async def _introduce_myself(self) -> None:
        """Keep what the others read of this user as it is, also when two networks merge."""
        while True:
            await self._people.when().online()
            if self._people.get(self.net.peer_id) == self._myself():
                await self.change()
                continue
            with suppress(CollectionOffline):
                await self._people.insert(self.net.peer_id, self._myself())
