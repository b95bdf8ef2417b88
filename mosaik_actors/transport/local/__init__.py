"""Unix sockets between processes of one user on one machine.

What it decides: how both ends prove who they are there (`identity`, pure), and who is
dialled and let in (`sockets`). How a socket is shared by streams is `transport.byte_streams`'.
Links, proofs of the network and limits are those of `transport.connection`, as for QUIC.

It may import the transport's own modules below the endpoint, and nothing else of the
library but ids, errors, clocks and encoding. Start reading with `sockets`.
"""
