"""The QUIC endpoint, in four parts.

`quic` is the endpoint itself: what the rest of the library calls, and what connections
ask of their owner. `datagrams` finds the connection of each datagram that comes in, or
lets one begin; `outbound` has the flush of each loop turn, the timers and the paths;
`peers` knows which connections there are to whom.
"""

from .quic import QuicEndpoint as QuicEndpoint

__all__ = ["QuicEndpoint"]
