"""Addresses and references, asks and their answers, and what the runtime decides about messages.

The lower floor of the runtime: nothing here knows of cells, hosts or the scheduler.
"""
