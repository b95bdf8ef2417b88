"""The numbered commands of a client, compared with a slow and obvious account."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.groups.client.window import ClientWindow


class Account:
    """All payloads ever, by number."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    def bytes_of(self, first: int, end: int) -> int:
        return sum(len(payload) for payload in self.payloads[first - 1 : end - 1])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_window_agrees_with_a_plain_account(seed: int) -> None:
    rng, window, account = Random(seed), ClientWindow(), Account()
    for _ in range(80):
        step = rng.randrange(4)
        if step == 0:
            added = tuple(bytes(rng.randrange(9)) for _ in range(rng.randrange(1, 6)))
            account.payloads += added
            assert window.add(added, sum(map(len, added))) == len(account.payloads)
        elif step == 1 and window.has_unsent:
            first, payloads = window.take()
            assert payloads == tuple(account.payloads[first - 1 : window.next_sent - 1])
            assert payloads
        elif step == 2:
            window.go_back(rng.randint(window.base, max(window.base, window.next_sent)))
        elif step == 3:
            before = window.base
            # Any that is numbered may be answered: by a copy sent before going back.
            window.base = rng.randint(window.base, window.next_number)
            assert window.settle() == (window.base > before)
        assert window.base <= window.next_sent <= window.next_number
        assert window.count == len(account.payloads) - window.base + 1
        assert window.sent_bytes == account.bytes_of(window.base, window.next_sent)
        assert window.unsent_bytes == account.bytes_of(window.next_sent, window.next_number)
        assert window.byte_count == account.bytes_of(window.base, window.next_number)


def test_answered_payloads_are_let_go() -> None:
    window = ClientWindow()
    for number in range(1, 10_001):
        window.add((b"x",), 1)
        window.take()
        window.base = number - 3 if number > 3 else 1
        window.settle()
    assert len(window._payloads) < 20
