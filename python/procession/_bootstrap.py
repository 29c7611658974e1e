"""How a child that the standard library starts joins the program.

A forked child shares the engine's memory because its parent has it. Any other child is *invited*: its parent makes an
entry for it, its preparation data carry the invitation (a descriptor and two numbers), whose unpickling joins the program,
and its process object is left in shared memory, with the queues and locks in its arguments. So the pipe to the child
carries little, and `start` does not wait for the child to read it, however large the arguments are.
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
    "invite",
    "is_dead",
    "launch",
    "reap",
    "started",
    "wait",
]

# The exit code of a child that is dead, and whose status somebody else has collected: the one that the standard library has
# for a child whose fork server is gone.
UNKNOWN = 255

# One for all children: it is held for as long as a system call takes that does not wait. (By a thread that is interrupted by
# a signal, whose handler may ask, too.) A forked child would find it locked by a thread that it does not have.
_reaping = RLock()
os.register_at_fork(after_in_child=_reaping._at_fork_reinit)  # type: ignore[attr-defined]

# What a thread that forks leaves for the child: the descriptor by which a daemon learns of its parent's end.
_forking = local()


def invite(name):
    """Make an entry for a child: descriptor, program, number, the descriptor of the lock that witnesses its life."""
    return _engine.new_join_token(name)


def started(invitation):
    """The child was started, or will not be: the lock that witnesses its life is its own."""
    _engine.started(*invitation)


class JoinToken:
    """In a child's preparation data. Unpickling it joins the program."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        popen = context.get_spawning_popen()
        popen._invitation = fd, heap, number, claim = invite(self.name)
        # A popen of somebody else's knows nothing of it.
        lifeline = getattr(popen, "_lifeline", None)
        # Negative where the memory has no descriptor, but a number by which every process of this user finds it; and where there
        # is no lock, or no parent to end with.
        return _join, (
            _passed(fd),
            heap,
            number,
            _passed(claim),
            _passed(-1 if lifeline is None else lifeline),
        )


def _passed(fd):
    return fd if fd < 0 else DupFd(fd)


def _received(fd):
    return fd if isinstance(fd, int) else fd.detach()


def _join(fd, heap, number, claim, lifeline=-1):
    _engine.attach(_received(fd), heap, number, _received(claim))
    if (lifeline := _received(lifeline)) >= 0:
        _die_with(lifeline)


def _die_with(lifeline):
    """In a daemon: end with the parent. Where the system cannot do that, it ends as the standard library's does."""
    try:
        _engine.die_with(lifeline)
    except OSError:
        pass


class Left:
    """Stands for a process object, which is left for the child in shared memory when this is pickled."""

    def __init__(self, process):
        self._process = process
        self._name = process._name

    def __reduce__(self):
        _engine.leave(self._process, *context.get_spawning_popen()._invitation)
        return _engine.start_object, ()


@contextmanager
def _lifeline_for(process_obj):
    """A descriptor that a daemon needs to end with this process, None for others."""
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
            # In the child, it does not come back.
            start(process_obj)
    finally:
        _forking.lifeline = None
    popen._number = _engine.last_child()


def launch(popen, start, process_obj):
    """Start an invited child."""
    try:
        with _lifeline_for(process_obj) as popen._lifeline:
            start(Left(process_obj))
    except BaseException:
        ended(popen)
        raise
    finally:
        if invitation := getattr(popen, "_invitation", None):
            started(invitation)


def reap(popen, poll, flag):
    """The exit code of a child, None while it runs, or where that is not known and `flag` says not to wait.

    Only one thread at a time asks the system, which tells it once: another that asked meanwhile (each that starts a child
    asks for all) would find none. Nobody waits in there.
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
    """Wait for a child's exit code, for at most so many seconds.

    That it is dead is seen before its exit code can be had: as long as a debugger that traces it has not let go of it.
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
    """The child is dead and reaped, or was never started: what it held is given up."""
    _engine.ended(_number(popen), getattr(popen, "pid", 0))


def is_dead(popen):
    """Whether a child is dead for certain, of which the system says nothing."""
    return not _engine.is_alive(_number(popen), popen.pid)


def _number(popen):
    """The child's number in the engine, 0 if there is none."""
    invitation = getattr(popen, "_invitation", None)
    return invitation[2] if invitation is not None else getattr(popen, "_number", 0)


def _settle_in(_):
    _engine.rename(process.current_process().name)
    lifeline = getattr(_forking, "lifeline", None)
    if lifeline is not None:
        _forking.lifeline = None
        _die_with(lifeline)


# A forked child is, for the engine, a copy of its parent until it says its name.
util.register_after_fork(_settle_in, _settle_in)
