"""What happens to an item between `send` and the links of those who subscribed.

`parts` encodes what is sent, `runs` takes encoded batches apart and joins them, `outbox` holds
what waits for its turn. `sieve` divides it by what the subscribers' criteria let through.
`fanout` decides who gets how much and when: credit, rates, and who is too slow; `limits` are the
rates.

Start with `fanout`. Imports `criteria`.
"""
