from collections.abc import Callable
from typing import Any

def checkActorCapabilities(
    actorClass: Any,
    capabilities: dict[str, Any] | None = None,
    requirements: Any = None,
    sourceHashLoader: Callable[[str, str], Any] | None = None,
) -> bool: ...
def actualActorClass(
    actorClass: Any, sourceHashLoader: Callable[[str, str], Any] | None = None
) -> Any: ...
