"""Connections between processes of one user on one machine: Unix sockets.

What it decides: how a byte stream is shared by streams (`engine`, a pure core with the face
of the QUIC engine), how both ends prove who they are there (`identity`, pure), and who is
dialled and let in (`sockets`). `port` moves bytes between a socket and its engine, and
`connection` is what the endpoint sees. Links, proofs of the network and limits are those of
`transport.connection`, as for QUIC.

It may import the transport's own modules below the endpoint, and nothing else of the
library but ids, errors, clocks and encoding. Start reading with `engine`.
"""
