"""What a node is started with: the fields of ``launch.toml``, and their checks.

The records say it all: the file, the flags and the environment variables are read by them,
so there is one place to add a field. `FIELDS` lists what is a flag and a variable, too.

No field holds a secret itself: files of settings are committed and mailed. `secret_file` and
`secret_env` say where it is.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

COUNT_MAX: Final = 10_000

Names = tuple[str, ...]
Dotted = Annotated[str, msgspec.Meta(pattern=r"^[\w.]+:[\w.]+$")]
Level = Literal["debug", "info", "warning", "error"]
Kind = Literal["Map", "Vec", "Set", "Cell", "Once", "PriorityQueue"]
Number = Annotated[int, msgspec.Meta(ge=1, le=COUNT_MAX)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of all tables."""


class LoggingSettings(Settings, frozen=True, kw_only=True):
    """What is logged to stderr.

    Attributes:
        level: debug, info, warning or error.
        format: text, or json for one object on each line.
    """

    level: Level = "info"
    format: Literal["text", "json"] = "text"


class ActorSettings(Settings, frozen=True, kw_only=True, rename={"actor_class": "class"}):
    """Actors of one class.

    Attributes:
        actor_class: The class, as ``package.module:Class``.
        name: A name by which all nodes find it; empty for none.
        serves: The pool that it is a member of; empty for none.
        count: How many each node starts.
        args: Arguments of the constructor.
        kwargs: Its keyword arguments.
        isolated: Whether each runs in an operating system process of its own.
        singleton: Whether one instance of all those of the name runs in the network; then it
            has a name and a count of 1.
        supervision: What comes of its failures: resume, restart or stop.
        main: Whether its node ends when it does: with exit code 0 when it exits, 1 when it failed.
        process: Only in the process of that name; empty for all.
    """

    actor_class: Dotted
    name: str = ""
    serves: str = ""
    count: Number = 1
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    isolated: bool = False
    singleton: bool = False
    supervision: Literal["resume", "restart", "stop"] = "resume"
    main: bool = False
    process: str = ""


class StreamSettings(Settings, frozen=True, kw_only=True):
    """A stream that is produced from the start, whoever sends to it later.

    Attributes:
        type: The type of its items, as ``package.module:Type``.
        name: Its name; empty for the type's own.
        process: Only in the process of that name; empty for all.
    """

    type: Dotted
    name: str = ""
    process: str = ""


class LaunchedCollection(Settings, frozen=True, kw_only=True):
    """A collection that is open from the start, so that this node keeps a replica of it.

    Attributes:
        name: Its name, or its id.
        kind: Map, Vec, Set, Cell, Once or PriorityQueue.
        types: The types of its elements: str, int, float, bool, bytes, or
            ``package.module:Type``.
        role: writer votes; reader only follows.
        durable: Whether its log is kept in the folder of `storage`.
        process: Only in the process of that name; empty for all.
    """

    name: str
    kind: Kind
    types: Names
    role: Literal["writer", "reader"] = "writer"
    durable: bool = False
    process: str = ""


class TicketSettings(Settings, frozen=True, kw_only=True, rename={"ticket_class": "class"}):
    """A ticket that the node shows.

    Attributes:
        ticket_class: Its class: a name, or an id.
        file: The file with its bytes, without the line end.
    """

    ticket_class: str
    file: str


class ProcessSettings(Settings, frozen=True, kw_only=True):
    """One process of several; what it does not say is as at the top.

    Attributes:
        name: What it is called.
        count: How many of it are started.
        tags: Tags beside those at the top.
        bind: Where it listens.
        key_file: The file of its identity.
        storage: The folder of its logs.
        metrics_addr: Where it serves metrics.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"^[\w-]+$")]
    count: Number = 1
    tags: Names = ()
    bind: Names = ()
    key_file: str = ""
    storage: str = ""
    metrics_addr: str = ""


class LaunchSettings(Settings, frozen=True, kw_only=True):
    """All settings of a launch.

    Attributes:
        network: The network's name, or its id.
        secret_file: The file with the network's secret.
        secret_env: The environment variable with the network's secret.
        key_file: The file of the node's identity, made where there is none; empty for a new
            identity each time.
        tags: What the node is, for others to choose by.
        bootstrap: Peers to begin with.
        bind: Where to listen, as host:port.
        rendezvous: Whether nodes of this user on this machine are found.
        mdns: Whether nodes on the local network are found.
        dht: Whether nodes anywhere are found through the Mainline DHT.
        dht_bootstrap: Nodes of the DHT to begin with, as host:port; none for public ones.
        relay: Relays for peers that cannot be reached directly.
        relay_secret_file: The file with the secret that the relays want.
        relay_tickets: The classes of those of `tickets` that relays are shown as well.
        storage: The folder of durable logs, made where there is none.
        share_status: Whether peers may read the node's status.
        metrics_addr: Where to serve metrics and health; empty for nowhere.
        drain_timeout: Seconds that the end may take after a signal.
        nodes: How many nodes to run, each in a process of its own.
        logging: What is logged.
        actors: The actors.
        streams: The streams to open.
        collections: The collections to open.
        tickets: The tickets to show.
        tdx: Whether to show a TDX ticket of the trusted domain that this is, renewed by itself.
        processes: Several processes in place of one.
    """

    network: str
    secret_file: str = ""
    secret_env: str = ""
    key_file: str = ""
    tags: Names = ()
    bootstrap: Names = ()
    bind: Names = ()
    rendezvous: bool = True
    mdns: bool = False
    dht: bool = False
    dht_bootstrap: Names = ()
    relay: Names = ()
    relay_secret_file: str = ""
    relay_tickets: Names = ()
    storage: str = ""
    share_status: bool = True
    metrics_addr: str = ""
    drain_timeout: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 15.0
    nodes: Number = 1
    logging: LoggingSettings = LoggingSettings()
    actors: tuple[ActorSettings, ...] = ()
    streams: tuple[StreamSettings, ...] = ()
    collections: tuple[LaunchedCollection, ...] = ()
    tickets: tuple[TicketSettings, ...] = ()
    tdx: bool = False
    processes: tuple[ProcessSettings, ...] = ()


class SettingField(msgspec.Struct, frozen=True):
    """One setting that is a flag and an environment variable.

    Attributes:
        path: Its keys in the file.
        shape: ``text``, ``number``, ``bool``, ``texts``, or ``tables`` for a list of tables.
        help: What it means.
    """

    path: tuple[str, ...]
    shape: str
    help: str

    @property
    def flag(self) -> str:
        """The flag's name."""
        return "--" + "-".join(self.path).replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable's name."""
        return "MOSAIK_" + "_".join(self.path).upper()


def _fields() -> list[SettingField]:
    found: list[SettingField] = []
    owners: tuple[tuple[type[Settings], tuple[str, ...]], ...] = (
        (LaunchSettings, ()),
        (LoggingSettings, ("logging",)),
    )
    for owner, prefix in owners:
        texts = _descriptions(owner.__doc__ or "")
        found += [
            SettingField((*prefix, field.encode_name), _shape(field.type), texts[field.name])
            for field in msgspec.structs.fields(owner)
            if field.name != "logging"
        ]
    return found


def _shape(type_: Any) -> str:
    match msgspec.inspect.type_info(type_):
        case msgspec.inspect.BoolType():
            return "bool"
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            return "number"
        case msgspec.inspect.VarTupleType(item_type=msgspec.inspect.StrType()):
            return "texts"
        case msgspec.inspect.VarTupleType():
            return "tables"
        case _:
            return "text"


def _descriptions(docstring: str) -> dict[str, str]:
    """Return what the attributes of a docstring say, by name."""
    found: dict[str, str] = {}
    name = ""
    for line in docstring.partition("Attributes:\n")[2].splitlines():
        if line.startswith("        ") and not line.startswith("         "):
            name, _, text = line.strip().partition(": ")
            found[name] = text
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found


FIELDS: Final = tuple(_fields())
