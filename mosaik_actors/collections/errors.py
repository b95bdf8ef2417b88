"""What a write to a collection may meet: not now, or never again.

* `CollectionOffline`: it was not committed in time. Try again later, unless
  `may_take_effect` says that it may have been.
* `NetworkDown`: this replica has ended. Open the collection anew.
"""

from __future__ import annotations

from typing import Any

from ..errors import Closed, Offline


class CollectionOffline(Offline):
    """A write was not committed in time; `value` is what was to be written.

    Of an `extend` the items that are not known to be written, the others are;
    of a method with several arguments a tuple of them, in order; None when it
    has none.

    Attributes:
        may_take_effect: False: it never left this node and never will take
            effect. True: it may have been, or still be, committed.
    """

    def __init__(self, value: Any = None, reason: str = "", may_take_effect: bool = False) -> None:
        Exception.__init__(self, reason, may_take_effect)
        self.value = value
        self.reason = reason
        self.may_take_effect = may_take_effect

    def __str__(self) -> str:
        fate = "may still take effect" if self.may_take_effect else "did not take effect"
        return f"the collection is offline ({self.reason}); the write {fate}"


class NetworkDown(Closed):
    """This replica has ended: the network handle is closed, or its storage or machine failed.

    `value` is what was not written, `reason` says why; the cause is chained.
    """

    def __str__(self) -> str:
        return f"the collection has ended at this node: {self.reason or 'closed'}"
