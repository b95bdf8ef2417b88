"""What ``mosaik-actors top`` shows: rows of nodes, and one node in full. No terminal here.

The state is what keys change (`press`): the order of the rows, the selected one, and
whether it is shown in full. `overview_rows` and `detail_sections` give plain texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ..peer_text import printable
from .records import NodeStatus

Key = Callable[[NodeStatus], float | str]

COLUMNS: Final[Mapping[str, Key]] = {
    "node": lambda s: s.peer_id,
    "up": lambda s: -s.uptime_s,
    "peers": lambda s: -s.discovery.peers,
    "actors": lambda s: -s.actors.living,
    "queued": lambda s: -s.actors.queued,
    "items/s": lambda s: 0.0,  # by rate; see `Top.ordered`
    "streams": lambda s: -len(s.streams),
    "groups": lambda s: -len(s.groups),
    "loop": lambda s: -(s.loop.delay_max_s if s.loop is not None else 0.0),
}
KEYS: Final = "up/down select   enter details   esc back   s sort   r reverse   q quit"


@dataclass(frozen=True, slots=True)
class Silent:
    """A node without an answer.

    Attributes:
        peer_id: Who it is, in 64 digits.
        why: Why there is none.
    """

    peer_id: str
    why: str


@dataclass(slots=True)
class Top:
    """What is shown, and how.

    Attributes:
        sort: By which of `COLUMNS`.
        is_reversed: Whether the order is turned round.
        selected: The peer id of the selected node; empty for the first.
        is_detailed: Whether that one is shown in full.
        nodes: The newest snapshot of each node that answers.
        silent: Those that do not.
    """

    sort: str = "node"
    is_reversed: bool = False
    selected: str = ""
    is_detailed: bool = False
    nodes: dict[str, NodeStatus] = field(default_factory=dict)
    silent: list[Silent] = field(default_factory=list)
    _rates: dict[str, float] = field(default_factory=dict)

    def receive(self, nodes: Mapping[str, NodeStatus], silent: list[Silent]) -> None:
        """Take in one round of answers."""
        for peer_id, status in nodes.items():
            before = self.nodes.get(peer_id)
            if before is not None and status.uptime_s > before.uptime_s:
                elapsed_s = status.uptime_s - before.uptime_s
                self._rates[peer_id] = max(0.0, (_items(status) - _items(before)) / elapsed_s)
        self.nodes = dict(nodes)
        self.silent = sorted(silent, key=lambda one: one.peer_id)

    def rate(self, peer_id: str) -> float | None:
        """Return how many items a second went through a node's streams; None in the first round."""
        return self._rates.get(peer_id)

    def ordered(self) -> list[NodeStatus]:
        """Return the nodes in the order of their rows."""

        def key(status: NodeStatus) -> tuple[float | str, str]:
            if self.sort == "items/s":
                return -(self.rate(status.peer_id) or 0.0), status.peer_id
            return COLUMNS[self.sort](status), status.peer_id

        return sorted(self.nodes.values(), key=key, reverse=self.is_reversed)

    def shown(self) -> NodeStatus | None:
        """Return the selected node, None when there is none."""
        if self.selected in self.nodes:
            return self.nodes[self.selected]
        ordered = self.ordered()
        return ordered[0] if ordered else None

    def press(self, key: str) -> bool:
        """Take in a key; return whether to go on."""
        if key in ("q", "\x03"):
            return False
        if key in ("\n", "\r", "right"):
            self.is_detailed = self.shown() is not None
        elif key in ("esc", "left"):
            self.is_detailed = False
        elif key == "r":
            self.is_reversed = not self.is_reversed
        elif key == "s":
            names = list(COLUMNS)
            self.sort = names[(names.index(self.sort) + 1) % len(names)]
        elif key in ("up", "k", "down", "j"):
            self._move(-1 if key in ("up", "k") else 1)
        return True

    def _move(self, step: int) -> None:
        ids = [status.peer_id for status in self.ordered()]
        shown = self.shown()
        if shown is not None:
            at = ids.index(shown.peer_id) + step
            self.selected = ids[max(0, min(at, len(ids) - 1))]


def overview_rows(top: Top) -> list[tuple[str, ...]]:
    """Return one row for each node that answers; the columns are `COLUMNS`."""
    return [
        (
            status.peer_id[:10],
            duration(status.uptime_s),
            _of(status.discovery.peers, status.discovery.unreachable),
            str(status.actors.living),
            str(status.actors.queued),
            "-" if (rate := top.rate(status.peer_id)) is None else f"{rate:.0f}",
            str(len(status.streams)),
            _of(len(status.groups), sum(bool(group.why_offline) for group in status.groups)),
            "-" if status.loop is None else f"{status.loop.delay_max_s * 1000:.0f} ms",
        )
        for status in top.ordered()
    ]


def silent_lines(top: Top) -> list[str]:
    """Return one line for each node that does not answer."""
    return [f"{one.peer_id[:10]}  {printable(one.why)}" for one in top.silent]


Section = tuple[str, tuple[str, ...], list[tuple[str, ...]]]


def detail_sections(status: NodeStatus) -> list[Section]:
    """Return title, columns and rows of each part of one node that has something to show."""
    sections: list[Section] = [
        (
            "streams",
            ("stream", "role", "subs", "items", "bytes", "buffered"),
            [
                (
                    printable(s.name), printable(s.role), str(s.subscriptions), str(s.items),
                    str(s.bytes), str(s.buffered),
                )
                for s in status.streams
            ],
        ),
        (
            "groups",
            ("group", "role", "leader", "voters", "position", "log", "state"),
            [
                (
                    f"{printable(g.name) or 'group'}#{printable(g.group_id)[:10]}",
                    printable(g.role) or "-", printable(g.leader)[:10] or "-",
                    f"{g.voters}/{g.members}", str(g.position), str(g.log_bytes),
                    printable(g.why_offline) or "online",
                )
                for g in status.groups
            ],
        ),
        (
            "collections",
            ("collection", "kind", "elements", "version"),
            [
                (printable(c.name), printable(c.kind), str(c.elements), str(c.version))
                for c in status.collections
            ],
        ),
        (
            "peers",
            ("peer", "round trip", "state"),
            [
                (
                    printable(p.peer_id)[:10],
                    "-" if p.rtt_s is None else f"{p.rtt_s * 1000:.2f} ms",
                    "neighbour" if p.is_neighbour else "connected" if p.is_connected
                    else "known" if p.is_reachable else f"unreachable for {p.last_heard_s:.0f} s",
                )
                for p in status.peers
            ],
        ),
        (
            "actors",
            ("class", "actors", "queued", "handled", "slow"),
            [
                (printable(a.actor_class), str(a.count), str(a.queued), str(a.handled), str(a.slow))
                for a in sorted(status.actors.classes, key=lambda a: (-a.queued, -a.handled))
            ],
        ),
    ]  # fmt: skip
    return [section for section in sections if section[2]]


def duration(seconds: float) -> str:
    """Return a time as people read it: 42s, 3m10s, 5h02m, 3d04h."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def _of(count: int, bad: int) -> str:
    return f"{count} ({bad} away)" if bad else str(count)


def _items(status: NodeStatus) -> int:
    return sum(stream.items for stream in status.streams)
