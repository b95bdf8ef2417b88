"""What the two programs agree on: one type. Its module and name are the stream's id."""

import msgspec


class Price(msgspec.Struct, frozen=True):
    symbol: str
    value: float
    number: int
