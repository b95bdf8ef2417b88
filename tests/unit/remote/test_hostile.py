"""What another node may send, and what comes of it: refused, counted, never built."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest

from mosaik_actors import (
    ActorRef,
    ActorsConfig,
    AskUndeliverable,
    AsyncActorSystem,
    ConfigError,
    MosaikActor,
    Request,
    SecretKey,
)
from mosaik_actors.codec import codec_for
from mosaik_actors.discovery.entry import EntryVersion, PeerEntry, SignedPeerEntry
from mosaik_actors.discovery.layers import Layers
from mosaik_actors.discovery.view import CatalogSnapshot
from mosaik_actors.errors import DecodeError, RemoteError
from mosaik_actors.ids import NetworkId, PeerId
from mosaik_actors.remote import wire
from mosaik_actors.remote.node import RemoteNode
from mosaik_actors.remote.peer import RemotePeer, batch_count
from mosaik_actors.remote.registry import handled_types, takes_plain
from mosaik_actors.runtime.messaging.questions import Question
from mosaik_actors.runtime.supervised import Spawning

MY_KEY = SecretKey.from_seed("me")
ME, OTHER = MY_KEY.peer_id, SecretKey.from_seed("other").peer_id
THEIRS = b"12345678"


class Note(msgspec.Struct, frozen=True):
    number: int


class Ask(Request[int]):
    pass


class Secret(msgspec.Struct, frozen=True):
    number: int


class Keeper(MosaikActor):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def receiveMsg_Note(self, note: Note | Secret, sender: ActorRef) -> None:
        self.seen.append((note, sender))

    def receiveMsg_Ask(self, message: Ask, sender: ActorRef) -> int:
        return 5

    def receiveMsg_str(self, message: str, sender: ActorRef) -> None:
        self.seen.append(message)

    def receiveMsg_unknown(self, message: Unknown, sender: ActorRef) -> None:  # type: ignore[name-defined]  # noqa: F821
        """Has an annotation that means nothing here."""


class FakeLink:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.unsent_bytes = 0
        self.closed = ""
        self.is_open = True

    def call_before_flush(self, call: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(call)

    def write(self, frame: bytes) -> None:
        self.frames.append(frame)

    def close(self, reason: Any) -> None:
        self.closed = str(reason)

    def said(self) -> list[wire.Section]:
        sections = [one for frame in self.frames for one in wire.decode_burst(frame)]
        self.frames.clear()
        return sections


class World:
    """One node with an actor, and another node that says what it likes."""

    def __init__(self, system: AsyncActorSystem, **config: Any) -> None:
        self.system = system
        entry = PeerEntry(network=NetworkId("n"), peer=ME, version=EntryVersion(0, 0))
        catalog = CatalogSnapshot(Layers().share(), SignedPeerEntry.sign(entry, MY_KEY), 0)
        settings = ActorsConfig(**config)
        self.node = RemoteNode(system.host, ME, b"abcdefgh", settings, catalog, 1 << 20)
        self.ref = system.host.creation.spawn(Keeper, Spawning())
        self.peer: RemotePeer = self.node.peer(OTHER)
        self.link = FakeLink()
        self.peer.link_offered(self.link, THEIRS)  # type: ignore[arg-type]
        self.letters: list[Any] = []

    async def say(self, *sections: wire.Section) -> list[wire.Section]:
        self.peer.receive(wire.encode_burst(list(sections)))
        await self.system.ask(self.ref, Ask(), 5)
        await self.system.ask(self.ref, Ask(), 5)
        return self.link.said()

    @property
    def seen(self) -> list[Any]:
        actor: Any = self.system.host.cells[self.ref.number].actor
        seen: list[Any] = actor.seen
        return seen


def batch(kind: Any, *items: Any) -> bytes:
    return codec_for(kind).encode_batch(items)


def test_an_actor_takes_the_types_its_handlers_name() -> None:
    names = [name.rpartition(".")[2] for name in handled_types(Keeper)]
    assert sorted(names) == ["Ask", "Note", "Secret"]
    assert takes_plain(Keeper, str)
    assert not takes_plain(Keeper, dict)


async def test_only_actors_that_others_were_told_of_can_be_reached() -> None:
    async with AsyncActorSystem() as system:
        world = World(system)
        name = f"{__name__}.Note"
        number = world.ref.number
        refused = await world.say(wire.Tell(number, 0, name, batch(Note, Note(1), Note(2))))
        match refused:
            case [wire.Refused(target, _, 2, reason)]:
                assert target == number
                assert "never announced" in reason
            case _:
                raise AssertionError(refused)
        world.ref.is_shared = True
        assert await world.say(wire.Tell(number, 8, name, batch(Note, Note(1)))) == []
        note, sender = world.seen[0]
        assert note == Note(1)
        assert sender.peer_id == OTHER
        assert sender.number == 7


@pytest.mark.parametrize(
    ("type_", "data", "reason"),
    [
        ("os.system", batch(Note, Note(1)), "no handler for os.system"),
        ("elsewhere.Note", batch(Note, Note(1)), "import both from the same module"),
        (f"{__name__}.Note", batch(list, [1]), "not a"),
        (f"{__name__}.Note", b"", "not a"),
        ("", batch(object, {"a": 1}), "no handler for dict"),
    ],
)
async def test_what_an_actor_has_no_handler_for_is_refused(
    type_: str, data: bytes, reason: str
) -> None:
    async with AsyncActorSystem() as system:
        world = World(system)
        world.ref.is_shared = True
        (told,) = await world.say(wire.Tell(world.ref.number, 0, type_, data))
        assert isinstance(told, wire.Refused)
        assert reason in told.reason
        (asked,) = await world.say(wire.Ask(world.ref.number, type_, (1,), (0,), 0, (), data))
        assert isinstance(asked, wire.Failed)
        assert (asked.why, world.seen) == ("rejected", [])


async def test_questions_have_a_limit_and_are_answered_by_number() -> None:
    async with AsyncActorSystem() as system:
        world = World(system, questions_max=2)
        world.ref.is_shared = True
        name, ask = f"{__name__}.Ask", batch(Ask, Ask(), Ask())
        answered = await world.say(wire.Ask(world.ref.number, name, (4, 9), (0, 50), 0, (), ask))
        assert answered == [wire.Answer((4, 9), "", batch(int, 5, 5))]
        three = batch(Ask, Ask(), Ask(), Ask())
        failed = await world.say(
            wire.Ask(world.ref.number, name, (1, 2, 3), (0, 0, 0), 0, (), three)
        )
        assert [one.why for one in failed if isinstance(one, wire.Failed)] == ["rejected"] * 3


@pytest.mark.parametrize(
    "section",
    [
        wire.Ask(0, "", (1, 2), (0,), 0, (), b""),
        wire.Tell(0, 0, "x" * 600, b""),
        wire.Ask(0, "", tuple(range(5000)), (), 0, (), b""),
    ],
)
async def test_what_is_no_frame_ends_the_link(section: wire.Section) -> None:
    async with AsyncActorSystem() as system:
        world = World(system)
        with pytest.raises(RemoteError):
            world.peer.receive(wire.encode_burst([section]))
        with pytest.raises(RemoteError):
            world.peer.receive(b"\x91\x91\x92\x63\x00")


async def test_answers_to_what_nobody_asked_are_dropped() -> None:
    async with AsyncActorSystem() as system:
        world = World(system)
        strangers: Iterable[wire.Section] = (
            wire.Answer((1, 2), "", b"\x02\x91\x01"),
            wire.Failed(3, "poisoned", "x"),
            wire.Cancel(4),
            wire.Ended(5),
            wire.Grant(6, 7),
            wire.Gone(8, "x"),
            wire.Resolved(9, None),
            wire.Unwatch(10),
            wire.Exit(world.ref.number),
        )
        assert await world.say(*strangers) == []
        assert world.ref.number in system.host.cells  # nobody knows of it
        assert await world.say(wire.Watch(1000)) == [wire.Gone(1000, "it has exited before")]


async def test_references_to_any_number_of_nodes_are_forgotten() -> None:
    async with AsyncActorSystem() as system:
        world = World(system)
        for number in range(3000):
            peer = PeerId(SecretKey.from_seed(str(number % 50)).peer_id)
            world.node.resolve_ref(wire.WireRef(peer, THEIRS, number))
        assert len(world.node.peers) <= 51


async def test_what_is_sent_keeps_to_the_limits_of_the_other_side() -> None:
    """A time limit without end, and a chain of any length: the link must live on."""
    async with AsyncActorSystem() as system:
        world = World(system)
        far = world.peer.ref(THEIRS, 3)
        chain = tuple(world.peer.ref(THEIRS, number) for number in range(100))
        asks = [asyncio.ensure_future(far.ask(Ask(), limit)) for limit in (None, float("inf"), 5)]
        question = Question(system.host, far, Ask(), chain=chain)
        far.deliver(question.message, question.address)
        await asyncio.sleep(0.01)
        said = [one for one in world.link.said() if isinstance(one, wire.Ask)]
        left = [ms for one in said for ms in one.left_ms]
        assert sorted(left)[:3] == [0, 0, 0]
        assert 0 < max(left) <= 5000
        assert max(len(one.chain) for one in said) == wire.CHAIN_MAX
        with pytest.raises(ConfigError):
            far.stream(Ask(), window=100_000)
        world.peer.lost("the test is over")
        outcomes = await asyncio.gather(*asks, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {AskUndeliverable}
        question.close()
        question.future.exception()


async def test_why_an_ask_failed_steers_no_terminal_and_says_if_nothing_was_delivered() -> None:
    async with AsyncActorSystem() as system:
        world = World(system)
        far = world.peer.ref(THEIRS, 3, "far\x1b[2J", "Keeper")
        for reason, may_be in (("\x1b[31mgone\n", True), (wire.NOT_THERE, False)):
            ask = asyncio.ensure_future(far.ask(Ask(), 5))
            await asyncio.sleep(0.01)
            [number] = next(one.ids for one in world.link.said() if isinstance(one, wire.Ask))
            world.peer.receive(wire.encode_burst([wire.Failed(number, "gone", reason)]))
            with pytest.raises(AskUndeliverable) as caught:
                await ask
            assert caught.value.may_be_delivered == may_be
            assert str(caught.value).isprintable()
            assert f"#3 on peer {OTHER.short} did not answer Ask, which" in str(caught.value)


def test_a_reference_or_an_incarnation_of_another_form_is_refused() -> None:
    for data in (b"", b"\x01", "text", 5, b"\x95" + bytes(100)):
        with pytest.raises(DecodeError):
            wire.decode_ref(data)
    with pytest.raises(DecodeError):
        wire.check_incarnation(b"short")


def test_a_batch_says_how_many_it_has() -> None:
    assert [batch_count(batch(list, *([[]] * count))) for count in (0, 5, 20, 70_000)] == [
        0, 5, 20, 70_000,
    ]  # fmt: skip
    assert batch_count(b"") == 1
