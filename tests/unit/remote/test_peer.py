"""What a node answers to messages that an actor of its does not take."""

from __future__ import annotations

import msgspec

from mosaik_actors import ActorRef, MosaikActor
from mosaik_actors.remote.peer import near_miss


class Order(msgspec.Struct):
    amount: int


class Matcher(MosaikActor):
    def receiveMsg_Order(self, order: Order, sender: ActorRef) -> None: ...

    def receiveMsg_Load(self, load, sender) -> None:  # type: ignore[no-untyped-def]
        ...


def test_refusal_names_the_handler_that_was_probably_meant() -> None:
    assert "import both from the same module" in near_miss("elsewhere.Order", Matcher)
    hint = near_miss("orders.Load", Matcher)
    assert hint == " from other nodes: annotate the message of receiveMsg_Load with its class"
    for other in ("orders.Stranger", "Stranger", ""):
        assert near_miss(other, Matcher) == ""
