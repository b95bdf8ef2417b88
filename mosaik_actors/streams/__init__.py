"""Typed publish/subscribe: producers, consumers, and the sessions between them."""
