"""Self-organizing, leaderless distributed systems, as actors over QUIC.

    async with Network("my-app") as net:
        producer = net.streams.produce(Price)
        await producer.when().online()
        await producer.send(Price("ETH/USDC", 3120.5))

Everything a user needs is importable from here; the sub-modules exist for
structure. What is not in ``__all__`` may change at any time. Names are looked
up when they are first used (PEP 562), so that importing one part does not load
all; the stub beside this file, which type checkers read, says where each is.
"""

import ast as _ast
from importlib import import_module as _import_module
from pathlib import Path as _Path
from typing import Any as _Any

_HOMES = {
    alias.name: f".{node.module}"
    for node in _ast.parse(_Path(__file__).with_suffix(".pyi").read_text("utf-8")).body
    if isinstance(node, _ast.ImportFrom)
    for alias in node.names
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> _Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("mosaik-actors")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_import_module(home, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
