"""Custom actors: `MosaikActor`, what it holds, and ``net.actors``."""
