"""What happens in one round of the soak: which links, what each carries, how each ends.

Pure: all is drawn from the given randomness, so that a seed repeats it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from random import Random

from mosaik_actors.transport.close import CloseCode, CloseReason

FRAME_BYTES_MAX = 300 * 1024
ROUND_BYTES_MAX = 1536 * 1024
LINKS_MAX = 16
CODES = (CloseCode.SUCCESS, CloseCode.GRACEFUL_SHUTDOWN, CloseCode.STREAM_NO_CAPACITY, 777)


class Fate(Enum):
    """How a link ends."""

    DONE = "done"  # one side closes when both have all
    EARLY = "early"  # one side closes when it has written all, in the midst of what it gets
    ABORTED = "aborted"  # so too, and gives up what the other has not taken, in mid-frame
    REFUSED = "refused"
    UNSERVED = "unserved"
    CANCELLED = "cancelled"  # by the opener, before the acceptor answers


FATES = (Fate.DONE,) * 6 + (Fate.EARLY,) * 3 + tuple(Fate)


class How(Enum):
    """How frames are written."""

    LONE = "write"
    NOW = "write_now"
    MANY = "write_many"


@dataclass(frozen=True, slots=True)
class Frame:
    """A piece of the pool of random bytes."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Write:
    """Frames that are written at once, and for how many turns of the loop nothing follows."""

    how: How
    frames: tuple[Frame, ...]
    turns: int


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """One link; its sides are 0, which opens it, and 1, which accepts it.

    Attributes:
        number: What it is called; its header.
        opener: Which endpoint opens it.
        after_turns: When, in turns of the loop.
        fate: How it ends.
        closer: Which side closes it.
        reason: With what.
        writes: What each side writes.
        late_turns: For how many turns of the loop each side does not take what comes.
        is_patient: Whether each side waits for room before it writes more.
    """

    number: int
    opener: int
    after_turns: int
    fate: Fate
    closer: int
    reason: CloseReason
    writes: tuple[tuple[Write, ...], tuple[Write, ...]]
    late_turns: tuple[int, int]
    is_patient: tuple[bool, bool]

    def frames_of(self, side: int) -> list[Frame]:
        """Return all that a side writes."""
        return [frame for write in self.writes[side] for frame in write.frames]


@dataclass(frozen=True, slots=True)
class RoundPlan:
    """One round.

    Attributes:
        links: What is opened.
        cut_by: Which endpoint ends all connections in the midst of it, None for neither.
        cut_turns: When, in turns of the loop.
    """

    links: tuple[LinkPlan, ...]
    cut_by: int | None
    cut_turns: int


def plan_round(rng: Random, first_number: int) -> RoundPlan:
    """Draw one round, of links that are numbered from `first_number` on."""
    left_bytes = ROUND_BYTES_MAX
    links = []
    for number in range(first_number, first_number + rng.randint(1, LINKS_MAX)):
        writes = []
        for _ in range(2):
            some = _draw_writes(rng, left_bytes)
            left_bytes -= sum(frame.size for write in some for frame in write.frames)
            writes.append(some)
        links.append(
            LinkPlan(
                number,
                opener=rng.randrange(2),
                after_turns=rng.choice((0, 0, 1, 5, 20)),
                fate=rng.choice(FATES),
                closer=rng.randrange(2),
                reason=CloseReason(rng.choice(CODES), rng.choice(("", "enough", "x" * 200))),
                writes=(writes[0], writes[1]),
                late_turns=(rng.choice((0, 0, 0, 8)), rng.choice((0, 0, 0, 8))),
                is_patient=(rng.random() < 0.5, rng.random() < 0.5),
            )
        )
    cut_by = rng.randrange(2) if rng.random() < 0.25 else None
    return RoundPlan(tuple(links), cut_by, rng.randrange(40))


def _draw_writes(rng: Random, left_bytes: int) -> tuple[Write, ...]:
    writes = []
    for _ in range(rng.choice((0, 1, 2, 4, 8))):
        how = rng.choice(tuple(How))
        count = rng.choice((1, 3, 30)) if how is How.MANY else 1
        sizes = [_draw_size(rng, count) for _ in range(count)]
        if (left_bytes := left_bytes - sum(sizes)) < 0:
            break
        frames = tuple(Frame(rng.randrange(FRAME_BYTES_MAX), size) for size in sizes)
        writes.append(Write(how, frames, rng.choice((0, 0, 1, 3))))
    return tuple(writes)


def _draw_size(rng: Random, count: int) -> int:
    if rng.random() < 0.15 / count:
        return rng.randint(16 * 1024, FRAME_BYTES_MAX)
    return rng.choice((0, 1, rng.randrange(200), rng.randrange(200), rng.randrange(20_000)))
