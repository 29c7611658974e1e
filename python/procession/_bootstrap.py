"""How a child that the standard library starts joins the program.

A forked child shares the engine's memory because its parent has it. Any other child joins with a *join token*:

1. The parent reserves an entry of the process table for the child. The token names it: two descriptors and two numbers.
2. The parent stores the process object in shared memory, with the queues and locks in its arguments.
3. The preparation data carry the token to the child. Unpickling the token joins the program.
4. The child takes the process object from shared memory, and runs it.

So the pipe to the child carries little, and `start` does not wait for the child to read it, however large the arguments
are.
"""

import os
import time
from contextlib import contextmanager
from threading import RLock, local

from . import _engine, context, process, util
from .reduction import DupFd

__all__ = [
    "UNKNOWN",
    "JoinToken",
    "Left",
    "ended",
    "fork",
    "is_dead",
    "launch",
    "new_join_token",
    "reap",
    "started",
    "wait",
]

# The exit code of a dead child whose status other code has collected. The standard library uses it for a child whose
# fork server is gone.
UNKNOWN = 255

# One lock for all children. It is held during one system call, which does not wait. It is recursive, because a signal
# may interrupt the thread that holds it, and the handler may ask for an exit code, too. It is renewed in a forked
# child, where it may be locked by a thread that the child does not have.
_reaping = RLock()
os.register_at_fork(after_in_child=_reaping._at_fork_reinit)  # type: ignore[attr-defined]

# What a thread that forks passes to the child: the descriptor by which a daemon learns that its parent has ended.
_forking = local()


def new_join_token(name):
    """Reserve an entry for a child, and return its join token.

    The token consists of the heap's descriptor, the heap's id, the entry's id, and the descriptor of the lock that
    shows that the child is alive.
    """
    return _engine.new_join_token(name)


def started(token):
    """Say that the child was started, or will not be: from now on its lock is its own."""
    _engine.started(*token)


class JoinToken:
    """A join token in a child's preparation data. Unpickling it joins the program."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        popen = context.get_spawning_popen()
        popen._join_token = fd, heap, number, claim = new_join_token(self.name)
        # A `Popen` class of the program's own has no such attribute.
        lifeline = getattr(popen, "_lifeline", None)
        # A descriptor is negative in three cases: the heap is found by a number that is valid for all processes of
        # this user, there is no lock, or the child does not end with its parent.
        return _join, (
            _passed(fd),
            heap,
            number,
            _passed(claim),
            _passed(-1 if lifeline is None else lifeline),
        )


def _passed(fd):
    """Return what passes a descriptor to the child."""
    return fd if fd < 0 else DupFd(fd)


def _received(fd):
    """Return the descriptor that was passed."""
    return fd if isinstance(fd, int) else fd.detach()


def _join(fd, heap, number, claim, lifeline=-1):
    """Join the program, in the child."""
    _engine.attach(_received(fd), heap, number, _received(claim))
    if (lifeline := _received(lifeline)) >= 0:
        _die_with(lifeline)


def _die_with(lifeline):
    """Make this process, a daemon, end with its parent.

    If the system cannot do that, the process ends as a daemon of the standard library does.
    """
    try:
        _engine.die_with(lifeline)
    except OSError:
        pass


class Left:
    """Stands for a process object. Pickling this stores the process object in shared memory for the child."""

    def __init__(self, process):
        self._process = process
        self._name = process._name

    def __reduce__(self):
        _engine.leave(self._process, *context.get_spawning_popen()._join_token)
        return _engine.start_object, ()


@contextmanager
def _lifeline_for(process_obj):
    """Yield the descriptor by which a daemon learns that this process has ended, None for other processes."""
    if not process_obj.daemon:
        yield None
        return
    lifeline = _engine.lifeline()
    try:
        yield lifeline
    finally:
        os.close(lifeline)


def fork(popen, start, process_obj):
    """Start a forked child, which shares memory with this process."""
    _engine.ensure_heap()
    try:
        with _lifeline_for(process_obj) as _forking.lifeline:
            # In the child this call does not return.
            start(process_obj)
    finally:
        _forking.lifeline = None
    popen._number = _engine.last_child()


def launch(popen, start, process_obj):
    """Start a child that joins with a token."""
    try:
        with _lifeline_for(process_obj) as popen._lifeline:
            start(Left(process_obj))
    except BaseException:
        ended(popen)
        raise
    finally:
        if token := getattr(popen, "_join_token", None):
            started(token)


def reap(popen, poll, flag):
    """Return the exit code of a child, None while it runs, or if that is not known and `flag` says not to wait.

    Only one thread at a time asks the system, which gives the exit code once: a second thread that asked meanwhile
    (starting a child asks for all children) would get none. No thread waits while it asks.
    """
    if popen.returncode is None and flag != os.WNOHANG:
        popen._await()
    with _reaping:
        if popen.returncode is None:
            popen.returncode = poll(os.WNOHANG)
            if popen.returncode is not None:
                ended(popen)
    return popen.returncode


def wait(popen, timeout):
    """Wait for a child's exit code, for at most `timeout` seconds.

    The sentinel shows that the child is dead, but the exit code may come later: while a debugger still traces the
    child.
    """
    from .connection import wait as wait_for

    deadline = time.monotonic() + timeout
    pause = 0.001
    wait_for([popen.sentinel], timeout)
    while (code := popen.poll(os.WNOHANG)) is None and (left := deadline - time.monotonic()) > 0:
        time.sleep(min(pause, left))
        pause = min(2 * pause, 0.02)
    return code


def ended(popen):
    """Say that the child is dead and reaped, or was never started, so that what it held is released."""
    _engine.ended(_number(popen), getattr(popen, "pid", 0))


def is_dead(popen):
    """Return whether a child is certainly dead, when the system does not know it any more."""
    return not _engine.is_alive(_number(popen), popen.pid)


def _number(popen):
    """Return the child's entry in the engine, 0 if there is none."""
    token = getattr(popen, "_join_token", None)
    return token[2] if token is not None else getattr(popen, "_number", 0)


def _adopt_fork(_):
    """Give this forked child its name in the engine, and make it end with its parent if it is a daemon."""
    _engine.rename(process.current_process().name)
    lifeline = getattr(_forking, "lifeline", None)
    if lifeline is not None:
        _forking.lifeline = None
        _die_with(lifeline)


# A forked child has its parent's name in the engine until it gives its own.
util.register_after_fork(_adopt_fork, _adopt_fork)
