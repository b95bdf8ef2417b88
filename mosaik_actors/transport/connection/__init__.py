"""One connection to one peer, whatever carries its bytes.

What it decides: how both sides prove that they are of one network (`proving`), how links share
a connection (`connection`) and one stream each (`stream_link`), what is kept of streams before
they have opened a link (`unopened`) and after it has ended (`ended`). `owner` is what a connection
asks of its endpoint.

It may import the modules of the transport beside it: frames, admission, the face of engines,
settings. The carriers' rooms and the endpoint import it. Start reading with `connection`.
"""
