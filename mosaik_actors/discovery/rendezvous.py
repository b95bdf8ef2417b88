"""Same-host rendezvous: the form of the notices, and when to look for them.

Each node leaves one small file in a folder that belongs to its user and its
network, and looks for the files of others there. The folder's name is derived from
the network's key; a network with several secrets has a folder for each, so that
nodes find each other while a secret is changed. A notice is only a hint: the
address in it is dialled, and who answers proves who it is.

A notice is a few lines of text::

    mosaik rendezvous 1
    addr <a peer address in one line>
    listens unix tcp quic
    pid 4711
    start 1700000000.25

Lines with other first words are skipped. A file's name is the peer's id and
sixteen random digits, so that no name is ever used twice: a file found to be
stale can be removed without the risk of removing its successor.

The files themselves, and how a dead process's file is told from a living one's,
are the business of `mosaik_actors.actors.rendezvous`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from random import Random

import msgspec

from ..errors import DecodeError
from ..ids import PeerId
from ..transport.address import PeerAddr
from ..transport.admission import NetworkKeys
from .entry import CARRIER_COUNT_MAX, CARRIER_LENGTH_MAX

NOTICE_BYTES_MAX = 8 * 1024
NOTICE_COUNT_MAX = 1024
POLL_MIN_S = 0.1
POLL_MAX_S = 5.0

_FOLDER_CONTEXT = "mosaik_actors 2026 rendezvous folder"
_NOTICES_KEPT = 4096  # the nodes of one process find the same ones
_FIRST_LINE = "mosaik rendezvous 1"
_NAME = re.compile(r"([0-9a-f]{64})-[0-9a-f]{16}\.peer")


class RendezvousNotice(msgspec.Struct, frozen=True):
    """What a node leaves for others on the same machine.

    Attributes:
        addr: Where it can be reached, and what it listens with.
        pid: Its process, for people.
        started_at: When it started, in seconds since the Unix epoch, for people.
    """

    addr: PeerAddr
    pid: int
    started_at: float


def folder_names(keys: NetworkKeys) -> list[str]:
    """Return the names of a network's folders, one for each of its keys."""
    return [key.hex() for key in keys.derive(_FOLDER_CONTEXT)]


def make_name(peer_id: PeerId, rng: Random) -> str:
    """Return a file name for a peer's notice that was never used before."""
    return f"{peer_id}-{rng.getrandbits(64):016x}.peer"


def parse_name(name: str) -> PeerId | None:
    """Return whose notice a file is by its name; None when it is no notice."""
    match = _NAME.fullmatch(name)
    return None if match is None else PeerId(match.group(1))


def format_notice(notice: RendezvousNotice) -> bytes:
    """Return the content of a notice's file."""
    lines = (
        _FIRST_LINE,
        f"addr {notice.addr}",
        f"listens {' '.join(notice.addr.carriers)}",
        f"pid {notice.pid}",
        f"start {notice.started_at!r}",
    )
    return ("\n".join(lines) + "\n").encode()


@lru_cache(maxsize=_NOTICES_KEPT)
def parse_notice(name: str, data: bytes) -> RendezvousNotice:
    """Return the notice in a file.

    Raises:
        DecodeError: The file is too large, not a notice, or about another peer
            than its name says.
    """
    peer_id = parse_name(name)
    if peer_id is None:
        raise DecodeError(f"{name!r} is not the name of a notice")
    if len(data) > NOTICE_BYTES_MAX:
        raise DecodeError(f"a notice of {len(data)} bytes, at most {NOTICE_BYTES_MAX}")
    try:
        first, *rest = data.decode("ascii").split("\n")
        if first != _FIRST_LINE:
            raise ValueError(f"it begins with {first[:40]!r}")
        words = dict(line.partition(" ")[::2] for line in rest)
        addr = replace(PeerAddr.parse(words["addr"]), carriers=_carriers(words.get("listens", "")))
        notice = RendezvousNotice(addr, int(words["pid"]), float(words["start"]))
    except (ValueError, KeyError) as exc:
        raise DecodeError(f"{name!r} is not a notice: {exc}") from exc
    if notice.addr.peer_id != peer_id:
        raise DecodeError(f"{name!r} is a notice about {notice.addr.peer_id.short}")
    return notice


def _carriers(words: str) -> tuple[str, ...]:
    """Return what a notice says that its node listens with; nothing where it does not say."""
    carriers = tuple(words.split())
    if len(carriers) > CARRIER_COUNT_MAX or max(map(len, carriers), default=0) > CARRIER_LENGTH_MAX:
        raise ValueError(f"it names {len(carriers)} carriers, or too long ones")
    return carriers


class PollSchedule:
    """When to look at the folder: often at first, then less and less.

    ``now`` is monotonic time in seconds.
    """

    def __init__(self, rng: Random, *, now: float) -> None:
        self._rng = rng
        self._wait_s = POLL_MIN_S
        self._due_at = now

    def get_timer(self) -> float:
        """Return when to look, in monotonic seconds."""
        return self._due_at

    def receive_look(self, *, has_news: bool, now: float) -> None:
        """Note that somebody looked. News make it look often again."""
        self._wait_s = POLL_MIN_S if has_news else min(self._wait_s * 2, POLL_MAX_S)
        self._due_at = now + self._wait_s * (0.75 + self._rng.random() / 2)
