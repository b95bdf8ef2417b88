"""Which peers this node believes in, and what it says of itself.

`catalog` takes in what others announce: it keeps the newest entry of each peer, and hands out
snapshots. The parts that it is made of each decide one thing: `judge` whether an entry is taken
in, `entry_store` how long it is kept, `capacity` who makes room when all is full, `reachability`
which of the known peers answer and on whose word; `local` and `advertisement` write this node's
own entry, `steady` dates it. `verdict` has one word for each thing that may become of an entry.

Start with `catalog`. Imports no other room; of discovery only entries, claims and measurements
(`entry`, `suspicion`, `rtt`).
"""
