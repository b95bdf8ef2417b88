"""One node as its settings say: started, filled with actors, and ended in order.

Ready means: the node takes part, its streams and collections are open, and every actor has
been started. ``/readyz`` and the service manager hear of it then.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ..dht.config import DhtConfig
from ..errors import ConfigError
from ..network import Network
from ..runtime import ActorGone, Restart, Resume, Stop
from ..runtime.host import EXITED_BY_ITSELF
from ..runtime.messaging.supervision import Policy
from ..transport.relay.config import RelayConfig, own_config
from .notify import READY, STOPPING, notify
from .settings import ActorSettings, LaunchedCollection, LaunchSettings, ProcessSettings
from .sources import Origins
from .types import load_class, load_type

logger = logging.getLogger(__name__)

TDX_TICKET_S: Final = 3600.0
_POLICIES: Final[dict[str, Policy]] = {
    "resume": Resume(),
    "restart": Restart(),
    "stop": Stop(),
}


class Launch:
    """What one process runs. Making it imports what the settings name, and checks all.

    Args:
        settings: The settings.
        origins: Where they were written, for errors.
        folder: What relative paths are below.
        process: Which of `LaunchSettings.processes` it is; empty for none of them.
        index: Which of several alike it is: those beyond the first take an identity, a
            folder and ports of their own.

    Raises:
        ConfigError: A setting is wrong: a class that is not there, a file that cannot be
            read; says where the setting is written.
    """

    def __init__(
        self,
        settings: LaunchSettings,
        origins: Origins,
        folder: Path,
        *,
        process: str = "",
        index: int = 0,
    ) -> None:
        self._settings = settings
        self._origins = origins
        self._folder = folder
        self._process = _find_process(settings, process)
        self._index = index
        self._name = process
        self.actors = [
            (one, self._load(("actors", at, "class"), one.actor_class))
            for at, one in enumerate(settings.actors)
            if self._is_here(one.process)
        ]
        for at, one in enumerate(settings.actors):
            if one.singleton and (not one.name or one.count != 1 or one.isolated or one.serves):
                text = "has a name and a count of 1, and is neither isolated nor of a pool"
                raise origins.error(("actors", at, "singleton"), text)
        self._streams = [
            (one, self._load(("streams", at, "type"), one.type))
            for at, one in enumerate(settings.streams)
            if self._is_here(one.process)
        ]
        self._collections = [
            (one, [self._load(("collections", at, "types", n), t, load_type)
                   for n, t in enumerate(one.types)])
            for at, one in enumerate(settings.collections)
            if self._is_here(one.process)
        ]  # fmt: skip
        self._tickets = [
            (one.ticket_class, self._read(("tickets", at, "file"), one.file))
            for at, one in enumerate(settings.tickets)
        ]
        self._actors_started = 0
        self.net = self._make_network()

    async def run(self, on_ready: Callable[[Network], None] | None = None) -> int:
        """Run the node until this is cancelled, or a `main` actor ends; return the exit code.

        `on_ready` is called when it is ready.
        """
        count = sum(actor.count for actor, _ in self.actors)
        net = self.net
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        net.add_readiness_check("actors", lambda: self._why_waiting(count))
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(net)
            stack.callback(notify, STOPPING)
            if self._settings.tdx:
                if not net.tdx.available():
                    raise self._origins.error(("tdx",), net.tdx.status.reason)
                await net.discovery.keep_ticket(net.tdx.builder(TDX_TICKET_S))
            held = [self._open_stream(one, kind) for one, kind in self._streams]
            held += [self._open_collection(one, kinds) for one, kinds in self._collections]
            for actor, kind in self.actors:
                await self._start_actors(actor, kind, ended)
            logger.info("ready: node %s at %s", net.peer_id.short, net.addr)
            notify(READY, f"STATUS=node {net.peer_id.short}, {count} actors")
            if on_ready is not None:
                on_ready(net)
            return await ended

    def _why_waiting(self, count: int) -> str | None:
        if self._actors_started == count:
            return None
        return f"{self._actors_started} of {count} started"

    async def _start_actors(
        self, actor: ActorSettings, kind: Any, ended: asyncio.Future[int]
    ) -> None:
        for _ in range(actor.count):
            ref = await self.net.actors.spawn(
                kind,
                args=actor.args,
                kwargs=actor.kwargs,
                name=actor.name or None,
                serves=actor.serves or None,
                isolated=actor.isolated,
                singleton=actor.singleton,
                supervision=_POLICIES[actor.supervision],
            )
            self._actors_started += 1
            if actor.main:
                host = self.net.node.system.host
                ref.watch(host.new_address(lambda gone, _sender: _end_with(gone, ended)))

    def _open_stream(self, one: Any, kind: Any) -> Any:
        return self.net.streams.produce(kind, stream_id=one.name or None)

    def _open_collection(self, one: LaunchedCollection, kinds: list[Any]) -> Any:
        import mosaik_actors

        settings: dict[str, Any] = {}
        if one.durable:
            folder = self._storage()
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / f"{mosaik_actors.UniqueId(one.name).short}.{one.kind.lower()}.log"
            settings["storage"] = mosaik_actors.SqliteLog(file)
        kind = getattr(mosaik_actors, one.kind)[tuple(kinds)]
        return getattr(kind, one.role)(self.net, one.name, **settings)

    # Settings.

    def _make_network(self) -> Network:
        from ..ids import UniqueId
        from ..tickets.ticket import Ticket

        top, own = self._settings, self._process
        secret: Path | str | None = None
        if top.secret_file:
            secret = self._path(top.secret_file)
        elif top.secret_env:
            secret = os.environ.get(top.secret_env)
            if secret is None:
                text = f"the environment has no variable {top.secret_env}"
                raise self._origins.error(("secret_env",), text)
        key_file = own.key_file or top.key_file
        try:
            return Network(
                top.network,
                secret=secret,
                secret_key=self._load_key(key_file) if key_file else None,
                bootstrap=top.bootstrap,
                tags=[*top.tags, *own.tags],
                tickets=[Ticket(UniqueId(kind), data) for kind, data in self._tickets],
                bind=(own.bind or top.bind or None),
                rendezvous=top.rendezvous,
                mdns=top.mdns,
                dht=self._dht(),
                relay=self._relay(),
                metrics_addr=self._metrics_addr(own.metrics_addr or top.metrics_addr),
                share_status=top.share_status,
            )
        except ConfigError as exc:
            # It begins with the argument, which is the setting's name.
            text = str(exc)
            name = text.partition(" ")[0].rstrip(":")
            path = {"network_id": "network"}.get(name, name)
            if path not in LaunchSettings.__struct_fields__ and top.secret_file:
                path = "secret_file"  # errors of files begin otherwise
            raise self._origins.error((path,), text) from exc

    def _dht(self) -> bool | DhtConfig:
        names = self._settings.dht_bootstrap
        return DhtConfig(bootstrap=names) if self._settings.dht and names else self._settings.dht

    def _relay(self) -> RelayConfig | None:
        secret = self._settings.relay_secret_file
        config = own_config(self._settings.relay or None)
        if config is None:
            return None
        from ..ids import UniqueId

        tickets = tuple(map(UniqueId, self._settings.relay_tickets))
        shown = {UniqueId(name): name for name, _ in self._tickets}
        for at, name in enumerate(self._settings.relay_tickets):
            if tickets[at] not in shown:
                known = ", ".join(map(repr, shown.values())) or "none"
                text = f"is {name!r}, expected the class of one of [[tickets]]; there are {known}"
                raise self._origins.error(("relay_tickets", at), text)
        return replace(config, secret=self._path(secret) if secret else None, tickets=tickets)

    def _metrics_addr(self, text: str) -> str | None:
        if not text or not self._index:
            return text or None
        host, _, port = text.rpartition(":")
        return f"{host}:{int(port) + self._index if port != '0' else 0}"

    def _load_key(self, text: str) -> Any:
        from ..ids import SecretKey

        path = self._path(text)
        if self._index:
            path = path.with_name(f"{path.name}.{self._index}")
        try:
            return SecretKey.load_or_create(path)
        except ConfigError as exc:
            raise self._origins.error(("key_file",), str(exc)) from exc

    def _storage(self) -> Path:
        folder = self._path(self._process.storage or self._settings.storage)
        parts = [part for part in (self._name, str(self._index or "")) if part]
        return folder.joinpath(*parts) if not self._process.storage else folder

    def _path(self, text: str) -> Path:
        return self._folder / Path(text).expanduser()

    def _read(self, setting: tuple[str | int, ...], file: str) -> bytes:
        try:
            return self._path(file).read_bytes().rstrip(b"\r\n")
        except OSError as exc:
            raise self._origins.error(setting, f"cannot be read: {exc}") from exc

    def _is_here(self, process: str) -> bool:
        return not process or process == self._name

    def _load(
        self, setting: tuple[str | int, ...], text: str, load: Callable[[str], Any] = load_class
    ) -> Any:
        try:
            return load(text)
        except ConfigError as exc:
            raise self._origins.error(setting, str(exc)) from exc


def _end_with(gone: ActorGone, ended: asyncio.Future[int]) -> None:
    if ended.done():
        return
    if gone.reason != EXITED_BY_ITSELF:
        logger.error("%s has ended: %s", gone.ref.label, gone.reason)
    ended.set_result(0 if gone.reason == EXITED_BY_ITSELF else 1)


def _find_process(settings: LaunchSettings, name: str) -> ProcessSettings:
    for process in settings.processes:
        if process.name == name:
            return process
    if name:
        listed = ", ".join(process.name for process in settings.processes) or "none"
        raise ConfigError(f"there is no process {name!r}; there are: {listed}")
    return ProcessSettings(name="node")
