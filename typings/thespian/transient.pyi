from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from thespian.actors import Actor

_A = TypeVar("_A", bound=type[Actor])

def transient(exit_delay: timedelta = ...) -> Callable[[_A], _A]: ...
def transient_idle(exit_delay: timedelta = ...) -> Callable[[_A], _A]: ...
