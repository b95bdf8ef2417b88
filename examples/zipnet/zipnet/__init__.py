"""Anonymous broadcast: everybody reads what was said, and nobody can tell who said it."""
