"""To which few peers this node keeps links, and how news of all others comes over them.

`gossip` is what an actor drives; it composes the others. `overlay` decides whom to have as
neighbours (HyParView), `broadcast` which of them gets an announcement at once and which only
hears that there is one (Plumtree). What is true of a peer the catalog decides, not this room.

Start with `gossip`, then `overlay`. Imports no other room; of discovery only entries, frames and
measurements (`entry`, `wire`, `rtt`).
"""
