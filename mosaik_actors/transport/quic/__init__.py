"""QUIC: how packets are made and read, with no socket and no clock.

Decides: what leaves in which datagram, and what a datagram means. One face for two engines:
`engine` on aioquic, with `bounded` for what a peer may make it hold, and `native` with the
packets of qh3, a tenth of the CPU where datagrams are small; `choice` says which connection
has which. `path_mtu` looks for the largest datagram that a path carries.

Imports: the transport's own words (addresses, frames, close reasons, identity, admission).
Only this room imports aioquic and qh3. Where to start reading: `engine`.
"""
