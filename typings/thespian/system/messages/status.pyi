from collections.abc import Iterable, Mapping
from typing import Any

from thespian.actors import ActorAddress, ActorSystemMessage

class Thespian_StatusReq(ActorSystemMessage): ...  # noqa: N801

class _Common_StatusResp(ActorSystemMessage):  # noqa: N801
    pendingMessages: list[tuple[Any, Any, str]]
    pendingWakeups: list[tuple[ActorAddress, Any]]
    receivedMessages: list[tuple[Any, Any, str]]
    childActors: list[ActorAddress]
    miscKeyVals: dict[str, Any]
    def addChild(self, childAddress: ActorAddress) -> None: ...
    def addPendingMessage(self, fromActor: Any, toActor: Any, msgstr: Any) -> None: ...
    def addReceivedMessage(self, fromActor: Any, toActor: Any, msgstr: Any) -> None: ...
    def addWakeups(self, wakeups_list: Iterable[tuple[ActorAddress, Any]]) -> None: ...
    def addKeyVal(self, key: str, value: Any) -> None: ...

class Thespian_SystemStatus(_Common_StatusResp):  # noqa: N801
    adminAddress: ActorAddress
    capabilities: dict[str, Any]
    deadLetterHandler: ActorAddress | None
    globalActors: dict[str, ActorAddress]
    inShutdown: bool
    sourceAuthority: ActorAddress | None
    loadedSources: list[tuple[str, str]]
    def __init__(
        self,
        address: ActorAddress,
        conventionLeader: ActorAddress | None = None,
        capabilities: dict[str, Any] | None = None,
        inShutdown: bool = False,
    ) -> None: ...
    def addGlobalActor(self, name: str, address: ActorAddress) -> None: ...
    def setDeadLetterHandler(self, address: ActorAddress | None) -> None: ...
    def setLoadedSources(self, sourceHashes: Mapping[str, Any]) -> None: ...

class Thespian_ActorStatus(_Common_StatusResp):  # noqa: N801
    actorAddress: ActorAddress
    actorClass: str
    adminAddress: ActorAddress
    parentAddress: ActorAddress | None
    sourceHash: str | None
    exiting: Any
    def __init__(
        self,
        address: ActorAddress,
        actorClass: Any,
        adminAddress: ActorAddress,
        parentAddress: ActorAddress | None = None,
        sourceHash: str | None = None,
        exiting: Any = None,
    ) -> None: ...

def formatStatus(response: Any, showAddress: Any = ..., tofd: Any = None) -> None: ...
