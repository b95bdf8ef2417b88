"""The chat on virtual time: what people were shown as sent is with everybody in the end."""

import asyncio
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from talk.messages import Line
from talk.session import Chat

from mosaik_actors import TransportConfig
from mosaik_actors.testing import Cluster, SimNode, scenario

SETTINGS: dict[str, Any] = {
    "nodes": 5,
    "transport": TransportConfig(idle_timeout=3.0, keep_alive_interval=0.8),
    "traces_messages": False,
}
NICKS = ("ann", "ben", "cem", "dan", "eve")


def sent(chat: Chat) -> list[Line]:
    """Return what somebody is shown as sent, in the order in which it is shown."""
    return chat.model.rooms["lobby"].lines


def know_each_other(chats: Sequence[Chat]) -> bool:
    """Return whether each of them sees the others, and nobody else."""
    nicks = {chat.model.nick for chat in chats}
    return all(
        {one.nick for one in chat.model.people.values()} == nicks - {chat.model.nick}
        for chat in chats
    )


async def take_part(node: SimNode, nick: str, folder: Path | None = None) -> Chat:
    """Let somebody chat in the lobby for as long as the node runs."""
    chat = Chat(node.net, nick, folder)

    async def chatting() -> None:
        async with chat:
            chat.join("lobby")
            await asyncio.get_running_loop().create_future()

    node.spawn(chatting())
    await node.cluster.until(lambda: chat.model.room is not None)
    return chat


@scenario(seeds=range(2), **SETTINGS)
async def test_two_halves_talk_apart_and_then_meet(cluster: Cluster) -> None:
    # Two halves that cannot reach each other begin a room of one name each.
    cluster.partition([0, 1], [2, 3, 4])
    chats = [await take_part(node, nick) for node, nick in zip(cluster.nodes, NICKS, strict=True)]
    for half in (chats[:2], chats[2:]):
        await cluster.until(partial(know_each_other, half))
    shown: dict[str, set[str]] = {nick: set() for nick in NICKS}

    def watch() -> None:
        """What was shown as sent to somebody never disappears there."""
        for nick, chat in zip(NICKS, chats, strict=True):
            ids = [line.id for line in sent(chat)]
            assert len(ids) == len(set(ids))
            assert shown[nick] <= set(ids), f"{nick} no longer has a line"
            shown[nick] |= set(ids)

    def all_sent() -> bool:
        watch()
        return all(chat.model.pending_count == 0 for chat in chats)

    for number in range(5):
        for chat in chats:
            chat.type(f"{chat.model.nick} {number}")
        await cluster.until(all_sent)
    assert [len(sent(chat)) for chat in chats] == [10, 10, 15, 15, 15]
    # Each side gives the other up. Then they meet, while everybody goes on talking.
    await cluster.sleep(30)
    cluster.heal()
    for number in range(5, 10):
        for chat in chats:
            chat.type(f"{chat.model.nick} {number}")
        await cluster.until(all_sent)

    def are_one() -> bool:
        watch()
        return all(len(sent(chat)) == 50 for chat in chats) and know_each_other(chats)

    await cluster.until(are_one, what="50 lines with five people")
    everything = set().union(*shown.values())
    for chat in chats:
        assert {line.id for line in sent(chat)} == everything
        assert sent(chat) == sent(chats[0])  # in one order
        assert chat.model.rooms["lobby"].problem is None
        # Each one's lines are in the order in which they were typed, and answers after questions.
        for nick in NICKS:
            texts = [line.text for line in sent(chat) if line.nick == nick]
            assert texts == [f"{nick} {number}" for number in range(10)]
    # Who leaves says so, who crashes is missed; and their lines stay.
    await cluster.stop(4)
    await cluster.until(partial(know_each_other, chats[:4]))
    await cluster.crash(3)
    await cluster.until(partial(know_each_other, chats[:3]))
    chats[0].type("who is left")
    await cluster.until(lambda: all(len(sent(chat)) == 51 for chat in chats[:3]))


@scenario(seeds=range(1), **{**SETTINGS, "nodes": 2})
async def test_rooms_are_apart_and_a_change_of_name_is_seen(cluster: Cluster) -> None:
    ann, ben = (Chat(cluster.net(index), nick) for index, nick in enumerate(("ann", "ben")))
    async with ann, ben:
        ann.join("lobby")
        ben.join("lobby")
        ben.join("dev")
        ben.type("in dev")
        await cluster.until(lambda: ben.model.pending_count == 0)
        await cluster.until(lambda: ann.model.count_people() == {"dev": 1, "lobby": 2})
        assert sent(ann) == []
        assert not ben.is_last_copy
        # Who comes later has all of it.
        ann.type("/join dev")
        await cluster.until(
            lambda: [line.text for line in ann.model.rooms["dev"].lines] == ["in dev"]
        )
        ben.type("/nick bob")
        ben.type("/leave")
        assert ben.model.current == "lobby"
        await cluster.until(lambda: ann.model.people_in("lobby") == ["ann (you)", "bob"])
        await cluster.until(lambda: ann.model.people_in("dev") == ["ann (you)"])
        # In dev ann is alone now, and goes on.
        ann.type("still here")
        await cluster.until(lambda: ann.model.pending_count == 0)
        ben.type("/join dev")
        await cluster.until(lambda: len(ben.model.rooms["dev"].lines) == 2)
        for typed in ("/meet rubbish", "/leave nowhere", "/nope"):
            assert ann.type(typed)
        assert not ann.type("/quit")


@scenario(seeds=range(1), **{**SETTINGS, "nodes": 3})
async def test_a_room_that_all_had_left_is_what_its_people_have_kept(cluster: Cluster) -> None:
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / nick for nick in NICKS[:2]]
        for folder in folders:
            folder.mkdir()

        chats = [
            await take_part(node, nick, folder)
            for node, nick, folder in zip(cluster.nodes[:2], NICKS[:2], folders, strict=True)
        ]
        for number in range(3):
            for chat in chats:
                chat.type(f"{chat.model.nick} {number}")
        await cluster.until(lambda: all(len(sent(chat)) == 6 for chat in chats))
        # One of them misses the end, and everybody's machine goes off.
        await cluster.crash(1)
        await cluster.until(lambda: know_each_other(chats[:1]))
        chats[0].type("are you there")
        await cluster.until(lambda: len(sent(chats[0])) == 7)
        before = sent(chats[0])
        await cluster.crash(0)
        # The one that knows less is there first, then the other, then somebody new.
        await cluster.start(1)
        again = [await take_part(cluster.nodes[1], "ben", folders[1])]
        await cluster.until(lambda: sent(again[0]) == before[:6])
        again[0].type("back again")
        await cluster.until(lambda: again[0].model.pending_count == 0)
        await cluster.start(0)
        again += [await take_part(cluster.nodes[0], "ann", folders[0])]
        again += [await take_part(cluster.nodes[2], "cem")]
        await cluster.until(lambda: all(len(sent(chat)) == 8 for chat in again))
        assert sent(again[2]) == sent(again[0]) == sent(again[1])
        assert [line.text for line in sent(again[2])[-2:]] == ["are you there", "back again"]
        for node in cluster.nodes:
            await node.stop()  # with their files
