"""``mosaik-actors run`` and ``new`` with real files, signals and kills."""

import re
import signal
import sys
from pathlib import Path

import psutil

from .command import command, is_alive, until_slowly

EXAMPLE = Path(__file__).parents[2] / "examples" / "pipeline" / "launch.toml"


async def test_a_pipeline_of_three_processes_runs_and_ends_together(tmp_path: Path) -> None:
    async with command("run", str(EXAMPLE), runtime_dir=tmp_path) as running:
        await running.line(r"^sink   \| after 10 texts: 'the' 10 times$")
        process = psutil.Process(running.pid)
        *others, worker = sorted(process.children(), key=lambda p: "worker" in p.cmdline())
        worker.kill()
        assert await running.end() == 128 + signal.SIGKILL
        assert len(others) == 2
        assert not any(is_alive(other.pid) for other in others)


async def test_a_new_project_runs_and_its_test_passes(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    async with command("new", "shop", "--folder", str(folder), runtime_dir=tmp_path) as new:
        assert await new.end() == 0
    file = str(folder / "launch.toml")
    async with command("run", file, runtime_dir=tmp_path) as running:
        await until_slowly(lambda: any(re.search("ready: node", line) for line in running.err))
        async with command(
            *("call", "shop", "greeter", "shop.messages:Greet", '{"name": "you"}'),
            runtime_dir=tmp_path,
            environment={"PYTHONPATH": str(folder)},
        ) as call:
            assert await call.end() == 0, call.transcript()
            assert call.out == ['"hello, you"']
        assert await running.end(signal.SIGTERM) == 143
    environment = {"PYTEST_ADDOPTS": "-p no:cacheprovider"}
    arguments = ("-m", "pytest", "-q", "--rootdir", str(folder), str(folder))
    async with command(
        *arguments, runtime_dir=tmp_path, environment=environment, executable=Path(sys.executable)
    ) as tests:
        assert await tests.end() == 0, tests.transcript()
