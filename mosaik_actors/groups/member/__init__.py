"""The member: composes all other rooms into one thing that an actor can drive.

`member` is the whole of it: what comes from links, from this node and from time goes through
it. `following` says which history the member follows, from how it begins to how it is merged
into another one; `history` is its part in that one. `membership` decides as leader who votes;
`voter_changes`, `availability`, `leaving`, `catching_up`, `compaction`, `commanding`, `saving`,
`continuing` and `own_status` each do one thing of its life. `context` is what they
share, `events` what it publishes.

Start with `member`, then `following`, then `history`. Imports `wire`, `storage`,
`machine`, `raft`, `mesh`, `client`, `bootstrap` and `merge`; no other room imports it.
"""
