"""Pickling for other processes: the standard library's, which also lets queues and locks through."""

import threading

from ._standard import adopt

adopt(__name__, globals())

_StandardPickler = ForkingPickler  # noqa: F821


class _Forwarding(threading.local):
    """How many `ForkingPickler.dumps` this thread is in."""

    depth = 0


_forwarding = _Forwarding()


class ForkingPickler(_StandardPickler):
    """Pickler subclass used by multiprocessing."""

    @classmethod
    def dumps(cls, obj, protocol=None):
        """Pickle `obj` for another process; queues and locks may be in it."""
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
    """Whether an object is on its way to another process, through a pipe or to a worker."""
    return _forwarding.depth > 0
