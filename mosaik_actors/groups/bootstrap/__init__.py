"""How a group begins: who is there, and who is in the first configuration.

Members that see each other and no history wait a little, then promise each other to begin one
together; a majority of promises makes it, so that two halves of a network do not begin two where
one was meant. `bootstrap` is the state machine, `transitions` its state and phases, `promises` what
a member has given and keeps, `peers` who takes part, `events` what comes out.

Start with `bootstrap`. Imports `wire` and `raft`.
"""
