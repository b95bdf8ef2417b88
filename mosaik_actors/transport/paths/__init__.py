"""Direct paths of peers that met through a relay: which way a datagram goes, below QUIC.

Decides: where a peer may be reached (`candidates`), whether it is (`probes`), and so whether
its datagrams go there or through the relay (`selector`). `observed` asks relays what others see
as this node's address. `driver` joins these to sockets, links and timers; all else is pure.

Imports: the transport's own words, and the path MTU search. Where to start reading: `selector`.
"""
