"""Relays: how one starts and whom it serves, and how a node comes to use them."""

from .starting import RELAY_CARRIERS, relay_secrets, show_tickets, start_relay, use_relays

__all__ = ["RELAY_CARRIERS", "relay_secrets", "show_tickets", "start_relay", "use_relays"]
