"""A server of the committee: keeps the registries, opens rounds, takes its pads away.

It joins the committee with the secret of the operators, and does by itself what the others
must not be able to make it do otherwise: it opens one set of participants in each round, of
no fewer than `participants_min`, and remembers the last one in a file.

Whoever leads also publishes: the live round, what was said, the receipts. A new leader goes
on with what is not published yet; what it publishes a second time has the same round.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from pathlib import Path
from typing import Any, Final

from blake3 import blake3

from mosaik_actors import (
    Closed,
    GroupKey,
    GroupTerminated,
    InvalidTicket,
    LogStorage,
    Network,
    NetworkDown,
    Offline,
    ReceiptKey,
    SecretKey,
    seal,
)

from .client import ABANDONED, MISSED, OPENED, write_receipt
from .committee import (
    Close,
    Command,
    Committee,
    Conductor,
    Dismiss,
    Enlist,
    Member,
    Patience,
    Result,
    Unblind,
)
from .folding import decode_set
from .pads import Refused, Unblinder
from .service import (
    RECEIPT_BYTES,
    Box,
    Broadcast,
    Live,
    Plumbing,
    Zipnet,
    ZipnetConfig,
    member_class,
    read_announcement,
    rules_of,
)

logger = logging.getLogger(__name__)

HISTORY: Final = 1000
LOOK_S: Final = 0.3


class Memory:
    """The last set of participants that a server has opened: see `Unblinder`. This one forgets."""

    def read(self) -> bytes:
        """Return what was kept; empty for nothing."""
        return b""

    async def write(self, opened: bytes) -> None:
        """Keep it."""


class FileMemory(Memory):
    """Keeps it in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> bytes:
        return self._path.read_bytes() if self._path.exists() else b""

    async def write(self, opened: bytes) -> None:
        await asyncio.to_thread(self._write, opened)

    def _write(self, opened: bytes) -> None:
        new = self._path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(opened)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)


class Server:
    """One server.

    Args:
        net: The network; its node shows the tickets that the deployment requires.
        config: The deployment.
        identity: The server's key, one of `config.servers`.
        secret: What the operators share, so that nobody else is in the committee.
        memory: Where it keeps what must survive a restart.
        storage: Where the committee's log is kept; None keeps it in memory.
        patience: How long it waits when it leads.
    """

    def __init__(
        self,
        net: Network,
        config: ZipnetConfig,
        identity: SecretKey,
        *,
        secret: str,
        memory: Memory | None = None,
        storage: LogStorage | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._net = net
        self._config = config
        self._identity = identity
        self._me = bytes(identity.peer_id)
        self._id = Zipnet.deployment_id(config)
        self._context = bytes(self._id)
        self._secret = secret
        self._storage = storage
        self._memory = memory or Memory()
        derived = blake3(bytes(identity) + self._id, derive_key_context="zipnet server key v1")
        self._key = ReceiptKey(derived.digest())
        self._unblinder = Unblinder(
            bytes(self._key), self._context, config.participants_min, self._memory.read()
        )
        self._conductor = Conductor(patience or Patience(config.window_s, 2.0, 0.0))
        self._genuine: dict[Member, bool] = {}
        self._published = 0
        self.committee = Committee(rules_of(config))

    async def run(self) -> None:
        """Serve until the network is closed, with which all closes that this opens. Run it once."""
        key = GroupKey(f"{self._secret} {self._id.hex}")
        public = Zipnet.bind(self._net, self._config)
        inner = Plumbing.bind(self._net, self._config)
        self._group = self._net.groups.join(key, self.committee, storage=self._storage)
        self._live = inner.live.writer(write_timeout=2.0)
        self._read = public.read.writer(write_timeout=2.0)
        self._boxes = public.receipts.producer()
        self._folded = inner.folded.consumer()
        try:
            async with asyncio.TaskGroup() as tasks:
                for work in (self._follow(), self._take_folded(), self._conduct(), self._publish()):
                    tasks.create_task(work)
        except* (Closed, GroupTerminated, NetworkDown):
            logger.info("the network is closed")

    @property
    def leads(self) -> bool:
        """Whether this one leads the committee at present."""
        return self._group.is_leader

    # Members.

    async def _follow(self) -> None:
        own = Member("server", self._me, self._key.public, b"")
        own = Member("server", self._me, own.key, self._identity.sign(own.signed(self._context)))
        while True:
            if self._group.is_online and self.committee.state.servers.get(self._me) != own:
                await self._execute(Enlist(own))
            elif self._group.is_leader:
                await self._follow_clients()
            await asyncio.sleep(LOOK_S)

    async def _follow_clients(self) -> None:
        known = self.committee.state.clients
        wanted = self._find_clients()
        for client in [one for one in known if one not in wanted]:
            await self._execute(Dismiss(client))
        for client, member in wanted.items():
            if known.get(client) != member:
                await self._execute(Enlist(member))

    def _find_clients(self) -> dict[bytes, Member]:
        """Return the clients of the catalog: their tickets hold, and the keys are theirs."""
        found, verdicts = {}, {}
        for peer, info in self._net.discovery.catalog().items():
            for ticket in info.tickets_of(member_class(self._config)) if info.is_reachable else ():
                member = read_announcement(ticket.data)
                if member is None or member.role != "client" or member.identity != peer:
                    continue
                known = self._genuine.get(member)
                genuine = member.is_genuine(self._context) if known is None else known
                verdicts[member] = genuine
                if genuine and self._has_tickets(info):
                    found[bytes(peer)] = member
        self._genuine = verdicts
        return found

    def _has_tickets(self, info: Any) -> bool:
        try:
            for validator in self._config.acl:  # type: ignore[union-attr]  # made a tuple of
                info.validate_ticket(validator)
        except InvalidTicket:
            return False
        return True

    # Rounds.

    async def _conduct(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            committed = self._group.when().committed().reaches(self._group.committed + 1)
            await self._unblind()
            if self._group.is_leader:
                command = self._conductor.next_command(self.committee, now=loop.time())
                if command is not None:
                    await self._execute(command)
                await self._show_live()
            wait_s = self._conductor.get_timer(self.committee) - loop.time()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(committed, min(max(wait_s, 0.02), LOOK_S))

    async def _unblind(self) -> None:
        state = self.committee.state
        if state.phase != "closed" or self._me in state.pads or not self._group.is_online:
            return
        keys, size = state.participant_keys, self._config.shape.size
        try:
            pads = self._unblinder.unblind(state.round, keys, size)
        except Refused as refused:
            logger.warning("round %d is not opened: %s", state.round, refused)
            return
        await self._memory.write(self._unblinder.opened)
        await self._execute(Unblind(state.round, self._me, pads))

    async def _take_folded(self) -> None:
        async for folded in self._folded:
            if self._group.is_leader and self.committee.state.phase == "open":
                await self._execute(Close(folded.round, folded.participants, folded.data))

    async def _execute(self, command: Command) -> None:
        with contextlib.suppress(Offline):
            await self._group.execute(command)

    # What whoever leads publishes.

    async def _show_live(self) -> None:
        state, shown = self.committee.state, self._live.read()
        if state.phase != "open" or (shown is not None and shown.round == state.round):
            return
        servers = tuple(state.servers[one] for one in sorted(state.servers))
        clients = tuple(member.identity for member in state.roster)
        live = Live(state.round, servers, clients, self._me)
        with contextlib.suppress(Offline):
            await self._live.write(live.signed_by(self._identity, self._context))

    async def _publish(self) -> None:
        while True:
            committed = self._group.when().committed().reaches(self._group.committed + 1)
            if self._group.is_leader:
                with contextlib.suppress(Offline):
                    await self._publish_results()
            else:
                self._published = self.committee.state.round - 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(committed, LOOK_S)

    async def _publish_results(self) -> None:
        for result in [one for one in self.committee.state.results if one.round > self._published]:
            opened = result.open(self._context, self._config.shape)
            count = len(decode_set(result.participants, len(result.roster))) if result.plain else 0
            if opened.is_disrupted(count):
                logger.warning("round %d was disrupted by one of %d", result.round, count)
            last = self._read[-1].round if len(self._read) else 0
            if opened.messages and result.round > last:
                one = Broadcast(result.round, opened.messages, len(opened.garbled), count, self._me)
                await self._read.push_back(one.signed_by(self._identity, self._context))
                if len(self._read) > HISTORY:
                    await self._read.pop_front()
            await self._send_receipts(result, {one.slot for one in opened.messages})
            self._published = result.round

    async def _send_receipts(self, result: Result, clean: set[int]) -> None:
        shape = self._config.shape
        taken: set[int] = set()
        if result.plain:
            taken = set(decode_set(result.participants, len(result.roster)))
        boxes = []
        for index, client in enumerate(result.roster):
            outcome = ABANDONED if not result.plain else OPENED if index in taken else MISSED
            text = write_receipt(result.round, outcome, clean, shape)
            box = seal(text, to=client.key, size=RECEIPT_BYTES, context=self._context)
            boxes.append(Box(box))
        with contextlib.suppress(Offline):
            await self._boxes.send_many(boxes)
