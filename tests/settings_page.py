"""The page of settings, written from the code: ``python -m tests.settings_page`` writes it anew.

Names, defaults and descriptions are those of the classes and their docstrings, so the page says
what the code does; `test_docs` compares it.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Final

from mosaik_actors import (
    ActorsConfig,
    Backoff,
    CollectionConfig,
    ConsensusConfig,
    DhtConfig,
    DiscoveryConfig,
    GroupsConfig,
    LogReplaySync,
    Mailbox,
    Network,
    Preference,
    RelayConfig,
    Restart,
    RuntimeConfig,
    SnapshotSync,
    StreamsConfig,
    TeeConfig,
    TransportConfig,
)

PAGE: Final = Path(__file__).parents[1] / "docs" / "settings.md"
SETTINGS: Final[tuple[tuple[type, str], ...]] = (
    (Network, "Given to `Network(...)` or `Network.start(...)`."),
    (DiscoveryConfig, "Given as `Network(discovery=...)`."),
    (DhtConfig, "Given as `Network(dht=...)`."),
    (StreamsConfig, "Given as `Network(streams=...)`."),
    (Backoff, "Given as `StreamsConfig(backoff=...)`."),
    (Preference, "Given as `prefer=`; made by `nearest()`, `best()`, `with_tags()`."),
    (GroupsConfig, "Given as `Network(groups=...)`. Each node may have its own."),
    (ConsensusConfig, "Part of a group's id: all its members must agree."),
    (CollectionConfig, "Given as `config=` of a collection, or one by one."),
    (SnapshotSync, "Given as `state_sync` of a machine or a collection; the default."),
    (LogReplaySync, "Given as `state_sync` of a machine or a collection."),
    (TransportConfig, "Given as `Network(transport=...)`."),
    (RelayConfig, "Given as `Network(relay=...)`, where addresses are not enough."),
    (TeeConfig, "Given as `Network(tee=...)`."),
    (ActorsConfig, "Given as `Network(actors=...)`."),
    (Restart, "Given as `supervision=` of an actor."),
    (Mailbox, "Given as `mailbox=` of an actor."),
    (RuntimeConfig, "Given to `AsyncActorSystem.start(config=...)`."),
)  # fmt: skip
HEAD: Final = """# Settings

Every setting there is, with its default. Durations are seconds, or a `timedelta`. What is out of
range raises `ConfigError`, which names the setting and the range.

"""


def render() -> str:
    """Return the page."""
    return HEAD + "\n".join(_section(owner, use) for owner, use in SETTINGS)


def _section(owner: type, use: str) -> str:
    rows = [
        f"| `{name}` | {_shown(default)} | {text} |"
        for name, default, text in _settings(owner)
    ]  # fmt: skip
    head = [
        f"## {owner.__name__}",
        "",
        use,
        "",
        "| Setting | Default | Meaning |",
        "| --- | --- | --- |",
    ]
    return "\n".join([*head, *rows, ""])


def _settings(owner: type) -> list[tuple[str, Any, str]]:
    texts = _descriptions(inspect.getdoc(owner) or "")
    defaults: dict[str, Any] = {}
    if is_dataclass(owner):
        for field in fields(owner):
            made = (
                field.default_factory() if field.default_factory is not MISSING else field.default
            )
            defaults[field.name] = made
    else:
        signature = inspect.signature(owner)
        defaults = {
            parameter.name: MISSING if parameter.default is parameter.empty else parameter.default
            for parameter in signature.parameters.values()
        }
    missing = defaults.keys() ^ texts.keys()
    assert not missing, f"{owner.__name__}: described or defined, not both: {sorted(missing)}"
    return [(name, default, texts[name]) for name, default in defaults.items()]


def _descriptions(docstring: str) -> dict[str, str]:
    """Return what the Args or Attributes of a docstring say, by name."""
    blocks = re.findall(
        r"^(?:Args|Attributes):\n((?:    .*\n?|\n)*)", docstring, flags=re.MULTILINE
    )
    found = re.findall(r"^    (\w+): (.*(?:\n     +.*)*)", "\n".join(blocks), flags=re.MULTILINE)
    return {name: _in_a_cell(text) for name, text in found}


def _in_a_cell(text: str) -> str:
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


def _shown(default: Any) -> str:
    if default is MISSING:
        return "(required)"
    if is_dataclass(default) and not isinstance(default, type):
        return f"`{type(default).__name__}()`"
    return f"`{default!r}`"


if __name__ == "__main__":
    PAGE.write_text(render())
