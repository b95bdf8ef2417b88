"""The member: composes all other rooms into one thing that an actor can drive.

`member` is the whole of it: a Raft replica, a mesh, a machine's host, a client, the ways to
begin, to catch up and to merge. `history` is its part in one history, from the first entry or
snapshot on; when it follows another history it gets a new one. `membership` decides as leader
who votes; `voter_changes`, `leaving`, `catching_up`, `compaction`, `commanding`, `saving` and
`merging` each do one thing of a member's life. `events` is what it tells the outside.

Start with `member`, then `history`. Imports `wire`, `storage`, `machine`, `raft`, `mesh`,
`client`, `bootstrap` and `merge`; no other room imports it.
"""
