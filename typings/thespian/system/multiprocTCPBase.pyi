from typing import Any, ClassVar

from thespian.actors import ActorSystem

class ActorSystemBase:
    transportType: ClassVar[type[Any]]
    def __init__(self, system: ActorSystem, logDefs: Any = None) -> None: ...
