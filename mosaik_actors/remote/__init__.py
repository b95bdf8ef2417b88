"""Actors of other nodes: what travels between them, and the references that lead to them."""
