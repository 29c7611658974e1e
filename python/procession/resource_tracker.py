"""The resource tracker: the standard library's, whose lock is not inherited locked, and which knows shared memory that
others use from shared memory that nobody does.

The tracker is its program, as far as the names of shared memory are concerned: it takes part in all that the program's
processes make, until the last of them is gone. Then it takes away the names that nobody else uses: of what they made, and
of what they attached to, if that was made with this package.
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
    """Have this shared memory looked after when the program ends; to be called before it is made or attached to."""
    _resource_tracker._send("WATCH", name, _KIND)  # noqa: F821


class _Orders:
    """What the tracker's `main` reads: the lines of a pipe. Those about shared memory are noted on their way."""

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
                self._note(order, name)
            if order != "WATCH":
                yield line
        self._tidy()

    def _note(self, order, name):
        if order == "WATCH":
            self._watched.add(name)
        elif order == "REGISTER":
            self._let_go(name)
            if len(self._held) >= self._many:
                self._forget_unlinked()
            try:
                self._held[name] = _engine.memory_open(name)
            except (OSError, ValueError):
                pass  # gone already, or more than there are descriptors for
        elif order == "UNREGISTER":
            self._watched.discard(name)
            self._let_go(name)

    @staticmethod
    def _say_left(fd):
        """Mark what is to go with its last user: the program that made it has ended."""
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        if mode & stat.S_ISVTX:
            os.fchmod(fd, mode | stat.S_ISUID)

    def _let_go(self, name):
        fd = self._held.pop(name, None)
        if fd is not None:
            os.close(fd)

    def _forget_unlinked(self):
        """What somebody else unlinked is kept by nobody's name; nor should its memory be kept by us."""
        for name in [name for name, fd in self._held.items() if not os.fstat(fd).st_nlink]:
            self._let_go(name)
        self._many = max(16, 2 * len(self._held))

    def _tidy(self):
        self._forget_unlinked()
        for fd in self._held.values():
            self._say_left(fd)
        _looked_after.update(self._held)
        for name in _looked_after:
            self._let_go(name)
        _engine.memory_tidy(list(_looked_after), False)
        _engine.memory_tidy(list(self._watched - _looked_after), True)


_looked_after = set()  # the names that the end of the program left to us


def _unlink(name):
    """`main` calls it for all that is left: what is in use stays so, and what is gone is reported."""
    if name not in _looked_after:
        _engine.memory_unlink(name)


_CLEANUP_FUNCS[_KIND] = _unlink  # noqa: F821

_main = main  # noqa: F821


def open(fd, mode):
    """The tracker's `main` opens its pipe with it."""
    return _Orders(builtins.open(fd, mode))


def main(fd):
    """Run the resource tracker."""
    try:
        # A descriptor for each piece of shared memory.
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (OSError, ValueError):
        pass
    _main(fd)
