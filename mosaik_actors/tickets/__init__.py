"""Tickets: who may take part, proven to everybody by what a peer's entry shows.

Start reading at `ticket` (what travels), then `validator` (who reads it).
"""
