"""Connections: the standard library's wire and classes, whose messages the engine moves; and a `wait` that knows queues' ends."""

from ._standard import adopt

adopt(__name__, globals())

import time as _time  # noqa: E402

from . import _engine  # noqa: E402

_StandardConnection = Connection  # noqa: F821


class Connection(_engine.Connection, _StandardConnection):
    """One end of a pipe, or of a connection to another program: a descriptor that carries messages.

    What it sends and receives is what the standard library's sends and receives.
    """


reduction.register(Connection, reduce_connection)  # noqa: F821

_wait = wait  # noqa: F821


def wait(object_list, timeout=None):
    """Wait till an object in object_list is ready/readable.

    Returns list of those objects in object_list which are ready/readable.
    """
    objects = list(object_list)
    deadline = None if timeout is None else _time.monotonic() + timeout
    while True:
        ready = _wait(objects, timeout)
        # A queue's descriptor may be behind: another process may have taken what there was.
        found = [thing for thing in ready if not hasattr(thing, "_queue") or thing.closed or thing.poll()]
        if found or not ready:
            return found
        if deadline is not None:
            timeout = deadline - _time.monotonic()
            if timeout <= 0:
                return []
