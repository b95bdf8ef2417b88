"""Which members are connected, and that each is who it says and has the key.

Every member keeps a *bond*, one link, with every other. `mesh` decides whom to dial and whom
to accept; `handshake` proves the key both ways without showing it; `redial` and `attempts` say
when to try again; `bond` watches one link (beats, silence), `topology` what is reachable over
whom, `peer_heartbeats` one heartbeat per connection for all groups of a node. `key` makes the
key from a secret.

Start with `mesh`. Imports `wire`.
"""
