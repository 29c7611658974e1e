"""Queues on the engine.

When `put` returns, the object is in shared memory: there is no feeder thread to wait for, and the object is not lost
when the process that put it ends. Queues can be sent through queues and pipes, and to pool workers.
"""

import os
import queue
import types

from ._standard import adopt

adopt(__name__, globals())

from . import _engine, util  # noqa: E402
from ._travel import handle_ref_of  # noqa: E402


class PipeQueue(SimpleQueue):  # noqa: F821
    """The standard library's queue on a pipe, which pools use."""


class ConsumerDied(RuntimeError):
    """Consumers of a `JoinableQueue(watch=True)` died with objects that they had not called `task_done` for."""


try:
    ShutDown = queue.ShutDown
except AttributeError:

    class ShutDown(Exception):
        """The queue is shut down (and, for `get`, is empty), as `queue.ShutDown` since Python 3.13."""


class _End:
    """One end of a queue, with what the standard library's code and programs use of it: mostly to wait for it."""

    def __init__(self, queue):
        self._queue = queue

    @property
    def closed(self):
        """True if this process has closed the queue."""
        return self._queue._closed

    def _check(self):
        if self.closed:
            raise OSError("handle is closed")

    def close(self):
        """Close the queue in this process."""
        self._queue._closed = True


class _Reader(_End):
    def fileno(self):
        """Return a descriptor that polls readable while there is an object."""
        self._check()
        return self._queue._fileno()

    def poll(self, timeout=0.0):
        """Wait for an object for at most `timeout` seconds, and return whether there is one."""
        self._check()
        return self._queue._poll(timeout)

    def recv(self):
        """Wait for the next object, and take it."""
        self._check()
        return self._queue.get()


class _Writer(_End):
    def send(self, obj):
        """Put an object."""
        self._check()
        self._queue.put(obj)


class Producer(_engine.Producer):
    """A handle to a queue that only puts. When the last one is closed, the queue is shut down. See `Queue.producer`.

    Use it in a `with` statement, or close it. A producer that is collected, or whose process ends, is closed, too.
    """

    def __init__(self, queue):
        self._queue = queue
        self._make(queue)

    def __repr__(self):
        return f"<{type(self).__name__} of {self._queue!r}{', closed' if self.closed else ''}>"

    def _open(self):
        if self.closed:
            raise ValueError(f"{self!r}: a closed producer cannot put")
        return self._queue

    def put(self, obj, block=True, timeout=None):
        """Put an object, as the queue's `put` does."""
        self._open().put(obj, block, timeout)

    def put_nowait(self, obj):
        """Put an object without waiting, as `put(obj, False)` does."""
        self.put(obj, False)

    def put_many(self, objs, block=True, timeout=None):
        """Put every object of an iterable, as the queue's `put_many` does, and return how many were put."""
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


class Queue(_engine.Queue):
    """A first-in, first-out queue for any number of producers and consumers.

    `maxsize`: the most objects it holds; 0 for any number.
    `strict`: `put` raises if an object cannot be pickled. Otherwise the object is reported on standard error and
    dropped, as the standard library does, and some programs rely on that.
    `zero_copy`: large buffers (such as NumPy arrays) arrive as views of shared memory, which belongs to this process
    alone and is freed when the last object that uses it is gone.
    """

    __class_getitem__ = classmethod(types.GenericAlias)
    _reader = property(_Reader)
    _writer = property(_Writer)

    def __init__(self, maxsize=0, *, ctx, strict=False, zero_copy=False):
        self._make(max(maxsize, 0), zero_copy)
        self._is_fork_ctx = ctx.get_start_method() == "fork"
        self._maxsize = maxsize if maxsize > 0 else _engine.SEM_VALUE_MAX
        self._strict = strict
        self._opid = os.getpid()
        # `concurrent.futures` sets this.
        self._ignore_epipe = False

    def producer(self):
        """Return a `Producer`: a handle that only puts. Producers are counted, in all processes.

        When the last one is closed or collected, or its process ends (also if it is killed, which is noticed within
        about a second), the queue is shut down: `get` returns the objects that are left, and then raises `ShutDown`.
        So no process has to call `shutdown`, and no process waits for a dead one. Raises `ShutDown` if the queue is
        shut down already, and `TimeoutError` if a process is stopped in the middle of a change to the queue.

        A producer can be an argument of a process, and can be sent as a queue can. A forked child has a copy of every
        producer that its parent has, whether or not it is an argument. So start consumers before you make a producer,
        or close it in them. A process that puts with the queue itself is not counted.
        """
        return Producer(self)

    def __getstate__(self):
        return (handle_ref_of(self), self._ignore_epipe, self._maxsize, self._strict, self._opid)

    def __setstate__(self, state):
        handle_ref, self._ignore_epipe, self._maxsize, self._strict, self._opid = state
        self._resolve(*handle_ref)
        self._is_fork_ctx = False

    def _complain_closed(self):
        raise ValueError(f"Queue {self!r} is closed")

    def _encoding_failed(self, error, obj):
        """Report that an object could not be pickled, so that nothing was put."""
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
        """Report an object that cannot be pickled. `concurrent.futures` overrides this."""
        import traceback

        traceback.print_exc()

    def empty(self):
        """Return whether there is no object. With concurrent producers or consumers the answer may be out of date."""
        if self._closed and self._used:
            raise OSError("handle is closed")
        return not self.qsize()

    def close(self):
        """Say that this process will not use the queue any more. The objects that were put stay in it."""
        self._closed = True

    def join_thread(self):
        """Do nothing, because what was put is in the queue already. To be called after `close`."""
        util.debug("Queue.join_thread()")
        assert self._closed, f"Queue {self!r} not closed"

    def cancel_join_thread(self):
        """Do nothing, because a process does not wait for its queues when it ends."""
        util.debug("Queue.cancel_join_thread()")

    def _terminate_broken(self):
        self.close()


class JoinableQueue(Queue):
    """A queue that knows when the work on all its objects is done: consumers call `task_done` for each object.

    `watch`: `join` raises `ConsumerDied` if a consumer process dies with objects that it took and did not call
    `task_done` for. Otherwise `join` waits for ever, as the standard library does.
    """

    def __init__(self, maxsize=0, *, ctx, strict=False, zero_copy=False, watch=False):
        super().__init__(maxsize, ctx=ctx, strict=strict, zero_copy=zero_copy)
        if watch:
            self._track_consumers()

    def task_done(self):
        """Say that the work on one of the objects taken is done."""
        self._task_done()

    def join(self):
        """Wait until `task_done` was called for every object that was put."""
        self._join(None)


class SimpleQueue(_engine.Queue):
    """A queue without bounds, on the same engine."""

    __class_getitem__ = classmethod(types.GenericAlias)
    _reader = property(_Reader)
    _writer = property(_Writer)

    def __init__(self, *, ctx):
        self._make(0, False)
        self._is_fork_ctx = ctx.get_start_method() == "fork"

    producer = Queue.producer

    def __getstate__(self):
        return handle_ref_of(self)

    def __setstate__(self, state):
        self._resolve(*state)
        self._is_fork_ctx = False

    def _complain_closed(self):
        raise OSError("handle is closed")

    def _encoding_failed(self, error, obj):
        raise error

    def close(self):
        """Close the queue in this process. The objects that were put stay in it."""
        self._closed = True

    def empty(self):
        """Return whether there is no object."""
        if self._closed:
            self._complain_closed()
        return not self.qsize()
