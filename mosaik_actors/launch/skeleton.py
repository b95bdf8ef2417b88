"""The project that ``mosaik-actors new NAME`` writes: it runs, and its test passes, as it is."""

from __future__ import annotations

import keyword
from pathlib import Path
from string import Template
from typing import Final

from ..errors import ConfigError

_FILES: Final = {
    "launch.toml": """\
# mosaik-actors run launch.toml
# Each setting is a flag and an environment variable, too: mosaik-actors run --help
network = "$name"
tags = ["$name"]
# secret_file = "net.secret"        # mosaik-actors secret new net.secret
# bootstrap = []                    # peers on other machines
# metrics_addr = "127.0.0.1:9464"   # pip install 'mosaik-actors[metrics]'

[logging]
level = "info"

[[actors]]
class = "$name.actors:Greeter"
name = "greeter"
args = ["hello"]
""",
    "$name/__init__.py": '"""$name: actors on mosaik-actors."""\n',
    "$name/messages.py": '''\
"""What the actors say to each other."""

from mosaik_actors import Request


class Greet(Request[str]):
    """Answered with a text."""

    name: str
''',
    "$name/actors.py": '''\
"""The actors. Each handles one message at a time; a handler may be a coroutine."""

from mosaik_actors import ActorRef, MosaikActor

from .messages import Greet


class Greeter(MosaikActor):
    """Greets whoever asks. The arguments are in launch.toml."""

    def __init__(self, greeting: str = "hello") -> None:
        self.greeting = greeting

    def receiveMsg_Greet(self, message: Greet, sender: ActorRef) -> str:
        return f"{self.greeting}, {message.name}"
''',
    "tests/test_$name.py": '''\
"""A scenario: nodes in a simulation, on virtual time. Fast, and the same for each seed."""

from mosaik_actors.testing import Cluster, scenario

from $name.actors import Greeter
from $name.messages import Greet


@scenario(nodes=2, seeds=range(3))
async def test_a_node_greets_another(cluster: Cluster) -> None:
    await cluster.net(0).actors.spawn(Greeter, name="greeter")
    greeter = await cluster.net(1).actors.resolve("greeter")
    assert await greeter.ask(Greet(name="you")) == "hello, you"
''',
    "pyproject.toml": """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "$name"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["mosaik-actors"]

[project.optional-dependencies]
dev = ["pytest>=8.2", "pytest-asyncio>=0.24"]

[tool.setuptools]
packages = ["$name"]

[tool.pytest.ini_options]
asyncio_mode = "auto"
asyncio_default_fixture_loop_scope = "function"
pythonpath = ["."]
testpaths = ["tests"]
""",
    "Dockerfile": """\
FROM python:3.12-slim
WORKDIR /app
COPY pyproject.toml ./
COPY $name ./$name
RUN pip install --no-cache-dir . && useradd --system app
COPY launch.toml ./
USER app
# Other machines reach it here; publish the port for UDP: docker run -p 4433:4433/udp $name
ENV MOSAIK_BIND=0.0.0.0:4433
EXPOSE 4433/udp
# SIGTERM, which docker stop sends, ends the node in order.
ENTRYPOINT ["mosaik-actors", "run", "launch.toml"]
""",
    ".gitignore": "__pycache__/\n.pytest_cache/\n*.egg-info/\n*.key\n*.secret\ndata/\n",
    "README.md": """\
# $name

    pip install -e '.[dev]'
    mosaik-actors run launch.toml            # Ctrl-C ends it in order
    mosaik-actors call $name greeter $name.messages:Greet '{"name": "you"}'
    pytest
""",
}


def write_project(name: str, folder: Path) -> list[Path]:
    """Write the project into a new folder, and return its files.

    Raises:
        ConfigError: `name` is no name for a package, or the folder is not empty.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or name != name.lower():
        raise ConfigError(
            f"name is {name!r}, expected a name for a package: lower-case letters, digits and _"
        )
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty; name another folder")
    written = []
    for path, text in _FILES.items():
        file = folder / Template(path).substitute(name=name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(Template(text).substitute(name=name), encoding="utf-8")
        written.append(file)
    return written
