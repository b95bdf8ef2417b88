from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from thespian.actors import Actor

_A = TypeVar("_A", bound=type[Actor])

def initializing_messages(
    initset: Sequence[tuple[Any, ...]], initdone: str | None = None, init_passthru: bool = False
) -> Callable[[_A], _A]: ...
