"""What settings become: a node, its actors, and errors that name the line."""

from pathlib import Path
from typing import Any

import pytest
from thespian.actors import Actor, ActorExitRequest

from mosaik_actors import Jwt, MosaikActor, SecretKey
from mosaik_actors.errors import ConfigError
from mosaik_actors.launch.node import Launch
from mosaik_actors.launch.sources import SettingsSource, load

HERE = "tests.unit.launch.test_node"


class Worker(Actor):
    def __init__(self, market: str = "", *, size: int = 0) -> None:
        self.given = (market, size)


class Job(MosaikActor):
    """Does what it was started for, and is done, or fails."""

    def __init__(self, fails: bool) -> None:
        self.fails = fails

    def started(self) -> None:
        self.start_task(self.work())

    async def work(self) -> None:
        if self.fails:
            raise ValueError("it does not add up")
        self.send(self.ref, ActorExitRequest())


def make(text: str, folder: Path, **given: Any) -> Launch:
    settings, origins = load(SettingsSource("l.toml", f'network = "n"\n{text}'), {}, {})
    return Launch(settings, origins, folder, **given)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[actors]]\nclass = "no_such_module:A"', "l.toml:3: actors[0].class: No module named"),
        (f'[[actors]]\nclass = "{HERE}:Gone"', f"l.toml:3: actors[0].class: {HERE} has no Gone"),
        (f'[[actors]]\nclass = "{HERE}:HERE"', f"l.toml:3: actors[0].class: {HERE}:HERE is a str"),
        ('bind = "x"', "l.toml:2: bind: 'x' is not host:port"),
        ("bind = 3", "l.toml:2: bind: expected `array`"),
        ('bind = ["x"]', "l.toml:2: bind: 'x' is not host:port"),
        ('bootstrap = ["x"]', "l.toml:2: bootstrap: a peer id has 64"),
        ('relay = ["x"]', "l.toml:2: relay: relays: a peer id has 64"),
        (
            f'relay = ["{"ab" * 32}@192.0.2.1:4434"]\nrelay_secret_file = "gone"',
            "l.toml:2: relay: there is no secret file ",
        ),
        ('metrics_addr = "x"', "l.toml:2: metrics_addr: 'x' is not host:port"),
        ('secret_file = "gone"', "l.toml:2: secret_file: "),
        ('secret_env = "NO_SUCH_VARIABLE"', "l.toml:2: secret_env: the environment has no"),
        ('[[tickets]]\nclass = "c"\nfile = "gone"', "l.toml:4: tickets[0].file: cannot be read"),
        (
            f'[[actors]]\nclass = "{HERE}:Worker"\nsingleton = true',
            "l.toml:4: actors[0].singleton: has a name",
        ),
        (
            '[[collections]]\nname = "m"\nkind = "Map"\ntypes = ["str", "int64"]',
            "l.toml:5: collections[0].types[1]: 'int64' is neither a type nor module:Type",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as failed:
        make(text, tmp_path)
    assert str(failed.value).startswith(said), failed.value


def test_a_process_has_its_own_actors(tmp_path: Path) -> None:
    text = f"""
[[processes]]
name = "a"
[[processes]]
name = "b"
[[actors]]
class = "{HERE}:Worker"
process = "a"
[[actors]]
class = "{HERE}:Worker"
count = 3
"""
    assert [actor.count for actor, _ in make(text, tmp_path, process="a").actors] == [1, 3]
    assert [actor.count for actor, _ in make(text, tmp_path, process="b").actors] == [3]
    with pytest.raises(ConfigError, match="there is no process 'c'; there are: a, b"):
        make(text, tmp_path, process="c")


def test_a_node_shows_relays_the_tickets_of_the_classes_that_are_named(tmp_path: Path) -> None:
    relay = f'relay = ["{SecretKey.from_seed("relay").peer_id}@192.0.2.1:4434"]'
    (tmp_path / "node.ticket").write_text("a token")
    tickets = '[[tickets]]\nclass = "mosaik.ticket.jwt"\nfile = "node.ticket"'
    launch = make(f'{relay}\nrelay_tickets = ["mosaik.ticket.jwt"]\n{tickets}', tmp_path)
    assert launch.net._settings.relay is not None
    assert launch.net._settings.relay.tickets == (Jwt.class_id,)
    # Another class would be shown to nobody, and the relay refuse the node for want of it.
    for more, there_are in ((tickets, "'mosaik.ticket.jwt'"), ("", "none")):
        with pytest.raises(ConfigError, match=rf"relay_tickets.*'jwt', .*; there are {there_are}"):
            make(f'{relay}\nrelay_tickets = ["jwt"]\n{more}', tmp_path)


def test_nodes_beyond_the_first_have_keys_of_their_own(tmp_path: Path) -> None:
    for index in (0, 1, 1):
        make('key_file = "node.key"', tmp_path, index=index)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["node.key", "node.key.1"]


async def test_a_singleton_of_the_file_runs_once(tmp_path: Path) -> None:
    text = f"""rendezvous = false
[[actors]]
class = "{HERE}:Job"
name = "job"
args = [false]
main = true
singleton = true
"""
    launch = make(text, tmp_path)
    assert [actor.singleton for actor, _ in launch.actors] == [True]
    assert await launch.run() == 0


@pytest.mark.parametrize(("fails", "code"), [("false", 0), ("true", 1)])
async def test_a_node_ends_with_its_main_actor(
    fails: str, code: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = f"""rendezvous = false
[[actors]]
class = "{HERE}:Worker"
[[actors]]
class = "{HERE}:Job"
args = [{fails}]
main = true
supervision = "stop"
"""
    assert await make(text, tmp_path).run() == code
    said = [one.getMessage() for one in caplog.records if "does not add up" in one.getMessage()]
    assert bool(said) == bool(code)
