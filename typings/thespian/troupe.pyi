from collections.abc import Callable
from typing import Any, TypeVar

from thespian.actors import Actor, ActorAddress

_A = TypeVar("_A", bound=type[Actor])

class UpdateTroupeSettings:
    max_count: int | None
    idle_count: int | None
    def __init__(self, max_count: int | None = None, idle_count: int | None = None) -> None: ...

def troupe(max_count: int = 10, idle_count: int = 2) -> Callable[[_A], _A]: ...

class _TroupeMemberReady:
    def __init__(self, work_ident: int) -> None: ...

class _TroupeWork:
    message: Any
    orig_sender: ActorAddress
