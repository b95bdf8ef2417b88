"""What happens between a producer that was found and the application that takes its items.

`subscriptions` decides to whom to subscribe, and when to try again; `preference` who of several
is the best. `session` is one subscription that stands: sequence, credit, acknowledgements.
`window_pool` divides what may wait here among the sessions, and `inbox` is where it waits.

Start with `subscriptions`. Imports no other room.
"""
