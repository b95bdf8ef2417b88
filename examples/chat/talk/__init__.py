"""The chat: what is in a room, what one person sees of it, and the two ways to show that."""
