"""Keeping what is in memory from Python's garbage collector for a while.

A full collection looks through all that a program has imported and made, which holds the loop for
tens of milliseconds, and one is due the sooner the more is made. While a long log is opened much is
made that is gone at once, and the log itself is a list that is looked through when it is young. So
what was there before is set aside: it is not garbage, or was not so far.

Rules:
    * Several holds may overlap; the last one that ends lets the collector at everything again.
    * What the program has frozen itself, before or meanwhile, stays frozen.
    * A hold that is forgotten ends with its owner.
"""

from __future__ import annotations

import gc
import threading


class CollectorHold:
    """Keeps the collector from all there is now, until `release`. May be used from any thread."""

    _lock = threading.RLock()  # a collection may end a forgotten one while another one begins
    _count = 0
    _frozen_count = 0  # objects that are set aside by holds; 0 for none

    def __init__(self) -> None:
        self._is_held = True
        with self._lock:
            if not CollectorHold._count and not gc.get_freeze_count():
                gc.freeze()
                CollectorHold._frozen_count = gc.get_freeze_count()
            CollectorHold._count += 1

    def release(self) -> None:
        """Let the collector go on. May be repeated."""
        with self._lock:
            if not self._is_held:
                return
            self._is_held = False
            CollectorHold._count -= 1
            if CollectorHold._count:
                return
            frozen_count, CollectorHold._frozen_count = CollectorHold._frozen_count, 0
            # What is more than before, the program has frozen meanwhile.
            if 0 < gc.get_freeze_count() <= frozen_count:
                gc.unfreeze()

    def __del__(self) -> None:
        self.release()
