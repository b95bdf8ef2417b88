"""What happens when two histories of one group meet, and when a history lost its voters.

Two halves that each began a history, or were cut apart by force, become one without losing an
acknowledged command: one hosts, the other is closed and its commands run again in the host's
log, exactly once. `view` is what both need to see of a member; `merge` decides which one hosts,
`asking` and `hosting` are the two sides, `sending` and `replay` carry the commands, `notices`
says of what users are notified. `takeover` is for members in memory whose voters are all gone:
those that are left go on with what was committed.

Start with `merge`. Imports `wire`, `raft` and `machine`.
"""
