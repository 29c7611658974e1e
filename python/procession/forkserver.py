"""The standard library's fork server, changed so that it imports the main module before it forks."""

import os
import socket
import sys

from ._standard import adopt

adopt(__name__, globals())

from . import process, spawn, util  # noqa: E402

_main = main  # noqa: F821


def main(listener_fd, alive_r, preload, main_path=None, sys_path=None, **others):
    """Run forkserver."""
    if sys_path is not None:
        sys.path[:] = sys_path
    if "__main__" in preload and main_path is not None:
        preload = [name for name in preload if name != "__main__"]
        _import_main(main_path)
    parent, address = os.getppid(), _address_of(listener_fd)
    try:
        _main(listener_fd, alive_r, preload, sys_path=sys_path, **others)
    finally:
        # A parent that was killed has not removed the socket's file.
        if os.getppid() != parent or _is_ending(parent):
            _remove(address)


def _address_of(listener_fd):
    with socket.socket(fileno=os.dup(listener_fd)) as listener:
        return listener.getsockname()


def _is_ending(pid):
    """Return whether a process has run its last instruction.

    The kernel closes its descriptors before its children get a new parent.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            flags = int(stat.read().rpartition(b")")[2].split()[6])
    except FileNotFoundError:
        return True
    except (OSError, ValueError, IndexError):
        return False
    return bool(flags & 0x4)  # PF_EXITING


def _remove(address):
    """Remove a socket's file, and the temporary folder that was made for it."""
    try:
        os.unlink(address)
        os.rmdir(os.path.dirname(address))
    except OSError:
        pass


def _import_main(path):
    current = process.current_process()
    current._inheriting = True
    try:
        spawn.import_main_path(path)
    except BaseException:
        # Then the children import it themselves, and report their own errors.
        pass
    finally:
        del current._inheriting
        # Otherwise every child would print again what was printed here.
        util._flush_std_streams()
