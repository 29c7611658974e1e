"""What the programs of these tests share. Everything here runs in the programs; the tests only start them."""

import ctypes
import errno
import gc  # noqa: F401, the programs use it
import os
import queue  # noqa: F401, the programs use it
import select
import signal
import struct
import sys
import time

MIB = 1 << 20
# What may stay of 64 MiB for those who ask for memory next.
LITTLE = 32 * MIB
# Somebody who gets an answer at all gets it sooner; only a program that fails takes so long.
LATE = 15
MACHINE = os.uname().machine
LIBC = ctypes.CDLL(None, use_errno=True)


def skip(reason):
    """End this program; the test is skipped."""
    print(f"skipped: {reason}", flush=True)
    os._exit(0)


def check(condition, *told):
    """An assertion that ends the program at once, for a program in disorder may never end by itself."""
    if not condition:
        sys.stdout.flush()
        sys.stderr.write("wrong: " + " ".join(map(str, told)) + "\n")
        sys.stderr.flush()
        kill_children()
        os._exit(1)


def well():
    """End this program at once with exit code 0, with its children and without its files, whatever its state is."""
    import shutil

    print("ok", flush=True)
    kill_children()
    for name in os.listdir(os.environ["TMPDIR"]):
        shutil.rmtree(os.path.join(os.environ["TMPDIR"], name), ignore_errors=True)
    os._exit(0)


def kill_children():
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            numbers = file.read().split()
    except OSError:
        return
    for pid in map(int, numbers):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def state_of(pid):
    """The letter of a process's state as /proc tells it, "" if there is none."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def until(condition, seconds=LATE):
    """Wait for a condition to come true; whether it did."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


class Teller:
    """Lines from one process to another that do not pass through what is tested."""

    def __init__(self):
        self.reader, self.writer = os.pipe()
        self.rest = b""

    def tell(self, text=""):
        os.write(self.writer, f"{text}\n".encode())

    def hear(self, seconds=LATE):
        """The next line, None if there is none in time."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self.rest:
            left = max(0, deadline - time.monotonic())
            if not select.select([self.reader], [], [], left)[0]:
                return None
            self.rest += os.read(self.reader, 10_000) or b"\n"
        line, _, self.rest = self.rest.partition(b"\n")
        return line.decode()


def looked_around(condition, seconds=LATE):
    """Whether a condition comes true while this process gives the engine every occasion to look after the dead: it waits in
    vain for a permit, and forks."""
    import procession

    permits = procession.get_context("fork").Semaphore(1)
    permits.acquire()
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        permits.acquire(timeout=1.2)
        fork_and_reap()
    return True


def fork_and_reap(work=lambda: None):
    """A child by hand; how it ended, as `os.waitpid` says."""
    try:
        pid = os.fork()
    except OSError:
        return None
    if pid == 0:
        work()
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def nobody_else():
    """Whether this process is the only one that the engine knows."""
    import procession

    return [process.pid for process in procession.inspect().processes] == [os.getpid()]


def resident():
    from procession import _engine

    return _engine.resident_bytes()


def fill(channel, sizes=(MIB, 60_000, 20_000, 9_000)):
    """Put until there is no memory for another message."""
    count = 0
    for size in sizes:
        try:
            while True:
                channel.put(b"x" * size)
                count += 1
        except MemoryError:
            pass
    return count


# Births


def pause_at_birth():
    """Make each child forked from now on stop, before other code runs in it, until it gets SIGUSR1."""
    signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        register = LIBC.__register_atfork
    except AttributeError:
        skip("the C library has no __register_atfork")
    register(None, None, ctypes.cast(LIBC.pause, ctypes.c_void_p), None)


def let_go(pid, done):
    """Let a child that paused at birth go on, until `done()`."""

    def tried():
        try:
            os.kill(pid, signal.SIGUSR1)
        except ProcessLookupError:
            pass
        time.sleep(0.02)
        return done()

    return until(tried)


def adopt_orphans():
    PR_SET_CHILD_SUBREAPER = 36
    check(LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0, "prctl")


# System calls that are not there

SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 0x7FFF0000, 0x00050000
CALLS = {
    "x86_64": {"clone": 56, "fork": 57, "fcntl": 72, "pidfd_send_signal": 424, "pidfd_open": 434},
    "aarch64": {"clone": 220, "fcntl": 25, "pidfd_send_signal": 424, "pidfd_open": 434},
}


def filter_calls(program):
    """Install a filter of system calls, for this process and all that it starts."""
    code = b"".join(struct.pack("HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code)
    filter = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program), ctypes.addressof(buffer)))
    if LIBC.prctl(38, 1, 0, 0, 0) != 0 or LIBC.prctl(22, 2, filter, 0, 0) != 0:
        skip(f"no seccomp here: {os.strerror(ctypes.get_errno())}")


def number(call):
    if MACHINE not in CALLS:
        skip(f"the numbers of system calls on {MACHINE}")
    return CALLS[MACHINE].get(call)


LOAD, EQUAL, ALL_BITS, RETURN = 0x20, 0x15, 0x45, 0x06


def refuse_calls(names, error):
    """These system calls answer `error` from now on."""
    program = [(LOAD, 0, 0, 0)]
    for name in names:
        program += [(EQUAL, 0, 1, number(name)), (RETURN, 0, 0, SECCOMP_RET_ERRNO | error)]
    filter_calls([*program, (RETURN, 0, 0, SECCOMP_RET_ALLOW)])


def refuse_descriptions_locks():
    """Locks of open file descriptions are unknown from now on."""
    first, last = 36, 38
    program = [(LOAD, 0, 0, 0), (EQUAL, 0, last - first + 2, number("fcntl")), (LOAD, 0, 0, 24)]
    program += [(EQUAL, last - command + 1, 0, command) for command in range(first, last + 1)]
    program += [(RETURN, 0, 0, SECCOMP_RET_ALLOW), (RETURN, 0, 0, SECCOMP_RET_ERRNO | errno.EINVAL)]
    filter_calls(program)


def refuse_forks():
    """fork fails from now on (EAGAIN), for good; threads, and programs that are started without a fork, do not."""
    CLONE_VM = 0x100
    refuse = (RETURN, 0, 0, SECCOMP_RET_ERRNO | errno.EAGAIN)
    program = [(LOAD, 0, 0, 0)]
    if number("fork"):
        program += [(EQUAL, 0, 1, number("fork")), refuse]
    # The clone that fork is does not share its memory.
    program += [(EQUAL, 0, 3, number("clone")), (LOAD, 0, 0, 16), (ALL_BITS, 1, 0, CLONE_VM), refuse]
    filter_calls([*program, (RETURN, 0, 0, SECCOMP_RET_ALLOW)])
