"""``mosaik-actors run`` and ``new`` with real files, signals and kills."""

import re
import signal
import sys
from pathlib import Path

import psutil

from .command import command, is_alive, until_slowly

ACTORS = """\
from thespian.actors import ActorTypeDispatcher

class Worker(ActorTypeDispatcher):
    def __init__(self, market):
        print(f"working on {market}", flush=True)
"""
LAUNCH = """\
network = "launched"
drain_timeout = 10
bind = "127.0.0.1:0"

[[processes]]
name = "front"

[[processes]]
name = "back"

[[actors]]
class = "work:Worker"
args = ["ETH"]
process = "back"
count = 2
"""


def write(folder: Path) -> str:
    (folder / "work.py").write_text(ACTORS)
    file = folder / "launch.toml"
    file.write_text(LAUNCH)
    return str(file)


async def test_when_one_process_of_a_file_is_killed_the_others_end(tmp_path: Path) -> None:
    async with command("run", write(tmp_path), runtime_dir=tmp_path) as running:
        await running.line(r"^back  \| working on ETH", count=2)
        await running.line(r"^front \| .* peer \w+ is here")
        front, back = sorted(psutil.Process(running.pid).children(), key=role_of)
        back.kill()
        assert await running.end() == 128 + signal.SIGKILL
        assert not is_alive(front.pid)


def role_of(process: psutil.Process) -> bool:
    return "front" not in process.cmdline()


async def test_a_new_project_runs_and_its_test_passes(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    async with command("new", "shop", "--folder", str(folder), runtime_dir=tmp_path) as new:
        assert await new.end() == 0
    file = str(folder / "launch.toml")
    async with command("run", file, "--check", runtime_dir=tmp_path) as check:
        assert await check.end() == 0
        assert check.out == [f"{file}: ok"]
    async with command("run", file, runtime_dir=tmp_path) as running:
        await until_slowly(lambda: any(re.search("ready: node", line) for line in running.err))
        assert await running.end(signal.SIGTERM) == 143
    environment = {"PYTEST_ADDOPTS": "-p no:cacheprovider"}
    arguments = ("-m", "pytest", "-q", "--rootdir", str(folder), str(folder))
    async with command(
        *arguments, runtime_dir=tmp_path, environment=environment, executable=Path(sys.executable)
    ) as tests:
        assert await tests.end() == 0, tests.transcript()
