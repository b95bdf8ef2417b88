"""Every example runs as its README says, without a warning."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest

from mosaik_actors.cli.main import build_parser
from mosaik_actors.testing import TIME_FACTOR

from .command import command

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
TIMEOUT_S = 40.0


async def run(*arguments: str | Path, runtime_dir: Path) -> str:
    """Run a program, require that it ends well and quietly, and return what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-X",
        "dev",
        "-W",
        "error",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "MOSAIK_RUNTIME_DIR": str(runtime_dir), "PYTHONUNBUFFERED": "1"},
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    # Logged lines are fine; what Python itself complains about is not.
    complaints = re.findall(r"Exception ignored|never retrieved|\w+Warning\b", err.decode())
    assert complaints == [], err.decode()
    return out.decode()


async def test_hello_streams_draws_every_price(tmp_path: Path) -> None:
    folder = EXAMPLES / "hello_streams"
    chart, feed = await asyncio.gather(
        run(folder / "chart.py", "--candle", "20", runtime_dir=tmp_path),
        run(folder / "feed.py", "--count", "100", runtime_dir=tmp_path),
    )
    assert "feed: sent 300 prices" in feed
    assert "chart: the feed has left after 300 prices" in chart
    for symbol in ("BTC", "ETH", "SOL"):
        assert len(re.findall(rf"^[+-] {symbol} ", chart, re.MULTILINE)) == 5


async def test_custom_actor_counts_what_can_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    for index in range(10):
        (folder / f"module_{index}.py").write_text("x = 1\n" * (index + 1))
    (folder / "broken.py").write_bytes(b"\xff\xfe\xff")
    program = EXAMPLES / "custom_actor" / "count_lines.py"
    out = await run(program, folder, runtime_dir=tmp_path)
    assert re.search(r"answers while its workers read: \d+ of 11 so far", out)
    assert "55 lines in 10 files" in out
    assert "not readable: broken.py" in out


async def test_discovery_tags_serves_who_is_ready(tmp_path: Path) -> None:
    out = await run(EXAMPLES / "discovery_tags" / "drain.py", runtime_dir=tmp_path)
    assert out.splitlines() == [
        "serving ['first', 'second']",
        "serving ['second']",
        "serving ['first', 'second']",
        "first did 200 jobs",
        "second did 300 jobs",
        "trainee did 0 jobs",
    ]


async def test_stream_filters_send_only_what_was_asked_for(tmp_path: Path) -> None:
    out = await run(EXAMPLES / "stream_filters" / "desks.py", runtime_dir=tmp_path)
    *desks, total, refused = out.splitlines()
    counts = [int(found[1]) for line in desks if (found := re.search(r"got (\d+) of 2000", line))]
    assert len(counts) == 3
    assert total == f"sent in all {sum(counts)}"
    assert refused.startswith("refused: no field 'volume' in Trade; it has symbol, price, size")


async def test_api_keys_are_of_use_to_their_owners_only(tmp_path: Path) -> None:
    out = await run(EXAMPLES / "api_keys" / "vendor.py", runtime_dir=tmp_path)
    assert out.splitlines() == [
        "customer got ETH",
        "copycat: not allowed: no valid ticket: no such customer, or another key than the "
        "customer's",
        "without its ticket the customer gets nothing",
    ]


async def test_stream_preferences_follow_the_load(tmp_path: Path) -> None:
    out = await run(EXAMPLES / "stream_preferences" / "mirrors.py", runtime_dir=tmp_path)
    assert out.splitlines() == [
        "the least loaded is first",
        "less loaded now is second",
        "the next best is third",
    ]


async def test_scenario_test_passes_and_its_readmes_commands_run(tmp_path: Path) -> None:
    folder = EXAMPLES / "scenario_test"
    out = await run("-m", "pytest", "-q", folder, runtime_dir=tmp_path)
    assert "6 passed" in out
    scenario = f"{folder / 'test_till.py'}::test_each_ticket_is_sold_once"
    chaos = ["-m", "mosaik_actors.cli.main", "chaos", scenario]
    out = await run(*chaos, "--seeds", "2", runtime_dir=tmp_path)
    assert re.search(r"2 seeds, \d+ faults, \d+ calls, .*, 0 failed", out)


async def test_a_users_own_modules_and_ours_do_not_meet(tmp_path: Path) -> None:
    for name in ("actors", "transport"):
        (tmp_path / f"{name}.py").write_text('MINE = "the user\'s own"\n')
    script = tmp_path / "user_script.py"
    script.write_bytes((ROOT / ".ci" / "user_script.py").read_bytes())
    assert "10 prices in order" in await run(script, runtime_dir=tmp_path)


@pytest.mark.parametrize(
    "readme", sorted(EXAMPLES.glob("*/README.md")), ids=lambda p: p.parent.name
)
def test_every_program_named_in_a_readme_exists(readme: Path) -> None:
    named = re.findall(r"(?:python|chaos|run) (\S+\.(?:py|toml))", readme.read_text())
    assert named
    assert all((ROOT / name).is_file() for name in named)


async def test_attested_readings_go_to_the_right_software_only(tmp_path: Path) -> None:
    folder, changed = EXAMPLES / "attested", tmp_path / "changed"
    changed.mkdir()
    for file in folder.glob("*.py"):
        text = file.read_text() + ("# changed\n" if file.name == "reader.py" else "")
        (changed / file.name).write_text(text)
    ward, reader, other = await asyncio.gather(
        run(folder / "ward.py", "--count", "50", runtime_dir=tmp_path),
        run(folder / "reader.py", runtime_dir=tmp_path),
        run(changed / "reader.py", "--patience", str(3 * TIME_FACTOR), runtime_dir=tmp_path),
    )
    assert "ward: sent 50 readings to 1 readers" in ward
    assert "got 50 readings" in reader
    assert "got 0 readings" in other
    assert "its mrtd is" in other
    assert "SIMULATED" in ward
    assert "SIMULATED" in reader


async def test_intents_are_settled_and_checked_by_seven_processes(tmp_path: Path) -> None:
    environment = {"INTENTS_COUNT": "6", "INTENTS_WINDOW_S": "0.8"}
    file = str(EXAMPLES / "intents" / "launch.toml")
    async with command("run", file, runtime_dir=tmp_path, environment=environment) as running:
        assert await running.end() == 0, running.transcript()
    shown = [line.partition("| ")[2] for line in running.out]
    rows = [line for line in shown if re.match(r"\d+ +(alice|bob|carol|\w{6}) ", line)]
    assert len(rows) == 6, running.transcript()
    checked = "checked: 5 settled once each, .* 1 expired; flows sum to zero"
    assert any(re.match(checked, line) for line in shown), running.transcript()


async def test_a_day_of_orders_ends_with_three_identical_books(tmp_path: Path) -> None:
    plot = tmp_path / "day.svg"
    environment = {"ORDERBOOK_SECONDS": "1", "ORDERBOOK_PLOT": str(plot)}
    file = str(EXAMPLES / "orderbook" / "launch.toml")
    async with command("run", file, runtime_dir=tmp_path, environment=environment) as running:
        assert await running.end() == 0, running.transcript()
    shown = "\n".join(running.out)
    assert re.search(r"5000 orders in [\d.]+ s: \d+ a second, 5000 wanted", shown)
    assert "checked: 3 identical books" in shown
    assert plot.read_text().startswith("<svg")


async def test_zipnet_reads_each_message_once_and_nobody_knows_whose(tmp_path: Path) -> None:
    file = str(EXAMPLES / "zipnet" / "launch.toml")
    async with command("run", file, runtime_dir=tmp_path) as running:
        assert await running.end() == 0, running.transcript()
    pattern = r"all 9 messages were read once, in \d+ rounds, each among [3-6]"
    assert any(re.search(pattern, line) for line in running.out), running.transcript()


async def test_bootstrap_node_has_one_address_and_its_unit_starts_it(tmp_path: Path) -> None:
    folder = EXAMPLES / "bootstrap_node"
    out = await run(folder / "check.py", runtime_dir=tmp_path)
    assert out.splitlines()[-1].startswith("checked: the address is the same")
    # What the unit and the container start is what the command takes.
    unit = (folder / "mosaik-beacon.service").read_text()
    [start] = re.findall(r"^ExecStart=\S+/mosaik-actors (beacon .*)$", unit, re.MULTILINE)
    container = (folder / "Containerfile").read_text().replace("\\\n", "")
    [entry] = re.findall(r"^ENTRYPOINT (.*)$", container, re.MULTILINE)
    commands = [start.split(), [*json.loads(entry)[1:], "my-app"]]
    for words in commands:
        options = build_parser().parse_args(words)
        assert options.bind == "0.0.0.0:4433"
        assert options.key_file.name == "beacon.key"
