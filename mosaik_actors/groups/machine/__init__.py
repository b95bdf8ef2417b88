"""The replicated state machine: what users write, and what runs it.

`machine` is what a user's class promises: the same commands in the same order give the same
state. `host` applies committed entries to it, once each: `sessions` knows which commands ran
already, `ledger` which histories they came from. `runner` gives them to the machine, many at a
time. `snapshot` and `payloads` are its bytes. `state_sync` and `sync_roles` say what a way of
catching up is; the ways themselves are in `sync`.

Start with `machine`, then `host`. Imports `wire`.
"""
