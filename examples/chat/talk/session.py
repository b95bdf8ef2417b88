"""One person's part in the chat: what goes between the network and the model.

A room is a `Set` of lines that all who are in it write: putting a line there again does nothing, so
whatever is in doubt is written again. Who is there is two things: what people
say of themselves is in a `Map`, each under their own peer id, and whether they live is known to
discovery. So nobody has to renew a lease, nobody's crash has to be written down, and a
network that falls apart and heals shows who left and came back by itself.

Rooms are never compacted: two histories of which one is whole can always be merged, and the
log of a chat is no longer than the chat.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from mosaik_actors import (
    CollectionConfig,
    CollectionOffline,
    GroupsConfig,
    LogReplaySync,
    Map,
    MemberInserted,
    Network,
    NetworkDown,
    PeerId,
    Set,
    StateReplaced,
)

from .archive import Archive
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
CONFIG: Final = CollectionConfig(
    sync=LogReplaySync(),
    groups=GroupsConfig(compact_entries=NEVER, compact_bytes=NEVER),
    write_timeout=5.0,
)
LEAVE_TIMEOUT_S: Final = 1.0
PUT_BACK_AFTER_S: Final = 3.0
"""What is missing after two rooms have met comes by itself as a rule, in less time."""


class OpenRoom:
    """A room's collection, and what works for it."""

    def __init__(self, lines: Set[Line], archive: Archive | None) -> None:
        self.lines = lines
        self.archive = archive
        self.was_replaced = asyncio.Event()
        self.outbox: asyncio.Queue[Line] = asyncio.Queue()
        self.tasks: list[asyncio.Task[None]] = []

    def keep(self, lines: Iterable[Line]) -> None:
        """Keep lines that are in the room, if they are to be kept."""
        if self.archive is not None:
            for line in lines:
                self.archive.add(line)

    async def close(self) -> None:
        """Leave the room. May be repeated."""
        try:
            await self.lines.close()
        finally:
            if self.archive is not None:
                self.archive.close()


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
        self._people = Map[PeerId, Person].writer(self.net, store, config=CONFIG)
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
            ValueError: There are too many rooms, or the file for this one cannot be opened.
        """
        if name not in self._rooms:
            if len(self._rooms) == ROOMS_MAX:
                raise ValueError(f"nobody is in more than {ROOMS_MAX} rooms; /leave one first")
            archive = self._open_archive(name)
            store = store_of_room(self.net.id, name)
            lines = Set[Line].writer(self.net, store, config=CONFIG)
            room = self._rooms[name] = OpenRoom(lines, archive)
            self._stack.push_async_callback(room.close)
            self.model.enter(name)
            if archive is not None:
                self.model.receive_kept(name, archive.lines)
            for work in (
                self._follow(name, room),
                self._send(name, room),
                self._put_back(name, room),
            ):
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

    @property
    def is_last_copy(self) -> bool:
        """Whether lines are gone when this user leaves: nobody else has them, and no file."""
        rooms = self.model.rooms.values()
        return self._folder is None and not self.model.people and any(one.lines for one in rooms)

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
                line = model.compose(text, int(self.net.node.clock.wall() * 1000))
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

    def _open_archive(self, name: str) -> Archive | None:
        try:
            return None if self._folder is None else Archive(self._folder / f"{name}.lines")
        except OSError as error:
            raise ValueError(f"{name} cannot be kept: {error}") from error

    def _leave(self, name: str) -> None:
        room = self._rooms.pop(name, None)
        if room is None:
            raise ValueError(f"you are not in {name}" if name else "you are in no room")
        for task in room.tasks:
            task.cancel()
        unsent = len(self.model.rooms[name].pending)
        self.model.leave(name)
        self.model.notice(f"you have left {name}" + f", {unsent} lines not sent" * bool(unsent))
        self._group.create_task(room.close())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something done until the chat ends."""
        self._tasks.append(self._group.create_task(work))

    # Lines.

    async def _follow(self, name: str, room: OpenRoom) -> None:
        """Give the model what is in a room, and then what comes."""
        await room.lines.when().online()
        changes = room.lines.changes()
        self._read_all(name, room)
        async for change in changes:
            match change:
                case MemberInserted(line):
                    if self.model.receive_line(name, line):
                        room.keep([line])
                case StateReplaced():
                    self._read_all(name, room)
            self.changed()

    def _read_all(self, name: str, room: OpenRoom) -> None:
        room.keep(self.model.receive_history(name, room.lines))
        room.was_replaced.set()
        self.changed()

    async def _send(self, name: str, room: OpenRoom) -> None:
        """Write lines one after the other, each however long that takes."""
        shown = self.model.rooms[name]
        while True:
            line = await room.outbox.get()
            while True:
                try:
                    await room.lines.insert(line)
                    break
                except CollectionOffline as error:
                    if shown.problem is None:
                        self.model.notice(f"not sent yet: {error.reason}", name)
                    shown.problem = error.reason
                    self.changed()
                    await room.lines.when().online()
            shown.problem = None
            self.changed()

    async def _put_back(self, name: str, room: OpenRoom) -> None:
        """Write what this user has seen as sent, and is missing in a room that begins anew.

        That is what the archive has of a room that everybody had left. It would also be what a
        crash took with it that the others had not seen yet.
        """
        shown = self.model.rooms[name]
        while True:
            await room.was_replaced.wait()
            room.was_replaced.clear()
            if all(line in room.lines for line in shown.lines):
                continue
            await asyncio.sleep(PUT_BACK_AFTER_S)
            await room.lines.when().online()
            try:
                await room.lines.extend(line for line in shown.lines if line not in room.lines)
            except CollectionOffline:
                room.was_replaced.set()

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
