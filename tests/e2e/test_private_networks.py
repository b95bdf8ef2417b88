"""The private network of a deployment: two nodes of the operator, and one without the secret."""

from __future__ import annotations

import msgspec

from mosaik_actors import Deployment, DeploymentConfig, Network, SecretKey, public, stream
from tests.waiting import until

SECRET = "a secret of the operator"


class Plan(msgspec.Struct, frozen=True):
    number: int


class Mixer(Deployment[DeploymentConfig]):
    service = "test.mixer"
    plans = public(stream(Plan))


async def test_a_services_own_nodes_meet_apart_and_nobody_else_does() -> None:
    config = DeploymentConfig(name="ours")
    async with (
        Network("shared", rendezvous=False) as one,
        Network("shared", rendezvous=False, bootstrap=str(one.addr)) as other,
    ):
        here, there = (Mixer.bind(net, config) for net in (one, other))
        async with here.private_network(SECRET, rendezvous=False) as inside:
            known = {"rendezvous": False, "bootstrap": str(inside.addr)}
            wrong = {"secret_key": SecretKey.generate(), **known}
            async with (
                there.private_network(SECRET, **known) as beside,
                there.private_network("another secret of somebody", **wrong) as stranger,
            ):
                producer = inside.streams.produce(Plan)
                consumer = beside.streams.consume(Plan)
                await producer.when().online()
                await producer.send(Plan(7))
                assert await consumer.recv() == Plan(7)
                # The shared network pays for none of it, and the stranger sees nobody.
                await until(lambda: other.peer_id in one.discovery.catalog())
                assert len(one.discovery.catalog()) == 1
                assert len(inside.discovery.catalog()) == 1
                assert len(stranger.discovery.catalog()) == 0
