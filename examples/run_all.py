"""Runs all examples in short form, one after the other, and shows what each has proved.

    make examples                                   # all
    python examples/run_all.py intents orderbook    # these

An example is proved when its programs end as they should and its output has the line that only
a right end prints. To add one, add a line to `EXAMPLES`. The exit code is 1 if any failed.
"""

import argparse
import asyncio
import os
import re
import shlex
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIMIT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Example:
    """One example.

    Attributes:
        name: Its folder.
        programs: Command lines that run at the same time, in the folder above; ``run`` stands for
            ``mosaik-actors run``, ``{tmp}`` for a new folder.
        proof: What its output must have: a regular expression.
        claim: What that proves.
        environment: Variables that make it short.
        input: What the first program reads.
        is_endless: It is ended, by SIGTERM, when the proof is there.
    """

    name: str
    programs: tuple[str, ...]
    proof: str
    claim: str
    environment: dict[str, str] = field(default_factory=dict)
    input: str = ""
    is_endless: bool = False


# fmt: off
EXAMPLES = [
    Example(name="hello_streams", programs=("hello_streams/chart.py --candle 20", "hello_streams/feed.py --count 100"), proof="the feed has left after 300 prices", claim="every price arrives, in order"),
    Example(name="stream_filters", programs=("stream_filters/desks.py",), proof=r"sent in all \d+", claim="only what was asked for is sent"),
    Example(name="stream_preferences", programs=("stream_preferences/mirrors.py",), proof="the next best is third", claim="consumers move to the best producer"),
    Example(name="discovery_tags", programs=("discovery_tags/drain.py",), proof="trainee did 0 jobs", claim="work goes to who has the tag"),
    Example(name="custom_actor", programs=("custom_actor/count_lines.py custom_actor",), proof=r"\d+ lines in \d+ files", claim="an actor answers while its workers work"),
    Example(name="pipeline", programs=("run pipeline/launch.toml",), proof="after 10 texts: 'the' 10 times", claim="three processes find each other", is_endless=True),
    Example(name="api_keys", programs=("api_keys/vendor.py",), proof="without its ticket the customer gets nothing", claim="a key that was not bought opens nothing"),
    Example(name="attested", programs=("attested/ward.py --count 50", "attested/reader.py"), proof="got 50 readings", claim="data goes to attested software only"),
    Example(name="counter", programs=("counter/counter.py --count 50",) * 3, proof="the total is 150 after 150 commands", claim="three processes agree on one total"),
    Example(name="chat", programs=("chat/check_halves.py",), proof=r"checked: (.*)", claim="what was shown as sent stays, in one order"),
    Example(name="scenario_test", programs=("-m pytest -q -p no:cacheprovider scenario_test",), proof=r"\d+ passed", claim="a bug that loses sales is caught"),
    Example(name="intents", programs=("run intents/launch.toml",), environment={"INTENTS_COUNT": "12", "INTENTS_WINDOW_S": "1"}, proof=r"checked: (.*)", claim="an auction by seven processes adds up"),
    Example(name="orderbook", programs=("run orderbook/launch.toml",), environment={"ORDERBOOK_SECONDS": "3", "ORDERBOOK_PLOT": "{tmp}/day.svg"}, proof="(?s)(p50.*?)\n.*checked: 3 identical books", claim="three books are one at 5,000 orders/s"),
    Example(name="zipnet", programs=("run zipnet/launch.toml",), proof=r"(all \d+ messages were read once.*)", claim="what is said is read, and nobody knows whose it is"),
    Example(name="bootstrap_node", programs=("bootstrap_node/check.py",), proof=r"checked: (.*)", claim="nodes meet through one address that stays"),
]
# fmt: on


@dataclass(frozen=True)
class Verdict:
    """What became of an example.

    Attributes:
        example: The example.
        seconds: How long it ran.
        found: What of its output proves it; None if it is not proved.
        output: All that it printed.
    """

    example: Example
    seconds: float
    found: str | None
    output: str


async def run_example(example: Example) -> Verdict:
    """Run an example's programs at the same time, and judge what they print."""
    started = time.monotonic()
    lines: list[str] = []
    with tempfile.TemporaryDirectory(prefix="examples-") as folder:
        variables = {name: text.format(tmp=folder) for name, text in example.environment.items()}
        environment = {
            **os.environ,
            "MOSAIK_RUNTIME_DIR": folder,
            "PYTHONUNBUFFERED": "1",
            **variables,
        }
        processes = [
            await asyncio.create_subprocess_exec(
                *_command_line(text),
                cwd=HERE,
                env=environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            for text in example.programs
        ]
        try:
            async with asyncio.timeout(LIMIT_S):
                await asyncio.gather(
                    *(_follow(one, example, lines, not at) for at, one in enumerate(processes))
                )
            codes = {process.returncode for process in processes}
        except TimeoutError:
            lines.append(f"not over after {LIMIT_S:g} s")
            codes = {None}
        finally:
            for process in processes:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
    output = "\n".join(lines)
    found = re.search(example.proof, output)
    wanted = {128 + signal.SIGTERM} if example.is_endless else {0}
    text = found[found.lastindex or 0] if found and codes == wanted else None
    return Verdict(example, time.monotonic() - started, text, output)


def _command_line(text: str) -> list[str]:
    words = shlex.split(text)
    if words[0] == "run":
        return [sys.executable, "-m", "mosaik_actors.cli.main", *words]
    return [sys.executable, *words]


async def _follow(
    process: asyncio.subprocess.Process, example: Example, lines: list[str], is_first: bool
) -> None:
    """Read what a program prints, until it ends or has proved what it has to."""
    assert process.stdin is not None
    assert process.stdout is not None
    if is_first and example.input:
        process.stdin.write(example.input.encode())
        process.stdin.write_eof()
    is_ending = False
    while line := await process.stdout.readline():
        lines.append(line.decode(errors="replace").rstrip("\n"))
        if example.is_endless and not is_ending and re.search(example.proof, lines[-1]):
            process.terminate()
            is_ending = True
    await process.wait()


async def main(examples: list[Example]) -> int:
    """Run examples, show a table of them, and return the exit code."""
    verdicts = []
    width = max(len(example.name) for example in examples)
    claim_width = max(len(example.claim) for example in examples)
    print(
        f"{'example':<{width}}  {'':6}  {'time':>6}  {'what it proved':<{claim_width}}  how it shows"
    )
    for example in examples:
        verdict = await run_example(example)
        verdicts.append(verdict)
        state = "ok" if verdict.found is not None else "FAILED"
        shown = (verdict.found or "").strip()[:100]
        row = f"{example.name:<{width}}  {state:6}  {verdict.seconds:4.1f} s"
        print(f"{row}  {example.claim:<{claim_width}}  {shown}", flush=True)
    failed = [verdict for verdict in verdicts if verdict.found is None]
    for verdict in failed:
        print(
            f"\n{verdict.example.name} has not shown {verdict.example.proof!r}:\n{verdict.output}"
        )
    return 1 if failed else 0


def choose(names: list[str]) -> list[Example]:
    """Return the examples of these names, all of them without any."""
    known = {example.name: example for example in EXAMPLES}
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"there is no example {unknown[0]}; there are: {', '.join(known)}")
    return [known[name] for name in names] or EXAMPLES


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run examples in short form.")
    parser.add_argument("names", nargs="*", help="which ones; all by default")
    sys.exit(asyncio.run(main(choose(parser.parse_args().names))))
