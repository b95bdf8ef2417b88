"""Actors of which one instance runs in a network: who holds one, and who may act.

`claims` is what all nodes agree on: a machine of a group, in which nodes claim names. `contender`
is one node's side: when to claim, to doubt, to answer, and when to stop acting. `fence` is the
check at whatever is acted on. The actor that puts them together is in ``custom/singleton.py``.
"""
