"""What `inspect` answers."""

from typing import NamedTuple

from . import _engine
from .process import current_process

__all__ = ["Deadlock", "Inspection", "Object", "Party", "Process", "Wait", "look"]


class Process(NamedTuple):
    """A living process of the program."""

    pid: int
    name: str
    parent: int
    """The process that started it; 0 if that is gone, or there is none."""
    daemon: bool
    """Whether the engine ends it with its parent."""
    holds: int
    """How many objects and messages it refers to."""


class Party(NamedTuple):
    """A thread of a process."""

    pid: int
    process: str
    thread: int
    """The system's number of the thread, as `threading.get_native_id()` gives it; 0 if it is not known."""


class Object(NamedTuple):
    """Something that processes share."""

    number: int
    """Which no other object of the program ever has."""
    kind: str
    """What it is for the engine: "queue", "lock", ..."""
    references: int
    """References to it, those in messages included."""
    holder: Party | None
    """Who holds it, as a lock is held."""
    figures: dict[str, int]
    """What can be said of it in numbers: a queue's messages, a semaphore's value."""
    users: dict[int, int]
    """The processes that refer to it, and what each has of it where that is counted (permits, unfinished items)."""


class Wait(NamedTuple):
    """A thread that waits."""

    who: Party
    object: int
    """The number of what it waits for."""
    kind: str
    what: str
    """What it wants of the object: "lock", "get", ..."""
    waited: float
    """For how many seconds."""


class Deadlock(NamedTuple):
    """Threads that wait for each other, and will for ever."""

    waits: list[Wait]
    """Each waits for a lock that the next one holds, the last for one that the first holds."""


class Inspection(NamedTuple):
    """What the program looked like a moment ago. `str()` of it is a report."""

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
    """See `inspect`."""
    _engine.rename(current_process().name)
    processes, objects, waits, deadlocks, text = _engine.inspect()
    return Inspection(
        [Process(*it) for it in processes],
        [_object(*it) for it in objects],
        [_wait(*it) for it in waits],
        [Deadlock([_wait(*it) for it in circle]) for circle in deadlocks],
        text,
    )
