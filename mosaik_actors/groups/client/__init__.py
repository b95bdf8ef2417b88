"""One member's calls into its group: commands and strong reads, from any role.

`client` numbers commands, sends them to whoever leads, and sends them again until they are
answered, so that each runs exactly once (sessions: Raft thesis 6.3); `window` bounds what is
under way, `calls` keeps deadlines. `reads` asks again for strong reads while their time lasts.

Start with `client`. Imports `wire`, `raft` and `machine`.
"""
