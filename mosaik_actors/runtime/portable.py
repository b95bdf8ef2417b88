"""Messages between a node's process and its isolated actors.

Only processes that the node has started itself talk this way, over a socket in
a directory that nobody else can enter; that is what makes pickle acceptable
here. Nothing from the network ever comes near it.

A frame is a 4-byte big-endian length and a pickled tuple. Addresses of the
node's actors, isolated ones among them, travel as their number: in the other
process such an address is a `RemoteAddress`, and becomes the actor's own address
again on its way back.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

from thespian.actors import ActorAddress, ActorSystemException, InvalidActorSpecification

HEADER_BYTES = 4
FRAME_BYTES_MAX = 256 * 1024 * 1024


class RemoteAddress(ActorAddress):
    """In an isolated process: the address of an actor in the node's process."""

    def __init__(self, number: int) -> None:
        super().__init__(f"node/{number}")
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteAddress) and other.number == self.number

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return self.number


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, number_of: Callable[[ActorAddress], int | None]) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._number_of = number_of

    def persistent_id(self, value: Any) -> int | None:
        return self._number_of(value) if isinstance(value, ActorAddress) else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, resolve: Callable[[int], ActorAddress]) -> None:
        super().__init__(file)
        self._resolve = resolve

    def persistent_load(self, number: int) -> ActorAddress:
        return self._resolve(number)


def dumps(value: Any, number_of: Callable[[ActorAddress], int | None]) -> bytes:
    """Pickle a message; `number_of` returns the number of an address of the node."""
    file = io.BytesIO()
    _Pickler(file, number_of).dump(value)
    return file.getvalue()


def loads(data: bytes, resolve: Callable[[int], ActorAddress]) -> Any:
    """Unpickle a message; `resolve` returns the address that has a number."""
    return _Unpickler(io.BytesIO(data), resolve).load()


def importable(actor_class: Any) -> tuple[str, str]:
    """Return the module and name of a class that another process can import.

    Raises:
        InvalidActorSpecification: It cannot.
    """
    if isinstance(actor_class, str):
        module, _, name = actor_class.rpartition(".")
        return module, name
    module, name = actor_class.__module__, actor_class.__qualname__
    if module == "__main__" or "." in name:
        raise InvalidActorSpecification(
            f"{module}.{name}",
            "an isolated actor's class must be importable by other processes: "
            "move it into a module of its own",
        )
    return module, name


def error_parts(error: BaseException) -> tuple[type, tuple[Any, ...], dict[str, Any]]:
    """Return what `rebuilt` makes an equal error of, whatever its constructor asks for."""
    parts = type(error), error.args, dict(error.__dict__)
    try:
        pickle.dumps(parts)
    except Exception:
        return ActorSystemException, (f"{type(error).__name__}: {error}",), {}
    return parts


def rebuilt(kind: type, args: tuple[Any, ...], attributes: dict[str, Any]) -> BaseException:
    """Return the error that `error_parts` has taken apart."""
    error: BaseException = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


def frame(*parts: Any) -> bytes:
    """Return a frame with a tuple of plain values and of messages from `dumps`."""
    data = pickle.dumps(parts, protocol=pickle.HIGHEST_PROTOCOL)
    if len(data) > FRAME_BYTES_MAX:
        raise ValueError(f"a message of {len(data)} bytes, expected {FRAME_BYTES_MAX} at most")
    return len(data).to_bytes(HEADER_BYTES) + data


class FrameReader:
    """Cuts a stream of bytes into the tuples of its frames."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[tuple[Any, ...]]:
        """Take bytes in and return the frames that are complete."""
        self._data += data
        frames: list[tuple[Any, ...]] = []
        while len(self._data) >= HEADER_BYTES:
            length = int.from_bytes(self._data[:HEADER_BYTES])
            if length > FRAME_BYTES_MAX:
                raise ValueError(f"a frame of {length} bytes, expected {FRAME_BYTES_MAX} at most")
            end = HEADER_BYTES + length
            if len(self._data) < end:
                break
            frames.append(pickle.loads(bytes(self._data[HEADER_BYTES:end])))  # noqa: S301
            del self._data[:end]
        return frames
