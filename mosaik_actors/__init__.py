"""Self-organizing, leaderless distributed systems, as actors over QUIC."""
