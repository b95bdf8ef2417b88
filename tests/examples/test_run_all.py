"""The runner of examples: it knows all of them, and fails when one does."""

import shlex
from pathlib import Path

import pytest
from run_all import EXAMPLES, Example, choose, main, run_example

ROOT = Path(__file__).parents[2]


def test_every_example_is_in_the_list_and_on_the_page() -> None:
    folders = sorted(readme.parent.name for readme in (ROOT / "examples").glob("*/README.md"))
    assert sorted(example.name for example in EXAMPLES) == folders
    page = (ROOT / "docs" / "examples.md").read_text()
    for name in folders:
        assert f"(../examples/{name}/README.md)" in page
    for example in EXAMPLES:
        for program in example.programs:
            named = next(word for word in shlex.split(program) if example.name in word)
            assert (ROOT / "examples" / named).exists()
    with pytest.raises(SystemExit, match="there is no example x; there are: hello_streams"):
        choose(["x"])


async def test_an_example_is_proved_by_its_line_and_its_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def example(name: str, code: str, is_endless: bool = False) -> Example:
        program = f"-S -c {shlex.quote(code)}"
        return Example(
            name=name, programs=(program,), proof=r"sum: (\d+)", claim="x", is_endless=is_endless
        )

    good = example("good", "print('sum:', 3)")
    assert (await run_example(good)).found == "3"
    quiet = example("quiet", "print('no sum')")
    failed = example("failed", "print('sum:', 3); raise SystemExit(1)")
    killed = example("killed", "print('sum:', 3); input()", is_endless=True)
    assert await main([good]) == 0
    assert await main([quiet, failed, killed, good]) == 1
    shown = capsys.readouterr().out
    assert shown.count("FAILED") == 3
    assert "quiet has not shown" in shown
