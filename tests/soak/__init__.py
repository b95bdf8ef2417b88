"""A long life of two endpoints, made short: see `__main__`."""
