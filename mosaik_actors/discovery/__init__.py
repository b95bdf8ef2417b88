"""Discovery: how nodes that share only a network's name come to know each other."""
