"""Queues, locks and semaphores on their way to other processes."""

from . import context, reduction
from ._engine import Channel

__all__ = ["ticket_of"]

_MIXED = (
    "A SemLock created in a fork context is being shared with a process in a spawn context. This is not supported. "
    "Please use the same context to create multiprocessing objects and Process."
)


def ticket_of(thing):
    """What stands for `thing` in a pickle.

    Through a queue, or as an argument of a new process, the message keeps it alive. Through a pipe or to a pool's worker,
    somebody must keep it until it arrives. Anywhere else it is an error, as in the standard library.
    """
    if context.get_spawning_popen() is not None:
        if thing._is_fork_ctx:
            raise RuntimeError(_MIXED)
    elif not (Channel._is_carrying() or reduction.is_forwarding()):
        context.assert_spawning(thing)
    return thing._ticket()
