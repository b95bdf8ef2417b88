"""TLS 1.3 over TCP.

What it decides: how both ends prove their `PeerId`, and what binds a proof to one session
(`session`, OpenSSL without its sockets); and who is dialled and let in (`sockets`). How the
byte stream is shared by streams is `transport.byte_streams`'. `port` puts a session between
a socket and its engine.

It may import the transport's own modules below the endpoint, and nothing else of the
library but ids, errors, clocks and encoding. Start reading with `session`.
"""
