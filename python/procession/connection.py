"""Connections, whose messages the compiled half moves, in the standard library's frames; a `Listener` that silent clients do
not hold up; and a `wait` that knows queues' ends."""

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

_accept = Listener.accept  # noqa: F821


def accept(self):
    """
    Accept a connection on the bound socket of `self`.

    Returns a `Connection` object. Where there is a key, a client that does not authenticate within `handshake_timeout`
    seconds is sent away; others are let in meanwhile.
    """
    from ._newcomers import Newcomers

    while True:
        if not self._authkey or self._listener is None:
            return _accept(self)
        newcomers = vars(self).setdefault("_newcomers", Newcomers())
        if newcomers.process != os.getpid():  # noqa: F821
            # They are the parent's.
            newcomers = self._newcomers = Newcomers()
        conn = newcomers.admit(self._listener, self._authkey, self.handshake_timeout)
        if conn is not None:
            return conn


# In its place, for the standard library's own subclass.
Listener.accept = accept  # noqa: F821
Listener.accept.__qualname__ = "Listener.accept"  # noqa: F821
Listener.handshake_timeout = CONNECTION_TIMEOUT  # noqa: F821
del accept

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
