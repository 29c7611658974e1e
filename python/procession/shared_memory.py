"""Shared memory: the standard library's, which only its maker's resource tracker keeps watch over.

In the standard library a process that merely attaches has its own tracker watch too, which takes the memory away from all
the others when that process ends. Ask for `track=True` (Python 3.13) where that is wanted.
"""

import inspect
import threading
import types

from ._standard import adopt

adopt(__name__, globals())

_SharedMemory = SharedMemory  # noqa: F821
_CAN_TRACK = "track" in inspect.signature(_SharedMemory.__init__).parameters


if not _CAN_TRACK:
    _attaching = threading.local()
    _register = resource_tracker.register  # noqa: F821

    def _register_made(name, kind):
        if not getattr(_attaching, "now", False):
            _register(name, kind)

    resource_tracker = types.SimpleNamespace(
        register=_register_made,
        unregister=resource_tracker.unregister,  # noqa: F821
    )


class SharedMemory(_SharedMemory):
    __doc__ = _SharedMemory.__doc__

    if _CAN_TRACK:

        def __init__(self, name=None, create=False, size=0, *, track=None):
            super().__init__(name, create, size, track=create if track is None else track)
            self._forget_at_unlink = track is None and not create

    else:

        def __init__(self, name=None, create=False, size=0):
            self._forget_at_unlink = not create
            _attaching.now = not create
            try:
                super().__init__(name, create, size)
            finally:
                _attaching.now = False

    def unlink(self):
        """Unlinks (deletes) the shared memory block; whoever keeps watch over it stops."""
        if self._forget_at_unlink:
            # The maker's tracker may be ours: it must forget the name, which it does not mind being told twice.
            resource_tracker.register(self._name, "shared_memory")  # noqa: F821
            self._track = True
        super().unlink()
