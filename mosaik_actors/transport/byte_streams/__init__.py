"""Connections whose bytes come whole and in order: over Unix sockets, and over TLS.

What it decides: how one byte stream is shared by many streams (`engine`, a pure core with
the face of the QUIC engine). `port` moves bytes between a socket and its engine, `listening`
takes new sockets in, and `connection` is what the endpoint sees. Who is at the other end is
proven elsewhere: in `transport.local` for Unix sockets, in `transport.tls` for TCP.

It may import the transport's own modules below the endpoint, and nothing else of the
library but ids, errors, clocks and encoding. Start reading with `engine`.
"""
