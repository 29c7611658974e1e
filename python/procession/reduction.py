"""The standard library's pickling for other processes, which also takes queues and locks."""

import threading

from ._standard import adopt

adopt(__name__, globals())

_StandardPickler = ForkingPickler  # noqa: F821


class _Forwarding(threading.local):
    """The number of calls of `ForkingPickler.dumps` in progress on this thread."""

    depth = 0


_forwarding = _Forwarding()


class ForkingPickler(_StandardPickler):
    """Pickler subclass used by multiprocessing."""

    @classmethod
    def dumps(cls, obj, protocol=None):
        """Pickle `obj` for another process. It may contain queues and locks."""
        _forwarding.depth += 1
        try:
            return super().dumps(obj, protocol)
        finally:
            _forwarding.depth -= 1


AbstractReducer.ForkingPickler = ForkingPickler  # noqa: F821


def dump(obj, file, protocol=None):
    """Replacement for pickle.dump() using ForkingPickler."""
    ForkingPickler(file, protocol).dump(obj)


AbstractReducer.dump = dump  # noqa: F821


def is_forwarding():
    """Return whether this thread is pickling an object that is sent through a pipe or to a worker."""
    return _forwarding.depth > 0
