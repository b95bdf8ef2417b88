"""Loadable actor sources: zip files with modules, named by their hash.

Thespian's rules (user guide, "loadActorSource" and "Security Considerations"):
without a source authority nothing is ever loaded. With one, the file is sent to
it as ValidateSource, and only what it answers, as ValidatedSource, is used.
Importing from a source is left to Thespian's own source loader.

An actor may be created from a source that is still being validated: it starts,
or fails to, when the authority has decided or the time for that is over.

The hash is MD5 because Thespian's is; it names a file, it protects nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

from thespian.actors import (
    ActorAddress,
    InvalidActorSourceHash,
    LoadedSource,
    UnloadedSource,
    ValidatedSource,
    ValidateSource,
)

from .config import RuntimeConfig
from .messaging.address import LocalAddress

logger = logging.getLogger(__name__)


class Source:
    """One loaded file; the names of the attributes are those Thespian reads."""

    def __init__(self, info: str) -> None:
        self.srcInfo = info
        self.zipsrc = b""
        self.source_valid = False
        self.waiting: list[Callable[[], None]] = []
        self.timer: asyncio.TimerHandle | None = None

    def decided(self) -> list[Callable[[], None]]:
        """Stop waiting for the authority; return who waited."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        waiting, self.waiting = self.waiting, []
        return waiting


class SourcesOwner(Protocol):
    """The actor system whose sources these are: it has a loop, and speaks for them."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where the time for the authority's answer runs."""

    @property
    def config(self) -> RuntimeConfig:
        """How long that is."""

    @property
    def address(self) -> LocalAddress:
        """Who sends what the authority and the listeners get."""


class Sources:
    """The sources of one host. `authority` may be set by any actor."""

    def __init__(self, host: SourcesOwner) -> None:
        self.authority: LocalAddress | None = None
        self.loaded: dict[str, Source] = {}
        self._host = host
        self._listeners: dict[LocalAddress, None] = {}

    def load(self, file: str | Path | IO[bytes]) -> str:
        """Ask the authority for a file and return the file's hash at once.

        Without an authority the file is ignored, as Thespian documents.
        """
        if isinstance(file, str | Path):
            data = Path(file).read_bytes()
            info = str(file)
        else:
            with file:
                data = file.read()
            info = str(getattr(file, "name", file))
        source_hash = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if source_hash in self.loaded and self.loaded[source_hash].source_valid:
            return source_hash
        if self.authority is None:
            logger.warning("no source authority to validate %s, ignored", info)
            return source_hash
        if source_hash not in self.loaded:
            source = self.loaded[source_hash] = Source(info)
            source.timer = self._host.loop.call_later(
                self._host.config.source_validation_s, self._reject, source_hash, "no answer"
            )
        message = ValidateSource(source_hash, data, info)
        self.authority.deliver(message, self._host.address)
        return source_hash

    def receive_validated(self, message: ValidatedSource, sender: ActorAddress) -> None:
        """Take in the authority's decision."""
        source = self.loaded.get(message.sourceHash)
        if sender is not self.authority or source is None or source.source_valid:
            logger.warning("ignored a ValidatedSource for %s from %s", message.sourceHash, sender)
            return
        if not message.sourceZip:
            self._reject(message.sourceHash, "rejected by the source authority")
            return
        from thespian.system.sourceLoader import SourceHashFinder  # with what reads zip files

        try:
            finder = SourceHashFinder(message.sourceHash, lambda data: data, message.sourceZip)
            finder.getZipNames()
        except Exception as error:
            self._reject(message.sourceHash, f"not a zip file: {error}")
            return
        source.zipsrc = message.sourceZip
        source.srcInfo = str(message.sourceInfo or source.srcInfo)
        source.source_valid = True
        for start in source.decided():
            start()
        for listener in list(self._listeners):
            listener.deliver(LoadedSource(message.sourceHash, source.srcInfo), self._host.address)

    def _reject(self, source_hash: str, reason: str) -> None:
        logger.warning("source %s is not loaded: %s", source_hash, reason)
        source = self.loaded.pop(source_hash)
        for start in source.decided():
            start()

    def unload(self, source_hash: str) -> None:
        """Forget a source; actors that came from it go on."""
        source = self.loaded.pop(source_hash, None)
        if source is None:
            return
        for start in source.decided():
            start()
        for listener in list(self._listeners):
            listener.deliver(UnloadedSource(source_hash, source.srcInfo), self._host.address)
        _forget_modules(source_hash)

    def notify(self, listener: LocalAddress, enable: bool) -> None:
        """Send notices about sources to an actor; it hears of the loaded ones first."""
        self._listeners.pop(listener, None)
        if enable:
            self._listeners[listener] = None
            for source_hash, source in self.loaded.items():
                if source.source_valid:
                    message = LoadedSource(source_hash, source.srcInfo)
                    listener.deliver(message, self._host.address)

    def forget(self, address: LocalAddress) -> None:
        """Drop what an actor that has exited was registered for."""
        self._listeners.pop(address, None)
        if self.authority is address:
            self.authority = None

    def close(self) -> None:
        """Unload everything."""
        self._listeners.clear()
        for source_hash in list(self.loaded):
            self.unload(source_hash)

    def is_pending(self, source_hash: str) -> bool:
        """Return whether the authority has not decided yet."""
        source = self.loaded.get(source_hash)
        return source is not None and not source.source_valid

    def when_decided(self, source_hash: str, start: Callable[[], None]) -> None:
        """Call `start` when a pending source is validated or rejected."""
        self.loaded[source_hash].waiting.append(start)

    def loader(self, source_hash: str | None) -> Callable[[str, str], Any] | None:
        """Return Thespian's loader for classes of a source; None without a source.

        Raises:
            InvalidActorSourceHash: The source is not loaded.
        """
        if source_hash is None:
            return None
        if source_hash not in self.loaded:
            raise InvalidActorSourceHash(source_hash)
        return partial(_load_class, source_hash, self.loaded)


def _load_class(
    source_hash: str, sources: dict[str, Source], module_name: str, class_name: str
) -> Any:
    from thespian.system.sourceLoader import loadModuleFromHashSource

    with warnings.catch_warnings():
        # Thespian's loader for the root of a source has the older interface only.
        warnings.filterwarnings("ignore", "HashRootLoader", ImportWarning)
        return loadModuleFromHashSource(source_hash, sources, module_name, class_name)


def _forget_modules(source_hash: str) -> None:
    from thespian.system.sourceLoader import SourceHashFinder

    for finder in list(sys.meta_path):
        if getattr(finder, "srcHash", None) == source_hash and isinstance(finder, SourceHashFinder):
            root = finder.hashRoot()
            for name in [name for name in sys.modules if name.startswith(root)]:
                del sys.modules[name]
            sys.meta_path.remove(finder)
