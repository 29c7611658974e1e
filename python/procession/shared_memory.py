"""The standard library's shared memory, whose name is never removed while it is used, and goes with the last user.

Each user holds a lock, which the kernel releases when the process ends. When a program ends, its resource tracker
removes the names without users: of memory that the program made, and of memory that it attached to, if that was made
with this package. A program on the standard library holds no such lock: it keeps the memory that it has mapped, but
not the name. `track=False` (Python 3.13) has the usual meaning: such memory stays until a process unlinks it.
"""

import inspect
import os

from . import _engine
from ._standard import adopt

adopt(__name__, globals())

_SharedMemory = SharedMemory  # noqa: F821
_CAN_TRACK = "track" in inspect.signature(_SharedMemory.__init__).parameters

_USUAL = _SharedMemory._flags, _SharedMemory._mode


class SharedMemory(_SharedMemory):
    __doc__ = _SharedMemory.__doc__

    if _CAN_TRACK:

        def __init__(self, name=None, create=False, size=0, *, track=None):
            self._start(name, create, size, track)

    else:

        def __init__(self, name=None, create=False, size=0):
            self._start(name, create, size, None)

    def _start(self, name, create, size, track):
        tracked = create if track is None else track
        self._forget_at_unlink = not tracked and track is None
        wrong = not size >= 0 or (create and not size) or (name is None and not create)
        if wrong or (self._flags, self._mode) != _USUAL:
            # The standard library raises; or a class of the program's own sets other flags, for which its code is
            # right.
            super().__init__(name, create, size, **({"track": tracked} if _CAN_TRACK else {}))
            return
        self._track = tracked
        watched = tracked or track is None
        if not create:
            self._name = "/" + name
            if watched:
                resource_tracker.watch(self._name)  # noqa: F821
            self._fd = _engine.memory_open(self._name)
        else:
            self._flags |= os.O_CREAT | os.O_EXCL
            self._fd = self._create(name, size, watched)
        try:
            self._size = os.fstat(self._fd).st_size
            self._mmap = mmap.mmap(self._fd, self._size)  # noqa: F821
        except (OSError, ValueError):
            if create:
                _engine.memory_unlink(self._name)
            raise
        self._buf = memoryview(self._mmap)
        if tracked:
            resource_tracker.register(self._name, "shared_memory")  # noqa: F821

    def _create(self, name, size, watched):
        while True:
            self._name = _make_filename() if name is None else "/" + name  # noqa: F821
            try:
                if watched:
                    resource_tracker.watch(self._name)  # noqa: F821
                return _engine.memory_create(self._name, size, watched)
            except FileExistsError:
                if name is not None:
                    raise

    def unlink(self):
        """Unlink (delete) the shared memory block. Its name goes at once; the processes that use it keep the memory."""
        if self._name:
            _engine.memory_unlink(self._name)
            if self._forget_at_unlink:
                # The tracker of the process that made it may be this one: then it must forget the name. Registering
                # twice does no harm.
                resource_tracker.register(self._name, "shared_memory")  # noqa: F821
            if self._track or self._forget_at_unlink:
                resource_tracker.unregister(self._name, "shared_memory")  # noqa: F821
