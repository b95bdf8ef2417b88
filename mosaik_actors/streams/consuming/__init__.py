"""What happens between a producer that was found and the application that takes its items.

`candidates` says which peers of the catalog will do, `preference` who of them is the best, with
`distances` where that matters. `subscriptions` decides to whom to subscribe, and when to try
again; `refusals` shows why some are not. `session` is one subscription that stands: sequence,
credit, acknowledgements. `links` has all of them, and asks the `window_pool` what each may have;
`inlet` is how frames come in, and `inbox` where items wait.

Start with `subscriptions`, then `links`. Imports `criteria`.
"""
