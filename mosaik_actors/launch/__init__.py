"""Running nodes from a file: settings and where they came from, one node, several processes."""
