"""Machines of their own on this one: network namespaces, with NATs of every kind between them."""
