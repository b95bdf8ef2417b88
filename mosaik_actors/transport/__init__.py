"""The network transport: endpoints, links, addresses; QUIC, and its in-memory twin."""
