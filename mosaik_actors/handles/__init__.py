"""The handles: what users hold, as coroutines and local reads, in front of the actors.

One module for each part of a node: `discovery`, `streams`, `groups`, `collections`; the
`*_declarations` are the forms that are written once and bound to a network later, the
`*_waits` what a `when()` gives, `channels` a stream's channels as users see them, and
`catalog_state` what the discovery handle shows. A handle
checks its arguments, tells an actor, and waits; it decides nothing about the protocol.

Start with `streams`. Imports everything but `network`; only `network`, the package's face and the
command line import it.
"""
