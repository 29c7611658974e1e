"""The result of `inspect`."""

from typing import NamedTuple

from . import _engine
from .process import current_process

__all__ = ["Deadlock", "Inspection", "Object", "Party", "Process", "Wait", "look"]


class Process(NamedTuple):
    """A living process of the program."""

    pid: int
    name: str
    parent: int
    """The process that started it; 0 if that has ended, or there is none."""
    daemon: bool
    """Whether the engine ends it with its parent."""
    holds: int
    """The number of objects and messages that it refers to."""


class Party(NamedTuple):
    """A thread of a process."""

    pid: int
    process: str
    thread: int
    """The system's number of the thread, as `threading.get_native_id()` returns it; 0 if it is not known."""


class Object(NamedTuple):
    """An object that processes share."""

    number: int
    """A number that no other object of the program ever has."""
    kind: str
    """What the object is: "queue", "lock", ..."""
    references: int
    """The number of references to it, including those in messages."""
    holder: Party | None
    """The thread that holds it, if it is a lock."""
    figures: dict[str, int]
    """Its numbers: the messages of a queue, the value of a semaphore, ..."""
    users: dict[int, int]
    """The processes that refer to it, and how many permits or unfinished items each has, where these are counted."""


class Wait(NamedTuple):
    """A thread that waits."""

    who: Party
    object: int
    """The number of the object that it waits for."""
    kind: str
    what: str
    """The operation that it waits in: "lock", "get", ..."""
    waited: float
    """For how many seconds it has waited."""


class Deadlock(NamedTuple):
    """Threads that wait for each other for ever."""

    waits: list[Wait]
    """Each waits for a lock that the next one holds, the last for one that the first holds."""


class Inspection(NamedTuple):
    """The state of the program a moment ago. `str()` of it is a report."""

    processes: list[Process]
    objects: list[Object]
    waits: list[Wait]
    deadlocks: list[Deadlock]
    text: str

    def __str__(self) -> str:
        return self.text


def _party(it: tuple[int, str, int] | None) -> Party | None:
    return None if it is None else Party(*it)


def _object(number, kind, references, holder, figures, users) -> Object:
    return Object(number, kind, references, _party(holder), dict(figures), dict(users))


def _wait(who, *rest) -> Wait:
    return Wait(Party(*who), *rest)


def look() -> Inspection:
    """Inspect the program; see `inspect`."""
    _engine.rename(current_process().name)
    processes, objects, waits, deadlocks, text = _engine.inspect()
    return Inspection(
        [Process(*it) for it in processes],
        [_object(*it) for it in objects],
        [_wait(*it) for it in waits],
        [Deadlock([_wait(*it) for it in circle]) for circle in deadlocks],
        text,
    )
