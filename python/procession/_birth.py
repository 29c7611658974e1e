"""How a child that the standard library starts joins the program.

A forked child shares the engine's memory because its parent has it. Any other child is *invited*: its parent makes an
entry for it, its preparation data carry the invitation (a descriptor and two numbers), whose unpickling joins the program,
and its process object is left in shared memory, with the queues and locks in its arguments. So the pipe to the child
carries little, and `start` does not wait for the child to read it, however large the arguments are.
"""

import os
from threading import RLock

from . import _engine, context, process, util
from .reduction import DupFd

__all__ = ["Invitation", "Left", "ended", "invite", "launch", "prepare_fork", "reap", "started"]

# One for all children: it is held for as long as a system call takes that does not wait. (By a thread that is interrupted by
# a signal, whose handler may ask, too.) A forked child would find it locked by a thread that it does not have.
_reaping = RLock()
os.register_at_fork(after_in_child=_reaping._at_fork_reinit)  # type: ignore[attr-defined]


def invite(name):
    """Make an entry for a child: descriptor, program, number, the descriptor of the lock that witnesses its life."""
    return _engine.invite(name)


def started(invitation):
    """The child was started, or will not be: the lock that witnesses its life is its own."""
    _engine.started(*invitation)


class Invitation:
    """In a child's preparation data. Unpickling it joins the program."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        popen = context.get_spawning_popen()
        popen._invitation = fd, heap, number, claim = invite(self.name)
        # Negative where the memory has no descriptor, but a number by which every process of this user finds it; and where there
        # is no lock.
        return _join, (_passed(fd), heap, number, _passed(claim))


def _passed(fd):
    return fd if fd < 0 else DupFd(fd)


def _received(fd):
    return fd if isinstance(fd, int) else fd.detach()


def _join(fd, heap, number, claim):
    _engine.attach(_received(fd), heap, number, _received(claim))


class Left:
    """Stands for a process object, which is left for the child in shared memory when this is pickled."""

    def __init__(self, process):
        self._process = process
        self._name = process._name

    def __reduce__(self):
        _engine.leave(self._process, *context.get_spawning_popen()._invitation)
        return _engine.start_object, ()


def prepare_fork():
    """Before a fork, so that parent and child share memory."""
    _engine.ensure_heap()


def launch(popen, start, process_obj):
    """Start an invited child."""
    try:
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
        if popen.returncode is None and poll(os.WNOHANG) is not None:
            ended(popen)
    return popen.returncode


def ended(popen):
    """The child is dead and reaped, or was never started: what it held is given up."""
    invitation = getattr(popen, "_invitation", None)
    number = invitation[2] if invitation is not None else 0
    _engine.ended(number, getattr(popen, "pid", 0))


def _take_name(_):
    _engine.rename(process.current_process().name)


# A forked child is, for the engine, a copy of its parent until it says its name.
util.register_after_fork(_take_name, _take_name)
