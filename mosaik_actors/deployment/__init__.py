"""Services that share a network: their identities, their public surface, and their receipts."""
