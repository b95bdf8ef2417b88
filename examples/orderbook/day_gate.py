"""Lets each trader's orders through in order, without a gap and without a repetition.

An exchange that begins to lead has missed orders that the one before had taken. If it took the
next ones, the book would refuse those for ever, for it knows a trader's last number only. So what
comes out of order is held back here; who sent it sends again what was not reported.

A pure state machine of one exchange, for as long as it leads.
"""

from collections.abc import Iterable

from book import Command, Done


class Gate:
    """Knows the last number of each trader that was let through."""

    def __init__(self, last_numbers: dict[str, int]) -> None:
        self.last_numbers = dict(last_numbers)
        self.held_back = 0

    def sort(self, commands: Iterable[Command]) -> tuple[list[Command], list[Command]]:
        """Return those that go on into the book, and those that it has already."""
        fresh: list[Command] = []
        known: list[Command] = []
        for command in commands:
            last = self.last_numbers.get(command.trader, 0)
            if command.number == last + 1:
                self.last_numbers[command.trader] = command.number
                fresh.append(command)
            elif command.number <= last:
                known.append(command)
            else:
                self.held_back += 1
        return fresh, known


NOTHING_NEW = Done(is_new=False)
