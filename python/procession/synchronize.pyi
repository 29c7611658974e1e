import multiprocessing.synchronize as _standard
from collections.abc import Callable
from multiprocessing.synchronize import SemLock as SemLock
from typing import Any, Final

from . import _engine
from .context import BaseContext

__all__ = ["Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition", "Event"]

SEM_VALUE_MAX: Final[int]
RECURSIVE_MUTEX: Final = 0
SEMAPHORE: Final = 1

class OwnerDiedWarning(RuntimeWarning): ...

class _EngineLock:
    name: None
    def __getstate__(self) -> Any: ...
    def __setstate__(self, handle_ref: Any) -> None: ...

# To type checkers these are subclasses of the standard library's, so what is annotated with those takes these.

class Lock(_EngineLock, _engine.Lock, _standard.Lock):
    maxvalue: int
    def __init__(self, *, ctx: BaseContext | None = None) -> None: ...

class RLock(_EngineLock, _engine.RLock, _standard.RLock):
    maxvalue: int
    def __init__(self, *, ctx: BaseContext | None = None) -> None: ...

class Semaphore(_EngineLock, _engine.Semaphore, _standard.Semaphore):
    maxvalue: int
    def __init__(self, value: int = 1, *, ctx: BaseContext | None = None) -> None: ...

class BoundedSemaphore(_EngineLock, _engine.Semaphore, _standard.BoundedSemaphore):
    maxvalue: int
    def __init__(self, value: int = 1, *, ctx: BaseContext | None = None) -> None: ...
    def __setstate__(self, state: Any) -> None: ...

class Condition(_EngineLock, _engine.WaitQueue, _standard.Condition):
    def __init__(
        self, lock: _standard.Lock | _standard.RLock | None = None, *, ctx: BaseContext | None = None
    ) -> None: ...
    def __setstate__(self, state: Any) -> None: ...

class Event(_EngineLock, _engine.Event, _standard.Event):
    def __init__(self, *, ctx: BaseContext | None = None) -> None: ...

class Barrier(_EngineLock, _engine.Barrier, _standard.Barrier):
    def __init__(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        ctx: BaseContext | None = None,
    ) -> None: ...
    def __setstate__(self, state: Any) -> None: ...
