"""Relays: nodes that cannot reach each other exchange sealed datagrams through a third."""
