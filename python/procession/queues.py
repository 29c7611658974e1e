"""Queues on the engine.

An object is in shared memory when `put` returns: there is no feeder thread to wait for, and nothing is lost when the
process that put it ends. Queues can be sent through queues and pipes, and to pool workers.
"""

import os
import queue
import types

from ._standard import adopt

adopt(__name__, globals())

from . import _engine, util  # noqa: E402
from ._travel import handle_ref_of  # noqa: E402


class PipeQueue(SimpleQueue):  # noqa: F821
    """The standard library's queue on a pipe, which can be waited on without more ado: pools stand on it until they are
    on the engine."""


class ConsumerDied(RuntimeError):
    """Consumers of a watched `JoinableQueue` died with objects that they had not called `task_done` for."""


try:
    ShutDown = queue.ShutDown
except AttributeError:

    class ShutDown(Exception):
        """The queue was shut down (and, for `get`, is empty), as `queue.ShutDown` since Python 3.13."""


class _End:
    """One end of a queue, as far as the standard library's queues have ends: what can be waited on, mostly."""

    def __init__(self, queue):
        self._queue = queue

    @property
    def closed(self):
        """Whether this process has closed the queue."""
        return self._queue._closed

    def _check(self):
        if self.closed:
            raise OSError("handle is closed")

    def close(self):
        """Close the queue in this process."""
        self._queue._closed = True


class _Reader(_End):
    def fileno(self):
        """A descriptor that polls readable while there is an object."""
        self._check()
        return self._queue._fileno()

    def poll(self, timeout=0.0):
        """Whether there is an object, after at most `timeout` seconds."""
        self._check()
        return self._queue._poll(timeout)

    def recv(self):
        """The next object."""
        self._check()
        return self._queue.get()


class _Writer(_End):
    def send(self, obj):
        """Put an object."""
        self._check()
        self._queue.put(obj)


class Producer(_engine.Producing):
    """A handle to a queue that only puts: with the last one, the queue is shut down. See the queues' `producer`.

    Use it in a `with` statement, or close it; one that is collected, or whose process ends, is closed as well.
    """

    def __init__(self, queue):
        self._queue = queue
        self._make(queue)

    def __repr__(self):
        return f"<{type(self).__name__} of {self._queue!r}{', closed' if self.closed else ''}>"

    def _open(self):
        if self.closed:
            raise ValueError(f"{self!r}: nothing can be put")
        return self._queue

    def put(self, obj, block=True, timeout=None):
        """Put an object, as the queue's `put` does."""
        self._open().put(obj, block, timeout)

    def put_nowait(self, obj):
        """The same as `put(obj, False)`."""
        self.put(obj, False)

    def put_many(self, objs, block=True, timeout=None):
        """Put every object of an iterable, as the queue's `put_many` does; the answer is how many were put."""
        return self._open().put_many(objs, block, timeout)

    def __enter__(self):
        self._open()
        return self

    def __exit__(self, *_error):
        self.close()

    @property
    def _is_fork_ctx(self):
        return self._queue._is_fork_ctx

    def __getstate__(self):
        return (handle_ref_of(self), self._queue)

    def __setstate__(self, state):
        handle_ref, self._queue = state
        self._resolve(handle_ref)

    __class_getitem__ = classmethod(types.GenericAlias)


class _OnEngine(_engine.Queue):
    """What all queues have in common."""

    def _begin(self, capacity, ctx, zero_copy=False):
        self._make(capacity, zero_copy)
        self._is_fork_ctx = ctx.get_start_method() == "fork"

    @property
    def _reader(self):
        return _Reader(self)

    @property
    def _writer(self):
        return _Writer(self)

    def producer(self):
        """A `Producer`: a handle that only puts, and is counted, in whatever process it is.

        When the last one is closed, collected, or its process ends (also killed, which is noticed within about a second), the
        queue is shut down: `get` gives what is left, and then raises `ShutDown`. So nobody need remember `shutdown`, and
        nobody waits for the dead. Raises `ShutDown` if the queue was shut down before, and `TimeoutError` where somebody is
        stopped in the middle of a change to the queue.

        A producer can be an argument of a process, and be sent as a queue can. A forked child has a copy of every one that its
        parent has, whether or not it is an argument; so start consumers before you make one, or close it there. Who puts
        with the queue itself is not counted.
        """
        return Producer(self)

    def _get_handle_ref(self):
        return handle_ref_of(self)

    def _set_handle_ref(self, handle_ref):
        self._resolve(*handle_ref)
        self._is_fork_ctx = False

    __class_getitem__ = classmethod(types.GenericAlias)


class Queue(_OnEngine):
    """A first-in, first-out queue for any number of producers and consumers.

    `maxsize`: the most objects it holds; 0 for any number.
    `strict`: an object that cannot be pickled is an error of `put`. Otherwise it is reported on standard error and
    dropped, as the standard library does, and programs rely on.
    `zero_copy`: large buffers (NumPy arrays, say) arrive as views of shared memory, which is this process's alone and
    goes back when the last object that uses it is gone.
    """

    def __init__(self, maxsize=0, *, ctx, strict=False, zero_copy=False):
        self._begin(max(maxsize, 0), ctx, zero_copy)
        self._maxsize = maxsize if maxsize > 0 else _engine.SEM_VALUE_MAX
        self._strict = strict
        self._opid = os.getpid()
        # For use by concurrent.futures
        self._ignore_epipe = False

    def __getstate__(self):
        return (self._get_handle_ref(), self._ignore_epipe, self._maxsize, self._strict, self._opid)

    def __setstate__(self, state):
        handle_ref, self._ignore_epipe, self._maxsize, self._strict, self._opid = state
        self._set_handle_ref(handle_ref)

    def _complain_closed(self):
        raise ValueError(f"Queue {self!r} is closed")

    def _encoding_failed(self, error, obj):
        """An object could not be pickled; nothing was put."""
        if self._strict:
            raise error
        try:
            raise error
        except Exception as e:
            if util.is_exiting():
                util.info("error in queue: %s", e)
            else:
                self._on_queue_feeder_error(e, obj)

    @staticmethod
    def _on_queue_feeder_error(e, obj):
        """Hook called when an object that was put cannot be pickled. For overriding by concurrent.futures."""
        import traceback

        traceback.print_exc()

    def empty(self):
        """Whether there is no object; where others are at work, old news at once."""
        if self._closed and self._used:
            raise OSError("handle is closed")
        return not self.qsize()

    def close(self):
        """Say that this process will not use the queue any more. What was put stays for others."""
        self._closed = True

    def join_thread(self):
        """Nothing to wait for: what was put is in the queue. Call it after `close`."""
        util.debug("Queue.join_thread()")
        assert self._closed, f"Queue {self!r} not closed"

    def cancel_join_thread(self):
        """Nothing to cancel: a process does not wait for its queues when it ends."""
        util.debug("Queue.cancel_join_thread()")

    def _terminate_broken(self):
        self.close()


class JoinableQueue(Queue):
    """A queue that knows when all its objects were dealt with: consumers say `task_done` for each.

    `watch`: when a consumer (a process) dies with objects that it took and did not say `task_done` for, `join` raises
    `ConsumerDied`; otherwise it waits for ever, as the standard library does.
    """

    def __init__(self, maxsize=0, *, ctx, strict=False, zero_copy=False, watch=False):
        super().__init__(maxsize, ctx=ctx, strict=strict, zero_copy=zero_copy)
        if watch:
            self._track_consumers()

    def task_done(self):
        """Say that the work on an object that was taken is done."""
        self._task_done()

    def join(self):
        """Wait until `task_done` was called for every object that was put."""
        self._join(None)


class SimpleQueue(_OnEngine):
    """A queue without bounds; the same underneath."""

    def __init__(self, *, ctx):
        self._begin(0, ctx)

    def __getstate__(self):
        return self._get_handle_ref()

    def __setstate__(self, state):
        self._set_handle_ref(state)

    def _complain_closed(self):
        raise OSError("handle is closed")

    def _encoding_failed(self, error, obj):
        raise error

    def close(self):
        """Close the queue in this process. What was put stays for others."""
        self._closed = True

    def empty(self):
        """Whether there is no object."""
        if self._closed:
            self._complain_closed()
        return not self.qsize()
