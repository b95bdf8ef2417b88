"""Consensus on one log, as in the Raft thesis (Ongaro 2014).

`Raft` (in `raft`) is what everything above drives: put a message, a proposal or the time in, drain
`next_ready` for what to save, send and apply. Its base in `replica` has the term, the vote and the
log, and its three roles have a file each:

    election        `candidate` (3.4, pre-vote 9.6); who may be voted for: `replica`
    commit rule     `quorum` (a majority, and of this term only: 3.6.2), used by `leader`
    replication     `replication`, `progress` (what each peer has), `log`
    snapshot        `log` (compaction), `follower` (what is missing), see room `sync`
    membership      `leader` proposes, `wire.configuration` is what it proposes (4.1: one at a time)
    strong reads    `read_index` (6.4)
    idle            `quiescence`: leader and followers with nothing to do send no heartbeats
    disk            `durability` (what is saved may count), `ready` (in which order), `pending_io`

Pure: no loop, socket, clock or disk. Imports `wire` and, for types, `storage`.
"""
