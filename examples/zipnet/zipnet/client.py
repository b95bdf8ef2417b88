"""A client: says something each round, or nothing, and looks the same either way.

    async with Client(net, ACME) as client:
        receipt = await client.submit(b"hello")     # once it can be read

It sends one envelope in each round that it takes part in, by itself, whether there is
something to say or not. What it says is there once a receipt says that its round was opened
and its slot was clean; otherwise it says it again. When a receipt is lost it cannot know,
and says it again too: readers see the id of the message and take it once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from mosaik_actors import Network, Offline, ReceiptKey, SecretKey

from .committee import Member
from .folding import decode_set, seal_envelope
from .pads import Blinder, Refused
from .service import Envelope, Live, Plumbing, Zipnet, ZipnetConfig, announce
from .slots import ID_BYTES, Message, Shape, choose_slot, fill

logger = logging.getLogger(__name__)

ROUNDS_MAX: Final = 4  # without a receipt; then a round counts as lost
OPENED: Final = 1
MISSED: Final = 2
ABANDONED: Final = 3


def write_receipt(round_: int, outcome: int, clean: set[int], shape: Shape) -> bytes:
    """Return what a receipt says."""
    return round_.to_bytes(8) + bytes([outcome]) + clean_bits(clean, shape)


def clean_bits(clean: set[int], shape: Shape) -> bytes:
    """Return the clean slots as bits; as large for each shape."""
    bits = sum(1 << slot for slot in sorted(clean))
    return bits.to_bytes((shape.slots + 7) // 8, "little")


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where something can be read.

    Attributes:
        round: In which round.
        slot: In which slot.
        attempts: How many rounds it took: one, and one for each collision or lost round.
    """

    round: int
    slot: int
    attempts: int


@dataclass(slots=True)
class Pending:
    """Something that is to be said."""

    id: bytes
    text: bytes
    done: asyncio.Future[Receipt]
    attempts: int = 0


class Talker:
    """What a client sends and what it makes of receipts. Pure; time is counted in rounds."""

    def __init__(self, key: ReceiptKey, context: bytes, shape: Shape) -> None:
        self._key = key
        self._context = context
        self._shape = shape
        self._blinder = Blinder(bytes(key), context)
        self._waiting: deque[Pending] = deque()
        self._sent: dict[int, tuple[Pending, int]] = {}

    def put(self, message: Pending) -> None:
        """Say something in a round to come."""
        if len(message.text) > self._shape.message_bytes:
            raise Refused(f"{len(message.text)} bytes, at most {self._shape.message_bytes}")
        self._waiting.append(message)

    def mask(self, live: Live) -> bytes:
        """Return what goes into the envelope of a round. Raises `Refused` for a second one."""
        if live.round <= self._blinder.last_round:
            raise Refused(f"round {live.round} comes again")
        for round_ in [one for one in self._sent if one <= live.round - ROUNDS_MAX]:
            self._say_again(round_)
        slot = choose_slot(bytes(self._key), live.round, self._shape)
        said = None
        while self._waiting and said is None:
            pending = self._waiting.popleft()
            if not pending.done.done():
                pending.attempts += 1
                self._sent[live.round] = (pending, slot)
                said = Message(slot, pending.id, pending.text)
        slots = fill(slot, said, live.round, self._context, self._shape)
        return self._blinder.blind(live.round, [one.key for one in live.servers], slots)

    def receive_box(self, box: bytes) -> int | None:
        """Take a receipt in; return its outcome, None when it is for somebody else."""
        text = self._key.open(box, context=self._context)
        if text is None or len(text) < 9:
            return None
        round_, outcome = int.from_bytes(text[:8]), text[8]
        sent = self._sent.get(round_)
        if sent is not None:
            pending, slot = sent
            if outcome == OPENED and slot in decode_set(text[9:], self._shape.slots):
                del self._sent[round_]
                if not pending.done.done():
                    pending.done.set_result(Receipt(round_, slot, pending.attempts))
            else:
                self._say_again(round_)
        return outcome

    def _say_again(self, round_: int) -> None:
        self._waiting.appendleft(self._sent.pop(round_)[0])


class Client:
    """A node's client. Use it as a context: it takes part for as long as it is open.

    Args:
        net: The network; its node shows the tickets that the deployment requires.
        config: The deployment.
        identity: The node's key, which signs envelopes.
    """

    def __init__(self, net: Network, config: ZipnetConfig, identity: SecretKey) -> None:
        self._net = net
        self._config = config
        self._identity = identity
        self._context = bytes(Zipnet.deployment_id(config))
        self._public = Zipnet.bind(net, config)
        self._inner = Plumbing.bind(net, config)
        self._key = ReceiptKey.generate()
        self._talker = Talker(self._key, self._context, config.shape)
        self._tasks: list[asyncio.Task[Any]] = []
        self.envelopes = 0
        self.opened = 0

    async def submit(self, text: bytes, *, message_id: bytes = b"") -> Receipt:
        """Say something, and return when everybody can read it. When cancelled it may be said.

        Raises:
            Refused: It is too long.
        """
        done: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._talker.put(Pending(message_id or bytes(ReceiptKey.generate())[:ID_BYTES], text, done))
        return await done

    async def __aenter__(self) -> Self:
        member = Member("client", bytes(self._net.peer_id), self._key.public, b"")
        signature = self._identity.sign(member.signed(self._context))
        member = Member("client", member.identity, member.key, signature)
        self._ticket = announce(member, self._config)
        self._net.discovery.replace_ticket(self._ticket)
        self._envelopes = self._public.submit.producer()
        self._live = self._inner.live.reader()
        self._boxes = self._public.receipts.consumer()
        for work in (self._take_part(), self._read_receipts()):
            self._tasks.append(asyncio.create_task(work))
        return self

    async def __aexit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._net.discovery.remove_ticket(self._ticket.id)
        await asyncio.gather(self._envelopes.close(), self._live.close(), self._boxes.close())

    async def _take_part(self) -> None:
        changes = self._live.changes()
        await self._answer()
        async for _ in changes:
            await self._answer()

    async def _answer(self) -> None:
        live = self._live.read()
        if live is None or self._identity.peer_id not in live.clients:
            return
        if not live.is_genuine(self._config.servers, self._context):
            logger.warning("a live round that no server has signed")
            return
        with contextlib.suppress(Refused, Offline):
            masked = self._talker.mask(live)
            envelope = seal_envelope(self._identity, live.round, masked, self._context)
            await self._envelopes.send(Envelope(envelope))
            self.envelopes += 1

    async def _read_receipts(self) -> None:
        async for box in self._boxes:
            outcome = self._talker.receive_box(box.data)
            self.opened += outcome == OPENED
