"""Relays: how one starts and whom it serves, and how a node comes to use them."""

from .starting import relay_secrets, show_tickets, start_relay, use_relays

__all__ = ["relay_secrets", "show_tickets", "start_relay", "use_relays"]
