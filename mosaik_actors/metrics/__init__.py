"""What a node shows of itself: the snapshot, the metrics made of it, and how they travel."""
