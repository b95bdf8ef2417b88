"""Collections: Python's containers, the same on every node."""
