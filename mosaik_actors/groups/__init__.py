"""Groups: Raft that stays safe while it organises itself.

Everywhere here `now` is monotonic time in seconds, `history` the id of a history, `raft` the log
of one, `replica` what the roles of Raft share and `context` what the pieces of a member share:
docstrings do not say so again.
"""
