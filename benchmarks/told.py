"""The inside of a benchmark's process: an object that does what lines of text tell it.

Each line on standard input is ``[name, {arguments}]``, each line on standard
output what came of it.
"""

from __future__ import annotations

import asyncio
import json
import sys


async def obey(told: object) -> None:
    """Call the coroutine methods of `told` that the lines name, until there are no more."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        name, arguments = json.loads(line)
        try:
            came = await getattr(told, name)(**arguments) or {}
        except Exception as error:
            came = {"error": repr(error)}
        print(json.dumps(came), flush=True)
