"""The actors of the conformance suite: importable, so that any process can run them."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from thespian.actors import (
    Actor,
    ActorAddress,
    ActorExitRequest,
    ActorTypeDispatcher,
    ChildActorExited,
    DeadEnvelope,
    LoadedSource,
    PoisonMessage,
    ThespianWatch,
    UnloadedSource,
    ValidatedSource,
    ValidateSource,
    WakeupMessage,
    WatchMessage,
    requireCapability,
)
from thespian.initmsgs import initializing_messages
from thespian.transient import transient
from thespian.troupe import troupe

from mosaik_actors.runtime import TypeDispatcher

HERE = __name__


class Echo(Actor):
    """Answers what is not the system's with ("echo", message)."""

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if not isinstance(message, ActorExitRequest):
            self.send(sender, ("echo", message))


class ShowArguments(Actor):
    def __init__(self, capabilities: dict[str, Any], requirements: Any) -> None:
        self.color = capabilities["Color"]
        self.requirements = requirements

    @staticmethod
    def actorSystemCapabilityCheck(capabilities: dict[str, Any], requirements: Any) -> bool:
        return bool(capabilities.get("Color") == requirements.get("need"))

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if message == "show":
            self.send(sender, (self.color, self.requirements))


@requireCapability("Fast")
@requireCapability("Color", "Blue")
class NeedsBlueAndFast(Echo):
    pass


@requireCapability("Color", "Red")
class NeedsRed(Echo):
    pass


@requireCapability("Switch")
class NeedsSwitch(Echo):
    pass


class CannotStart(Actor):
    def __init__(self) -> None:
        raise RuntimeError("cannot start")


@dataclass(frozen=True)
class Create:
    actor_class: Any
    requirements: Any = None
    global_name: str | None = None


@dataclass(frozen=True)
class Forward:
    to: ActorAddress
    message: Any


class Parent(Actor):
    """Creates children, forwards, and tells its first customer what the system says.

    Of each exit it tells once: multiprocTCPBase may notice one twice, by the
    message of the child and by the end of its process.
    """

    def __init__(self) -> None:
        self.customer: ActorAddress | None = None
        self.exited: list[ActorAddress] = []

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, Create):
            self.customer = self.customer or sender
            child = self.createActor(
                message.actor_class, message.requirements, globalName=message.global_name
            )
            # Through self, because a child's address may not be known yet to others.
            self.send(self.myAddress, ("created", child))
        elif isinstance(message, tuple) and message[0] == "created":
            assert self.customer is not None
            self.last = message[1]
            self.send(self.customer, message)
        elif isinstance(message, Forward):
            self.customer = self.customer or sender
            self.send(message.to, message.message)
        elif message == "barrier":
            self.send(sender, "barrier")
        elif isinstance(message, ChildActorExited):
            if self.customer is not None and message.childAddress not in self.exited:
                self.exited.append(message.childAddress)
                self.send(self.customer, ("exited", message.childAddress))
        elif isinstance(message, PoisonMessage):
            assert self.customer is not None
            self.send(self.customer, ("poison", message.poisonMessage, message.details))
        elif isinstance(message, tuple) and message[0] == "echo" and self.customer is not None:
            self.send(self.customer, message)


class BadParent(Actor):
    """Creates a child that cannot start, and tells what it hears about it."""

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, Create):
            self.customer = sender
            self.createActor(message.actor_class, message.requirements)
        elif isinstance(message, ChildActorExited):
            self.send(self.customer, "child exited")
        elif message == "alive?":
            self.send(sender, "alive")


@dataclass(frozen=True)
class Grow:
    observer: ActorAddress
    depth: int
    is_recursive: bool = True
    name: str = "root"


class Tree(ActorTypeDispatcher):
    """A binary tree of actors, each of which reports its end to the observer."""

    def receiveMsg_Grow(self, message: Grow, sender: ActorAddress) -> None:
        self.plan = message
        for side in "lr" if message.depth else "":
            child = self.createActor(Tree)
            self.send(
                child,
                Grow(message.observer, message.depth - 1, name=f"{message.name}.{side}"),
            )
        self.send(message.observer, ("grown", message.name, self.myAddress))

    def receiveMsg_ActorExitRequest(self, message: ActorExitRequest, sender: ActorAddress) -> None:
        if not self.plan.is_recursive:
            message.notRecursive()
        self.send(self.plan.observer, ("exits", self.plan.name))

    def receiveMsg_str(self, message: str, sender: ActorAddress) -> None:
        self.send(sender, self.plan.name)


class Observer(Actor):
    """Collects messages and hands them over to whoever asks ``"what?"``."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if message == "what?":
            self.send(sender, self.seen)
        elif not isinstance(message, ActorExitRequest):
            self.seen.append(message)


class FailsAtExit(Actor):
    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, ActorExitRequest):
            raise RuntimeError("fails at exit")
        self.send(sender, "here")


@dataclass(frozen=True)
class FailTimes:
    times: int


class Fails(Actor):
    """Fails the first `times` times it is handed a FailTimes, then answers."""

    def __init__(self) -> None:
        self.attempts = 0

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, FailTimes):
            self.attempts += 1
            if self.attempts <= message.times:
                raise ValueError("on purpose")
            self.send(sender, ("answered at attempt", self.attempts))
        elif message == "attempts":
            self.send(sender, self.attempts)


class FailsOnEverything(Actor):
    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if message == "alive?":
            self.send(sender, "alive")
        elif isinstance(message, Forward):
            self.send(message.to, message.message)
        elif not isinstance(message, ActorExitRequest):
            raise ValueError("on everything")


class DeadLetterHandler(Actor):
    def __init__(self) -> None:
        self.letters: list[Any] = []

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if message == "start":
            self.handleDeadLetters()
            self.send(sender, "started")
        elif message == "stop":
            self.handleDeadLetters(False)
            self.send(sender, "stopped")
        elif message == "letters":
            self.send(sender, self.letters)
        elif isinstance(message, DeadEnvelope) and not isinstance(
            message.deadMessage, ActorExitRequest
        ):
            self.letters.append(message.deadMessage)


class Sleeper(Actor):
    """Arms wake-ups given as [(seconds, payload), ...]; reports them as they come."""

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, list):
            self.customer = sender
            for seconds, payload in message:
                self.wakeupAfter(timedelta(seconds=seconds), payload)
        elif isinstance(message, WakeupMessage):
            delay = message.delayPeriod
            assert isinstance(delay, timedelta)
            self.send(
                self.customer,
                (message.payload, delay.total_seconds(), sender == self.myAddress),
            )


class Base:
    pass


class Middle(Base):
    pass


class Leaf(Middle):
    pass


class Deferred(Base):
    pass


class Unknown:
    pass


class StockDispatcher(ActorTypeDispatcher):
    """Thespian's dispatcher; `OurDispatcher` has the same handlers."""

    def receiveMsg_Base(self, message: Base, sender: ActorAddress) -> None:
        self.send(sender, f"Base handler, {type(message).__name__}")

    def receiveMsg_Middle(self, message: Middle, sender: ActorAddress) -> None:
        self.send(sender, f"Middle handler, {type(message).__name__}")

    def receiveMsg_Deferred(self, message: Deferred, sender: ActorAddress) -> Any:
        return self.SUPER

    def receiveMsg_str(self, message: str, sender: ActorAddress) -> None:
        self.send(sender, "str handler")

    def receiveUnrecognizedMessage(self, message: Any, sender: ActorAddress) -> None:
        if not isinstance(message, ActorExitRequest):
            self.send(sender, f"unrecognized, {type(message).__name__}")


class StockSubDispatcher(StockDispatcher):
    def receiveMsg_str(self, message: str, sender: ActorAddress) -> Any:
        if message == "defer":
            return self.SUPER
        self.send(sender, "str handler of the subclass")
        return None


class OurDispatcher(TypeDispatcher):
    receiveMsg_Base = StockDispatcher.receiveMsg_Base
    receiveMsg_Middle = StockDispatcher.receiveMsg_Middle
    receiveMsg_Deferred = StockDispatcher.receiveMsg_Deferred
    receiveMsg_str = StockDispatcher.receiveMsg_str
    receiveUnrecognizedMessage = StockDispatcher.receiveUnrecognizedMessage


class OurSubDispatcher(OurDispatcher):
    receiveMsg_str = StockSubDispatcher.receiveMsg_str


@troupe(max_count=4, idle_count=1)
class Crew(ActorTypeDispatcher):
    """Each job takes a wake-up, so that jobs overlap and need several workers."""

    def receiveMsg_int(self, message: int, sender: ActorAddress) -> None:
        self.troupe_work_in_progress = True
        self.job, self.customer = message, sender
        self.wakeupAfter(timedelta(milliseconds=50))

    def receiveMsg_WakeupMessage(self, message: WakeupMessage, sender: ActorAddress) -> None:
        self.troupe_work_in_progress = False
        self.send(self.customer, (self.job, str(self.myAddress)))


@initializing_messages([("greeting", str), ("count", int, True)], initdone="ready")
class Initialized(ActorTypeDispatcher):
    greeting: str
    count: int
    count_sender: ActorAddress

    def ready(self) -> None:
        self.send(self.count_sender, "ready")

    def receiveMsg_float(self, message: float, sender: ActorAddress) -> None:
        self.send(sender, (self.greeting, self.count, message))


@transient(timedelta(milliseconds=100))
class ShortLived(Echo):
    pass


@dataclass(frozen=True)
class SetCapability:
    name: str
    value: Any


class Controller(Actor):
    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, SetCapability):
            self.updateCapability(message.name, message.value)
            self.send(sender, "set")


class Authority(Actor):
    """Accepts sources whose info does not contain "evil"; "plain" passes data through."""

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if message == "register":
            self.registerSourceAuthority()
            self.send(sender, "registered")
        elif isinstance(message, ValidateSource) and message.sourceData is not None:
            accepted = b"evil" not in message.sourceData
            data = message.sourceData if accepted else None
            self.send(sender, ValidatedSource(message.sourceHash, data, "checked"))


class SourceWatcher(Actor):
    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if message == "register":
            self.notifyOnSourceAvailability()
            self.send(sender, "registered")
        elif message == "seen":
            self.send(sender, self.seen)
        elif isinstance(message, LoadedSource):
            self.seen.append(("loaded", message.sourceHash))
        elif isinstance(message, UnloadedSource):
            self.seen.append(("unloaded", message.sourceHash))


class SourceLoader(Actor):
    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, str):
            self.send(sender, self.loadActorSource(message))


class Receiver(Actor):
    """Watches a UDP socket on loopback while it is told to."""

    def receiveMessage(self, message: Any, sender: ActorAddress) -> Any:
        if message == "open":
            self.customer = sender
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.socket.bind(("127.0.0.1", 0))
            self.socket.setblocking(False)
            self.send(sender, self.socket.getsockname()[1])
        elif isinstance(message, WatchMessage):
            ready = message.ready == [self.socket.fileno()]
            self.send(self.customer, (self.socket.recv(100), ready, sender == self.myAddress))
        elif message == "pause":
            self.send(sender, "paused")
            return None
        elif message == "resume":
            self.send(sender, "resumed")
        elif isinstance(message, ActorExitRequest):
            self.socket.close()
            return None
        # An invalid descriptor is ignored (user guide, "Return Value").
        return ThespianWatch([self.socket.fileno(), 987654])
