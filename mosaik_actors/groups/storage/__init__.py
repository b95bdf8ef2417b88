"""Where a member keeps its log, its vote and its snapshot.

`interface` says what a storage promises (a batch is saved whole or not at all, and is on
the disk when `save` returns) and has the one in memory. `sqlite` is the durable one; its
helpers hold the lock, the write-ahead log's sync, and the mark that tells a copied or
restored file from the original. `docs/storage.md` has the promises in full.

Imports `wire`. May block: a worker thread calls it.
"""
