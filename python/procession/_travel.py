"""Pickling queues, locks, semaphores and shared memory for other processes."""

from . import context, reduction
from ._engine import Queue

__all__ = ["is_travelling", "handle_ref_of"]

_MIXED = (
    "A SemLock created in a fork context is being shared with a process in a spawn context. This is not supported. "
    "Please use the same context to create multiprocessing objects and Process."
)


def is_travelling():
    """Return whether the object that is being pickled goes to another process of the program."""
    return context.get_spawning_popen() is not None or Queue._is_carrying() or reduction.is_forwarding()


def handle_ref_of(thing):
    """Return what represents `thing` in a pickle.

    If it goes through a queue, or is an argument of a new process, the message keeps it alive. If it goes through a
    pipe or to a pool's worker, some process must keep it until it arrives. Anywhere else this is an error, as in the
    standard library.
    """
    if not is_travelling():
        context.assert_spawning(thing)
    if thing._is_fork_ctx and context.get_spawning_popen() is not None:
        raise RuntimeError(_MIXED)
    return thing._handle_ref()
