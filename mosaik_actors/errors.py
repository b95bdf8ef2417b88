"""What goes wrong on purpose, and whose fault it is.

Everything raised deliberately derives from `MosaikError`. The class says who
can do something about it and whether trying again makes sense; the instance
keeps the values, so that a caller never has to parse a message:

    * `ConfigError`: the caller's settings are wrong. Fix them.
    * `Offline` and its kin: not now. `value` was not accepted; try again later.
    * `NotAdmitted`: a network has a gate, and this node did not pass it. `gate` says which.
    * `TransportError`: a link or connection failed. The cause is chained.
    * `RemoteError`: a peer broke a rule. `close_code` is what it is sent.

Errors that carry a value survive pickling, because actors send them across
process boundaries: its attributes are pickled. A value is not among its
``args``: these are written wherever an error is, and a value may be of any size.
Texts are built in ``__str__``, values in them cut short.
"""

from __future__ import annotations

from typing import Any

from .peer_text import printable


class MosaikError(Exception):
    """The base of every error this library raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, self.__dict__)


class ConfigError(MosaikError, ValueError):
    """A setting is wrong; the text names the setting, the value and what was expected."""


class WrongThread(MosaikError, RuntimeError):
    """A blocking call was made where it would stop the event loop it waits for."""


class Offline(MosaikError):
    """Not accepted now; try again later. `value` is what was not accepted."""

    def __init__(self, value: Any = None, reason: str = "") -> None:
        super().__init__(reason)
        self.value = value
        self.reason = reason

    def __str__(self) -> str:
        return self.reason or f"not online, nothing was accepted: {clip(self.value)}"


class ProducerOffline(Offline):
    """The producer's online condition does not hold; `value` is the item or items not sent."""


class GroupOffline(Offline):
    """The group did not commit in time; `value` is the command, or the list of commands.

    Attributes:
        may_take_effect: False: they never left this node and never will take
            effect. True: they may have been, or still be, committed; to send
            them again might apply them twice.
    """

    def __init__(self, value: Any = None, reason: str = "", may_take_effect: bool = False) -> None:
        Exception.__init__(self, reason, may_take_effect)
        self.value = value
        self.reason = reason
        self.may_take_effect = may_take_effect

    def __str__(self) -> str:
        fate = "may still take effect" if self.may_take_effect else "will not take effect"
        return f"the group is offline ({self.reason}); {fate}: {clip(self.value)}"


class QueryOffline(Offline):
    """The group did not answer a query in time; `value` is the query. It may be repeated."""


class ResultError(MosaikError, TypeError):
    """What `apply` returned is not of the machine's `Result`; the command was applied.

    Attributes:
        position: Where it was applied.
        got: The class of what was returned.
    """

    def __init__(self, position: int, got: str) -> None:
        super().__init__(position, got)
        self.position = position
        self.got = got

    def __str__(self) -> str:
        return (
            f"apply returned a {self.got} for the command at position {self.position}, expected "
            "one of the machine's Result; the command was applied"
        )


class NoCommands(MosaikError, ValueError):
    """There are no commands to execute."""


class GroupTerminated(MosaikError):
    """This member of the group has ended; `value` is what was not accepted.

    Attributes:
        reason: Why: it left, its machine failed, or its storage did. The cause
            is chained.
    """

    def __init__(self, value: Any = None, reason: str = "") -> None:
        super().__init__(reason)
        self.value = value
        self.reason = reason

    def __str__(self) -> str:
        return f"this member of the group has ended: {self.reason}"


class Full(MosaikError):
    """A bounded buffer has no room; `value` is what was not accepted."""

    def __init__(self, value: Any = None) -> None:
        super().__init__()
        self.value = value

    def __str__(self) -> str:
        return f"no room left, not accepted: {clip(self.value)}"


class Empty(MosaikError):
    """There is nothing to take at this moment."""


class Closed(MosaikError):
    """The handle, or what stands behind it, is closed; `value` is what was not accepted."""

    def __init__(self, value: Any = None, reason: str = "") -> None:
        super().__init__(reason)
        self.value = value
        self.reason = reason

    def __str__(self) -> str:
        return self.reason or "closed"


class AlreadyExists(MosaikError):
    """There is one already; `existing` is it."""

    def __init__(self, existing: Any, what: str = "") -> None:
        super().__init__(what)
        self.existing = existing
        self.what = what

    def __str__(self) -> str:
        return f"{self.what or clip(self.existing)} exists already"


class NotAdmitted(MosaikError):
    """This node was refused at a gate of a network. Trying again alone does not help.

    Attributes:
        gate: Which gate it was: "network" for the network's id and secret, which both
            sides prove to each other before anything else; "allow" for a list of peers
            that are allowed, which does not have this one; "deny" for a ban of this one;
            "conduct" when it broke too many rules; "key" when another node is connected
            with the same secret key.
    """

    gate = ""


class TransportError(MosaikError, OSError):
    """A link, connection or socket failed; the cause is chained."""


class RemoteError(MosaikError):
    """A peer broke a rule. `close_code` is the code its link is closed with."""

    def __init__(self, text: str, close_code: int = 400) -> None:
        text = printable(text)  # much of it may be the peer's own words
        super().__init__(text, close_code)
        self.text = text
        self.close_code = close_code

    def __str__(self) -> str:
        return self.text


class DecodeError(RemoteError, ValueError):
    """Bytes from a peer or a file are not what they should be."""


def _restored(
    kind: type[MosaikError], args: tuple[Any, ...], attributes: dict[str, Any]
) -> MosaikError:
    """Return a pickled error: its class may want other arguments than it has."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


def clip(value: object, length_max: int = 200) -> str:
    """Return a value as a short text. Raises nothing, whatever the value's ``repr`` does."""
    try:
        if isinstance(value, str | bytes | bytearray) and len(value) > length_max:
            value = value[:length_max]  # a text of it all would take a while
        text = str(value) if isinstance(value, Exception) else repr(value)
    except Exception as exc:  # an integer of too many digits, a record's own __repr__
        text = f"a {type(value).__qualname__} without a text: {type(exc).__name__}"
    return text if len(text) <= length_max else text[: length_max - 3] + "..."
