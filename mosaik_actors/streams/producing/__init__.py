"""What happens to an item between `send` and the links of those who subscribed.

`encoding` encodes what is sent, `encoded` takes encoded batches apart and joins them, `outbox`
holds what waits for its turn. `publisher` takes from it what there is room for, and
`item_filter` divides that by what the subscribers' criteria let through; `undelivered` gives
back what nobody was there for. `fanout` decides who gets how much and when: credit, rates
(`limits`), and who is too slow; `subscriber` is one subscriber in it. `admission` says who may
become one.

Start with `fanout`. Imports `criteria`.
"""
