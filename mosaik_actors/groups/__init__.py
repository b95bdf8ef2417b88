"""Groups: Raft that stays safe while it organises itself."""
