"""To which few peers this node keeps links, and how news of all others comes over them.

`gossip` is what an actor drives; it composes the others. `overlay` decides whom to have as
neighbours (HyParView), with `addresses` (where peers are), `pauses` (whom not to dial for a while)
and `edges` (what it wants done); `broadcast` which of them gets an announcement at once and which only
hears that there is one (Plumtree). `exchange` brings what neighbours say to the catalog, which
decides what is true, and what it accepts back to the gossip. `link_roles` knows what each link
is for, `asked_syncs` which exchanges of entries somebody waits for.

Start with `gossip`, then `overlay`. Imports `catalog`.
"""
