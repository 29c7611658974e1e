"""Locks and semaphores on the engine; Condition, Event and Barrier as the standard library builds them on these."""

from ._standard import adopt

adopt(__name__, globals())

from . import _engine, context  # noqa: E402
from ._travel import ticket_of  # noqa: E402

_Lock, _RLock, _Semaphore, _BoundedSemaphore = Lock, RLock, Semaphore, BoundedSemaphore  # noqa: F821


class OwnerDiedWarning(RuntimeWarning):
    """A lock or semaphore was acquired from a process that died holding it: what it protects may be half changed."""


class _OnEngine:
    """What the classes below have in common, and the names that the standard library's code looks for."""

    def _begin(self, ctx):
        if ctx is None:
            ctx = context._default_context.get_context()
        self._is_fork_ctx = ctx.get_start_method() == "fork"

    @property
    def _semlock(self):
        return self

    def __getstate__(self):
        return ticket_of(self)

    def __setstate__(self, ticket):
        self._redeem(ticket)
        self._is_fork_ctx = False

    name = None


class Lock(_OnEngine, _engine.Lock, _Lock):
    """A lock. A process that dies holding it does not keep it: the next to acquire it is warned."""

    maxvalue = 1

    def __init__(self, *, ctx=None):
        self._make()
        self._begin(ctx)


class RLock(_OnEngine, _engine.RLock, _RLock):
    """A lock that the thread that holds it can acquire again. Deaths are as for `Lock`."""

    maxvalue = 1

    def __init__(self, *, ctx=None):
        self._make()
        self._begin(ctx)


class Semaphore(_OnEngine, _engine.Semaphore, _Semaphore):
    """A semaphore. What a process has acquired when it dies comes back, up to the value the semaphore began with."""

    maxvalue = SEM_VALUE_MAX  # noqa: F821

    def __init__(self, value=1, *, ctx=None):
        self._make(value, self.maxvalue)
        self._begin(ctx)


class BoundedSemaphore(_OnEngine, _engine.Semaphore, _BoundedSemaphore):
    """A semaphore that cannot be released more often than it was acquired."""

    def __init__(self, value=1, *, ctx=None):
        self._make(value, value)
        self.maxvalue = value
        self._begin(ctx)

    def __getstate__(self):
        return ticket_of(self), self.maxvalue

    def __setstate__(self, state):
        super().__setstate__(state[0])
        self.maxvalue = state[1]
