"""The examples of groups, as several processes, one of them killed."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from .test_examples import EXAMPLES, run


async def test_counter_gives_everybody_the_same_total(tmp_path: Path) -> None:
    program = EXAMPLES / "counter" / "counter.py"
    outs = await asyncio.gather(
        *(run(program, "--count", "50", runtime_dir=tmp_path) for _ in range(3))
    )
    last = [int(re.search(r"my last addition was command (\d+)", out)[1]) for out in outs]
    assert max(last) == 150
    for out in outs:
        assert "the total is 150 after 150 commands" in out
