"""The standard library's `multiprocessing.connection`, with three changes.

Compiled code moves the messages of a `Connection`, in the standard library's frames. A `Listener` is not held up by
silent clients. `wait` takes queues, their ends, and events, too.
"""

from ._standard import adopt

adopt(__name__, globals())

import time as _time  # noqa: E402

from . import _engine  # noqa: E402

_StandardConnection = Connection  # noqa: F821


class Connection(_engine.Connection, _StandardConnection):
    """One end of a pipe, or of a connection to another program: a descriptor that carries messages.

    It sends and receives the same bytes as the standard library's. The contents of a large message between the two
    ends of a `Pipe` are handed over in shared memory, if the receiver is a connection of this class.
    """


def reduce_connection(conn):
    df = reduction.DupFd(conn.fileno())  # noqa: F821
    if conn._bypass is None:
        return rebuild_connection, (df, conn.readable, conn.writable)
    handle_refs = conn._bypass._handle_refs(not reduction.is_forwarding())  # noqa: F821
    return rebuild_connection, (df, conn.readable, conn.writable, handle_refs)


def rebuild_connection(df, readable, writable, handle_refs=None):
    conn = Connection(df.detach(), readable, writable)
    if handle_refs is not None:
        conn._bypass = _engine.Bypass._resolve(handle_refs)
    return conn


reduction.register(Connection, reduce_connection)  # noqa: F821

_Pipe = Pipe  # noqa: F821


def Pipe(duplex=True):
    """
    Returns pair of connection objects at either end of a pipe
    """
    c1, c2 = _Pipe(duplex)
    _engine.Connection._join(c1, c2, duplex)
    return c1, c2


_accept = Listener.accept  # noqa: F821


def accept(self):
    """
    Accept a connection on the bound socket of `self`.

    Returns a `Connection` object. If there is a key, the connection to a client that does not authenticate within
    `handshake_timeout` seconds is closed. Other clients are accepted meanwhile.
    """
    from ._newcomers import Newcomers

    while True:
        if not self._authkey or self._listener is None:
            return _accept(self)
        newcomers = vars(self).setdefault("_newcomers", Newcomers())
        if newcomers.process != os.getpid():  # noqa: F821
            # These newcomers belong to the parent.
            newcomers = self._newcomers = Newcomers()
        conn = newcomers.admit(self._listener, self._authkey, self.handshake_timeout)
        if conn is not None:
            return conn


# Replaced in the class itself, because the standard library has a subclass of it.
Listener.accept = accept  # noqa: F821
Listener.accept.__qualname__ = "Listener.accept"  # noqa: F821
Listener.handshake_timeout = CONNECTION_TIMEOUT  # noqa: F821
del accept

_wait = wait  # noqa: F821


def wait(object_list, timeout=None):
    """
    Wait till an object in object_list is ready/readable.

    Returns list of those objects in object_list which are ready/readable. Besides objects with a descriptor
    (connections, sockets, `Process.sentinel`), these may be queues, their ends, and events.
    """
    objects = list(object_list)
    things = [_shared(thing) for thing in objects]
    kinds = {_kind(thing) for thing in things}
    if kinds <= {None}:
        return _wait(objects, timeout)
    if kinds == {None, _engine.Queue}:
        return _wait_at_descriptors(objects, things, timeout)
    things = [_fileno(objects[i]) if thing is None else thing for i, thing in enumerate(things)]
    return [objects[i] for i in _engine.wait_for_any(things, timeout)]


def _shared(thing):
    """Return the queue or event that `thing` is or belongs to; None if it has a descriptor."""
    if isinstance(thing, (_engine.Queue, _engine.Event)):
        return thing
    queue = getattr(thing, "_queue", None)
    if isinstance(queue, _engine.Queue):
        thing._check()
        return queue
    return None


def _kind(thing):
    """Return the engine's class of a queue or event, None for others."""
    return next((kind for kind in (_engine.Queue, _engine.Event) if isinstance(thing, kind)), None)


def _fileno(thing):
    return thing if isinstance(thing, int) else thing.fileno()


def _wait_at_descriptors(objects, things, timeout):
    """Wait for queues and for objects with descriptors, by the queues' descriptors.

    A queue keeps its descriptor, and the thread behind it. For programs that wait again and again, as executors do,
    this costs less than a thread for each wait.
    """
    deadline = None if timeout is None else _time.monotonic() + timeout
    watched = [thing if thing is None else thing._fileno() for thing in things]
    numbers = [objects[i] if fd is None else fd for i, fd in enumerate(watched)]
    while True:
        ready = _wait(numbers, timeout)
        # A queue's descriptor may be out of date: another process may have taken the object.
        found = [
            objects[i]
            for i, number in enumerate(numbers)
            if number in ready and (things[i] is None or things[i]._poll(0.0))
        ]
        if found or not ready:
            return found
        if deadline is not None:
            timeout = deadline - _time.monotonic()
            if timeout <= 0:
                return []
