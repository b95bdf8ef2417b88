"""The actors of a node, one file each."""
