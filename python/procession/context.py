"""The standard library's contexts, whose queues take this package's options."""

from ._standard import adopt

adopt(__name__, globals())

_Base = BaseContext  # noqa: F821


def _queue(self, maxsize=0, *, strict=False, zero_copy=False):
    """Returns a queue object"""
    from .queues import Queue

    return Queue(maxsize, ctx=self.get_context(), strict=strict, zero_copy=zero_copy)


def _joinable_queue(self, maxsize=0, *, strict=False, zero_copy=False, watch=False):
    """Returns a queue object"""
    from .queues import JoinableQueue

    return JoinableQueue(maxsize, ctx=self.get_context(), strict=strict, zero_copy=zero_copy, watch=watch)


for _function, _name in ((_queue, "Queue"), (_joinable_queue, "JoinableQueue")):
    _function.__name__ = _name
    _function.__qualname__ = f"BaseContext.{_name}"
    setattr(_Base, _name, _function)
