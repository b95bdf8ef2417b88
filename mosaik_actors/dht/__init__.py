"""The Mainline DHT: nodes that share nothing but a network's name meet there.

Decides: what is stored in the DHT and where (`chain`, `record`), and how (`node`).
Imports: ids, errors, the transport's addresses and keys. Nothing of discovery.

Where to start reading: `chain`, the sixteen slots of a network and what a node does with
them; then `node`, a DHT node without sockets (BEP 5, BEP 43, BEP 44), which `routing`,
`lookup`, `store`, `items`, `krpc` and `bencode` are the parts of. The actor that owns the
socket is `mosaik_actors.actors.dht`.
"""
