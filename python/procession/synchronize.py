"""Locks, semaphores, conditions, events and barriers on the engine."""

from ._standard import adopt

adopt(__name__, globals())

from . import _engine, context  # noqa: E402
from ._travel import handle_ref_of  # noqa: E402

_Lock, _RLock, _Semaphore, _BoundedSemaphore = Lock, RLock, Semaphore, BoundedSemaphore  # noqa: F821
_Condition, _Event, _Barrier = Condition, Event, Barrier  # noqa: F821


class OwnerDiedWarning(RuntimeWarning):
    """A lock or semaphore was acquired from a process that died holding it: what it protects may be half changed."""


class _EngineLock:
    """The common part of the classes below, with the names that the standard library's code looks for."""

    def _begin(self, ctx):
        if ctx is None:
            ctx = context._default_context.get_context()
        self._is_fork_ctx = ctx.get_start_method() == "fork"

    @property
    def _semlock(self):
        return self

    def __getstate__(self):
        return handle_ref_of(self)

    def __setstate__(self, handle_ref):
        self._resolve(handle_ref)
        self._is_fork_ctx = False

    name = None


class Lock(_EngineLock, _engine.Lock, _Lock):
    """A lock. If a process dies holding it, the next one to acquire it gets it, with an `OwnerDiedWarning`."""

    maxvalue = 1

    def __init__(self, *, ctx=None):
        self._make()
        self._begin(ctx)


class RLock(_EngineLock, _engine.RLock, _RLock):
    """A lock that the thread that holds it can acquire again. If a process dies holding it, this is as for `Lock`."""

    maxvalue = 1

    def __init__(self, *, ctx=None):
        self._make()
        self._begin(ctx)


class Semaphore(_EngineLock, _engine.Semaphore, _Semaphore):
    """A semaphore. What a killed process had acquired comes back, up to the value the semaphore began with."""

    maxvalue = SEM_VALUE_MAX  # noqa: F821

    def __init__(self, value=1, *, ctx=None):
        self._make(value, self.maxvalue)
        self._begin(ctx)


class BoundedSemaphore(_EngineLock, _engine.Semaphore, _BoundedSemaphore):
    """A semaphore that cannot be released more often than it was acquired."""

    def __init__(self, value=1, *, ctx=None):
        self._make(value, value)
        self.maxvalue = value
        self._begin(ctx)

    def __getstate__(self):
        return handle_ref_of(self), self.maxvalue

    def __setstate__(self, state):
        super().__setstate__(state[0])
        self.maxvalue = state[1]


class _Count:
    """A number that can be read, where the standard library's conditions have a semaphore."""

    def __init__(self, value=lambda: 0):
        self._get_value = self.get_value = value

    @property
    def _semlock(self):
        return self


class Condition(_EngineLock, _engine.WaitQueue, _Condition):
    """A lock, and a queue of threads that wait until what it protects has changed. Killed ones are skipped."""

    def __init__(self, lock=None, *, ctx=None):
        self._make()
        self._begin(ctx)
        self._lock = lock or (ctx or context._default_context).RLock()
        self._make_methods()

    def __getstate__(self):
        return self._lock, handle_ref_of(self)

    def __setstate__(self, state):
        self._lock, handle_ref = state
        super().__setstate__(handle_ref)
        self._make_methods()

    def wait(self, timeout=None):
        assert self._lock._semlock._is_mine(), "must acquire() condition before using wait()"
        return self._wait(self._lock, timeout)

    def notify(self, n=1):
        assert self._lock._semlock._is_mine(), "lock is not owned"
        self._notify(n)

    @property
    def _sleeping_count(self):
        return _Count(self._waiting)

    _woken_count = _wait_semaphore = _Count()


class Event(_EngineLock, _engine.Event, _Event):
    """A flag to wait for. No process can die holding a lock of it, and a signal handler may set it at any time."""

    def __init__(self, *, ctx=None):
        self._make()
        self._begin(ctx)


class Barrier(_EngineLock, _engine.Barrier, _Barrier):
    """A barrier, at which `parties` wait for each other. It breaks when one of them is killed there."""

    def __init__(self, parties, action=None, timeout=None, *, ctx=None):
        self._make(parties)
        self._begin(ctx)
        self._action, self._timeout = action, timeout

    def __getstate__(self):
        return handle_ref_of(self), self._action, self._timeout

    def __setstate__(self, state):
        handle_ref, self._action, self._timeout = state
        super().__setstate__(handle_ref)

    def wait(self, timeout=None):
        return self._wait(self._action, self._timeout if timeout is None else timeout)
