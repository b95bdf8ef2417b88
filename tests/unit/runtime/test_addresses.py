"""Addresses: keys of dictionaries here, an error anywhere else."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from thespian.actors import Actor, ActorAddress

from mosaik_actors.runtime import AddressNotPortable, AsyncActorSystem


class Idle(Actor):
    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        pass


async def test_address_equals_itself_only(system: AsyncActorSystem) -> None:
    one, two = system.createActor(Idle), system.createActor(Idle)
    assert one == one
    assert one != two
    assert one != ActorAddress(one.actorAddressString)
    assert {one: 1, two: 2}[two] == 2


async def test_copy_of_a_message_keeps_its_addresses(system: AsyncActorSystem) -> None:
    address = system.createActor(Idle)
    message = {"reply to": [address]}
    assert copy.deepcopy(message)["reply to"][0] is address
    assert copy.copy(address) is address


async def test_pickling_an_address_says_why_it_cannot_be(system: AsyncActorSystem) -> None:
    with pytest.raises(AddressNotPortable, match="only good inside its process"):
        pickle.dumps(system.createActor(Idle))
