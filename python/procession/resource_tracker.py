"""The standard library's resource tracker, with two changes.

A forked child does not inherit its lock locked. And it does not remove the names of shared memory that other programs
use:

1. The tracker is a user of all shared memory that the program's processes make, until the last of them has ended.
2. Then it removes the names that no other program uses: of memory that the processes made, and of memory that they
   attached to, if that was made with this package.
"""

import builtins
import os
import resource
import stat

from . import _engine
from ._standard import adopt

adopt(__name__, globals())

_KIND = "shared_memory"


def _renew_lock():
    lock = _resource_tracker._lock  # noqa: F821
    lock._at_fork_reinit()


os.register_at_fork(after_in_child=_renew_lock)


def watch(name):
    """Tell the tracker to look after this shared memory. To be called before it is made or attached to."""
    _resource_tracker._send("WATCH", name, _KIND)  # noqa: F821


class _Orders:
    """The lines of the pipe that the tracker's `main` reads. Those about shared memory are recorded on the way."""

    def __init__(self, file):
        self._file = file
        self._held = {}  # descriptors by name
        self._watched = set()
        self._many = 16

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def __iter__(self):
        for line in self._file:
            try:
                order, name, kind = line.strip().decode("ascii").split(":")
            except ValueError:
                order = name = kind = None  # for `main` to complain about
            if kind == _KIND:
                self._record(order, name)
            if order != "WATCH":
                yield line
        self._tidy()

    def _record(self, order, name):
        if order == "WATCH":
            self._watched.add(name)
        elif order == "REGISTER":
            self._drop(name)
            if len(self._held) >= self._many:
                self._forget_unlinked()
            try:
                self._held[name] = _engine.memory_open(name)
            except (OSError, ValueError):
                pass  # gone already, or more than there are descriptors for
        elif order == "UNREGISTER":
            self._watched.discard(name)
            self._drop(name)

    @staticmethod
    def _mark_left(fd):
        """Mark memory whose name goes with its last user, because the program that made it has ended."""
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        if mode & stat.S_ISVTX:
            os.fchmod(fd, mode | stat.S_ISUID)

    def _drop(self, name):
        fd = self._held.pop(name, None)
        if fd is not None:
            os.close(fd)

    def _forget_unlinked(self):
        """Drop memory that another process has unlinked, so that it can be freed."""
        for name in [name for name, fd in self._held.items() if not os.fstat(fd).st_nlink]:
            self._drop(name)
        self._many = max(16, 2 * len(self._held))

    def _tidy(self):
        self._forget_unlinked()
        for fd in self._held.values():
            self._mark_left(fd)
        _looked_after.update(self._held)
        for name in _looked_after:
            self._drop(name)
        _engine.memory_tidy(list(_looked_after), False)
        _engine.memory_tidy(list(self._watched - _looked_after), True)


_looked_after = set()  # the names that are left when the program ends


def _unlink(name):
    """Unlink a name. `main` calls this for all names that are left; those that were looked after are done already."""
    if name not in _looked_after:
        _engine.memory_unlink(name)


_CLEANUP_FUNCS[_KIND] = _unlink  # noqa: F821

_main = main  # noqa: F821


def open(fd, mode):
    """Open the pipe. The tracker's `main` calls this."""
    return _Orders(builtins.open(fd, mode))


def main(fd):
    """Run the resource tracker."""
    try:
        # The tracker needs a descriptor for each piece of shared memory.
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (OSError, ValueError):
        pass
    _main(fd)
