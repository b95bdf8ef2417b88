"""Catching up: a member that joins or fell far behind gets the state from all others at once.

`settings` has the two ways, `SnapshotSync` and `LogReplaySync`. Of each there is a task (the
side that fetches: `snapshot_sync`, `log_replay`) and a provider (the side that serves:
`provider`). `fetch_plan` shares the parts out among peers, `parts_fetch` follows them,
`kept_snapshot` holds what a provider serves.

Start with `settings`, then `snapshot_sync`. Imports `wire`, `machine` and `raft`.
"""
