from collections.abc import Callable, Mapping
from typing import Any

class SourceHashFinder:
    srcHash: str
    def __init__(
        self, srcHash: str, decryptor: Callable[[bytes], bytes], enczfsrc: bytes
    ) -> None: ...
    def hashRoot(self) -> str: ...
    def getZipNames(self) -> list[str]: ...

def loadModuleFromHashSource(
    sourceHash: str, sources: Mapping[str, Any], modName: str, modClass: str
) -> Any: ...
