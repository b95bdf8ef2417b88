"""To which few peers this node keeps links, and how news of all others comes over them.

`gossip` is what an actor drives; it composes the others. `overlay` decides whom to have as
neighbours (HyParView); it goes by `addresses` (where peers are) and `pauses` (whom not to dial
for a while), and `edges` is what it wants done. `broadcast` decides which neighbours get an
announcement at once and which only hear that there is one (Plumtree); `announcements` is what it
spreads. `exchange` brings what neighbours say to the catalog, which decides what is true, and
what that accepts back to the gossip. `link_roles` knows what each link is for, `asked_syncs`
which exchanges of entries somebody waits for.

Start with `gossip`, then `overlay`. Imports `catalog`.
"""
