"""A day of orders for one market, from a seed: lively at the open and the close, calm at noon.

Some traders quote on both sides of a price that wanders, cancel, and quote again; some take what
is there. Pure: the same seed gives the same day.
"""

from collections.abc import Iterator
from math import cos, pi
from random import Random

from book import SIDES, Cancel, Place

TRADERS = tuple(f"t{number:02}" for number in range(20))
OPENING_PRICE = 10_000


def liveliness(part: float) -> float:
    """Return how far prices move at a part of the day, from 0 to 1: a U, as on real markets."""
    return 1.0 + 0.8 * cos(2 * pi * part)


def day_of_orders(count: int, seed: int = 1) -> Iterator[Place | Cancel]:
    """Yield the day's orders and cancellations, each trader's numbered from 1."""
    rng = Random(seed)
    numbers = dict.fromkeys(TRADERS, 0)
    placed: dict[str, list[int]] = {trader: [] for trader in TRADERS}
    price = float(OPENING_PRICE)
    for index in range(count):
        move = liveliness(index / count)
        price = max(1000.0, price + rng.gauss(0, 0.9 * move))
        trader = rng.choice(TRADERS)
        numbers[trader] += 1
        number, own = numbers[trader], placed[trader]
        kind = rng.random()
        if kind < 0.35 and own:
            yield Cancel(trader, number, own.pop(rng.randrange(len(own))))
            continue
        side = rng.choice(SIDES)
        away = -1 if side == "buy" else 1
        if kind < 0.85:  # rests near the price
            at = price + away * (1 + rng.expovariate(0.2 / move))
            own.append(number)
            del own[:-50]
        else:  # takes what is there
            at = price - away * 5 * move
        yield Place(trader, number, side, max(1, round(at)), rng.randint(1, 100))
